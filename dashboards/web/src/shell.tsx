/** What stands above every page: name, places, time range, live or paused, light or dark. */
import { useEffect, useRef, useState } from "preact/hooks";

import { now, paused, tick } from "./live";
import { address, href, range, setRange } from "./router";
import { useCell } from "./store";
import { theme, toggle } from "./theme";
import { absolute, isLive, parseTime, PRESETS, rangeWords, resolve, zoomOut } from "./time";

const PLACES = [
  ["/", "Services"],
  ["/hosts", "Hosts"],
  ["/graph", "Map"],
  ["/arrivals", "Arrivals"],
] as const;

export function Shell() {
  const { path } = useCell(address);
  useCell(range);
  const here = (place: string) =>
    place === "/" ? path === "/" || path.startsWith("/services") || path.startsWith("/traces") : path.startsWith(place);
  return (
    <header class="top">
      <a class="skip" href="#main">
        Skip to the content
      </a>
      <a class="brand" href={href("/")} aria-label="Weir, all services">
        <svg width="22" height="22" viewBox="0 0 32 32" aria-hidden="true">
          <rect width="32" height="32" rx="7" fill="var(--accent)" />
          <path
            d="M4 12c3 0 3 2.4 6 2.4S13 12 16 12s3 2.4 6 2.4 3-2.4 6-2.4"
            fill="none"
            stroke="var(--surface)"
            stroke-width="2.8"
            stroke-linecap="round"
          />
          <path d="M4 20.5h24" stroke="var(--surface)" stroke-width="2.8" stroke-linecap="round" opacity=".6" />
        </svg>
        Weir
      </a>
      <nav aria-label="Pages">
        {PLACES.map(([place, title]) => (
          <a key={place} href={href(place)} {...(here(place) ? { "aria-current": "page" as const } : {})}>
            {title}
          </a>
        ))}
      </nav>
      <div class="controls">
        <RangePicker />
        <Live />
        <ThemeButton />
      </div>
    </header>
  );
}

function RangePicker() {
  const current = useCell(range);
  useCell(tick);
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    const away = (event: Event) => {
      if (
        event instanceof KeyboardEvent
          ? event.key === "Escape"
          : !box.current?.contains(event.target as globalThis.Node)
      )
        setOpen(false);
    };
    addEventListener("pointerdown", away);
    addEventListener("keydown", away);
    return () => {
      removeEventListener("pointerdown", away);
      removeEventListener("keydown", away);
    };
  }, [open]);
  const choose = (from: string) => {
    setRange({ from, to: "now" });
    setOpen(false);
  };
  return (
    <div class="range" ref={box}>
      <button
        type="button"
        class="quiet"
        title="Twice as long"
        aria-label="Zoom out"
        onClick={() => setRange(zoomOut(resolve(current, now()), now()))}
      >
        <svg width="14" height="14" viewBox="0 0 16 16" aria-hidden="true">
          <circle cx="7" cy="7" r="5" fill="none" stroke="currentColor" stroke-width="1.5" />
          <path d="M4.5 7h5M11 11l4 4" stroke="currentColor" stroke-width="1.5" />
        </svg>
      </button>
      <button
        type="button"
        class="quiet current"
        aria-expanded={open}
        aria-haspopup="dialog"
        onClick={() => setOpen(!open)}
      >
        {rangeWords(current, now())}
      </button>
      {open && (
        <div class="menu" role="dialog" aria-label="Time range">
          <ul>
            {PRESETS.map((preset) => (
              <li key={preset.from}>
                <button
                  type="button"
                  aria-pressed={current.from === preset.from && current.to === "now"}
                  onClick={() => choose(preset.from)}
                >
                  Last {preset.words}
                </button>
              </li>
            ))}
          </ul>
          <Exact onDone={() => setOpen(false)} />
        </div>
      )}
    </div>
  );
}

/** Two fields for an exact range, in local time. */
function Exact({ onDone }: { readonly onDone: () => void }) {
  const window = resolve(range.value, now());
  const [from, setFrom] = useState(local(window.from));
  const [to, setTo] = useState(local(window.to));
  const [wrong, setWrong] = useState(false);
  const apply = (event: Event) => {
    event.preventDefault();
    const [a, b] = [parseTime(from, now()), parseTime(to, now())];
    if (a === null || b === null || b - a < 1) {
      setWrong(true);
      return;
    }
    setRange(absolute({ from: a, to: b }));
    onDone();
  };
  return (
    <form onSubmit={apply}>
      <label>
        From <input type="datetime-local" step="1" value={from} onInput={(e) => setFrom(e.currentTarget.value)} />
      </label>
      <label>
        To <input type="datetime-local" step="1" value={to} onInput={(e) => setTo(e.currentTarget.value)} />
      </label>
      {wrong && (
        <p class="bad" role="alert">
          The end must come after the beginning.
        </p>
      )}
      <button type="submit">Show this range</button>
    </form>
  );
}

function local(at: number): string {
  const date = new Date(at * 1000);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

function Live() {
  const current = useCell(range);
  const stopped = useCell(paused);
  if (!isLive(current)) {
    return (
      <button type="button" class="quiet" onClick={() => setRange({ from: "now-15m", to: "now" })}>
        Back to now
      </button>
    );
  }
  return (
    <button
      type="button"
      class={stopped ? "quiet live stopped" : "quiet live"}
      aria-pressed={!stopped}
      title={stopped ? "Go on refreshing" : "Stop refreshing"}
      onClick={() => paused.set(!stopped)}
    >
      <i />
      {stopped ? "Paused" : "Live"}
    </button>
  );
}

function ThemeButton() {
  const current = useCell(theme);
  const words = { system: "as the system", light: "light", dark: "dark" }[current];
  return (
    <button
      type="button"
      class="quiet icon"
      title={`Colours: ${words}`}
      aria-label={`Colours: ${words}. Change.`}
      onClick={toggle}
    >
      <svg width="15" height="15" viewBox="0 0 16 16" aria-hidden="true">
        <circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" stroke-width="1.5" />
        <path
          d={
            current === "light" ? "" : current === "dark" ? "M8 2a6 6 0 0 1 0 12A6 6 0 0 1 8 2" : "M8 2a6 6 0 0 1 0 12Z"
          }
          fill="currentColor"
        />
      </svg>
    </button>
  );
}
