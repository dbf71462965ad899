/** What all uPlot charts of the page share: axes, the synchronised cursor, drag to zoom, time labels. */
import uPlot from "uplot";

import type { Deploy } from "../panel/deploys";
import { setRange } from "../router";
import { color, faded } from "../theme";
import { absolute, clock, day, type Grid } from "../time";
import { format, type Unit } from "../units";

const SYNC = uPlot.sync("weir");
/** Wide enough for `999 ms` and `99.9 %`; the same in every chart, so that the charts of a column line up. */
export const AXIS_WIDTH = 64;
/** Steps of axes that count in bytes: powers of two, so that marks are whole KiB, MiB, GiB. */
const BYTE_STEPS = Array.from({ length: 56 }, (_, i) => 2 ** i);
const FONT = '11px ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';

/** Axes in the page's colours. */
export function axes(unit: Unit): uPlot.Axis[] {
  const steps = unit === "bytes" || unit === "bytes_per_second" ? { incrs: BYTE_STEPS } : {};
  const shared = {
    stroke: () => color("muted"),
    font: FONT,
    grid: { stroke: () => color("grid"), width: 1 },
    ticks: { show: false },
  };
  return [
    { ...shared, space: 64, size: 26, gap: 6, values: timeLabels },
    {
      ...shared,
      ...steps,
      space: 30,
      size: AXIS_WIDTH,
      gap: 6,
      values: (_, splits) => splits.map((v) => format(v, unit)),
    },
  ];
}

function timeLabels(_: uPlot, splits: number[]): string[] {
  const step = (splits[1] ?? 0) - (splits[0] ?? 0);
  let before = "";
  return splits.map((at) => {
    if (step >= 86400) return day(at);
    const today = day(at);
    const turned = before !== "" && today !== before;
    before = today;
    return turned ? today : clock(at, step < 60);
  });
}

/** A cursor that all charts show at the same time, and a drag that sets the page's range. */
export function cursor(points: boolean): uPlot.Cursor {
  return {
    sync: { key: SYNC.key, setSeries: false },
    drag: { x: true, y: false, setScale: false },
    y: false,
    points: points
      ? {
          size: 7,
          width: 2,
          stroke: () => color("surface"),
          fill: (u, i) => String((u.series[i] as { tint?: string }).tint),
        }
      : { show: false },
  };
}

/** The chart on which the drag began: its neighbours follow the cursor, but only this one sets the range. */
let dragged: uPlot | null = null;

/** Remembers where a drag begins. */
export function dragHook(u: uPlot): void {
  u.over.addEventListener("mousedown", () => {
    dragged = u;
  });
}

/** Sets the page's range to what was dragged over. */
export function zoomHook(u: uPlot): void {
  const { left, width } = u.select;
  if (width < 6) return;
  if (dragged !== u) {
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    return;
  }
  dragged = null;
  const from = u.posToVal(left, "x");
  const to = u.posToVal(left + width, "x");
  u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  if (to - from >= 10) setRange(absolute({ from, to }));
}

/** The x values of a grid. */
export function times(grid: Grid): number[] {
  return Array.from({ length: grid.points }, (_, i) => grid.from + i * grid.step);
}

/** A soft line at a value that matters. */
export function markLine(u: uPlot, value: number, name: string): void {
  const y = Math.round(u.valToPos(value, "y", true)) + 0.5;
  const { top, height, left, width } = u.bbox;
  if (y < top || y > top + height) return;
  const { ctx } = u;
  ctx.save();
  ctx.strokeStyle = faded(name, 0.6);
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(left, y);
  ctx.lineTo(left + width, y);
  ctx.stroke();
  ctx.restore();
}

/** Marks where a new version appeared. */
export function markDeploys(u: uPlot, deploys: readonly Deploy[]): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.font = FONT.replace("11px", `${11 * devicePixelRatio}px`);
  ctx.textBaseline = "top";
  ctx.lineWidth = devicePixelRatio;
  for (const { at, version } of deploys) {
    const x = Math.round(u.valToPos(at, "x", true)) + 0.5;
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = faded("s2", 0.8);
    ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.fillStyle = color("s2");
    const width = ctx.measureText(version).width + 5 * devicePixelRatio;
    const left = x + width > bbox.left + bbox.width;
    ctx.textAlign = left ? "right" : "left";
    ctx.fillText(version, x + (left ? -4 : 4) * devicePixelRatio, bbox.top + devicePixelRatio);
  }
  ctx.restore();
}
