/** The map of services: who calls whom, how often, and where it fails. */
import { useMemo } from "preact/hooks";

import { useGrid, useLoad } from "../live";
import { Loading } from "../panel/frame";
import { queryInstant, type Sample } from "../prom";
import { go, serviceHref } from "../router";
import { count, format } from "../units";
import { type Edge, place, type Placed } from "./graph-layout";

const METRIC = "traces_service_graph_request_client_seconds";
const COLUMN = 250;
const ROW = 84;
const NODE = { width: 168, height: 50 };

export function GraphPage() {
  const grid = useGrid();
  const loaded = useLoad("graph", `${grid.from} ${grid.to}`, async (signal) => {
    const by = (matcher: string) => `sum by (client, server, connection_type) (histogram_count(rate(${METRIC}${matcher}[$__range])))`;
    const [all, failed] = await Promise.all([queryInstant(by(""), grid, signal), queryInstant(by('{failed="true"}'), grid, signal)]);
    return edges(all, failed);
  });
  return (
    <>
      <div class="head">
        <h1>Map</h1>
        {loaded.data && loaded.data.length > 0 && <p class="verdict">{words(loaded.data)}</p>}
      </div>
      {loaded.error !== undefined && <p class="failed" role="status">The map could not be refreshed: {loaded.error}</p>}
      {loaded.data === undefined ? (
        loaded.error === undefined && <Loading height={320} />
      ) : loaded.data.length === 0 ? (
        <div class="panel reason large">
          <p>No call between two services was seen in this range.</p>
          <p class="muted">A call appears when both of its sides send spans of the same trace: keep the <code>traceparent</code> header on the wire.</p>
        </div>
      ) : (
        <div class="panel scroll map"><Graph edges={loaded.data} /></div>
      )}
    </>
  );
}

function edges(all: readonly Sample[], failed: readonly Sample[]): Edge[] {
  const key = ({ labels }: Sample) => `${labels["client"]}\u0000${labels["server"]}\u0000${labels["connection_type"]}`;
  const failures = new Map(failed.map((sample) => [key(sample), sample.value]));
  return all
    .filter((sample) => sample.value > 0)
    .map((sample) => ({
      client: sample.labels["client"] ?? "unknown",
      server: sample.labels["server"] ?? "unknown",
      kind: sample.labels["connection_type"] ?? "",
      rate: sample.value,
      failed: failures.get(key(sample)) ?? 0,
    }));
}

function words(list: readonly Edge[]): string {
  const worst = [...list].sort((a, b) => b.failed - a.failed)[0];
  const nodes = new Set(list.flatMap((edge) => [edge.client, edge.server])).size;
  const calls = `${count(nodes, "node")}, ${count(list.length, "edge")}.`;
  if (!worst || worst.failed / worst.rate < 0.01) return `${calls} No call fails noticeably.`;
  return `${calls} Most failures: ${worst.client} → ${worst.server}, ${format(worst.failed / worst.rate, "ratio")} of its calls.`;
}

function Graph({ edges: list }: { readonly edges: readonly Edge[] }) {
  const nodes = useMemo(() => place(list), [list]);
  const rows = nodes.map((node) => node.row);
  const top = Math.min(...rows);
  const width = (Math.max(...nodes.map((node) => node.column)) + 1) * COLUMN - (COLUMN - NODE.width) + 32;
  const height = (Math.max(...rows) - top + 1) * ROW + 24;
  const at = new Map(nodes.map((node) => [node.name, { x: 16 + node.column * COLUMN, y: 12 + (node.row - top) * ROW + (ROW - NODE.height) / 2 }]));
  const most = Math.max(...list.map((edge) => edge.rate));
  return (
    <svg class="graph" width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="group" aria-label="Map of services">
      {list.map((edge) => {
        const [a, b] = [at.get(edge.client), at.get(edge.server)];
        return a && b && <EdgeView key={`${edge.client} ${edge.server} ${edge.kind}`} edge={edge} from={a} to={b} most={most} />;
      })}
      {nodes.map((node) => {
        const p = at.get(node.name);
        return p && <NodeView key={node.name} node={node} x={p.x} y={p.y} edges={list} />;
      })}
    </svg>
  );
}

interface Point {
  readonly x: number;
  readonly y: number;
}

function EdgeView({ edge, from, to, most }: { readonly edge: Edge; readonly from: Point; readonly to: Point; readonly most: number }) {
  const back = to.x <= from.x;
  const [x0, y0] = [from.x + NODE.width, from.y + NODE.height / 2];
  const [x1, y1] = [to.x + (back ? NODE.width : 0), to.y + NODE.height / 2];
  const bend = back ? 60 : (x1 - x0) / 2;
  const path = `M${x0} ${y0}C${x0 + bend} ${y0} ${x1 + (back ? bend : -bend)} ${y1} ${x1} ${y1}`;
  const ratio = edge.failed / edge.rate;
  const level = ratio >= 0.05 ? "bad" : ratio >= 0.01 ? "warn" : "";
  const label = `${edge.client} → ${edge.server}: ${format(edge.rate, "requests_per_second")}, ${format(ratio, "ratio")} fail`;
  return (
    <g class={`edge ${level}`}>
      <path d={path} stroke-width={1 + 4 * Math.sqrt(edge.rate / most)}><title>{label}</title></path>
      <text x={(x0 + x1) / 2} y={(y0 + y1) / 2 - 6} text-anchor="middle">
        {format(edge.rate, "requests_per_second")}
        {level !== "" && <tspan class="ratio"> {format(ratio, "ratio")}</tspan>}
      </text>
    </g>
  );
}

function NodeView({ node, x, y, edges: list }: { readonly node: Placed; readonly x: number; readonly y: number; readonly edges: readonly Edge[] }) {
  const into = list.filter((edge) => edge.server === node.name);
  const [rate, failed] = [into.reduce((sum, e) => sum + e.rate, 0), into.reduce((sum, e) => sum + e.failed, 0)];
  const ratio = rate > 0 ? failed / rate : 0;
  const level = ratio >= 0.05 ? "bad" : ratio >= 0.01 ? "warn" : "";
  const kind = node.kind === "database" ? "database" : node.kind === "virtual_node" || node.name === "user" ? "outside" : node.kind === "messaging_system" ? "queue" : "";
  const opens = kind === "" || kind === "queue";
  const said = rate > 0 ? `${format(rate, "requests_per_second")}, ${format(ratio, "ratio")} fail` : kind === "outside" ? "outside" : "calls others";
  const body = (
    <>
      <rect x={x} y={y} width={NODE.width} height={NODE.height} rx={kind === "database" ? 25 : 8} />
      <text x={x + 14} y={y + 21} class="name">{short(node.name)}<title>{node.name}</title></text>
      <text x={x + 14} y={y + 38} class="said">{said}</text>
    </>
  );
  const classes = `node ${level} ${kind}`;
  if (!opens) return <g class={classes}>{body}</g>;
  return (
    <a class={classes} href={serviceHref(node.name)} onClick={(event) => { event.preventDefault(); go(serviceHref(node.name)); }}>
      {body}
    </a>
  );
}

function short(name: string): string {
  return name.length > 20 ? `${name.slice(0, 19)}…` : name;
}
