/** All hosts, and one of them. */
import { type HostRow, hosts } from "../api";
import { now, useLoad, useWindow } from "../live";
import { Dashboard } from "../panel/dashboard";
import { Loading } from "../panel/frame";
import { Number as Aligned } from "../panel/table";
import { href } from "../router";
import { ago } from "../time";
import { count, format, quantity } from "../units";

export function HostsPage() {
  const window = useWindow();
  const loaded = useLoad("hosts", `${window.from} ${window.to}`, (signal) => hosts(window, signal));
  const list = loaded.data?.hosts;
  return (
    <>
      <div class="head">
        <h1>Hosts</h1>
        {list && list.length > 0 && <p class="verdict">{count(list.length, "host")}, the busiest first.</p>}
      </div>
      {loaded.error !== undefined && (
        <p class="failed" role="status">
          The hosts could not be refreshed: {loaded.error}
        </p>
      )}
      {list === undefined ? (
        loaded.error === undefined && <Loading height={200} />
      ) : list.length === 0 ? (
        <div class="panel welcome">
          <h2>No host has sent anything in this range</h2>
          <p>An agent on a host sends its processor, memory, disks, filesystems and network, without configuration.</p>
          <dl>
            <div>
              <dt>On the host</dt>
              <dd>
                <code>weir agent</code>
              </dd>
            </div>
          </dl>
        </div>
      ) : (
        <HostTable hosts={list} />
      )}
    </>
  );
}

export function HostTable({ hosts: list }: { readonly hosts: readonly HostRow[] }) {
  const rows = [...list].sort((a, b) => (b.cpu_utilization ?? -1) - (a.cpu_utilization ?? -1));
  return (
    <div class="panel scroll">
      <table>
        <thead>
          <tr>
            <th scope="col">Host</th>
            <th scope="col" class="n">
              CPU
            </th>
            <th scope="col" class="n">
              Memory
            </th>
            <th scope="col" class="n">
              Load, 1 min
            </th>
            <th scope="col" class="n wide">
              Last seen
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((host) => (
            <tr key={host.name}>
              <td class="what">
                <a href={href(`/hosts/${encodeURIComponent(host.name)}`)}>{host.name}</a>
              </td>
              <Share value={host.cpu_utilization} />
              <Share value={host.memory_utilization} />
              <td class="n">
                <Aligned quantity={quantity(host.load1, "number")} />
              </td>
              <td class="n wide muted">{host.last_seen === null ? "–" : ago(Math.max(0, now() - host.last_seen))}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Share({ value }: { readonly value: number | null }) {
  const level = value === null || value < 0.8 ? "" : value < 0.95 ? "warn" : "bad";
  return (
    <td class={`n ${level}`}>
      <i class="track">
        <i class="bar" style={{ width: `${Math.min(100, (value ?? 0) * 100).toFixed(1)}%` }} />
      </i>
      <Aligned quantity={quantity(value, "ratio")} />
    </td>
  );
}

export function HostPage({ name }: { readonly name: string }) {
  const window = useWindow();
  const loaded = useLoad("hosts", `${window.from} ${window.to}`, (signal) => hosts(window, signal));
  const host = loaded.data?.hosts.find((row) => row.name === name);
  return (
    <>
      <div class="head">
        <p class="crumbs">
          <a href={href("/hosts")}>Hosts</a>
        </p>
        <h1>{name}</h1>
        {host && (
          <p class="verdict">
            {format(host.cpu_utilization, "ratio")} of its processor and {format(host.memory_utilization, "ratio")} of
            its memory in use.
          </p>
        )}
      </div>
      <Dashboard key={name} id="host" subject={name} />
    </>
  );
}
