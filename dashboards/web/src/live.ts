/** The page's clock: ticks while the range is live, the page is in front and nobody paused it. Every tick, charts ask again. */
import { useEffect, useState } from "preact/hooks";

import { range } from "./router";
import { Cell, useCell } from "./store";
import { grid, type Grid, isLive, refreshInterval, resolve, type Window } from "./time";

export const paused = new Cell(false);
/** Unix seconds of the last tick. */
export const tick = new Cell(now());

export function now(): number {
  return Date.now() / 1000;
}

let timer = 0;

function schedule(): void {
  clearTimeout(timer);
  const seconds = refreshInterval(resolve(range.value, now()));
  timer = window.setTimeout(() => {
    if (isLive(range.value) && !paused.value && !document.hidden) tick.set(now());
    schedule();
  }, seconds * 1000);
}

/** Starts the clock. */
export function start(): void {
  range.subscribe(() => {
    tick.set(now());
    schedule();
  });
  paused.subscribe((stopped) => {
    if (!stopped) tick.set(now());
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && isLive(range.value) && !paused.value) tick.set(now());
  });
  schedule();
}

/** The window of the page's range as of the last tick. */
export function useWindow(): Window {
  const current = useCell(range);
  const at = useCell(tick);
  return resolve(current, at);
}

/** The grid of the page's charts as of the last tick. */
export function useGrid(): Grid {
  return grid(useWindow());
}

/** What was loaded, and what went wrong last; old data stays while new data is on its way. */
export interface Loaded<T> {
  readonly data: T | undefined;
  readonly error: string | undefined;
}

/**
 * Loads again whenever `key` changes. While `subject` (what is shown, not when) stays, the old data stays too; a failed
 * refresh keeps it and says so beside it.
 */
export function useLoad<T>(subject: string, key: string, load: (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const [state, setState] = useState<Loaded<T> & { subject: string }>({ subject, data: undefined, error: undefined });
  useEffect(() => {
    const abort = new AbortController();
    load(abort.signal).then(
      (data) => {
        if (!abort.signal.aborted) setState({ subject, data, error: undefined });
      },
      (error: unknown) => {
        if (abort.signal.aborted) return;
        const words = error instanceof Error ? error.message : String(error);
        setState((old) => ({ subject, data: old.subject === subject ? old.data : undefined, error: words }));
      },
    );
    return () => abort.abort();
    // The key says everything that `load` closes over.
  }, [subject, key]);
  return state.subject === subject ? state : { data: undefined, error: undefined };
}
