/**
 * A trace as a tree to draw: parents before children, times in nanoseconds since the first span, depth, self time, the
 * critical path. Pure, and linear in the number of spans but for sorting siblings; walks use a stack, so that a trace of
 * a hundred thousand nested spans is as welcome as a flat one.
 */
import type { SpanJson, TraceJson } from "../api";
import { SERIES_COLORS } from "../theme";

/** A stretch of time, in nanoseconds since the trace began. */
export interface Stretch {
  readonly from: number;
  readonly to: number;
}

export interface Node {
  readonly span: SpanJson;
  readonly parent: Node | null;
  readonly children: Node[];
  readonly depth: number;
  readonly start: number;
  readonly end: number;
  readonly failed: boolean;
  /** Its parent is named but is not here: sampled away, late, or never instrumented. */
  readonly orphan: boolean;
  /** Name of its service's colour. */
  readonly tint: string;
  /** Spans below it. */
  below: number;
  /** Failed spans below it. */
  failedBelow: number;
  /** Time in which none of its children ran. */
  self: number;
  /** Where it is on the critical path: shortening anything else does not end the trace earlier. */
  critical: Stretch[];
}

export interface Service {
  readonly name: string;
  readonly tint: string;
  spans: number;
  failed: number;
  self: number;
}

export interface Tree {
  readonly roots: readonly Node[];
  /** All nodes, parents before children, in the order of the waterfall. */
  readonly nodes: readonly Node[];
  readonly duration: number;
  readonly services: readonly Service[];
  readonly failed: number;
  readonly orphans: number;
}

/** Builds the tree. Spans that repeat an id are kept once; a cycle of parents is cut where it is met. */
export function layout(trace: TraceJson): Tree {
  const spans = new Map(trace.spans.map((span) => [span.span_id, span]));
  const starts = [...spans.values()].map((span) => BigInt(span.start));
  const origin = starts.reduce((least, at) => (at < least ? at : least), starts[0] ?? 0n);
  const byParent = new Map<string, SpanJson[]>();
  const tops: SpanJson[] = [];
  for (const span of spans.values()) {
    const parent = span.parent_span_id ?? "";
    if (parent === "" || parent === span.span_id || !spans.has(parent)) tops.push(span);
    else {
      const siblings = byParent.get(parent);
      if (siblings) siblings.push(span);
      else byParent.set(parent, [span]);
    }
  }
  const services = new Map<string, Service>();
  const nodes: Node[] = [];
  const placed = new Set<string>();
  const waiting: { span: SpanJson; parent: Node | null }[] = [];
  const plant = (top: SpanJson[]) => {
    for (const span of sorted(top).reverse()) waiting.push({ span, parent: null });
    for (let next = waiting.pop(); next; next = waiting.pop()) {
      const { span, parent } = next;
      if (placed.has(span.span_id)) continue;
      placed.add(span.span_id);
      const node = place(span, parent, origin, serviceOf(services, span.service));
      nodes.push(node);
      parent?.children.push(node);
      for (const child of sorted(byParent.get(span.span_id) ?? []).reverse())
        waiting.push({ span: child, parent: node });
    }
  };
  plant(tops);
  // What is left hangs in a cycle: plant it too, so that nothing is hidden.
  for (const span of spans.values()) if (!placed.has(span.span_id)) plant([span]);
  for (const node of [...nodes].reverse()) finish(node, services);
  const roots = nodes.filter((node) => node.parent === null);
  const duration = nodes.reduce((max, node) => Math.max(max, node.end), 1);
  for (const root of roots) if (!root.orphan || roots.length === 1) markCritical(root);
  return {
    roots,
    nodes,
    duration,
    services: [...services.values()].sort((a, b) => b.self - a.self),
    failed: nodes.filter((node) => node.failed).length,
    orphans: nodes.filter((node) => node.orphan).length,
  };
}

/** The nodes to show: those that are not below a collapsed one. */
export function visible(tree: Tree, collapsed: ReadonlySet<string>): Node[] {
  const shown: Node[] = [];
  let under: number | null = null;
  for (const node of tree.nodes) {
    if (under !== null && node.depth > under) continue;
    under = collapsed.has(node.span.span_id) ? node.depth : null;
    shown.push(node);
  }
  return shown;
}

function place(span: SpanJson, parent: Node | null, origin: bigint, service: Service): Node {
  const start = Number(BigInt(span.start) - origin);
  return {
    span,
    parent,
    children: [],
    depth: parent === null ? 0 : parent.depth + 1,
    start,
    end: start + Number(span.duration_ns),
    failed: span.status.toUpperCase().endsWith("ERROR"),
    orphan: parent === null && (span.parent_span_id ?? "") !== "",
    tint: service.tint,
    below: 0,
    failedBelow: 0,
    self: 0,
    critical: [],
  };
}

function serviceOf(services: Map<string, Service>, name: string): Service {
  const known = services.get(name);
  if (known) return known;
  const made = { name, tint: `s${services.size % SERIES_COLORS}`, spans: 0, failed: 0, self: 0 };
  services.set(name, made);
  return made;
}

/** Sums up a node whose children are all summed up. */
function finish(node: Node, services: Map<string, Service>): void {
  let covered = 0;
  let until = node.start;
  for (const child of node.children) {
    node.below += child.below + 1;
    node.failedBelow += child.failedBelow + (child.failed ? 1 : 0);
    const from = Math.max(child.start, until);
    const to = Math.min(child.end, node.end);
    if (to > from) {
      covered += to - from;
      until = to;
    }
  }
  node.self = Math.max(0, node.end - node.start - covered);
  const service = services.get(node.span.service);
  if (!service) return;
  service.spans += 1;
  service.failed += node.failed ? 1 : 0;
  service.self += node.self;
}

/**
 * Walks back from the end of the root: the child that ended last is what was waited for, before it the one that ended
 * last before that child began, and so on; between them the span itself was the one at work.
 */
function markCritical(root: Node): void {
  const waiting = [{ node: root, until: root.end }];
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const { node, until } = next;
    let at = Math.min(node.end, until);
    for (const child of [...node.children].sort((a, b) => b.end - a.end)) {
      const end = Math.min(child.end, at);
      if (child.start >= at || end <= node.start) continue;
      if (end < at) node.critical.push({ from: end, to: at });
      waiting.push({ node: child, until: end });
      at = Math.max(child.start, node.start);
    }
    if (at > node.start || node.children.length === 0) node.critical.push({ from: node.start, to: at });
  }
}

function sorted(spans: readonly SpanJson[]): SpanJson[] {
  return [...spans].sort((a, b) => {
    const [x, y] = [BigInt(a.start), BigInt(b.start)];
    return x < y ? -1 : x > y ? 1 : 0;
  });
}

/** Round places for time marks: at most `marks` of them, beginning at `from`. */
export function ticks(from: number, to: number, marks: number): number[] {
  const rough = (to - from) / Math.max(1, marks);
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough) ?? rough;
  const first = Math.ceil(from / step) * step;
  return Array.from({ length: Math.max(0, Math.floor((to - first) / step) + 1) }, (_, i) => first + i * step);
}
