/** All services, those in trouble first. */
import { useEffect, useRef, useState } from "preact/hooks";

import { type Health, hosts, type ServiceRow, services } from "../api";
import { Sparkline } from "../chart/sparkline";
import { now, useLoad, useWindow } from "../live";
import { Loading } from "../panel/frame";
import { Number as Aligned } from "../panel/table";
import { go, serviceHref, traceHref } from "../router";
import { ago, type Window } from "../time";
import { count, format, quantity } from "../units";
import { HostTable } from "./hosts";
import { byTrouble } from "./verdict";

const TRACE_ID = /^[0-9a-f]{32}$/;
const WORDS: Readonly<Record<Health, string>> = {
  bad: "in trouble",
  warn: "worth a look",
  ok: "well",
  unknown: "not known",
};

export function ServicesPage() {
  const window = useWindow();
  const [filter, setFilter] = useState("");
  const loaded = useLoad("services", `${window.from} ${window.to}`, (signal) => services(window, signal));
  const rows = [...(loaded.data?.services ?? [])].sort(byTrouble);
  const wanted = filter.trim().toLowerCase();
  const shown = rows.filter((row) => wanted === "" || row.service.toLowerCase().includes(wanted));
  return (
    <>
      <div class="head row">
        <div>
          <h1>Services</h1>
          {loaded.data && rows.length > 0 && <Verdict rows={rows} />}
        </div>
        {rows.length > 0 && <Filter value={filter} onChange={setFilter} />}
      </div>
      {loaded.error !== undefined && (
        <p class="failed" role="status">
          The services could not be refreshed: {loaded.error}
        </p>
      )}
      {loaded.data === undefined ? (
        loaded.error === undefined && <Loading height={320} />
      ) : rows.length === 0 ? (
        <Welcome />
      ) : shown.length === 0 ? (
        <div class="panel reason">
          <p>{TRACE_ID.test(wanted) ? "Press Enter to open this trace." : `No service is called like “${filter}”.`}</p>
        </div>
      ) : (
        <div class="panel scroll">
          <table class="services">
            <thead>
              <tr>
                <th scope="col">Service</th>
                <th scope="col" class="n">
                  Rate
                </th>
                <th scope="col" class="trend">
                  In this range
                </th>
                <th scope="col" class="n">
                  Errors
                </th>
                <th scope="col" class="n">
                  p95
                </th>
                <th scope="col" class="wide">
                  Version
                </th>
                <th scope="col" class="n wide">
                  Last seen
                </th>
              </tr>
            </thead>
            <tbody>
              {shown.map((row) => (
                <Row key={row.service} row={row} window={window} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      <Hosts />
    </>
  );
}

function Verdict({ rows }: { readonly rows: readonly ServiceRow[] }) {
  const troubled = rows.filter((row) => row.health === "bad");
  const doubtful = rows.filter((row) => row.health === "warn");
  const [worst] = [...troubled, ...doubtful];
  if (!worst)
    return (
      <p class="verdict">{rows.length === 1 ? "One service" : `All ${rows.length} services`}, no trouble to see.</p>
    );
  return (
    <p class="verdict">
      {count(rows.length, "service")}
      {troubled.length > 0 && (
        <>
          , <b class="bad">{troubled.length} in trouble</b>
        </>
      )}
      {doubtful.length > 0 && (
        <>
          , <b class="warn">{doubtful.length} worth a look</b>
        </>
      )}
      . Begin with <a href={serviceHref(worst.service)}>{worst.service}</a>
      {worst.reason ? `: ${worst.reason}` : ""}.
    </p>
  );
}

function Row({ row, window }: { readonly row: ServiceRow; readonly window: Window }) {
  const silent = row.last_seen !== null && now() - row.last_seen > 120;
  return (
    <tr class={row.health}>
      <td class="what">
        <a href={serviceHref(row.service)}>
          <i class={`health ${row.health}`} title={WORDS[row.health]} />
          <span class="hidden">{WORDS[row.health]}: </span>
          {row.namespace !== null && row.namespace !== "" && <span class="muted">{row.namespace}/</span>}
          {row.name}
        </a>
        {row.reason !== null && row.reason !== "" && row.health !== "ok" && (
          <small class={row.health}>{row.reason}</small>
        )}
      </td>
      <td class="n">
        <Aligned quantity={quantity(row.rate, "requests_per_second")} />
      </td>
      <td class="trend">
        <Sparkline window={window} points={row.sparkline} tint={row.health === "bad" ? "bad" : "s0"} />
      </td>
      <td class={`n ${ratioLevel(row.error_ratio)}`}>
        <Aligned quantity={quantity(row.error_ratio, "ratio")} />
      </td>
      <td class="n">
        <Aligned quantity={quantity(row.p95_seconds, "seconds")} />
      </td>
      <td class="wide muted what">{versions(row.versions)}</td>
      <td class={`n wide ${silent ? "warn" : "muted"}`}>
        {row.last_seen === null ? "–" : ago(Math.max(0, now() - row.last_seen))}
      </td>
    </tr>
  );
}

function ratioLevel(ratio: number | null): string {
  if (ratio === null || ratio < 0.01) return "";
  return ratio < 0.05 ? "warn" : "bad";
}

function versions(list: readonly string[]): string {
  if (list.length === 0) return "–";
  return list.length <= 2 ? list.join(", ") : `${list.slice(0, 2).join(", ")} +${list.length - 2}`;
}

function Filter({ value, onChange }: { readonly value: string; readonly onChange: (text: string) => void }) {
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const key = (event: KeyboardEvent) => {
      if (event.key !== "/" || event.target instanceof HTMLInputElement) return;
      event.preventDefault();
      input.current?.focus();
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);
  const keys = (event: KeyboardEvent) => {
    const id = value.trim().toLowerCase();
    if (event.key === "Escape") onChange("");
    else if (event.key === "Enter" && TRACE_ID.test(id)) go(traceHref(id));
  };
  return (
    <label class="filter">
      <span class="hidden">Filter services</span>
      <input
        ref={input}
        type="search"
        placeholder="Filter, or a trace id   /"
        value={value}
        onInput={(event) => onChange(event.currentTarget.value)}
        onKeyDown={keys}
      />
    </label>
  );
}

/** Before the first span: what to type. */
function Welcome() {
  return (
    <div class="panel welcome">
      <h2>No service has sent anything in this range</h2>
      <p>Start one so that its spans come here. It appears within seconds.</p>
      <dl>
        <div>
          <dt>Python or Node, without touching the code</dt>
          <dd>
            <code>weir run --service shop -- python app.py</code>
          </dd>
        </div>
        <div>
          <dt>Anything with an OpenTelemetry SDK</dt>
          <dd>
            <code>OTEL_EXPORTER_OTLP_ENDPOINT=http://{location.hostname}:4318 OTEL_SERVICE_NAME=shop ./program</code>
          </dd>
        </div>
        <div>
          <dt>Five services that call each other, one of them ill</dt>
          <dd>
            <code>weir up --demo</code>
          </dd>
        </div>
      </dl>
      <p class="muted">
        What does arrive, and what was refused and why, stands under <a href="/arrivals">arrivals</a>.
      </p>
    </div>
  );
}

function Hosts() {
  const window = useWindow();
  const loaded = useLoad("hosts", `${window.from} ${window.to}`, (signal) => hosts(window, signal));
  if (!loaded.data || loaded.data.hosts.length === 0) return null;
  return (
    <section class="section">
      <h2>Hosts</h2>
      <HostTable hosts={loaded.data.hosts} />
    </section>
  );
}

/** `12 req/s, 0.4 % fail, p95 80 ms`; without the failures where the reason has told them. */
export function redWords(row: ServiceRow, failuresToo: boolean): string {
  const failures = failuresToo ? ` ${format(row.error_ratio, "ratio")} fail,` : "";
  return `${format(row.rate, "requests_per_second")},${failures} p95 ${format(row.p95_seconds, "seconds")}`;
}
