/** The JSON that Weir answers with, and how it is asked. Times are unix seconds, ids hex, nanoseconds decimal strings. */
import type { Unit } from "./units";
import type { Window } from "./time";

export type Health = "ok" | "warn" | "bad" | "unknown";

export interface ServiceRow {
  readonly name: string;
  readonly namespace: string | null;
  /** The `job` label: `name` or `namespace/name`. */
  readonly service: string;
  readonly versions: readonly string[];
  readonly health: Health;
  readonly reason: string | null;
  readonly rate: number | null;
  readonly error_ratio: number | null;
  readonly p95_seconds: number | null;
  readonly sparkline: readonly (readonly [number, number | null])[];
  readonly last_seen: number | null;
}

export interface HostRow {
  readonly name: string;
  readonly cpu_utilization: number | null;
  readonly memory_utilization: number | null;
  readonly load1: number | null;
  readonly last_seen: number | null;
}

export interface TraceCard {
  readonly trace_id: string;
  readonly span_id: string;
  readonly name: string;
  readonly start: string;
  readonly duration_ns: string;
  readonly status: string;
  readonly status_message: string | null;
  readonly http_status: number | string | null;
  readonly root_service: string | null;
  readonly root_name: string | null;
  readonly span_count: number;
  readonly error_count: number;
  readonly services: readonly string[];
  readonly version: string | null;
}

export interface Attribute {
  readonly key: string;
  readonly type: string;
  readonly value: unknown;
}

export interface SpanJson {
  readonly span_id: string;
  readonly parent_span_id: string | null;
  readonly name: string;
  readonly service: string;
  readonly kind: string;
  readonly status: string;
  readonly status_message: string | null;
  readonly start: string;
  readonly duration_ns: string;
  readonly attributes: readonly Attribute[];
  readonly resource: readonly Attribute[];
  readonly scope: unknown;
  readonly events: readonly {
    readonly time: string;
    readonly name: string;
    readonly attributes: readonly Attribute[];
  }[];
  readonly links: readonly {
    readonly trace_id: string;
    readonly span_id: string;
    readonly attributes?: readonly Attribute[];
  }[];
  /** What the sender dropped before sending. */
  readonly dropped_attributes?: number;
  readonly dropped_events?: number;
  readonly dropped_links?: number;
}

export interface TraceJson {
  readonly trace_id: string;
  readonly start: string;
  readonly duration_ns: string;
  readonly root_service: string | null;
  readonly root_name: string | null;
  readonly spans: readonly SpanJson[];
  readonly missing_parents: number;
}

export interface QueryJson {
  readonly expr: string;
  readonly legend: string;
  readonly instant: boolean;
  readonly unit?: Unit;
}

export interface Threshold {
  readonly value: number;
  readonly level: "warn" | "bad";
}

export interface PanelJson {
  readonly id: string;
  readonly title: string;
  readonly kind: "timeseries" | "heatmap" | "stat" | "table" | "traces" | "dependencies";
  readonly unit: Unit;
  readonly columns: number;
  readonly queries: readonly QueryJson[];
  readonly by: readonly string[];
  readonly thresholds: readonly Threshold[];
  readonly stacked: boolean;
  readonly optional: boolean;
  readonly description: string;
  readonly empty: string;
}

export interface DashboardJson {
  readonly id: string;
  readonly title: string;
  readonly description: string;
  readonly sections: readonly { readonly id: string; readonly title: string; readonly panels: readonly PanelJson[] }[];
}

/** One service, or host, by one way. Counts are since Weir was started. */
export interface Sender {
  readonly service: string;
  readonly via: string;
  readonly sdk: string;
  readonly points: number;
  readonly spans: number;
  readonly last_seen_seconds_ago: number;
  readonly lag_seconds: number;
}

export interface Refusal {
  readonly via: string;
  readonly reason: string;
  readonly items: number;
  readonly message: string;
  readonly last_seen_seconds_ago: number;
}

export interface Arrivals {
  readonly senders: readonly Sender[];
  readonly refused: readonly Refusal[];
}

export interface Why {
  readonly reason: string;
  readonly text: string;
}

/** A refusal or a failure, in words that can be shown. */
export class ApiError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Asks an API of Weir for JSON. */
export async function ask<T>(path: string, params: Readonly<Record<string, string>>, signal: AbortSignal): Promise<T> {
  const query = new URLSearchParams(params).toString();
  let response: Response;
  try {
    response = await fetch(query === "" ? path : `${path}?${query}`, {
      signal,
      headers: { accept: "application/json" },
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError(0, "Weir does not answer. Is it still running?");
  }
  const body: unknown = await response.json().catch(() => null);
  if (!response.ok) throw new ApiError(response.status, errorText(body, response));
  return body as T;
}

function errorText(body: unknown, response: Response): string {
  if (typeof body === "object" && body !== null && "error" in body) {
    const { error } = body as { error: unknown };
    if (typeof error === "string") return error;
    if (typeof error === "object" && error !== null && "message" in error) return String(error.message);
  }
  if (response.status === 503) return "Weir is starting: it is reading back what it had not yet filed.";
  return `Weir answered ${response.status} ${response.statusText}`.trim();
}

const OURS = "/api/weir/v1";

function bounds(window: Window): Record<string, string> {
  return { start: window.from.toFixed(3), end: window.to.toFixed(3) };
}

export function services(window: Window, signal: AbortSignal): Promise<{ services: ServiceRow[] }> {
  return ask(`${OURS}/services`, bounds(window), signal);
}

export function hosts(window: Window, signal: AbortSignal): Promise<{ hosts: HostRow[] }> {
  return ask(`${OURS}/hosts`, bounds(window), signal);
}

export type TraceKind = "recent" | "slow" | "failed";

export function serviceTraces(
  service: string,
  kind: TraceKind,
  window: Window,
  signal: AbortSignal,
): Promise<{ traces: TraceCard[] }> {
  const path = `${OURS}/services/${encodeURIComponent(service)}/traces`;
  return ask(path, { kind, limit: "20", ...bounds(window) }, signal);
}

export function trace(id: string, signal: AbortSignal): Promise<TraceJson> {
  return ask(`${OURS}/traces/${encodeURIComponent(id)}`, {}, signal);
}

export function dashboard(id: "service" | "host", subject: string, signal: AbortSignal): Promise<DashboardJson> {
  return ask(`${OURS}/dashboards/${id}`, { [id]: subject }, signal);
}

export function why(query: string, window: Window, signal: AbortSignal): Promise<Why> {
  return ask(`${OURS}/why`, { query, ...bounds(window) }, signal);
}

export function arrivals(signal: AbortSignal): Promise<Arrivals> {
  return ask(`${OURS}/arrivals`, {}, signal);
}
