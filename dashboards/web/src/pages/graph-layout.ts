/** Places the nodes of a call graph: callers left of callees, in columns, with few crossings. Pure. */

export interface Edge {
  readonly client: string;
  readonly server: string;
  readonly kind: string;
  readonly rate: number;
  readonly failed: number;
}

export interface Placed {
  readonly name: string;
  readonly kind: string;
  readonly column: number;
  /** Place in its column, counted from its middle: -1, 0, 1 … */
  readonly row: number;
}

/** Rounds of moving nodes towards the mean of their neighbours. */
const ROUNDS = 8;

/** Columns by longest path from the entry points; a cycle is cut at the edge that closes it. */
export function place(edges: readonly Edge[]): Placed[] {
  const names = [...new Set(edges.flatMap((edge) => [edge.client, edge.server]))].sort();
  const out = new Map<string, string[]>(names.map((name) => [name, []]));
  for (const edge of edges) if (edge.client !== edge.server) out.get(edge.client)?.push(edge.server);
  const column = columns(names, acyclic(names, out));
  const rows = new Map<number, string[]>();
  for (const name of names) {
    const at = column.get(name) ?? 0;
    rows.set(at, [...(rows.get(at) ?? []), name]);
  }
  const row = new Map<string, number>();
  const settle = () => rows.forEach((list) => list.forEach((name, i) => row.set(name, i - (list.length - 1) / 2)));
  settle();
  for (let round = 0; round < ROUNDS; round += 1) {
    const pull = new Map(names.map((name) => [name, mean(neighbours(edges, name).map((other) => row.get(other) ?? 0), row.get(name) ?? 0)]));
    rows.forEach((list) => list.sort((a, b) => (pull.get(a) ?? 0) - (pull.get(b) ?? 0) || a.localeCompare(b)));
    settle();
  }
  const kindOf = (name: string) => edges.find((edge) => edge.server === name)?.kind ?? "";
  return names.map((name) => ({ name, kind: kindOf(name), column: column.get(name) ?? 0, row: row.get(name) ?? 0 }));
}

function acyclic(names: readonly string[], out: ReadonlyMap<string, readonly string[]>): Map<string, string[]> {
  const kept = new Map<string, string[]>(names.map((name) => [name, []]));
  const state = new Map<string, "open" | "done">();
  const called = new Set([...out.values()].flat());
  const order = [...names].sort((a, b) => Number(called.has(a)) - Number(called.has(b)));
  const visit = (name: string) => {
    state.set(name, "open");
    for (const next of out.get(name) ?? []) {
      if (state.get(next) === "open") continue;
      kept.get(name)?.push(next);
      if (!state.has(next)) visit(next);
    }
    state.set(name, "done");
  };
  for (const name of order) if (!state.has(name)) visit(name);
  return kept;
}

function columns(names: readonly string[], out: ReadonlyMap<string, readonly string[]>): Map<string, number> {
  const column = new Map(names.map((name) => [name, 0]));
  // Longest path: as many rounds as there are nodes settle any acyclic graph.
  for (let round = 0; round < names.length; round += 1) {
    let moved = false;
    for (const name of names) {
      for (const next of out.get(name) ?? []) {
        const wanted = (column.get(name) ?? 0) + 1;
        if (wanted > (column.get(next) ?? 0)) {
          column.set(next, wanted);
          moved = true;
        }
      }
    }
    if (!moved) break;
  }
  return column;
}

function neighbours(edges: readonly Edge[], name: string): string[] {
  return edges.flatMap((edge) => (edge.client === name ? [edge.server] : edge.server === name ? [edge.client] : []));
}

function mean(values: readonly number[], otherwise: number): number {
  return values.length === 0 ? otherwise : values.reduce((sum, value) => sum + value, 0) / values.length;
}
