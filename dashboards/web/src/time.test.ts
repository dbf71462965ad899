/** Ranges, grids and words of time. */
import { describe, expect, test } from "vitest";

import {
  absolute,
  ago,
  durationWords,
  grid,
  parseTime,
  rangeWords,
  rateInterval,
  refreshInterval,
  resolve,
  zoomOut,
} from "./time";

const NOW = 1_795_420_803;

describe("parseTime", () => {
  test("reads what the address may hold", () => {
    expect(parseTime("now", NOW)).toBe(NOW);
    expect(parseTime("now-15m", NOW)).toBe(NOW - 900);
    expect(parseTime("now-1h30m", NOW)).toBe(NOW - 5400);
    expect(parseTime("1795420803250", NOW)).toBe(1_795_420_803.25);
    expect(parseTime("2026-11-23T08:00:03Z", NOW)).toBe(NOW);
  });

  test("refuses the rest", () => {
    for (const text of ["", "later", "now-", "now-5", "now+5m", "12"]) expect(parseTime(text, NOW), text).toBeNull();
  });
});

test("a range that is nonsense or backwards falls back to the last fifteen minutes", () => {
  expect(resolve({ from: "x", to: "now" }, NOW)).toEqual({ from: NOW - 900, to: NOW });
  expect(resolve({ from: "now", to: "now-5m" }, NOW)).toEqual({ from: NOW - 900, to: NOW });
});

describe("grid", () => {
  test("has both ends on multiples of its step, so that a refresh does not shift points", () => {
    for (const seconds of [60, 300, 900, 3600, 86400, 7 * 86400]) {
      const made = grid({ from: NOW - seconds, to: NOW });
      expect(made.from % made.step).toBe(0);
      expect(made.to % made.step).toBe(0);
      expect(made.points).toBe((made.to - made.from) / made.step + 1);
      expect(made.points).toBeLessThanOrEqual(241);
    }
  });

  test("asks for five-second points over fifteen minutes, and never for finer ones", () => {
    expect(grid({ from: NOW - 900, to: NOW }).step).toBe(5);
    expect(grid({ from: NOW - 20, to: NOW }).step).toBe(5);
  });
});

test("rates look back a minute at least, and four steps", () => {
  expect(rateInterval(5)).toBe(60);
  expect(rateInterval(60)).toBe(240);
});

test("longer ranges are asked for less often", () => {
  expect([900, 3 * 3600, 86400].map((seconds) => refreshInterval({ from: NOW - seconds, to: NOW }))).toEqual([
    5, 15, 60,
  ]);
});

test("zooming out doubles the range and never reaches into the future", () => {
  const out = resolve(zoomOut({ from: NOW - 600, to: NOW }, NOW), NOW);
  expect(out.to).toBe(NOW);
  expect(out.to - out.from).toBe(1200);
});

test("an absolute range survives the address", () => {
  expect(resolve(absolute({ from: NOW - 100.5, to: NOW }), NOW)).toEqual({ from: NOW - 100.5, to: NOW });
});

test("words", () => {
  expect(rangeWords({ from: "now-15m", to: "now" }, NOW)).toBe("Last 15 minutes");
  expect(rangeWords({ from: "now-90m", to: "now" }, NOW)).toBe("Last 1 h 30 min");
  expect(durationWords(59)).toBe("59 s");
  expect(durationWords(90061)).toBe("1 d 1 h");
  expect([1, 30, 150, 7300, 200000].map(ago)).toEqual(["just now", "30 s ago", "3 min ago", "2 h ago", "2 d ago"]);
});
