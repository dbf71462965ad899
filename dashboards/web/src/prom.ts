/** The Prometheus API: range and instant queries, floats and native histograms, laid out on the page's grid. */
import { ask } from "./api";
import { type Grid, rateInterval, type Window } from "./time";

export type Labels = Readonly<Record<string, string>>;

/** A bucket of a native histogram: from `lo` to `hi`, holding `count`. */
export interface Bucket {
  readonly lo: number;
  readonly hi: number;
  readonly count: number;
}

export interface Series {
  readonly labels: Labels;
  /** One value per grid point; null where there is none. */
  readonly values: (number | null)[];
}

export interface HistogramSeries {
  readonly labels: Labels;
  /** Buckets per grid point; empty where there are none. */
  readonly buckets: (readonly Bucket[])[];
}

export interface Sample {
  readonly labels: Labels;
  readonly value: number;
}

type RawBucket = readonly [number, string, string, string];
interface RawHistogram {
  readonly count: string;
  readonly sum: string;
  readonly buckets?: readonly RawBucket[];
}
interface RawSeries {
  readonly metric: Labels;
  readonly values?: readonly (readonly [number, string])[];
  readonly histograms?: readonly (readonly [number, RawHistogram])[];
}
interface RawSample {
  readonly metric: Labels;
  readonly value?: readonly [number, string];
}
interface Answer<T> {
  readonly status: string;
  readonly error?: string;
  readonly data: { readonly resultType: string; readonly result: readonly T[] };
}

/** Fills in what only the one who draws knows. */
export function fill(expr: string, window: Window, step: number): string {
  const range = Math.max(1, Math.round(window.to - window.from));
  return expr.replaceAll("$__rate_interval", `${rateInterval(step)}s`).replaceAll("$__range", `${range}s`);
}

async function askRange(expr: string, grid: Grid, signal: AbortSignal): Promise<readonly RawSeries[]> {
  const answer = await ask<Answer<RawSeries>>(
    "/api/v1/query_range",
    { query: fill(expr, grid, grid.step), start: String(grid.from), end: String(grid.to), step: String(grid.step) },
    signal,
  );
  return answer.data.result;
}

/** Lines over the grid. Not-a-number (0 / 0: nothing happened) is a gap. */
export async function queryRange(expr: string, grid: Grid, signal: AbortSignal): Promise<Series[]> {
  const raw = await askRange(expr, grid, signal);
  const series = raw.map(({ metric, values }) => {
    const line = new Array<number | null>(grid.points).fill(null);
    for (const [at, text] of values ?? []) {
      const value = Number(text);
      const i = Math.round((at - grid.from) / grid.step);
      if (i >= 0 && i < line.length && Number.isFinite(value)) line[i] = value;
    }
    return { labels: metric, values: line };
  });
  return series.filter((s) => s.values.some((value) => value !== null));
}

/** Native histograms over the grid. */
export async function queryHistograms(expr: string, grid: Grid, signal: AbortSignal): Promise<HistogramSeries[]> {
  const raw = await askRange(expr, grid, signal);
  return raw.map(({ metric, histograms }) => {
    const points = new Array<readonly Bucket[]>(grid.points).fill([]);
    for (const [at, histogram] of histograms ?? []) {
      const i = Math.round((at - grid.from) / grid.step);
      if (i >= 0 && i < points.length) points[i] = buckets(histogram);
    }
    return { labels: metric, buckets: points };
  });
}

function buckets(histogram: RawHistogram): Bucket[] {
  return (histogram.buckets ?? [])
    .map(([, lo, hi, count]) => ({ lo: Number(lo), hi: Number(hi), count: Number(count) }))
    .filter((bucket) => bucket.count > 0 && bucket.hi > 0);
}

/** One value per label set at the end of the window. */
export async function queryInstant(expr: string, grid: Grid, signal: AbortSignal): Promise<Sample[]> {
  const answer = await ask<Answer<RawSample>>(
    "/api/v1/query",
    { query: fill(expr, grid, grid.step), time: String(grid.to) },
    signal,
  );
  return answer.data.result
    .map(({ metric, value }) => ({ labels: metric, value: Number(value?.[1] ?? "NaN") }))
    .filter((sample) => !Number.isNaN(sample.value));
}

/** The name of a line: `{{label}}` stands for a label's value; without a legend, all labels. */
export function legend(template: string, labels: Labels): string {
  const name = template.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label: string) => labels[label] ?? "").trim();
  if (name !== "") return name;
  const rest = Object.entries(labels).filter(([label]) => label !== "__name__");
  return rest.length === 0 ? "all" : rest.map(([label, value]) => `${label}=${value}`).join(" ");
}
