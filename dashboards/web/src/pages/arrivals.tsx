/** What arrives, from whom, how fresh, and what was refused and why. */
import { type Arrivals, arrivals, type Refusal, type Sender } from "../api";
import { tick, useLoad } from "../live";
import { Loading } from "../panel/frame";
import { Number as Aligned } from "../panel/table";
import { href, serviceHref } from "../router";
import { useCell } from "../store";
import { ago } from "../time";
import { count, quantity } from "../units";

/** Seconds after which a sender that said nothing is called silent: several export intervals of an SDK. */
const SILENT_SECONDS = 180;
/** Data older than this when it arrived is late: a clock is wrong, or a queue was full. */
const LATE_SECONDS = 60;

export function ArrivalsPage() {
  const at = useCell(tick);
  const loaded = useLoad("arrivals", String(at), arrivals);
  return (
    <>
      <div class="head">
        <h1>Arrivals</h1>
        <p class="verdict">
          {loaded.data ? words(loaded.data) : "Who sends what, how fresh it is, and what was refused and why."}
        </p>
      </div>
      {loaded.error !== undefined && (
        <p class="failed" role="status">
          The arrivals could not be refreshed: {loaded.error}
        </p>
      )}
      {loaded.data === undefined ? (
        loaded.error === undefined && <Loading height={240} />
      ) : (
        <>
          {loaded.data.refused.length > 0 && <Refused rows={loaded.data.refused} />}
          <Senders rows={loaded.data.senders} />
          {loaded.data.refused.length === 0 && <p class="muted aside">Nothing was refused since Weir was started.</p>}
        </>
      )}
    </>
  );
}

function words({ senders, refused }: Arrivals): string {
  if (senders.length === 0) return "Nothing has arrived since Weir was started.";
  const silent = senders.filter((row) => row.last_seen_seconds_ago > SILENT_SECONDS).length;
  const items = refused.reduce((sum, row) => sum + row.items, 0);
  return (
    [
      `${count(senders.length - silent, "sender")} streaming`,
      ...(silent > 0 ? [`${silent} silent`] : []),
      items > 0 ? `${count(items, "item")} refused` : "nothing refused",
    ].join(", ") + "."
  );
}

function Senders({ rows }: { readonly rows: readonly Sender[] }) {
  if (rows.length === 0) {
    return (
      <div class="panel welcome">
        <h2>Nothing arrives</h2>
        <dl>
          <div>
            <dt>OTLP, HTTP</dt>
            <dd>
              <code>http://{location.hostname}:4318</code>
            </dd>
          </div>
          <div>
            <dt>OTLP, gRPC</dt>
            <dd>
              <code>http://{location.hostname}:4317</code>
            </dd>
          </div>
          <div>
            <dt>A program, without touching its code</dt>
            <dd>
              <code>weir run --service shop -- python app.py</code>
            </dd>
          </div>
        </dl>
      </div>
    );
  }
  return (
    <section class="section">
      <h2>Senders</h2>
      <div class="panel scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">From</th>
              <th scope="col">By way of</th>
              <th scope="col" class="wide">
                SDK
              </th>
              <th scope="col" class="n">
                Points
              </th>
              <th scope="col" class="n">
                Spans
              </th>
              <th scope="col" class="n wide" title="How old the newest data was when it arrived">
                Delay
              </th>
              <th scope="col" class="n">
                Last seen
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={`${row.service} ${row.via}`}>
                <td class="what">
                  <From service={row.service} spans={row.spans} />
                </td>
                <td class="muted what">{row.via}</td>
                <td class="muted what wide">{row.sdk === "" ? "–" : row.sdk}</td>
                <td class="n">
                  <Aligned quantity={quantity(row.points, "number")} />
                </td>
                <td class="n">
                  <Aligned quantity={quantity(row.spans, "number")} />
                </td>
                <td class={row.lag_seconds > LATE_SECONDS ? "n wide warn" : "n wide"}>
                  <Aligned quantity={quantity(row.lag_seconds, "seconds")} />
                </td>
                <td class={row.last_seen_seconds_ago > SILENT_SECONDS ? "n warn" : "n muted"}>
                  {ago(row.last_seen_seconds_ago)}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** A service has a page once it sent spans; a host has one of its own. */
function From({ service, spans }: { readonly service: string; readonly spans: number }) {
  if (service.startsWith("host "))
    return <a href={href(`/hosts/${encodeURIComponent(service.slice(5))}`)}>{service}</a>;
  return spans > 0 ? <a href={serviceHref(service)}>{service}</a> : <span title={service}>{service}</span>;
}

function Refused({ rows }: { readonly rows: readonly Refusal[] }) {
  return (
    <section class="section">
      <h2>Refused</h2>
      <div class="panel scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">From</th>
              <th scope="col">Reason</th>
              <th scope="col">What the sender was told</th>
              <th scope="col" class="n">
                Items
              </th>
              <th scope="col" class="n">
                Last
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={`${row.via} ${row.reason}`}>
                <td class="wrap">{row.via}</td>
                <td class="wrap warn">{row.reason.replaceAll("_", " ")}</td>
                <td class="wrap muted">{row.message}</td>
                <td class="n">
                  <Aligned quantity={quantity(row.items, "number")} />
                </td>
                <td class="n muted">{ago(row.last_seen_seconds_ago)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
