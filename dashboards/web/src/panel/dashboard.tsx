/** A dashboard as Weir rendered it: sections of panels, and at the bottom what is not shown and how to get it. */
import { useCallback, useEffect, useState } from "preact/hooks";

import { dashboard, type DashboardJson, type PanelJson } from "../api";
import { useGrid, useLoad } from "../live";
import { type Deploy, DeploysProvider, loadDeploys } from "./deploys";
import { Loading } from "./frame";
import { Panel } from "./panel";
import { Words } from "./words";

const NONE: readonly Deploy[] = [];

interface Props {
  readonly id: "service" | "host";
  readonly subject: string;
}

export function Dashboard({ id, subject }: Props) {
  const grid = useGrid();
  const deploys = useLoad(`deploys ${id} ${subject}`, `${subject} ${grid.from} ${grid.to}`, (signal) =>
    id === "service" ? loadDeploys(subject, grid, signal) : Promise.resolve([]),
  );
  const loaded = useLoad(`${id} ${subject}`, `${id} ${subject}`, (signal) => dashboard(id, subject, signal));
  const [empty, setEmpty] = useState<Readonly<Record<string, boolean>>>({});
  const onEmpty = useCallback((panel: string, is: boolean) => setEmpty((old) => ({ ...old, [panel]: is })), []);
  useEffect(() => {
    // The anchor of the address exists only now.
    if (loaded.data !== undefined && location.hash !== "")
      document.getElementById(location.hash.slice(1))?.scrollIntoView();
  }, [loaded.data === undefined]);
  if (loaded.data === undefined) {
    return loaded.error === undefined ? (
      <Loading height={400} />
    ) : (
      <p class="failed">The dashboard could not be loaded: {loaded.error}</p>
    );
  }
  return (
    <DeploysProvider value={deploys.data ?? NONE}>
      {loaded.data.sections.map((section) => {
        const shown = section.panels.filter((panel) => !panel.optional || empty[panel.id] === false).length;
        return (
          <section key={section.id} class="section" id={section.id} aria-label={section.title}>
            {shown > 1 && <h2>{section.title}</h2>}
            <div class="grid">
              {section.panels.map((panel) => (
                <Panel key={panel.id} panel={panel} subject={subject} onEmpty={onEmpty} />
              ))}
            </div>
          </section>
        );
      })}
      <NotShown panels={hidden(loaded.data, empty)} />
    </DeploysProvider>
  );
}

function hidden(shown: DashboardJson, empty: Readonly<Record<string, boolean>>): PanelJson[] {
  return shown.sections.flatMap((section) => section.panels).filter((panel) => empty[panel.id] === true);
}

function NotShown({ panels }: { readonly panels: readonly PanelJson[] }) {
  if (panels.length === 0) return null;
  return (
    <details class="not-shown">
      <summary>Not shown, because there is nothing to show: {panels.map((panel) => panel.title).join(", ")}</summary>
      <dl>
        {panels.map((panel) => (
          <div key={panel.id}>
            <dt>{panel.title}</dt>
            <dd>
              <Words text={panel.empty} />
            </dd>
          </div>
        ))}
      </dl>
    </details>
  );
}
