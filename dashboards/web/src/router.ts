/**
 * The address is the state: path and query. Links keep the time range; the range lives nowhere else. Back and forward
 * work because every change of page or of zoom is an entry in the history.
 */
import { Cell } from "./store";
import { DEFAULT_RANGE, type Range } from "./time";

export interface Address {
  readonly path: string;
  readonly query: URLSearchParams;
}

function read(): Address {
  return { path: location.pathname, query: new URLSearchParams(location.search) };
}

export const address = new Cell<Address>(read());
export const range = new Cell<Range>(rangeOf(address.value.query));
/** How far back the dashed lines of comparison lie, as `1h`, `1d` or `1w`; empty for none. */
export const compare = new Cell(address.value.query.get("compare") ?? "");

function rangeOf(query: URLSearchParams): Range {
  const from = query.get("from");
  if (from === null) return DEFAULT_RANGE;
  return { from, to: query.get("to") ?? "now" };
}

function changed(): void {
  const next = read();
  const nextRange = rangeOf(next.query);
  if (nextRange.from !== range.value.from || nextRange.to !== range.value.to) range.set(nextRange);
  compare.set(next.query.get("compare") ?? "");
  address.set(next);
}

/** The address of a page, with the time range of this one. */
export function href(path: string, query: Readonly<Record<string, string>> = {}): string {
  const params = new URLSearchParams(query);
  const { from, to } = range.value;
  if (from !== DEFAULT_RANGE.from || to !== DEFAULT_RANGE.to) {
    params.set("from", from);
    params.set("to", to);
  }
  if (compare.value !== "") params.set("compare", compare.value);
  const text = params.toString();
  return text === "" ? path : `${path}?${text}`;
}

/** Goes to an address of this page. */
export function go(to: string, replace = false): void {
  const samePath = new URL(to, location.href).pathname === location.pathname;
  if (replace) history.replaceState(null, "", to);
  else history.pushState(null, "", to);
  changed();
  if (!samePath) scrollTo(0, 0);
}

/** Changes the time range, here and for every link. */
export function setRange(next: Range): void {
  const params = new URLSearchParams(location.search);
  params.set("from", next.from);
  params.set("to", next.to);
  go(`${location.pathname}?${params.toString()}`);
}

/** Shows, or no longer shows, the same lines some time before. */
export function setCompare(back: string): void {
  const params = new URLSearchParams(location.search);
  if (back === "") params.delete("compare");
  else params.set("compare", back);
  const text = params.toString();
  go(text === "" ? location.pathname : `${location.pathname}?${text}`, true);
}

/** The address of a service: `namespace/name` is one segment. */
export function serviceHref(name: string): string {
  return href(`/services/${encodeURIComponent(name)}`);
}

/** The address of a trace, and of a span in it. */
export function traceHref(id: string, span?: string): string {
  return href(`/traces/${id}`, span === undefined ? {} : { span });
}

/** Follows plain clicks on links of this page without loading it again. */
export function listen(): void {
  addEventListener("popstate", changed);
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const link = (event.target as Element | null)?.closest("a");
    // Links inside drawings are of another kind, with the same address under another name.
    if (link instanceof SVGAElement) {
      event.preventDefault();
      go(link.href.baseVal);
      return;
    }
    if (!link || link.origin !== location.origin || link.target !== "" || link.hasAttribute("download")) return;
    if (link.pathname.startsWith("/api/")) return;
    if (link.hash !== "" && link.pathname === location.pathname) return;
    event.preventDefault();
    go(link.href);
  });
}
