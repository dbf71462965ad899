/** The frame of every panel: title, what it shows, and, where there is nothing to show, the reason in words. */
import type { ComponentChildren } from "preact";
import { useId, useState } from "preact/hooks";

import { type PanelJson, why } from "../api";
import { useLoad, useWindow } from "../live";
import { fill } from "../prom";
import { grid } from "../time";
import { Words } from "./words";

interface FrameProps {
  readonly panel: PanelJson;
  readonly error: string | undefined;
  readonly children: ComponentChildren;
  readonly side?: ComponentChildren;
}

/** Title, explanation behind a click, body. */
export function Frame({ panel, error, children, side }: FrameProps) {
  const [open, setOpen] = useState(false);
  const words = useId();
  return (
    <>
      <header>
        <h3>{panel.title}</h3>
        {side}
        <button
          type="button"
          class="about"
          aria-expanded={open}
          aria-controls={words}
          aria-label={`About ${panel.title}`}
          onClick={() => setOpen(!open)}
        >
          ?
        </button>
      </header>
      {open && (
        <div class="words" id={words}>
          <p>
            <Words text={panel.description} />
          </p>
          {panel.queries.map((query) => (
            <code key={query.expr}>{query.expr}</code>
          ))}
        </div>
      )}
      {error !== undefined && (
        <p class="failed" role="status">
          This could not be refreshed: {error}
        </p>
      )}
      {children}
    </>
  );
}

/** Why a panel has nothing to show: Weir's own answer, then what to send. */
export function Reason({ panel }: { readonly panel: PanelJson }) {
  const window = useWindow();
  const expr = panel.queries[0]?.expr ?? "";
  const asked = fill(expr, window, grid(window).step);
  const loaded = useLoad(expr, `${expr} ${Math.floor(window.to / 15)}`, (signal) =>
    expr === ""
      ? Promise.resolve({ reason: "zero_events", text: "Nothing in this range." })
      : why(asked, window, signal),
  );
  const text =
    loaded.data?.text ??
    (loaded.error === undefined ? "Asking why…" : "There is no data for this in the chosen range.");
  return (
    <div class="reason" role="status">
      <p>{text}</p>
      {showsSending(loaded.data?.reason) && (
        <p class="muted">
          <Words text={panel.empty} />
        </p>
      )}
    </div>
  );
}

/** What to send helps unless the data is there, only not now. */
function showsSending(reason: string | undefined): boolean {
  return reason !== "zero_events" && reason !== "older_than_retention" && reason !== "sender_silent";
}

/** Grey bars while the first answer is on its way. */
export function Loading({ height }: { readonly height: number }) {
  return (
    <div class="loading" style={{ height: `${height}px` }} aria-busy="true">
      <span class="hidden">Loading</span>
    </div>
  );
}
