/** Numbers for people. */
import { expect, test } from "vitest";

import { count, format, nanoseconds, quantity } from "./units";

test("three significant digits, and no noise after them", () => {
  expect([0, 0.004, 0.5, 1, 12.34, 99.96, 184.2, 9999, 12210, 3.2e6].map((v) => format(v, "number"))).toEqual([
    "0",
    "0.004",
    "0.5",
    "1",
    "12.3",
    "100",
    "184",
    "9999",
    "12.2 k",
    "3.2 M",
  ]);
});

test("seconds take the unit that keeps them readable", () => {
  expect([0, 2e-9, 4.2e-5, 0.0121, 0.412, 0.9996, 1.83, 65, 600, 9000].map((v) => format(v, "seconds"))).toEqual([
    "0 s",
    "2 ns",
    "42 µs",
    "12.1 ms",
    "412 ms",
    "1 s",
    "1.83 s",
    "65 s",
    "10 min",
    "2.5 h",
  ]);
  expect(nanoseconds(1_240_000_000)).toBe("1.24 s");
});

test("a part of one is shown in per cent, and the smallest error is not nothing", () => {
  expect([0, 0.00001, 0.0004, 0.068, 0.9996, 1].map((v) => format(v, "ratio"))).toEqual([
    "0 %",
    "< 0.01 %",
    "0.04 %",
    "6.8 %",
    "100 %",
    "100 %",
  ]);
});

test("bytes count in powers of 1,024", () => {
  expect([0, 999, 1024, 9.4e9, 2.1e12].map((v) => format(v, "bytes"))).toEqual([
    "0 B",
    "999 B",
    "1 KiB",
    "8.75 GiB",
    "1.91 TiB",
  ]);
  expect(format(2048, "bytes_per_second")).toBe("2 KiB/s");
});

test("what is missing is a dash, without a unit", () => {
  expect([null, undefined, NaN].map((v) => quantity(v, "seconds"))).toEqual(Array(3).fill({ number: "–", unit: "" }));
});

test("nouns agree with their numbers", () => {
  expect([count(1, "span"), count(3, "span"), count(12345, "span")]).toEqual(["1 span", "3 spans", "12 345 spans"]);
});
