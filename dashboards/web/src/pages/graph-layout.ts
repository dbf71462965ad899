/** Places the nodes of a call graph: callers left of callees, in columns, with few crossings. Pure. */

export interface Edge {
  readonly client: string;
  readonly server: string;
  readonly kind: string;
  readonly rate: number;
  readonly failed: number;
}

export interface Spot {
  readonly column: number;
  /** Place in its column, counted from its middle: -1, 0, 1 … */
  readonly row: number;
}

export interface Placed extends Spot {
  readonly name: string;
}

export interface Layout {
  readonly nodes: readonly Placed[];
  /** For each edge the spots that it passes between its ends, so that it runs between nodes, not behind them. */
  readonly ways: readonly (readonly Spot[])[];
}

/** Rounds of moving nodes towards the mean of their neighbours. */
const ROUNDS = 12;

/** A node, or the place where a long edge passes a column. */
interface Stop {
  readonly id: string;
  readonly column: number;
  readonly next: string[];
}

/** Columns by longest path from the entry points; a cycle is cut at the edge that closes it. */
export function place(edges: readonly Edge[]): Layout {
  const names = [...new Set(edges.flatMap((edge) => [edge.client, edge.server]))].sort();
  const out = new Map<string, string[]>(names.map((name) => [name, []]));
  for (const edge of edges) if (edge.client !== edge.server) out.get(edge.client)?.push(edge.server);
  const column = columns(names, acyclic(names, out));
  const stops = new Map<string, Stop>(
    names.map((name) => [name, { id: name, column: column.get(name) ?? 0, next: [] }]),
  );
  const ways = edges.map((edge, i) => passes(edge, i, column, stops));
  const row = settle([...stops.values()]);
  const spot = (id: string): Spot => ({ column: stops.get(id)?.column ?? 0, row: row.get(id) ?? 0 });
  return { nodes: names.map((name) => ({ name, ...spot(name) })), ways: ways.map((ids) => ids.map(spot)) };
}

/** Makes a stop in every column that an edge crosses, and links the stops from end to end. */
function passes(edge: Edge, index: number, column: ReadonlyMap<string, number>, stops: Map<string, Stop>): string[] {
  const [from, to] = [column.get(edge.client) ?? 0, column.get(edge.server) ?? 0];
  const ids: string[] = [];
  for (let at = from + 1; at < to; at += 1) {
    const id = `\u0000${index} ${at}`;
    stops.set(id, { id, column: at, next: [] });
    ids.push(id);
  }
  const chain = [edge.client, ...ids, edge.server];
  chain.slice(1).forEach((id, i) => stops.get(chain[i] ?? "")?.next.push(id));
  return ids;
}

/** The row of every stop: sorted by the mean of its neighbours, a few rounds of it. */
function settle(stops: readonly Stop[]): Map<string, number> {
  const near = new Map<string, string[]>(stops.map((stop) => [stop.id, [...stop.next]]));
  for (const stop of stops) for (const next of stop.next) near.get(next)?.push(stop.id);
  const lists = new Map<number, string[]>();
  for (const { id, column } of stops) lists.set(column, [...(lists.get(column) ?? []), id]);
  const row = new Map<string, number>();
  const number = () => lists.forEach((list) => list.forEach((id, i) => row.set(id, i - (list.length - 1) / 2)));
  number();
  for (let round = 0; round < ROUNDS; round += 1) {
    const pull = new Map(
      stops.map(({ id }) => [
        id,
        mean(
          (near.get(id) ?? []).map((other) => row.get(other) ?? 0),
          row.get(id) ?? 0,
        ),
      ]),
    );
    lists.forEach((list) => list.sort((a, b) => (pull.get(a) ?? 0) - (pull.get(b) ?? 0) || a.localeCompare(b)));
    number();
  }
  return row;
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

function mean(values: readonly number[], otherwise: number): number {
  return values.length === 0 ? otherwise : values.reduce((sum, value) => sum + value, 0) / values.length;
}
