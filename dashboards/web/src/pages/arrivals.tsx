/** What arrives, from whom, how fresh, and what was refused and why: whatever lists the doctor gives, as tables. */
import { arrivals } from "../api";
import { now, tick, useLoad } from "../live";
import { Loading } from "../panel/frame";
import { useCell } from "../store";
import { ago } from "../time";
import { digits } from "../units";

type Item = Readonly<Record<string, unknown>>;

export function ArrivalsPage() {
  const at = useCell(tick);
  const loaded = useLoad("arrivals", String(at), arrivals);
  const lists = listsOf(loaded.data);
  return (
    <>
      <div class="head">
        <h1>Arrivals</h1>
        <p class="verdict">Who sends what, how fresh it is, and what was refused and why.</p>
      </div>
      {loaded.error !== undefined && <p class="failed" role="status">The arrivals could not be refreshed: {loaded.error}</p>}
      {loaded.data === undefined ? (
        loaded.error === undefined && <Loading height={240} />
      ) : (
        lists.map(([name, items]) => (
          <section class="section" key={name}>
            <h2>{words(name)}</h2>
            {items.length === 0 ? <div class="panel reason"><p>{none(name)}</p></div> : <List items={items} />}
          </section>
        ))
      )}
    </>
  );
}

function listsOf(data: unknown): [string, Item[]][] {
  if (typeof data !== "object" || data === null) return [];
  return Object.entries(data).filter((entry): entry is [string, Item[]] => Array.isArray(entry[1]));
}

function none(name: string): string {
  return name.includes("refus") || name.includes("drop") ? "Nothing was refused." : "Nothing arrived yet.";
}

function List({ items }: { readonly items: readonly Item[] }) {
  const columns = [...new Set(items.flatMap((item) => Object.keys(item)))];
  const numeric = (column: string) => items.every((item) => item[column] == null || typeof item[column] === "number");
  return (
    <div class="panel scroll">
      <table>
        <thead>
          <tr>{columns.map((column) => <th key={column} scope="col" class={numeric(column) ? "n" : ""}>{words(column)}</th>)}</tr>
        </thead>
        <tbody>
          {items.map((item, i) => (
            <tr key={i}>
              {columns.map((column) => <td key={column} class={numeric(column) ? "n" : "what wrap"}>{value(column, item[column])}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function value(column: string, of: unknown) {
  if (of === null || of === undefined || of === "") return <span class="muted">–</span>;
  if (typeof of === "number") return isTime(column, of) ? ago(Math.max(0, now() - of)) : digits(of);
  if (Array.isArray(of)) return of.map(String).join(", ");
  if (column === "state" || column === "health") return <span class={`state ${String(of)}`}>{String(of)}</span>;
  return typeof of === "object" ? JSON.stringify(of) : String(of);
}

function isTime(column: string, of: number): boolean {
  return /(seen|last|_at|time|since)$/.test(column) && of > 1e9;
}

function words(key: string): string {
  const text = key.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
