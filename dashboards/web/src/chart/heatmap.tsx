/** Durations of every request over time: darker where more are, lines for percentiles, dots for traces to open. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";

import { go, traceHref } from "../router";
import type { Bucket } from "../prom";
import { useDeploys } from "../panel/deploys";
import { useCell } from "../store";
import { color, faded, palette } from "../theme";
import { clock, type Grid } from "../time";
import { format } from "../units";
import { axes, cursor, dragHook, markDeploys, times, zoomHook } from "./base";
import { type Cells, cells, logTicks } from "./cells";
import type { Line } from "./lines";
import { useWidth } from "./size";

/** A trace on the chart. */
export interface Dot {
  readonly at: number;
  readonly seconds: number;
  readonly failed: boolean;
  readonly trace: string;
  readonly span: string;
  readonly name: string;
}

interface Props {
  readonly grid: Grid;
  readonly columns: readonly (readonly Bucket[])[];
  readonly lines: readonly Line[];
  readonly dots: readonly Dot[];
  readonly height: number;
}

interface Painted {
  readonly cells: Cells;
  readonly grid: Grid;
  readonly dots: readonly Dot[];
}

/** Distance in pixels within which the pointer means a dot. */
const REACH = 10;

/** Draws the heatmap. */
export function Heatmap({ grid, columns, lines, dots, height }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const width = useWidth(host);
  const colors = useCell(palette);
  const deploys = useDeploys();
  const marked = useRef(deploys);
  marked.current = deploys;
  const painted = useRef<Painted | null>(null);
  const [hint, setHint] = useState<{ x: number; y: number; words: string; dot: Dot | null } | null>(null);
  const laid = useMemo(() => cells(columns), [columns]);
  painted.current = laid === null ? null : { cells: laid, grid, dots };
  const data = useMemo(
    () => [times(grid), ...lines.map((l) => l.values)] as unknown as uPlot.AlignedData,
    [grid.from, grid.to, grid.step, lines],
  );
  const shape = `${lines.map((l) => l.name).join()}|${colors}`;

  useEffect(() => {
    if (!host.current || width === 0) return;
    const made = new uPlot(
      {
        width,
        height,
        padding: [8, 18, 0, 0],
        legend: { show: false },
        cursor: cursor(false),
        scales: {
          x: { time: true, range: (u) => [u.data[0][0] ?? 0, u.data[0].at(-1) ?? 1] },
          y: { distr: 3, log: 2, range: () => yRange(painted.current) },
        },
        axes: logAxes(),
        series: [
          {},
          ...lines.map((line) => ({ stroke: color(line.tint), width: 1.5, points: { show: false }, spanGaps: false })),
        ],
        hooks: {
          init: [dragHook],
          setSelect: [zoomHook],
          drawAxes: [(u) => painted.current && paint(u, painted.current)],
          draw: [(u) => markDeploys(u, marked.current), (u) => painted.current && paintDots(u, painted.current)],
          setCursor: [(u) => setHint(painted.current && under(u, painted.current))],
        },
      },
      data,
      host.current,
    );
    chart.current = made;
    return () => {
      chart.current = null;
      made.destroy();
    };
  }, [shape, width === 0, height]);

  useEffect(() => chart.current?.setData(data), [data, columns, dots]);
  useEffect(() => chart.current?.redraw(false), [deploys]);
  useEffect(() => chart.current?.setSize({ width, height }), [width, height]);

  return (
    <div class="heat">
      <div
        class={hint?.dot ? "plot pick" : "plot"}
        ref={host}
        style={{ height: `${height}px` }}
        role="img"
        aria-label="Heatmap of durations; the same traces are listed below under Traces"
        onClick={() => hint?.dot && go(traceHref(hint.dot.trace, hint.dot.span))}
      />
      {hint && (
        <div class="hint" style={{ left: `${hint.x}px`, top: `${hint.y}px` }}>
          {hint.words}
        </div>
      )}
      <ul class="legend">
        {lines.map((line) => (
          <li key={line.name}>
            <span>
              <i style={{ background: `var(--${line.tint})` }} />
              <span class="name">{line.name}</span>
            </span>
          </li>
        ))}
        <li>
          <span>
            <i class="ramp" />
            <span class="name">few to many requests</span>
          </span>
        </li>
        {dots.length > 0 && (
          <li>
            <span>
              <i class="dot" />
              <span class="name">trace, </span>
              <i class="dot failed" />
              <span class="name">failed trace: click to open</span>
            </span>
          </li>
        )}
      </ul>
    </div>
  );
}

/** Marks at 1, 2 and 5 of every decade, or fewer where there is no room. */
function logAxes(): uPlot.Axis[] {
  const [x, y] = axes("seconds");
  const splits = (_: uPlot, __: number, min: number, max: number) => logTicks(min, max, 7);
  return [x ?? {}, { ...y, splits, filter: (_: uPlot, all: number[]) => all }];
}

function yRange(drawn: Painted | null): [number, number] {
  if (!drawn) return [0.001, 1];
  // A slow trace may lie above every bucket of this grid: it began before the rate's window did.
  const slowest = drawn.dots
    .filter((dot) => dot.at >= drawn.grid.from && dot.at <= drawn.grid.to)
    .reduce((max, dot) => Math.max(max, dot.seconds), 0);
  return [drawn.cells.lo, Math.max(drawn.cells.hi, slowest * 1.2)];
}

function paint(u: uPlot, { cells: laid, grid }: Painted): void {
  const { ctx } = u;
  const half = grid.step / 2;
  ctx.save();
  ctx.beginPath();
  ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
  ctx.clip();
  ctx.fillStyle = color("heat");
  for (const cell of laid.cells) {
    const at = grid.from + cell.column * grid.step;
    const x0 = Math.round(u.valToPos(at - half, "x", true));
    const x1 = Math.round(u.valToPos(at + half, "x", true));
    const y0 = Math.round(u.valToPos(cell.hi, "y", true));
    const y1 = Math.round(u.valToPos(cell.lo, "y", true));
    // A square root keeps the rare slow request visible beside the crowd.
    ctx.globalAlpha = 0.1 + 0.9 * Math.sqrt(cell.count / laid.max);
    ctx.fillRect(x0, y0, Math.max(1, x1 - x0), Math.max(1, y1 - y0));
  }
  ctx.restore();
}

function paintDots(u: uPlot, { dots }: Painted): void {
  const { ctx } = u;
  ctx.save();
  ctx.lineWidth = 1.5 * devicePixelRatio;
  for (const dot of dots) {
    const place = placeOf(u, dot, true);
    if (!place) continue;
    ctx.beginPath();
    ctx.arc(place.x, place.y, 3.5 * devicePixelRatio, 0, 2 * Math.PI);
    ctx.fillStyle = dot.failed ? color("bad") : color("surface");
    ctx.fill();
    ctx.strokeStyle = dot.failed ? color("surface") : faded("text", 0.75);
    ctx.stroke();
  }
  ctx.restore();
}

function placeOf(u: uPlot, dot: Dot, canvas: boolean): { x: number; y: number } | null {
  const { min, max } = u.scales["x"] ?? {};
  if (min == null || max == null || dot.at < min || dot.at > max) return null;
  const [lo, hi] = [u.scales["y"]?.min ?? 0, u.scales["y"]?.max ?? 0];
  const seconds = Math.min(Math.max(dot.seconds, lo), hi);
  return { x: u.valToPos(dot.at, "x", canvas), y: u.valToPos(seconds, "y", canvas) };
}

/** What is under the pointer: a dot before a cell. */
function under(u: uPlot, drawn: Painted): { x: number; y: number; words: string; dot: Dot | null } | null {
  const { left, top } = u.cursor;
  if (left == null || top == null || left < 0 || top < 0 || !u.over.matches(":hover")) return null;
  const near = drawn.dots
    .map((dot) => ({ dot, place: placeOf(u, dot, false) }))
    .map(({ dot, place }) => ({ dot, far: place ? Math.hypot(place.x - left, place.y - top) : Infinity }))
    .filter(({ far }) => far <= REACH)
    .sort((a, b) => a.far - b.far)[0];
  const place = { x: left + u.over.offsetLeft, y: top + u.over.offsetTop };
  if (near) {
    const { dot } = near;
    const words = `${dot.failed ? "Failed: " : ""}${dot.name}, ${format(dot.seconds, "seconds")} at ${clock(dot.at, true)}`;
    return { ...place, words, dot };
  }
  const at = u.posToVal(left, "x");
  const seconds = u.posToVal(top, "y");
  const column = Math.round((at - drawn.grid.from) / drawn.grid.step);
  const cell = drawn.cells.cells.find((c) => c.column === column && c.lo <= seconds && seconds < c.hi);
  if (!cell) return null;
  const span = `${format(cell.lo, "seconds")} – ${format(cell.hi, "seconds")}`;
  return {
    ...place,
    words: `${format(cell.count, "requests_per_second")} took ${span} at ${clock(at, true)}`,
    dot: null,
  };
}
