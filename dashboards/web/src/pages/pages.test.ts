/** Sorting by trouble, blaming versions, placing the map, joining tables. */
import { expect, test } from "vitest";

import type { PanelJson, ServiceRow } from "../api";
import { byTrouble as rowsByTrouble, join } from "../panel/rows";
import { place } from "./graph-layout";
import { byTrouble, suspect } from "./verdict";

function service(name: string, more: Partial<ServiceRow>): ServiceRow {
  return {
    name,
    namespace: null,
    service: name,
    versions: [],
    health: "ok",
    reason: null,
    rate: 1,
    error_ratio: 0,
    p95_seconds: 0.1,
    sparkline: [],
    last_seen: 0,
    ...more,
  };
}

test("services in trouble stand first, then those that fail most requests, then the busiest", () => {
  const rows = [
    service("quiet", {}),
    service("busy", { rate: 100 }),
    service("unknown", { health: "unknown", rate: null }),
    service("warned", { health: "warn", error_ratio: 0.02 }),
    service("small fire", { health: "bad", rate: 1, error_ratio: 0.5 }),
    service("large fire", { health: "bad", rate: 100, error_ratio: 0.1 }),
  ];
  expect(rows.sort(byTrouble).map((row) => row.name)).toEqual([
    "large fire",
    "small fire",
    "warned",
    "unknown",
    "busy",
    "quiet",
  ]);
});

test("a version is blamed when it clearly fails more than the others", () => {
  const old = { version: "1", rate: 10, ratio: 0.001 };
  expect(suspect([old, { version: "2", rate: 10, ratio: 0.12 }])?.worse.version).toBe("2");
  expect(suspect([old, { version: "2", rate: 10, ratio: 0.002 }])).toBeNull();
  expect(
    suspect([
      { ...old, ratio: 0.1 },
      { version: "2", rate: 10, ratio: 0.12 },
    ]),
  ).toBeNull();
  expect(suspect([old])).toBeNull();
});

const edge = (client: string, server: string) => ({ client, server, kind: "", rate: 1, failed: 0 });

test("callers stand left of callees, even around a cycle", () => {
  const placed = place([edge("a", "b"), edge("b", "c"), edge("a", "c"), edge("c", "a"), edge("c", "c")]);
  expect(Object.fromEntries(placed.nodes.map((node) => [node.name, node.column]))).toEqual({ a: 0, b: 1, c: 2 });
});

test("no two nodes share a place", () => {
  const placed = place([...["b", "c", "d", "e"].flatMap((name) => [edge("a", name), edge(name, "z")]), edge("a", "z")]);
  const spots = [...placed.nodes, ...placed.ways.flat()];
  expect(placed.ways.at(-1)).toHaveLength(1);
  expect(new Set(spots.map((spot) => `${spot.column} ${spot.row}`)).size).toBe(spots.length);
});

test("columns of a table are joined on its labels, and its rows sorted by failed requests", () => {
  const panel = { queries: [{ legend: "Rate" }, { legend: "Errors" }] } as unknown as PanelJson;
  const sample = (name: string, value: number) => ({ labels: { span_name: name }, value });
  const rows = join(
    ["span_name"],
    [
      [sample("fine", 100), sample("ill", 2)],
      [sample("ill", 0.5), sample("gone", 1)],
    ],
  );
  expect(
    rows.sort((a, b) => rowsByTrouble(panel, a, b)).map((row) => [row.labels["span_name"], ...row.values]),
  ).toEqual([
    ["ill", 2, 0.5],
    ["fine", 100, null],
  ]);
});
