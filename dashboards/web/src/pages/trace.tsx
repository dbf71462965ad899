/** One trace: what it was, where its time went, span by span. */
import { useEffect, useMemo, useState } from "preact/hooks";

import { ApiError, trace } from "../api";
import { useLoad } from "../live";
import { Loading } from "../panel/frame";
import { address, go, serviceHref, traceHref } from "../router";
import { useCell } from "../store";
import { clock, day } from "../time";
import { Detail } from "../trace/detail";
import { layout, type Service, type Stretch, type Tree } from "../trace/layout";
import { Minimap } from "../trace/minimap";
import { Waterfall } from "../trace/waterfall";
import { count, nanoseconds } from "../units";

/** A trace may still be arriving: it is asked for again this often, until its parents are all there. */
const AGAIN_SECONDS = 3;
const AGAIN_TIMES = 5;

export function TracePage({ id }: { readonly id: string }) {
  const selected = useCell(address).query.get("span");
  const [asked, setAsked] = useState(0);
  const loaded = useLoad(id, `${id} ${asked}`, async (signal) => {
    try {
      return await trace(id, signal);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return null;
      throw error;
    }
  });
  const tree = useMemo(() => (loaded.data ? layout(loaded.data) : null), [loaded.data]);
  const incomplete = loaded.data === null || (tree !== null && tree.orphans > 0);
  useEffect(() => setAsked(0), [id]);
  useEffect(() => {
    if (!incomplete || asked >= AGAIN_TIMES) return;
    const timer = setTimeout(() => setAsked(asked + 1), AGAIN_SECONDS * 1000);
    return () => clearTimeout(timer);
  }, [incomplete, asked]);

  if (loaded.data === undefined && loaded.error === undefined) return <Loading height={400} />;
  if (loaded.data === null) return <Missing id={id} waiting={asked < AGAIN_TIMES} />;
  if (!loaded.data || !tree) return <p class="failed">The trace could not be loaded: {loaded.error}</p>;
  const select = (span: string | null) => go(traceHref(id, span ?? undefined), true);
  const { root_service: service, root_name: name, start } = loaded.data;
  return (
    <div class="trace-page">
      <Head id={id} tree={tree} service={service} name={name} start={Number(start) / 1e9} />
      <Body key={id} tree={tree} selected={selected} onSelect={select} />
    </div>
  );
}

function Body({
  tree,
  selected,
  onSelect,
}: {
  readonly tree: Tree;
  readonly selected: string | null;
  readonly onSelect: (id: string | null) => void;
}) {
  const [view, setView] = useState<Stretch>({ from: 0, to: tree.duration });
  const [dimmed, setDimmed] = useState<string | null>(null);
  useEffect(() => setView({ from: 0, to: tree.duration }), [tree.duration]);
  const node = tree.nodes.find((n) => n.span.span_id === selected);
  const zoomed = view.from > 0 || view.to < tree.duration;
  return (
    <>
      <div class="overview">
        <Minimap tree={tree} view={view} onView={setView} />
        <div class="bar">
          <Services services={tree.services} chosen={dimmed} onChoose={setDimmed} />
          {zoomed && (
            <button type="button" class="quiet" onClick={() => setView({ from: 0, to: tree.duration })}>
              Show all {nanoseconds(tree.duration)}
            </button>
          )}
        </div>
      </div>
      <div class={node ? "split open" : "split"}>
        <Waterfall tree={tree} view={view} dimmed={dimmed} selected={selected} onSelect={onSelect} />
        {node && <Detail key={selected} node={node} onClose={() => onSelect(null)} />}
      </div>
    </>
  );
}

interface HeadProps {
  readonly id: string;
  readonly tree: Tree;
  readonly service: string | null;
  readonly name: string | null;
  readonly start: number;
}

function Head({ id, tree, service, name, start }: HeadProps) {
  const root = tree.roots.find((node) => !node.orphan) ?? tree.roots[0];
  const namespace = root?.span.resource.find((attribute) => attribute.key === "service.namespace")?.value;
  const job = typeof namespace === "string" && namespace !== "" ? `${namespace}/${service}` : service;
  return (
    <div class="head">
      <p class="crumbs">
        {job && service ? <a href={serviceHref(job)}>{service}</a> : <span>root missing</span>}
        <span class="muted">
          {" "}
          / trace <code title={id}>{id.slice(0, 16)}…</code>
        </span>
      </p>
      <h1>{name ?? root?.span.name ?? "Trace"}</h1>
      <p class="verdict">
        {nanoseconds(tree.duration)}, {count(tree.nodes.length, "span")} in {count(tree.services.length, "service")},{" "}
        {tree.failed > 0 ? <b class="bad">{count(tree.failed, "span")} failed</b> : "none failed"}
        {tree.orphans > 0 && (
          <b class="warn" title="Sampled away, late, or not instrumented">
            , {count(tree.orphans, "parent")} missing
          </b>
        )}
        <span class="muted">
          {" "}
          · {day(start)} {clock(start, true)}
        </span>
      </p>
    </div>
  );
}

interface ServicesProps {
  readonly services: readonly Service[];
  readonly chosen: string | null;
  readonly onChoose: (service: string | null) => void;
}

/** Where the time went, service by service; a click dims the others. */
function Services({ services, chosen, onChoose }: ServicesProps) {
  const all = Math.max(
    1,
    services.reduce((sum, service) => sum + service.self, 0),
  );
  return (
    <ul class="services">
      {services.map((service) => (
        <li key={service.name}>
          <button
            type="button"
            aria-pressed={chosen === service.name}
            onClick={() => onChoose(chosen === service.name ? null : service.name)}
            title={`${count(service.spans, "span")}, ${nanoseconds(service.self)} of its own`}
          >
            <i class="chip" style={{ background: `var(--${service.tint})` }} />
            {service.name}
            <small>{Math.round((service.self / all) * 100)} %</small>
            {service.failed > 0 && <span class="mark">!</span>}
          </button>
        </li>
      ))}
    </ul>
  );
}

function Missing({ id, waiting }: { readonly id: string; readonly waiting: boolean }) {
  return (
    <div class="reason large" role="status">
      <h1>{waiting ? "Looking for this trace…" : "This trace is not here"}</h1>
      <p>
        No span of <code>{id}</code> is stored{waiting ? " yet. It may still be on its way." : "."}
      </p>
      {!waiting && (
        <p class="muted">
          It was never sent, was sampled away by the sender, or is older than the retention. What arrives, and what was
          refused and why, stands under <a href="/arrivals">arrivals</a>.
        </p>
      )}
    </div>
  );
}
