/** Who is in trouble, and which version is to blame, if any. Pure. */
import type { Health, ServiceRow } from "../api";

const ORDER: Readonly<Record<Health, number>> = { bad: 0, warn: 1, unknown: 2, ok: 3 };

/** Worst health first, then the most failed requests per second, then the busiest. */
export function byTrouble(a: ServiceRow, b: ServiceRow): number {
  const failed = (row: ServiceRow) => (row.rate ?? 0) * (row.error_ratio ?? 0);
  return (
    ORDER[a.health] - ORDER[b.health] ||
    failed(b) - failed(a) ||
    (b.rate ?? 0) - (a.rate ?? 0) ||
    a.service.localeCompare(b.service)
  );
}

export interface VersionErrors {
  readonly version: string;
  readonly rate: number;
  readonly ratio: number;
}

/** From this part of failed requests on, a version is worth naming. */
const RATIO_MIN = 0.01;
/** And only when it fails this many times more often than the best of the others. */
const TIMES_MIN = 3;

/** The version that clearly fails more than another one that does the same work at the same time. */
export function suspect(versions: readonly VersionErrors[]): { worse: VersionErrors; better: VersionErrors } | null {
  const busy = versions.filter((version) => version.rate > 0);
  const sorted = [...busy].sort((a, b) => b.ratio - a.ratio);
  const [worse, better] = [sorted[0], sorted[sorted.length - 1]];
  if (!worse || !better || worse === better) return null;
  return worse.ratio >= RATIO_MIN && worse.ratio >= TIMES_MIN * better.ratio ? { worse, better } : null;
}
