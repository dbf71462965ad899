/** The map of services: who calls whom, how often, and where it fails. */
import { useMemo, useState } from "preact/hooks";

import { useGrid, useLoad } from "../live";
import { Loading } from "../panel/frame";
import { queryInstant, type Sample } from "../prom";
import { serviceHref } from "../router";
import { count, format } from "../units";
import { type Edge, place, type Spot } from "./graph-layout";

const METRIC = "traces_service_graph_request_client_seconds";
const COLUMN = 264;
const ROW = 72;
const NODE = { width: 168, height: 50 };

export function GraphPage() {
  const grid = useGrid();
  const loaded = useLoad("graph", `${grid.from} ${grid.to}`, async (signal) => {
    const by = (matcher: string) =>
      `sum by (client, server, connection_type) (histogram_count(rate(${METRIC}${matcher}[$__range])))`;
    const [all, failed] = await Promise.all([
      queryInstant(by(""), grid, signal),
      queryInstant(by('{failed="true"}'), grid, signal),
    ]);
    return edges(all, failed);
  });
  return (
    <>
      <div class="head">
        <h1>Map</h1>
        {loaded.data && loaded.data.length > 0 && <p class="verdict">{words(loaded.data)}</p>}
      </div>
      {loaded.error !== undefined && (
        <p class="failed" role="status">
          The map could not be refreshed: {loaded.error}
        </p>
      )}
      {loaded.data === undefined ? (
        loaded.error === undefined && <Loading height={320} />
      ) : loaded.data.length === 0 ? (
        <div class="panel reason large">
          <p>No call between two services was seen in this range.</p>
          <p class="muted">
            A call appears when both of its sides send spans of the same trace: keep the <code>traceparent</code> header
            on the wire.
          </p>
        </div>
      ) : (
        <div class="panel scroll map">
          <Graph edges={loaded.data} />
        </div>
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
  const { nodes, ways } = useMemo(() => place(list), [list]);
  const [chosen, setChosen] = useState<string | null>(null);
  const rows = [...nodes, ...ways.flat()].map((spot) => spot.row);
  const top = Math.min(...rows);
  const width = Math.max(...nodes.map((node) => node.column)) * COLUMN + NODE.width + 32;
  const height = (Math.max(...rows) - top + 1) * ROW + 24;
  const at = ({ column, row }: Spot): Point => ({ x: 16 + column * COLUMN, y: 12 + (row - top + 0.5) * ROW });
  const byName = new Map(nodes.map((node) => [node.name, at(node)]));
  const most = Math.max(...list.map((edge) => edge.rate));
  const near = (edge: Edge) => chosen === null || edge.client === chosen || edge.server === chosen;
  return (
    <svg
      class="graph"
      width={width}
      height={height}
      viewBox={`0 0 ${width} ${height}`}
      role="group"
      aria-label="Map of services"
    >
      {list.map((edge, i) => {
        const [from, to] = [byName.get(edge.client), byName.get(edge.server)];
        const stops = (ways[i] ?? []).map(at);
        return (
          from &&
          to && (
            <EdgeView
              key={`${edge.client} ${edge.server} ${edge.kind}`}
              edge={edge}
              from={from}
              to={to}
              stops={stops}
              most={most}
              dim={!near(edge)}
              said={chosen !== null && near(edge)}
            />
          )
        );
      })}
      {nodes.map((node) => {
        const point = byName.get(node.name);
        return point && <NodeView key={node.name} name={node.name} point={point} edges={list} onChoose={setChosen} />;
      })}
    </svg>
  );
}

interface Point {
  readonly x: number;
  readonly y: number;
}

interface EdgeProps {
  readonly edge: Edge;
  readonly from: Point;
  readonly to: Point;
  readonly stops: readonly Point[];
  readonly most: number;
  readonly dim: boolean;
  readonly said: boolean;
}

/** The middle of a node's left side is its point. Failing edges say so; the others when one of their nodes is pointed at. */
function EdgeView({ edge, from, to, stops, most, dim, said }: EdgeProps) {
  const back = to.x <= from.x;
  const start = { x: from.x + NODE.width, y: from.y };
  const end = back ? { x: to.x + NODE.width, y: to.y } : to;
  const ratio = edge.failed / edge.rate;
  const level = levelOf(ratio);
  const label = `${edge.client} → ${edge.server}: ${format(edge.rate, "requests_per_second")}, ${format(ratio, "ratio")} fail`;
  const last = stops[stops.length - 1];
  const before = last ? { x: last.x + NODE.width, y: last.y } : start;
  return (
    <g class={`edge ${level}${dim ? " dim" : ""}`}>
      <path d={way(start, stops, end, back)} stroke-width={1 + 3.5 * Math.sqrt(edge.rate / most)}>
        <title>{label}</title>
      </path>
      {(said || level !== "") && (
        <text x={(before.x + end.x) / 2} y={(before.y + end.y) / 2 + 4} text-anchor="middle">
          {said && format(edge.rate, "requests_per_second")}
          {level !== "" && <tspan class="ratio"> {format(ratio, "ratio")}</tspan>}
        </text>
      )}
    </g>
  );
}

/** A curve from node to node that goes straight through the columns it passes. */
function way(start: Point, stops: readonly Point[], end: Point, back: boolean): string {
  if (back)
    return `M${start.x} ${start.y}C${start.x + 60} ${start.y - 40} ${end.x + 60} ${end.y + 40} ${end.x} ${end.y}`;
  let path = `M${start.x} ${start.y}`;
  let at = start;
  const curve = (to: Point) => {
    const bend = (to.x - at.x) / 2;
    path += `C${at.x + bend} ${at.y} ${to.x - bend} ${to.y} ${to.x} ${to.y}`;
  };
  for (const stop of stops) {
    curve(stop);
    at = { x: stop.x + NODE.width, y: stop.y };
    path += `L${at.x} ${at.y}`;
  }
  curve(end);
  return path;
}

interface NodeProps {
  readonly name: string;
  readonly point: Point;
  readonly edges: readonly Edge[];
  readonly onChoose: (name: string | null) => void;
}

function NodeView({ name, point: { x, y }, edges: list, onChoose }: NodeProps) {
  const into = list.filter((edge) => edge.server === name);
  const [rate, failed] = [into.reduce((sum, e) => sum + e.rate, 0), into.reduce((sum, e) => sum + e.failed, 0)];
  const ratio = rate > 0 ? failed / rate : 0;
  const kind = kindOf(name, list);
  const said =
    rate > 0
      ? `${format(rate, "requests_per_second")}, ${format(ratio, "ratio")} fail`
      : kind === "outside"
        ? "outside"
        : "calls others";
  const place = {
    class: `node ${levelOf(ratio)} ${kind}`,
    onPointerEnter: () => onChoose(name),
    onPointerLeave: () => onChoose(null),
  };
  const body = (
    <>
      <rect x={x} y={y - NODE.height / 2} width={NODE.width} height={NODE.height} rx={kind === "database" ? 25 : 8} />
      <text x={x + 14} y={y - 4} class="name">
        {short(name)}
        <title>{name}</title>
      </text>
      <text x={x + 14} y={y + 13} class="said">
        {said}
      </text>
    </>
  );
  if (kind !== "" && kind !== "queue") return <g {...place}>{body}</g>;
  return (
    <a {...place} href={serviceHref(name)} onFocus={() => onChoose(name)} onBlur={() => onChoose(null)}>
      {body}
    </a>
  );
}

/** What a node is: a service, unless every edge to it says otherwise and nothing was seen from inside it. */
function kindOf(name: string, list: readonly Edge[]): "" | "database" | "queue" | "outside" {
  const into = list.filter((edge) => edge.server === name);
  const from = list.filter((edge) => edge.client === name);
  if (into.length === 0) return from.every((edge) => edge.kind === "virtual_node") ? "outside" : "";
  if (from.length > 0) return "";
  if (into.every((edge) => edge.kind === "database")) return "database";
  if (into.every((edge) => edge.kind === "messaging_system")) return "queue";
  return into.every((edge) => edge.kind === "virtual_node" && edge.client !== "user") ? "outside" : "";
}

function levelOf(ratio: number): "" | "warn" | "bad" {
  return ratio >= 0.05 ? "bad" : ratio >= 0.01 ? "warn" : "";
}

function short(name: string): string {
  return name.length > 20 ? `${name.slice(0, 19)}…` : name;
}
