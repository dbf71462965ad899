/** One service: the verdict in words, then its dashboard. */
import { type ServiceRow, services } from "../api";
import { now, useGrid, useLoad, useWindow } from "../live";
import { Dashboard } from "../panel/dashboard";
import { queryInstant } from "../prom";
import { compare, href, setCompare } from "../router";
import { useCell } from "../store";
import { ago, COMPARISONS } from "../time";
import { format } from "../units";
import { redWords } from "./services";
import { type VersionErrors, suspect } from "./verdict";

const SECTIONS = [
  ["red", "Rate, errors, duration"],
  ["operations", "Operations"],
  ["dependencies", "Dependencies"],
  ["traces", "Traces"],
  ["versions", "Versions"],
] as const;

export function ServicePage({ name }: { readonly name: string }) {
  const window = useWindow();
  const loaded = useLoad(`service ${name}`, `${window.from} ${window.to}`, (signal) => services(window, signal));
  const row = loaded.data?.services.find((service) => service.service === name);
  const slash = name.lastIndexOf("/");
  return (
    <>
      <div class="head">
        <p class="crumbs">
          <a href={href("/")}>Services</a>
        </p>
        <h1>
          {row && <i class={`health ${row.health}`} />}
          {slash >= 0 && <span class="muted">{name.slice(0, slash + 1)}</span>}
          {name.slice(slash + 1)}
          {row && row.versions.length > 0 && <small class="versions">{row.versions.slice(0, 3).join(" · ")}</small>}
        </h1>
        {row ? (
          <Verdict row={row} />
        ) : (
          loaded.data && <Unseen names={namesakes(loaded.data.services, name)} />
        )}
        {loaded.error !== undefined && (
          <p class="failed" role="status">
            The verdict could not be refreshed: {loaded.error}
          </p>
        )}
        <div class="row">
          <nav class="anchors" aria-label="On this page">
            {SECTIONS.map(([id, title]) => (
              <a key={id} href={`#${id}`}>
                {title}
              </a>
            ))}
          </nav>
          <Compare />
        </div>
      </div>
      <Dashboard key={name} id="service" subject={name} />
    </>
  );
}

/** Services that a name without its namespace, or with a wrong one, may stand for. */
function namesakes(rows: readonly ServiceRow[], name: string): string[] {
  const short = name.slice(name.lastIndexOf("/") + 1);
  return rows.filter((row) => row.name === short).map((row) => row.service);
}

function Unseen({ names }: { readonly names: readonly string[] }) {
  if (names.length > 0) {
    return (
      <p class="verdict">
        Nothing of this name answered in this range. Meant:{" "}
        {names.map((name, at) => (
          <span key={name}>
            {at > 0 && ", "}
            <a href={href(`/services/${encodeURIComponent(name)}`)}>{name}</a>
          </span>
        ))}
        ?
      </p>
    );
  }
  return (
    <p class="verdict">
      No request was answered in this range. Try a longer one, or look under <a href={href("/arrivals")}>arrivals</a>.
    </p>
  );
}

function sentence(words: string): string {
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function Compare() {
  const back = useCell(compare);
  return (
    <label class="compare">
      Compare with{" "}
      <select value={back} onChange={(event) => setCompare(event.currentTarget.value)}>
        <option value="">nothing</option>
        {COMPARISONS.map((comparison) => (
          <option key={comparison.back} value={comparison.back}>
            {comparison.words}
          </option>
        ))}
      </select>
    </label>
  );
}

function Verdict({ row }: { readonly row: ServiceRow }) {
  const grid = useGrid();
  const job = row.service.replaceAll("\\", "\\\\").replaceAll('"', '\\"');
  const red = `traces_span_metrics_duration_seconds{job="${job}",span_kind=~"SPAN_KIND_SERVER|SPAN_KIND_CONSUMER"`;
  const several = row.versions.length > 1;
  const versions = useLoad(
    `versions ${row.service} ${several}`,
    `${row.service} ${several} ${grid.to}`,
    async (signal): Promise<VersionErrors[]> => {
      if (!several) return [];
      const by = (matcher: string) => `sum by (service_version) (histogram_count(rate(${red}${matcher}}[$__range])))`;
      const [all, failed] = await Promise.all([
        queryInstant(by(""), grid, signal),
        queryInstant(by(',status_code="STATUS_CODE_ERROR"'), grid, signal),
      ]);
      return all.map(({ labels, value }) => {
        const version = labels["service_version"] ?? "";
        const bad = failed.find((sample) => sample.labels["service_version"] === version)?.value ?? 0;
        return { version, rate: value, ratio: value > 0 ? bad / value : 0 };
      });
    },
  );
  const silent = row.last_seen !== null && now() - row.last_seen > 120;
  const blamed = suspect(versions.data ?? []);
  return (
    <p class="verdict">
      {row.health === "ok" ? "Well: " : <b class={row.health}>{sentence(row.reason ?? "not well")}. </b>}
      {row.rate !== null && `${redWords(row, row.health === "ok")}.`}
      {blamed && (
        <>
          {" "}
          Version <b class="bad">{blamed.worse.version || "without a name"}</b> fails{" "}
          {format(blamed.worse.ratio, "ratio")} of its requests, {blamed.better.version || "the one without a name"}{" "}
          {format(blamed.better.ratio, "ratio")}.
        </>
      )}
      {silent && row.last_seen !== null && <b class="warn"> Silent: last seen {ago(now() - row.last_seen)}.</b>}
    </p>
  );
}
