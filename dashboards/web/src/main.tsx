/**
 * Weir's page. The address says what is shown and when; `shell` stands above, `pages/` below; dashboards come from Weir
 * as data (`panel/` draws them), numbers from its Prometheus API, traces and reasons from `/api/weir/v1`.
 */
import "uplot/dist/uPlot.min.css";
import "./style.css";
import "./style-trace.css";

import { render } from "preact";
import { useEffect } from "preact/hooks";

import * as live from "./live";
import { ArrivalsPage } from "./pages/arrivals";
import { GraphPage } from "./pages/graph";
import { HostPage, HostsPage } from "./pages/hosts";
import { ServicePage } from "./pages/service";
import { ServicesPage } from "./pages/services";
import { TracePage } from "./pages/trace";
import { address, href, listen } from "./router";
import { Shell } from "./shell";
import { useCell } from "./store";
import * as theme from "./theme";

function Page() {
  const { path } = useCell(address);
  const [place = "", name = ""] = path
    .split("/")
    .filter((part) => part !== "")
    .map(decoded);
  useEffect(() => {
    document.title = name === "" ? title(place) : `${place === "traces" ? "Trace" : name} · Weir`;
  }, [place, name]);
  return (
    <>
      <Shell />
      <main id="main" tabIndex={-1}>
        {content(place, name)}
      </main>
    </>
  );
}

function content(place: string, name: string) {
  switch (place) {
    case "":
      return <ServicesPage />;
    case "services":
      return name === "" ? <ServicesPage /> : <ServicePage key={name} name={name} />;
    case "traces":
      return name === "" ? <NotFound /> : <TracePage key={name} id={name} />;
    case "hosts":
      return name === "" ? <HostsPage /> : <HostPage key={name} name={name} />;
    case "graph":
      return <GraphPage />;
    case "arrivals":
      return <ArrivalsPage />;
    default:
      return <NotFound />;
  }
}

function NotFound() {
  return (
    <div class="reason large">
      <h1>There is nothing here</h1>
      <p>
        Perhaps you look for <a href={href("/")}>the services</a> or <a href={href("/hosts")}>the hosts</a>.
      </p>
    </div>
  );
}

function title(place: string): string {
  const words: Readonly<Record<string, string>> = { hosts: "Hosts", graph: "Map", arrivals: "Arrivals" };
  return words[place] ? `${words[place]} · Weir` : "Weir";
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

theme.start();
live.start();
listen();
const root = document.getElementById("page");
if (root) {
  root.textContent = "";
  render(<Page />, root);
}
