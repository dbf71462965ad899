/** Rows of a table panel: one column per query, joined on labels, sorted by trouble. Pure. */
import type { PanelJson } from "../api";
import type { Labels, Sample } from "../prom";

export interface Row {
  readonly key: string;
  readonly labels: Labels;
  readonly values: readonly (number | null)[];
}

/** Joins one column per query on the labels that make the rows. */
export function join(by: readonly string[], columns: readonly (readonly Sample[])[]): Row[] {
  const rows = new Map<string, { labels: Labels; values: (number | null)[] }>();
  columns.forEach((samples, i) => {
    for (const sample of samples) {
      const key = by.map((label) => sample.labels[label] ?? "").join("\u0000");
      const row = rows.get(key) ?? { labels: sample.labels, values: columns.map(() => null) };
      row.values[i] = sample.value;
      rows.set(key, row);
    }
  });
  return [...rows].map(([key, row]) => ({ key, ...row })).filter((row) => row.values[0] !== null);
}

/** Most failed requests first, then the busiest; tables without errors by their first column. */
export function byTrouble(panel: PanelJson, a: Row, b: Row): number {
  const at = (name: string) => panel.queries.findIndex((query) => query.legend === name);
  const [rate, errors, busy] = [at("Rate"), at("Errors"), at("Busy")];
  const failed = (row: Row) => (row.values[rate] ?? 0) * (row.values[errors] ?? 0);
  const weight = (row: Row) => row.values[busy === -1 ? 0 : busy] ?? 0;
  return failed(b) - failed(a) || weight(b) - weight(a) || a.key.localeCompare(b.key);
}
