/** The tree of a trace: order, orphans, self time, critical path. */
import { describe, expect, test } from "vitest";

import type { SpanJson, TraceJson } from "../api";
import { layout, ticks, visible } from "./layout";

/** A span in milliseconds. */
function span(
  id: string,
  parent: string | null,
  start: number,
  duration: number,
  more: Partial<SpanJson> = {},
): SpanJson {
  return {
    span_id: id,
    parent_span_id: parent,
    name: id,
    service: "a",
    kind: "SPAN_KIND_SERVER",
    status: "STATUS_CODE_UNSET",
    status_message: null,
    start: String(1_795_420_803_000_000_001n + BigInt(start) * 1_000_000n),
    duration_ns: String(duration * 1_000_000),
    attributes: [],
    resource: [],
    scope: null,
    events: [],
    links: [],
    ...more,
  };
}

function trace(...spans: SpanJson[]): TraceJson {
  return {
    trace_id: "t",
    start: "0",
    duration_ns: "0",
    root_service: null,
    root_name: null,
    spans,
    missing_parents: 0,
  };
}

const ms = (list: readonly { from: number; to: number }[]) =>
  list.map(({ from, to }) => [from / 1e6, to / 1e6]).sort(([a = 0], [b = 0]) => a - b);

test("parents come before children, siblings by start, whatever the order they arrived in", () => {
  const tree = layout(
    trace(span("c", "a", 50, 10), span("b", "a", 10, 20), span("d", "b", 12, 5), span("a", null, 0, 100)),
  );
  expect(tree.nodes.map((n) => [n.span.span_id, n.depth])).toEqual([
    ["a", 0],
    ["b", 1],
    ["d", 2],
    ["c", 1],
  ]);
  expect(tree.duration).toBe(100e6);
  expect(tree.nodes[0]?.below).toBe(3);
});

test("a span whose parent is missing stands on its own and says so", () => {
  const tree = layout(trace(span("a", null, 0, 100), span("x", "gone", 20, 10)));
  expect(tree.roots.map((n) => [n.span.span_id, n.orphan])).toEqual([
    ["a", false],
    ["x", true],
  ]);
  expect(tree.orphans).toBe(1);
});

test("spans that repeat an id, are their own parent, or form a cycle are all shown once", () => {
  const tree = layout(trace(span("a", "a", 0, 10), span("a", "a", 0, 10), span("b", "c", 1, 2), span("c", "b", 1, 2)));
  expect(tree.nodes.map((n) => n.span.span_id).sort()).toEqual(["a", "b", "c"]);
});

test("self time leaves out what children cover, and counts overlapping children once", () => {
  const tree = layout(
    trace(span("a", null, 0, 100), span("b", "a", 10, 40), span("c", "a", 30, 40), span("late", "a", 90, 50)),
  );
  expect(tree.nodes[0]?.self).toBe(30e6);
});

describe("critical path", () => {
  test("goes through the child that ended last, and back to the one before it", () => {
    const tree = layout(
      trace(span("a", null, 0, 100), span("b", "a", 10, 30), span("short", "a", 15, 10), span("c", "a", 50, 45)),
    );
    const of = (id: string) => ms(tree.nodes.find((n) => n.span.span_id === id)?.critical ?? []);
    expect(of("a")).toEqual([
      [0, 10],
      [40, 50],
      [95, 100],
    ]);
    expect(of("b")).toEqual([[10, 40]]);
    expect(of("c")).toEqual([[50, 95]]);
    expect(of("short")).toEqual([]);
  });

  test("is cut where a child outlives its parent", () => {
    const tree = layout(trace(span("a", null, 0, 50), span("b", "a", 20, 80)));
    expect(ms(tree.nodes[1]?.critical ?? [])).toEqual([[20, 50]]);
  });
});

test("folding hides what is below, and only that", () => {
  const tree = layout(
    trace(span("a", null, 0, 100), span("b", "a", 10, 20), span("d", "b", 12, 5), span("c", "a", 50, 10)),
  );
  expect(visible(tree, new Set(["b"])).map((n) => n.span.span_id)).toEqual(["a", "b", "c"]);
  expect(visible(tree, new Set(["a"])).map((n) => n.span.span_id)).toEqual(["a"]);
});

test("nanoseconds stay exact at today's size", () => {
  const tree = layout(trace(span("a", null, 0, 1), { ...span("b", "a", 0, 1), start: "1795420803000000002" }));
  expect(tree.nodes[1]?.start).toBe(1);
});

test("a hundred thousand spans, nested or flat, are laid out at once", () => {
  const nested = Array.from({ length: 100_000 }, (_, i) => span(`n${i}`, i === 0 ? null : `n${i - 1}`, i % 50, 100));
  const flat = Array.from({ length: 100_000 }, (_, i) => span(`f${i}`, i === 0 ? null : "f0", i % 50, 100));
  for (const spans of [nested, flat]) expect(layout(trace(...spans)).nodes).toHaveLength(100_000);
});

test("failures below a folded span are counted", () => {
  const tree = layout(
    trace(span("a", null, 0, 10), span("b", "a", 1, 5), span("c", "b", 2, 2, { status: "STATUS_CODE_ERROR" })),
  );
  expect(tree.nodes[0]?.failedBelow).toBe(1);
  expect(tree.failed).toBe(1);
});

test("time marks are round", () => {
  expect(ticks(0, 1240e6, 5)).toEqual([0, 500e6, 1000e6]);
});
