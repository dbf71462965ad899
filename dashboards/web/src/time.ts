/**
 * Time ranges: as text in the address (`now-15m`, or unix milliseconds), as seconds for queries, as words for people.
 * Pure; the present is an argument.
 */

/** A range as the address holds it. */
export interface Range {
  readonly from: string;
  readonly to: string;
}

/** A range as queries want it: unix seconds. */
export interface Window {
  readonly from: number;
  readonly to: number;
}

/** A range with the grid that its charts share: `from + i * step` up to and including `to`. */
export interface Grid extends Window {
  readonly step: number;
  readonly points: number;
}

export const DEFAULT_RANGE: Range = { from: "now-15m", to: "now" };

/** The ranges offered with one click. */
export const PRESETS: readonly { readonly from: string; readonly words: string }[] = [
  { from: "now-5m", words: "5 minutes" },
  { from: "now-15m", words: "15 minutes" },
  { from: "now-30m", words: "30 minutes" },
  { from: "now-1h", words: "1 hour" },
  { from: "now-3h", words: "3 hours" },
  { from: "now-6h", words: "6 hours" },
  { from: "now-12h", words: "12 hours" },
  { from: "now-1d", words: "24 hours" },
  { from: "now-2d", words: "2 days" },
  { from: "now-7d", words: "7 days" },
];

/** What a range can be compared with. */
export const COMPARISONS: readonly { readonly back: string; readonly seconds: number; readonly words: string }[] = [
  { back: "1h", seconds: 3600, words: "an hour before" },
  { back: "1d", seconds: 86400, words: "a day before" },
  { back: "1w", seconds: 604800, words: "a week before" },
];

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86400, w: 604800 };
/** RED arrives in slots of five seconds; finer grids would draw the slots, not the service. */
const STEP_MIN = 5;
const STEPS = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
/** Points a chart asks for at most: about one for every two pixels of a third of the screen. */
const POINTS_MAX = 240;
/** A window of rates holds four samples of a target that is scraped every 15 s. */
const RATE_INTERVAL_MIN = 60;

/** Reads `now`, `now-1h30m`, unix milliseconds or an ISO date; nothing where the text is none of them. */
export function parseTime(text: string, now: number): number | null {
  const relative = /^now(?:-((?:\d+[smhdw])+))?$/.exec(text);
  if (relative) {
    const back = [...(relative[1] ?? "").matchAll(/(\d+)([smhdw])/g)];
    return back.reduce((at, [, n, unit]) => at - Number(n) * (UNITS[unit ?? ""] ?? 0), now);
  }
  if (/^\d{9,16}$/.test(text)) return Number(text) / 1000;
  const date = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(date) ? null : date / 1000;
}

/** The range in seconds; the default where the address holds nonsense. */
export function resolve(range: Range, now: number): Window {
  const from = parseTime(range.from, now);
  const to = parseTime(range.to, now);
  if (from === null || to === null || to - from < 1) return { from: now - 900, to: now };
  return { from, to };
}

/** Whether the range moves with the clock. */
export function isLive(range: Range): boolean {
  return range.to.startsWith("now");
}

/** The shared grid of a range: a round step, both ends on multiples of it, so that a refresh does not shift points. */
export function grid(window: Window, pointsMax = POINTS_MAX): Grid {
  const seconds = Math.max(1, window.to - window.from);
  const step = STEPS.find((s) => seconds / s <= pointsMax) ?? Math.ceil(seconds / pointsMax / 86400) * 86400;
  const to = Math.floor(window.to / step) * step;
  const from = Math.min(to, Math.ceil(window.from / step) * step);
  return { from, to, step: Math.max(step, STEP_MIN), points: Math.round((to - from) / step) + 1 };
}

/** The window of rates for a step, in seconds. */
export function rateInterval(step: number): number {
  return Math.max(RATE_INTERVAL_MIN, 4 * step);
}

/** How often a range of this length is asked for again, in seconds. */
export function refreshInterval(window: Window): number {
  const seconds = window.to - window.from;
  if (seconds <= 3600) return 5;
  return seconds <= 6 * 3600 ? 15 : 60;
}

/** A range around the same middle, twice as long; never into the future. */
export function zoomOut(window: Window, now: number): Range {
  const half = window.to - window.from;
  const middle = (window.from + window.to) / 2;
  const to = Math.min(now, middle + half);
  return absolute({ from: to - 2 * half, to });
}

/** A window as the address holds it. */
export function absolute(window: Window): Range {
  return { from: String(Math.round(window.from * 1000)), to: String(Math.round(window.to * 1000)) };
}

/** `Last 15 minutes`, or `23 Nov 14:02 – 14:10`. */
export function rangeWords(range: Range, now: number): string {
  const preset = PRESETS.find((p) => p.from === range.from && range.to === "now");
  if (preset) return `Last ${preset.words}`;
  const { from, to } = resolve(range, now);
  if (isLive(range)) return `Last ${durationWords(to - from)}`;
  const sameDay = new Date(from * 1000).toDateString() === new Date(to * 1000).toDateString();
  const seconds = to - from < 600;
  return `${day(from)} ${clock(from, seconds)} – ${sameDay ? "" : `${day(to)} `}${clock(to, seconds)}`;
}

/** `1 h 30 min`. */
export function durationWords(seconds: number): string {
  const parts: string[] = [];
  let rest = Math.round(seconds);
  for (const [unit, words] of [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ] as const) {
    const n = Math.floor(rest / unit);
    rest -= n * unit;
    if (n > 0 && parts.length < 2) parts.push(`${n} ${words}`);
  }
  return parts.join(" ") || "0 s";
}

/** `just now`, `12 s ago`, `3 h ago`. */
export function ago(seconds: number): string {
  if (seconds < 3) return "just now";
  if (seconds < 120) return `${Math.round(seconds)} s ago`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} d ago`;
}

/** `14:02` or `14:02:33`, local time. */
export function clock(at: number, seconds = false): string {
  const date = new Date(at * 1000);
  const text = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return seconds ? `${text}:${two(date.getSeconds())}` : text;
}

/** `23 Nov`, local time. */
export function day(at: number): string {
  const date = new Date(at * 1000);
  return `${date.getDate()} ${MONTHS[date.getMonth()] ?? ""}`;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

function two(n: number): string {
  return String(n).padStart(2, "0");
}
