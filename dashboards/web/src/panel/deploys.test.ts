/** Deployments are where a version appears beside, or instead of, another one. */
import { expect, test } from "vitest";

import { appearances } from "./deploys";

const grid = { from: 1000, to: 1500, step: 5, points: 101 };

function version(name: string, first: number) {
  return { labels: { service_version: name }, values: Array.from({ length: 101 }, (_, i) => (i >= first ? 1 : null)) };
}

test("a version that appears later than the others is marked where it appears", () => {
  expect(appearances([version("1", 0), version("2", 40)], grid)).toEqual([{ version: "2", at: 1200 }]);
});

test("the beginning of the range and the beginning of the service are no deployments", () => {
  expect(appearances([version("1", 0), version("2", 5)], grid)).toEqual([]);
  expect(appearances([version("1", 30), version("2", 31)], grid)).toEqual([]);
  expect(appearances([version("1", 60)], grid)).toEqual([]);
  expect(appearances([], grid)).toEqual([]);
});
