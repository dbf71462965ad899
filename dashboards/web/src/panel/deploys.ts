/** When a version of the service answered for the first time in this range: the mark of a deployment on every chart. */
import { createContext } from "preact";
import { useContext } from "preact/hooks";

import { type Grid, rateInterval } from "../time";
import { queryRange, type Series } from "../prom";

export interface Deploy {
  readonly at: number;
  readonly version: string;
}

const Deploys = createContext<readonly Deploy[]>([]);
export const DeploysProvider = Deploys.Provider;

/** The deployments to mark on a chart. */
export function useDeploys(): readonly Deploy[] {
  return useContext(Deploys);
}

/** Asks when the versions of a service appeared. */
export async function loadDeploys(service: string, grid: Grid, signal: AbortSignal): Promise<Deploy[]> {
  const job = service.replaceAll("\\", "\\\\").replaceAll('"', '\\"');
  const red = `traces_span_metrics_duration_seconds{job="${job}",service_version!="",span_kind=~"SPAN_KIND_SERVER|SPAN_KIND_CONSUMER"}`;
  return appearances(
    await queryRange(`sum by (service_version) (histogram_count(rate(${red}[$__rate_interval])))`, grid, signal),
    grid,
  );
}

/**
 * First points of versions that were not there from the beginning. What begins within the first window of rates may be
 * older than the range, and what begins together with the whole service is no deployment of it.
 */
export function appearances(series: readonly Series[], grid: Grid): Deploy[] {
  const quiet = Math.ceil(rateInterval(grid.step) / grid.step);
  const firsts = series.map(({ labels, values }) => ({
    version: labels["service_version"] ?? "",
    first: values.findIndex((value) => value !== null && value > 0),
  }));
  const seen = firsts.filter(({ first }) => first >= 0);
  const begin = Math.min(...seen.map(({ first }) => first));
  return seen
    .filter(({ version, first }) => version !== "" && first > begin + quiet)
    .map(({ version, first }) => ({ version, at: grid.from + first * grid.step }));
}
