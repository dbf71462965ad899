/** One panel of a dashboard: asks its queries, draws what came, or says why nothing did. */
import { useEffect, useRef, useState } from "preact/hooks";

import { type PanelJson, serviceTraces } from "../api";
import { type Dot, Heatmap } from "../chart/heatmap";
import { type Line, Lines } from "../chart/lines";
import { type Loaded, useGrid, useLoad } from "../live";
import {
  type HistogramSeries,
  legend,
  queryHistograms,
  queryInstant,
  queryRange,
  type Sample,
  type Series,
} from "../prom";
import { compare } from "../router";
import { useCell } from "../store";
import { lineColors } from "../theme";
import { COMPARISONS, type Grid } from "../time";
import { format } from "../units";
import { Frame, Loading, Reason } from "./frame";
import { join, type Row } from "./rows";
import { levelOf, Table } from "./table";
import { isError, Traces } from "./traces";

const HEIGHT = 168;
const HEAT_HEIGHT = 220;
/** Lines that one chart can carry and still be read. */
const LINES_MAX = 12;
/** Lines up to which those at zero are worth showing too. */
const LINES_CALM = 6;

interface Props {
  readonly panel: PanelJson;
  readonly subject: string;
  /** Told whether an optional panel has nothing to show. */
  readonly onEmpty: (id: string, empty: boolean) => void;
}

interface Answer {
  readonly grid: Grid;
  readonly lines: readonly Line[];
  /** The same lines some time before, dashed. */
  readonly past: readonly Line[];
  readonly left: number;
  readonly rows: readonly Row[];
  readonly heat: HistogramSeries | undefined;
  readonly dots: readonly Dot[];
}

export function Panel({ panel, subject, onEmpty }: Props) {
  const section = useRef<HTMLElement>(null);
  const seen = useSeen(section);
  const grid = useGrid();
  const back = useCell(compare);
  const ready = useRef(false);
  // A panel out of sight keeps what it has; only its first answer is asked for unseen, to know whether it has any.
  const frozen = useRef(grid);
  if (seen || !ready.current) frozen.current = grid;
  const wanted = frozen.current;
  const loaded = useLoad(
    `${subject} ${panel.id}`,
    `${subject} ${panel.id} ${wanted.from} ${wanted.to} ${wanted.step} ${back}`,
    (signal) => (panel.kind === "traces" ? Promise.resolve(undefined) : load(panel, subject, wanted, back, signal)),
  );
  ready.current ||= loaded.data !== undefined;
  const answer = loaded.data;
  const empty =
    answer !== undefined && answer.lines.length === 0 && answer.rows.length === 0 && answer.heat === undefined;
  const gone = panel.optional && (empty || answer === undefined);
  const state = panel.kind === "traces" ? undefined : answer === undefined ? "loading" : empty ? "reason" : "shown";
  useEffect(() => {
    if (panel.optional && answer !== undefined) onEmpty(panel.id, empty);
  }, [panel.id, empty, answer === undefined]);
  return (
    <section
      ref={section}
      class={`panel c${panel.columns} ${panel.kind}`}
      id={`panel-${panel.id}`}
      data-panel={panel.id}
      data-state={state}
      hidden={gone}
    >
      {panel.kind === "traces" ? (
        <Traces panel={panel} service={subject} />
      ) : (
        <Frame
          panel={panel}
          error={loaded.error}
          side={answer && answer.left > 0 && <small class="muted">{answer.left} more lines not drawn</small>}
        >
          {empty ? <Reason panel={panel} /> : <Body panel={panel} loaded={loaded} />}
        </Frame>
      )}
    </section>
  );
}

function Body({ panel, loaded }: { readonly panel: PanelJson; readonly loaded: Loaded<Answer | undefined> }) {
  const answer = loaded.data;
  const height = panel.kind === "heatmap" ? HEAT_HEIGHT : HEIGHT;
  if (answer === undefined)
    return loaded.error === undefined ? <Loading height={panel.kind === "stat" ? 40 : height} /> : null;
  const shared = { grid: answer.grid, lines: answer.lines, height };
  switch (panel.kind) {
    case "heatmap":
      return <Heatmap {...shared} columns={answer.heat?.buckets ?? []} dots={answer.dots} />;
    case "stat":
      return <Stat panel={panel} line={answer.lines[0]} />;
    case "table":
    case "dependencies":
      return <Table panel={panel} rows={answer.rows} />;
    default:
      return (
        <Lines
          {...shared}
          past={answer.past}
          unit={panel.unit}
          stacked={panel.stacked}
          thresholds={crossed(panel, answer.lines)}
        />
      );
  }
}

/** Threshold lines are drawn only when a value comes near: a far one would flatten the chart or lie outside it. */
function crossed(panel: PanelJson, lines: readonly Line[]) {
  const top = lines.flatMap((line) => line.values).reduce<number>((max, value) => Math.max(max, value ?? 0), 0);
  return panel.thresholds.filter((threshold) => top >= threshold.value * 0.5);
}

function Stat({ panel, line }: { readonly panel: PanelJson; readonly line: Line | undefined }) {
  const value = line?.values.findLast((v) => v !== null) ?? null;
  return <p class={`stat ${levelOf(panel, value)}`}>{format(value, panel.unit)}</p>;
}

async function load(panel: PanelJson, subject: string, grid: Grid, back: string, signal: AbortSignal): Promise<Answer> {
  const nothing: Answer = { grid, lines: [], past: [], left: 0, rows: [], heat: undefined, dots: [] };
  if (panel.kind === "table" || panel.kind === "dependencies") {
    const columns: Sample[][] = await Promise.all(panel.queries.map((query) => queryInstant(query.expr, grid, signal)));
    return { ...nothing, rows: join(panel.by, columns) };
  }
  const [first, ...rest] = panel.queries;
  if (panel.kind === "heatmap" && first) {
    const [heat, dots, ...lines] = await Promise.all([
      queryHistograms(first.expr, grid, signal),
      loadDots(subject, grid, signal),
      ...rest.map((query) => queryRange(query.expr, grid, signal)),
    ]);
    const filled = heat.find((series) => series.buckets.some((point) => point.length > 0));
    const { lines: drawn } = draw({ ...panel, queries: rest }, lines);
    return filled ? { ...nothing, heat: filled, dots, lines: drawn } : nothing;
  }
  const ask = (at: Grid) => Promise.all(panel.queries.map((query) => queryRange(query.expr, at, signal)));
  const before = comparable(panel) ? COMPARISONS.find((comparison) => comparison.back === back)?.seconds : undefined;
  const [answers, earlier] = await Promise.all([
    ask(grid),
    before === undefined ? Promise.resolve([]) : ask({ ...grid, from: grid.from - before, to: grid.to - before }),
  ]);
  const drawn = draw(panel, answers);
  const tints = new Map(drawn.lines.map((line) => [line.name, line.tint]));
  const past = draw(panel, earlier).lines.filter((line) => tints.has(line.name));
  return { ...nothing, ...drawn, past: past.map((line) => ({ ...line, tint: tints.get(line.name) ?? line.tint })) };
}

/** Few lines, each on its own: twice as many can still be told apart. */
function comparable(panel: PanelJson): boolean {
  return (
    panel.kind === "timeseries" &&
    !panel.stacked &&
    panel.queries.length <= 3 &&
    panel.queries.every((query) => !query.legend.includes("{{"))
  );
}

/** Names and colours the lines. Where there are many, those that stay at zero and the smallest are left out. */
function draw(panel: PanelJson, answers: readonly (readonly Series[])[]): { lines: Line[]; left: number } {
  const named = answers.flatMap((series, i) =>
    series.map(({ labels, values }) => ({ name: legend(panel.queries[i]?.legend ?? "", labels), values })),
  );
  const top = (values: readonly (number | null)[]) =>
    values.reduce<number>((max, value) => Math.max(max, value ?? 0), 0);
  const busy = named.length > LINES_CALM ? named.filter((line) => top(line.values) > 0) : named;
  const some = busy.length > 0 ? busy : named;
  const kept =
    some.length > LINES_MAX ? [...some].sort((a, b) => top(b.values) - top(a.values)).slice(0, LINES_MAX) : some;
  if (panel.stacked) kept.sort((a, b) => layer(a.name) - layer(b.name));
  const tints = lineColors(kept.map((line) => line.name));
  return { lines: kept.map((line, i) => ({ ...line, tint: tints[i] ?? "s0" })), left: named.length - kept.length };
}

/** What is in use lies at the bottom of a stack, what is free on top. */
function layer(name: string): number {
  const at = ["used", "user", "system"].indexOf(name);
  return at >= 0 ? at : name === "free" ? 9 : 5;
}

/** The traces that the heatmap shows as dots: the kept ones that failed, and the slowest. */
async function loadDots(service: string, grid: Grid, signal: AbortSignal): Promise<Dot[]> {
  const kinds = ["slow", "failed", "recent"] as const;
  const answers = await Promise.all(
    kinds.map((kind) => serviceTraces(service, kind, grid, signal).catch(() => ({ traces: [] }))),
  );
  const dots = answers.flatMap(({ traces }) =>
    traces.map((card) => ({
      at: Number(card.start) / 1e9,
      seconds: Number(card.duration_ns) / 1e9,
      failed: isError(card.status),
      trace: card.trace_id,
      span: card.span_id,
      name: card.name,
    })),
  );
  return [...new Map(dots.map((dot) => [`${dot.trace}${dot.span}`, dot])).values()].sort(
    (a, b) => Number(a.failed) - Number(b.failed),
  );
}

/** Whether the panel is on the screen, or nearly. */
function useSeen(ref: { readonly current: HTMLElement | null }): boolean {
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    if (!ref.current) return;
    const observer = new IntersectionObserver(([entry]) => entry && setSeen(entry.isIntersecting), {
      rootMargin: "200px",
    });
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, []);
  return seen;
}
