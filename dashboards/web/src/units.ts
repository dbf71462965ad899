/** Numbers for people: three significant digits, the unit beside them, the same width in every row. Pure. */

export type Unit =
  "requests_per_second" | "ops_per_second" | "ratio" | "seconds" | "bytes" | "bytes_per_second" | "cores" | "number";

/** A number and its unit apart, so that tables align the one and mute the other. */
export interface Quantity {
  readonly number: string;
  readonly unit: string;
}

/** Splits a value into number and unit; a dash where there is none. */
export function quantity(value: number | null | undefined, unit: Unit): Quantity {
  if (value === null || value === undefined || Number.isNaN(value)) return { number: "–", unit: "" };
  switch (unit) {
    case "requests_per_second":
      return { ...rate(value), unit: `${rate(value).unit}req/s` };
    case "ops_per_second":
      return { ...rate(value), unit: `${rate(value).unit}ops/s` };
    case "ratio":
      return { number: percent(value), unit: "%" };
    case "seconds":
      return seconds(value);
    case "bytes":
      return bytes(value);
    case "bytes_per_second": {
      const { number, unit: scale } = bytes(value);
      return { number, unit: `${scale}/s` };
    }
    case "cores":
      return { number: digits(value), unit: Math.abs(value) === 1 ? "core" : "cores" };
    case "number":
      return { number: digits(value), unit: "" };
  }
}

/** Number and unit as one text. */
export function format(value: number | null | undefined, unit: Unit): string {
  const { number, unit: words } = quantity(value, unit);
  if (words === "") return number;
  return words === "%" ? `${number} %` : `${number} ${words}`;
}

/** Three significant digits, thousands as k, M, G. */
export function digits(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e9) return `${significant(value / 1e9)} G`;
  if (size >= 1e6) return `${significant(value / 1e6)} M`;
  if (size >= 1e4) return `${significant(value / 1e3)} k`;
  return significant(value);
}

/** Plain three significant digits, without exponents and without trailing noise. */
export function significant(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (size >= 100) return Math.round(value).toString();
  if (size >= 10) return trimmed(value.toFixed(1));
  if (size >= 1) return trimmed(value.toFixed(2));
  if (size >= 0.01) return trimmed(value.toFixed(3));
  return size < 0.0005 ? "< 0.001" : trimmed(value.toFixed(3));
}

function percent(ratio: number): string {
  const value = ratio * 100;
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 0.01) return "< 0.01";
  if (size >= 99.95) return trimmed(value.toFixed(1));
  return trimmed(value.toFixed(size >= 10 ? 1 : 2));
}

function rate(value: number): Quantity {
  const size = Math.abs(value);
  if (size >= 1e6) return { number: significant(value / 1e6), unit: "M " };
  if (size >= 1e4) return { number: significant(value / 1e3), unit: "k " };
  return { number: significant(value), unit: "" };
}

function seconds(value: number): Quantity {
  const size = Math.abs(value);
  if (size === 0) return { number: "0", unit: "s" };
  if (size < 1e-6) return { number: significant(value * 1e9), unit: "ns" };
  if (size < 0.9995e-3) return { number: significant(value * 1e6), unit: "µs" };
  if (size < 0.9995) return { number: significant(value * 1e3), unit: "ms" };
  if (size < 120) return { number: significant(value), unit: "s" };
  if (size < 7200) return { number: significant(value / 60), unit: "min" };
  return { number: significant(value / 3600), unit: "h" };
}

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

function bytes(value: number): Quantity {
  let scale = 0;
  let rest = value;
  while (Math.abs(rest) >= 1000 && scale < BYTE_UNITS.length - 1) {
    rest /= 1024;
    scale += 1;
  }
  return { number: scale === 0 ? String(Math.round(rest)) : significant(rest), unit: BYTE_UNITS[scale] ?? "" };
}

function trimmed(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** Nanoseconds, as traces have them. */
export function nanoseconds(value: number): string {
  return format(value / 1e9, "seconds");
}

/** `1 span`, `3 spans`. */
export function count(n: number, noun: string, plural = `${noun}s`): string {
  return `${n.toLocaleString("en").replaceAll(",", " ")} ${n === 1 ? noun : plural}`;
}
