/** A line small enough for a table cell: shape only, no axes. */

import type { Window } from "../time";

interface Props {
  /** What the whole width stands for. */
  readonly window: Window;
  readonly points: readonly (readonly [number, number | null])[];
  readonly tint: string;
}

const WIDTH = 112;
const HEIGHT = 24;

/** Draws the shape of a rate over the range, from zero to its own top. */
export function Sparkline({ window, points, tint }: Props) {
  const known = points.filter((p): p is readonly [number, number] => p[1] !== null && Number.isFinite(p[1]));
  if (known.length < 2) return <svg class="spark" width={WIDTH} height={HEIGHT} aria-hidden="true" />;
  const top = Math.max(...known.map((p) => p[1])) || 1;
  const x = (at: number) => Math.max(0, (at - window.from) / (window.to - window.from)) * WIDTH;
  const y = (value: number) => HEIGHT - 2 - (value / top) * (HEIGHT - 4);
  const line = known
    .map(([at, value], i) => `${i === 0 ? "M" : "L"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`)
    .join("");
  const [left, right] = [x(known[0]?.[0] ?? 0), x(known[known.length - 1]?.[0] ?? 0)];
  return (
    <svg class="spark" width={WIDTH} height={HEIGHT} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} aria-hidden="true">
      <path
        d={`${line}L${right.toFixed(1)} ${HEIGHT}L${left.toFixed(1)} ${HEIGHT}Z`}
        fill={`var(--${tint})`}
        opacity=".13"
      />
      <path d={line} fill="none" stroke={`var(--${tint})`} stroke-width="1.5" stroke-linejoin="round" />
    </svg>
  );
}
