/** The traces of a service: failed, slowest, most recent; one click from here to the waterfall. */
import { useEffect, useState } from "preact/hooks";

import { type PanelJson, serviceTraces, type TraceCard, type TraceKind } from "../api";
import { useLoad, useWindow } from "../live";
import { traceHref } from "../router";
import { ago, clock, day } from "../time";
import { count, quantity } from "../units";
import { Frame, Loading } from "./frame";
import { Number as Aligned } from "./table";
import { Words } from "./words";

const KINDS: readonly { readonly kind: TraceKind; readonly title: string }[] = [
  { kind: "failed", title: "Failed" },
  { kind: "slow", title: "Slowest" },
  { kind: "recent", title: "Recent" },
];

/** Rows before the reader asks for more. */
const ROWS_FEW = 8;

interface Props {
  readonly panel: PanelJson;
  readonly service: string;
}

export function Traces({ panel, service }: Props) {
  const window = useWindow();
  const [chosen, setChosen] = useState<TraceKind | null>(null);
  const [all, setAll] = useState(false);
  const loaded = useLoad(service, `${service} ${window.from} ${window.to}`, async (signal) => {
    const answers = await Promise.all(KINDS.map(({ kind }) => serviceTraces(service, kind, window, signal)));
    return answers.map((answer) => answer.traces);
  });
  useEffect(() => setAll(false), [chosen]);
  const lists = loaded.data;
  const kind = chosen ?? KINDS[lists?.findIndex((list) => list.length > 0) ?? 0]?.kind ?? "recent";
  const list = lists?.[KINDS.findIndex((k) => k.kind === kind)];
  const longest = Math.max(1, ...(list ?? []).map((card) => Number(card.duration_ns)));
  return (
    <Frame
      panel={panel}
      error={loaded.error}
      side={
        <div class="tabs" role="group" aria-label="Which traces">
          {KINDS.map((k, i) => (
            <button key={k.kind} type="button" aria-pressed={k.kind === kind} onClick={() => setChosen(k.kind)}>
              {k.title}
              {k.kind === "failed" && lists && <small>{lists[i]?.length === 20 ? "20+" : lists[i]?.length}</small>}
            </button>
          ))}
        </div>
      }
    >
      {list === undefined ? (
        loaded.error === undefined && <Loading height={200} />
      ) : list.length === 0 ? (
        <div class="reason">
          <p>{kind === "failed" ? "No failed trace in this range." : "No trace of this service in this range."}</p>
          {kind !== "failed" && (
            <p class="muted">
              <Words text={panel.empty} />
            </p>
          )}
        </div>
      ) : (
        <Cards cards={all ? list : list.slice(0, ROWS_FEW)} longest={longest} />
      )}
      {list && list.length > ROWS_FEW && (
        <button type="button" class="more" onClick={() => setAll(!all)}>
          {all ? "Show fewer" : `Show all ${list.length}`}
        </button>
      )}
    </Frame>
  );
}

function Cards({ cards, longest }: { readonly cards: readonly TraceCard[]; readonly longest: number }) {
  return (
    <div class="scroll">
      <table class="traces">
        <thead>
          <tr>
            <th scope="col">Operation</th>
            <th scope="col" class="n">
              Duration
            </th>
            <th scope="col">Outcome</th>
            <th scope="col" class="wide">
              Trace
            </th>
            <th scope="col" class="wide">
              Version
            </th>
            <th scope="col" class="n">
              Started
            </th>
          </tr>
        </thead>
        <tbody>
          {cards.map((card) => (
            <tr key={`${card.trace_id}${card.span_id}`}>
              <td class="what">
                <a href={traceHref(card.trace_id, card.span_id)}>{card.name}</a>
              </td>
              <td class="n">
                <i class="track">
                  <i class="bar" style={{ width: `${((Number(card.duration_ns) / longest) * 100).toFixed(1)}%` }} />
                </i>
                <Aligned quantity={quantity(Number(card.duration_ns) / 1e9, "seconds")} />
              </td>
              <td class="what">
                <Outcome card={card} />
              </td>
              <td class="wide muted what" title={card.services.join(", ")}>
                {card.root_service ?? "root missing"} · {count(card.span_count, "span")}
                {card.services.length > 1 && `, ${count(card.services.length, "service")}`}
              </td>
              <td class="wide muted">{card.version ?? "–"}</td>
              <td class="n muted">
                <Started ns={card.start} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Outcome({ card }: { readonly card: TraceCard }) {
  const http = card.http_status === null || card.http_status === "" ? "" : String(card.http_status);
  if (isError(card.status)) {
    const words = [http, card.status_message ?? ""].filter((text) => text !== "").join(" ");
    return (
      <span class="bad" title={words}>
        {words === "" ? "failed" : words}
      </span>
    );
  }
  const inside = card.error_count > 0 ? `, ${count(card.error_count, "error")} inside` : "";
  return (
    <span class="muted">
      {http === "" ? "ok" : http}
      {inside && <span class="warn">{inside}</span>}
    </span>
  );
}

/** Whether a status, however it is spelled, is an error. */
export function isError(status: string): boolean {
  return status.toUpperCase().endsWith("ERROR");
}

function Started({ ns }: { readonly ns: string }) {
  const at = Number(ns) / 1e9;
  const old = Date.now() / 1000 - at;
  return <time title={`${day(at)} ${clock(at, true)}`}>{old < 3600 ? ago(old) : clock(at, true)}</time>;
}
