/** Heatmap cells, stacking, logarithmic marks. */
import { expect, test } from "vitest";

import { cells, logTicks } from "./cells";
import { stack } from "./stack";

const bucket = (octave: number, count: number) => ({ lo: 2 ** (octave / 8), hi: 2 ** ((octave + 1) / 8), count });

test("every request of every bucket is painted, whatever rows are merged", () => {
  const columns = [[bucket(-80, 2), bucket(-40, 3)], [], [bucket(-7, 5.5), bucket(8, 1)]];
  const laid = cells(columns);
  expect(laid?.cells.filter((c) => c.column === 0).reduce((sum, c) => sum + c.count, 0)).toBeCloseTo(5);
  expect(laid?.cells.filter((c) => c.column === 2).reduce((sum, c) => sum + c.count, 0)).toBeCloseTo(6.5);
  expect(laid?.cells.some((c) => c.column === 1)).toBe(false);
});

test("exponential buckets at full resolution keep their own row", () => {
  const laid = cells([[bucket(-16, 1), bucket(-15, 1), bucket(-1, 1)]]);
  expect(laid?.cells).toHaveLength(3);
  expect(laid?.cells[0]?.lo).toBeCloseTo(2 ** -2);
});

test("one bucket alone still gets an axis; none gets no chart", () => {
  const laid = cells([[bucket(0, 1)]]);
  expect((laid?.hi ?? 0) / (laid?.lo ?? 1)).toBeGreaterThanOrEqual(8);
  expect(cells([[], []])).toBeNull();
});

test("a zero bucket does not stretch the axis to nothing", () => {
  const laid = cells([[{ lo: -0.001, hi: 0.001, count: 4 }, bucket(-8, 1)]]);
  expect(laid?.lo).toBeGreaterThan(0);
});

test("stacking adds up, and a time without any value stays a gap", () => {
  expect(
    stack([
      [1, null, null],
      [2, 3, null],
    ]),
  ).toEqual([
    [1, 0, null],
    [3, 3, null],
  ]);
});

test("logarithmic marks are round and few", () => {
  expect(logTicks(0.006, 1.4, 10)).toEqual([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]);
  expect(logTicks(0.0001, 40, 7)).toEqual([0.0001, 0.001, 0.01, 0.1, 1, 10]);
});
