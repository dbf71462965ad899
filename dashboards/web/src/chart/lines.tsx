/** Lines over time, plain or stacked, with a legend that reads out the values under the cursor. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";

import type { Threshold } from "../api";
import { useDeploys } from "../panel/deploys";
import { useCell } from "../store";
import { color, faded, palette } from "../theme";
import { clock, type Grid } from "../time";
import { format, type Unit } from "../units";
import { axes, cursor, dragHook, markDeploys, markLine, times, zoomHook } from "./base";
import { useWidth } from "./size";
import { stack } from "./stack";

export interface Line {
  readonly name: string;
  /** Name of its colour. */
  readonly tint: string;
  readonly values: readonly (number | null)[];
}

interface Props {
  readonly grid: Grid;
  readonly lines: readonly Line[];
  /** The same lines some time before: dashed, without a place in the legend. */
  readonly past: readonly Line[];
  readonly unit: Unit;
  readonly stacked: boolean;
  readonly thresholds: readonly Threshold[];
  readonly height: number;
}

/** Draws the lines; the chart is made anew only when its shape changes, not at every refresh. */
export function Lines({ grid, lines, past, unit, stacked, thresholds, height }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const width = useWidth(host);
  const colors = useCell(palette);
  const deploys = useDeploys();
  const marked = useRef(deploys);
  marked.current = deploys;
  const [index, setIndex] = useState<number | null>(null);
  const [alone, setAlone] = useState<string | null>(null);
  const shown = alone !== null && lines.some((l) => l.name === alone) ? lines.filter((l) => l.name === alone) : lines;
  const dashed = past.filter((l) => shown.some((line) => line.name === l.name));
  const shape = `${dashed.map((l) => l.name).join()}|${shown.map((l) => `${l.name}\u0000${l.tint}`).join("\u0001")}|${unit}|${stacked}|${colors}`;
  const data = useMemo(() => {
    const values = shown.map((l) => l.values);
    return [
      times(grid),
      ...(stacked ? stack(values) : values),
      ...dashed.map((l) => l.values),
    ] as unknown as uPlot.AlignedData;
  }, [grid.from, grid.to, grid.step, lines, past, alone, stacked]);

  useEffect(() => {
    if (!host.current || width === 0) return;
    const made = new uPlot(
      {
        width,
        height,
        padding: [8, 18, 0, 0],
        legend: { show: false },
        cursor: cursor(true),
        scales: { x: { time: true, range: (u) => bounds(u) }, y: { range: (_, __, max) => yRange(max, unit) } },
        axes: axes(unit),
        series: [{}, ...shown.map((line) => series(line, stacked)), ...dashed.map(before)],
        bands: stacked ? shown.slice(1).map((_, i) => ({ series: [i + 2, i + 1] as [number, number] })) : [],
        hooks: {
          init: [dragHook],
          setSelect: [zoomHook],
          setCursor: [(u) => setIndex(u.cursor.idx ?? null)],
          draw: [
            (u) => thresholds.forEach((t) => markLine(u, t.value, t.level)),
            (u) => markDeploys(u, marked.current),
          ],
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
    // `data` is set below without making the chart anew.
  }, [shape, width === 0, height]);

  useEffect(() => chart.current?.setData(data), [data]);
  useEffect(() => chart.current?.redraw(false), [deploys]);
  useEffect(() => chart.current?.setSize({ width, height }), [width, height]);

  const at = index ?? lastIndex(lines);
  return (
    <>
      <div class="plot" ref={host} style={{ height: `${height}px` }} role="img" aria-label={spoken(lines, unit)} />
      <ul class="legend">
        {lines.map((line) => (
          <li key={line.name}>
            <button
              type="button"
              class={alone === null || alone === line.name ? "" : "off"}
              title={alone === line.name ? "Show all lines" : `Show only ${line.name}`}
              onClick={() => setAlone(alone === line.name ? null : line.name)}
            >
              <i style={{ background: `var(--${line.tint})` }} />
              <span class="name">{line.name}</span>
              <b>{format(line.values[at] ?? null, unit)}</b>
            </button>
          </li>
        ))}
        <li class="when">{index === null ? "" : clock(grid.from + index * grid.step, true)}</li>
      </ul>
    </>
  );
}

function series(line: Line, stacked: boolean): uPlot.Series {
  const made: uPlot.Series & { tint?: string } = {
    stroke: color(line.tint),
    width: 1.5,
    fill: faded(line.tint, stacked ? 0.28 : 0.07),
    points: { show: false },
    spanGaps: false,
  };
  made.tint = color(line.tint);
  return made;
}

function before(line: Line): uPlot.Series {
  return { stroke: faded(line.tint, 0.65), width: 1, dash: [4, 4], points: { show: false }, spanGaps: false };
}

function bounds(u: uPlot): [number, number] {
  const xs = u.data[0];
  return [xs[0] ?? 0, xs[xs.length - 1] ?? 1];
}

/** From zero, with a little air; a part of one never shows more than one, nor a line of zeros as a mountain. */
function yRange(max: number | null, unit: Unit): [number, number] {
  const top = max === null || max <= 0 ? (unit === "ratio" ? 0.01 : 1) : max * 1.12;
  return [0, unit === "ratio" ? Math.min(Math.max(top, 0.01), Math.max(1, max ?? 1)) : top];
}

function lastIndex(lines: readonly Line[]): number {
  const length = lines[0]?.values.length ?? 0;
  for (let i = length - 1; i >= 0; i -= 1) if (lines.some((line) => line.values[i] != null)) return i;
  return length - 1;
}

function spoken(lines: readonly Line[], unit: Unit): string {
  const at = lastIndex(lines);
  return lines.map((line) => `${line.name}: ${format(line.values[at] ?? null, unit)}`).join(", ");
}
