/** Native histograms over time as cells to paint: bounds of the durations, rows merged to what can be seen. Pure. */
import type { Bucket } from "../prom";

/** One painted rectangle: a grid point wide, from `lo` to `hi` seconds. */
export interface Cell {
  readonly column: number;
  readonly lo: number;
  readonly hi: number;
  readonly count: number;
}

export interface Cells {
  readonly cells: readonly Cell[];
  readonly lo: number;
  readonly hi: number;
  /** The fullest cell. */
  readonly max: number;
}

/** Rows that a chart of ordinary height can tell apart. */
const ROWS_MAX = 48;
/** Shown span of durations at least: one request alone still gets an axis. */
const SPAN_MIN = 8;

/** Lays buckets out on rows of equal ratio. A bucket that reaches over several rows is spread over them. */
export function cells(columns: readonly (readonly Bucket[])[]): Cells | null {
  let lo = Infinity;
  let hi = 0;
  for (const column of columns) {
    for (const bucket of column) {
      if (bucket.lo > 0) lo = Math.min(lo, bucket.lo);
      if (Number.isFinite(bucket.hi)) hi = Math.max(hi, bucket.hi);
    }
  }
  if (hi === 0) return null;
  if (!Number.isFinite(lo)) lo = hi / SPAN_MIN;
  if (hi / lo < SPAN_MIN) {
    const middle = Math.sqrt(hi * lo);
    lo = middle / Math.sqrt(SPAN_MIN);
    hi = middle * Math.sqrt(SPAN_MIN);
  }
  // Rows are whole eighths, quarters or halves of an octave, so that exponential buckets fall on row borders.
  const octaves = Math.log2(hi / lo);
  const perOctave = [8, 4, 2, 1].find((n) => octaves * n <= ROWS_MAX) ?? 1;
  const first = Math.floor(Math.log2(lo) * perOctave + 1e-6);
  const last = Math.ceil(Math.log2(hi) * perOctave - 1e-6);
  const row = (seconds: number) => Math.log2(seconds) * perOctave - first;
  const painted: Cell[] = [];
  let max = 0;
  columns.forEach((column, x) => {
    const counts = new Float64Array(last - first);
    for (const bucket of column)
      spread(counts, row(Math.max(bucket.lo, lo)), row(Math.min(bucket.hi, hi)), bucket.count);
    counts.forEach((count, y) => {
      if (count <= 0) return;
      max = Math.max(max, count);
      painted.push({ column: x, lo: 2 ** ((first + y) / perOctave), hi: 2 ** ((first + y + 1) / perOctave), count });
    });
  });
  return { cells: painted, lo: 2 ** (first / perOctave), hi: 2 ** (last / perOctave), max };
}

function spread(counts: Float64Array, from: number, to: number, count: number): void {
  const first = Math.max(0, Math.floor(from + 1e-6));
  const last = Math.min(counts.length, Math.max(first + 1, Math.ceil(to - 1e-6)));
  const width = to - from;
  for (let y = first; y < last; y += 1) {
    const share = width <= 0 ? 1 / (last - first) : (Math.min(to, y + 1) - Math.max(from, y)) / width;
    counts[y] = (counts[y] ?? 0) + count * Math.max(0, share);
  }
}

/** Round marks of a logarithmic axis: 1, 2 and 5 of every decade, or 1 and 3, or 1, so that at most `most` remain. */
export function logTicks(min: number, max: number, most: number): number[] {
  for (const digits of [[1, 2, 5], [1, 3], [1]]) {
    const marks: number[] = [];
    for (let power = Math.floor(Math.log10(min)); power <= Math.ceil(Math.log10(max)); power += 1) {
      for (const digit of digits) {
        const mark = Number(`${digit}e${power}`);
        if (mark >= min && mark <= max) marks.push(mark);
      }
    }
    if (marks.length <= most || digits.length === 1) return marks;
  }
  return [];
}
