/** Everything a span says about itself: attributes with their types, events with stack traces, links, resource, scope. */
import { useState } from "preact/hooks";

import type { Attribute, SpanJson } from "../api";
import { serviceHref, traceHref } from "../router";
import { count, nanoseconds } from "../units";
import type { Node } from "./layout";

interface Props {
  readonly node: Node;
  readonly onClose: () => void;
}

export function Detail({ node, onClose }: Props) {
  const { span } = node;
  const dropped = droppedWords(span);
  return (
    <aside class="detail" aria-label={`Span ${span.name}`}>
      <header>
        <div>
          <h2>{span.name}</h2>
          <p>
            <i class="chip" style={{ background: `var(--${node.tint})` }} />{" "}
            <a href={serviceHref(jobOf(node))}>{span.service}</a>
            <span class="muted"> · {kindWords(span.kind)}</span>
          </p>
        </div>
        <button type="button" class="close" onClick={onClose} aria-label="Close the span">
          ×
        </button>
      </header>
      {node.failed && <p class="verdict bad">Failed{span.status_message ? `: ${span.status_message}` : ""}</p>}
      {node.orphan && (
        <p class="verdict warn">
          Its parent {span.parent_span_id} is missing: sampled away, late, or not instrumented.
        </p>
      )}
      <dl class="facts">
        <div>
          <dt>Took</dt>
          <dd>{nanoseconds(node.end - node.start)}</dd>
        </div>
        <div>
          <dt>Itself</dt>
          <dd title="Time in which none of its children ran">{nanoseconds(node.self)}</dd>
        </div>
        <div>
          <dt>Began at</dt>
          <dd>+{nanoseconds(node.start)}</dd>
        </div>
      </dl>
      <Attributes title="Attributes" list={span.attributes} open />
      {span.events.length > 0 && (
        <section>
          <h3>Events</h3>
          {span.events.map((event, i) => (
            <div class="event" key={i}>
              <p>
                <b>{event.name}</b>{" "}
                <span class="muted">
                  +{nanoseconds(Number(BigInt(event.time) - BigInt(span.start)))} after it began
                </span>
              </p>
              <Rows list={event.attributes} />
            </div>
          ))}
        </section>
      )}
      {span.links.length > 0 && (
        <section>
          <h3>Links</h3>
          {span.links.map((link) => (
            <div class="event" key={link.span_id}>
              <p>
                <a href={traceHref(link.trace_id, link.span_id)}>
                  span {link.span_id} in trace {link.trace_id.slice(0, 8)}…
                </a>
              </p>
              <Rows list={link.attributes ?? []} />
            </div>
          ))}
        </section>
      )}
      <Attributes title="Resource" list={span.resource} open={false} />
      <section class="ids">
        <p class="muted">
          Span {span.span_id}
          {scopeWords(span.scope)}
        </p>
        {dropped !== "" && (
          <p class="warn">Its sender dropped {dropped} before sending: raise the SDK's span limits.</p>
        )}
      </section>
    </aside>
  );
}

function Attributes({
  title,
  list,
  open,
}: {
  readonly title: string;
  readonly list: readonly Attribute[];
  readonly open: boolean;
}) {
  if (list.length === 0) return null;
  return (
    <details open={open}>
      <summary>
        {title} <small class="muted">{list.length}</small>
      </summary>
      <Rows list={list} />
    </details>
  );
}

function Rows({ list }: { readonly list: readonly Attribute[] }) {
  if (list.length === 0) return null;
  return (
    <dl class="attributes">
      {list.map((attribute) => (
        <div key={attribute.key}>
          <dt>{attribute.key}</dt>
          <dd>
            <Value attribute={attribute} />
          </dd>
        </div>
      ))}
    </dl>
  );
}

function Value({ attribute }: { readonly attribute: Attribute }) {
  const [copied, setCopied] = useState(false);
  const text = textOf(attribute.value);
  const long = text.includes("\n") || text.length > 160;
  const copy = () => {
    navigator.clipboard?.writeText(text).then(
      () => {
        setCopied(true);
        setTimeout(() => setCopied(false), 1200);
      },
      () => setCopied(false),
    );
  };
  return (
    <>
      {long ? <pre>{text}</pre> : <span>{text === "" ? <em>empty</em> : text}</span>}
      <button type="button" class="copy" onClick={copy} aria-label={`Copy ${attribute.key}`}>
        {copied ? "copied" : "copy"}
      </button>
    </>
  );
}

function textOf(value: unknown): string {
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value ?? "");
}

function kindWords(kind: string): string {
  const word = kind.replace(/^SPAN_KIND_/, "").toLowerCase();
  return word === "" || word === "unspecified" ? "internal" : word;
}

function scopeWords(scope: unknown): string {
  if (typeof scope === "string") return scope === "" ? "" : `, made by ${scope}`;
  if (typeof scope !== "object" || scope === null) return "";
  const { name, version } = scope as { name?: unknown; version?: unknown };
  return typeof name === "string" && name !== ""
    ? `, made by ${name}${typeof version === "string" && version !== "" ? ` ${version}` : ""}`
    : "";
}

function droppedWords({ dropped_attributes = 0, dropped_events = 0, dropped_links = 0 }: SpanJson): string {
  const parts = [count(dropped_attributes, "attribute"), count(dropped_events, "event"), count(dropped_links, "link")];
  return parts.filter((part) => !part.startsWith("0 ")).join(", ");
}

/** The `job` of a span's service: its namespace stands in its resource. */
function jobOf(node: Node): string {
  const namespace = node.span.resource.find((attribute) => attribute.key === "service.namespace")?.value;
  return typeof namespace === "string" && namespace !== "" ? `${namespace}/${node.span.service}` : node.span.service;
}
