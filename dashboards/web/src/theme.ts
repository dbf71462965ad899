/** Light or dark: the system's choice until the reader makes one. Canvases cannot read CSS, so colours are resolved here. */
import { Cell } from "./store";

export type Theme = "system" | "light" | "dark";

const KEY = "weir.theme";
const NEXT: Readonly<Record<Theme, Theme>> = { system: "light", light: "dark", dark: "system" };

export const theme = new Cell<Theme>(stored());
/** Counts changes of colour, so that canvases draw again. */
export const palette = new Cell(0);

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : "system";
  } catch {
    return "system";
  }
}

function apply(): void {
  document.documentElement.dataset["theme"] = theme.value;
  resolved.clear();
  palette.set(palette.value + 1);
}

/** Applies the stored choice and follows the system's. */
export function start(): void {
  apply();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
}

/** System, light, dark, system, … */
export function toggle(): void {
  theme.set(NEXT[theme.value]);
  try {
    localStorage.setItem(KEY, theme.value);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
  apply();
}

const resolved = new Map<string, string>();

/** A colour of the style sheet, by the name of its custom property, as a canvas wants it. */
export function color(name: string): string {
  const known = resolved.get(name);
  if (known !== undefined) return known;
  const probe = document.createElement("i");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  resolved.set(name, value);
  return value;
}

/** The same colour, more or less transparent. */
export function faded(name: string, alpha: number): string {
  const parts = color(name).match(/[\d.]+/g) ?? ["0", "0", "0"];
  return `rgba(${parts.slice(0, 3).join(",")},${alpha})`;
}

/** Number of colours for lines and services, `--s0` and on. */
export const SERIES_COLORS = 8;

/** Names that mean something have their own colour wherever they appear. */
const MEANING: Readonly<Record<string, string>> = {
  failed: "bad",
  p50: "p50",
  p95: "p95",
  p99: "p99",
  requests: "s0",
  user: "s0",
  system: "s1",
  iowait: "bad",
  used: "s0",
  free: "s7",
};

/** A colour name for each line of a chart: its own where it has one, else the next that no other line took. */
export function lineColors(names: readonly string[]): string[] {
  const taken = new Set(names.map((name) => MEANING[name]));
  const free = Array.from({ length: SERIES_COLORS }, (_, i) => `s${i}`).filter((tint) => !taken.has(tint));
  let next = 0;
  return names.map((name) => MEANING[name] ?? free[next++ % free.length] ?? "s0");
}
