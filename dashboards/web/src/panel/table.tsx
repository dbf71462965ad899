/** A table panel: rows by label, a column per query, sorted by trouble until the reader chooses. */
import { useMemo, useState } from "preact/hooks";

import type { PanelJson } from "../api";
import { serviceHref } from "../router";
import { type Quantity, quantity } from "../units";
import { byTrouble, type Row } from "./rows";

const TITLES: Readonly<Record<string, string>> = {
  span_name: "Operation",
  service_version: "Version",
  http_response_status_code: "HTTP status",
  rpc_grpc_status_code: "gRPC status",
  client: "Caller",
  server: "Callee",
  connection_type: "Kind",
  system_filesystem_mountpoint: "Mounted at",
  system_device: "Device",
};

/** Columns that a narrow screen does without. */
const LESS: readonly string[] = ["p50", "Busy", "Size"];

/** Rows shown before the reader asks for all. */
const ROWS_FEW = 12;

export function Table({ panel, rows }: { readonly panel: PanelJson; readonly rows: readonly Row[] }) {
  const [sort, setSort] = useState<{ column: number; down: boolean } | null>(null);
  const [all, setAll] = useState(false);
  const hidden: readonly string[] = panel.by.filter((label) => label === "connection_type");
  const labels = panel.by.filter((label) => !hidden.includes(label));
  const sorted = useMemo(() => {
    const copy = [...rows];
    if (sort === null) return copy.sort((a, b) => byTrouble(panel, a, b));
    const value = (row: Row) => row.values[sort.column] ?? -Infinity;
    return copy.sort((a, b) => (sort.down ? value(b) - value(a) : value(a) - value(b)));
  }, [rows, sort, panel]);
  const tops = panel.queries.map((_, i) => Math.max(0, ...rows.map((row) => row.values[i] ?? 0)));
  const shown = all ? sorted : sorted.slice(0, ROWS_FEW);
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            {labels.map((label) => (
              <th key={label} scope="col">
                {TITLES[label] ?? label}
              </th>
            ))}
            {panel.queries.map((query, i) => (
              <th
                key={query.legend}
                scope="col"
                class={LESS.includes(query.legend) ? "n wide" : "n"}
                aria-sort={sort?.column === i ? (sort.down ? "descending" : "ascending") : "none"}
              >
                <button
                  type="button"
                  onClick={() => setSort({ column: i, down: sort?.column === i ? !sort.down : true })}
                >
                  {query.legend}
                  <span class="arrow">{sort?.column === i ? (sort.down ? "↓" : "↑") : ""}</span>
                </button>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {shown.map((row) => (
            <tr key={row.key}>
              {labels.map((label, i) => (
                <td key={label} class="what">
                  <Subject panel={panel} row={row} label={label} />
                  {i === 0 &&
                    hidden.map(
                      (name) =>
                        row.labels[name] && (
                          <span key={name} class="tag">
                            {kindWords(row.labels[name])}
                          </span>
                        ),
                    )}
                </td>
              ))}
              {panel.queries.map((query, i) => (
                <Cell key={query.legend} panel={panel} index={i} value={row.values[i] ?? null} top={tops[i] ?? 0} />
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {sorted.length > ROWS_FEW && (
        <button type="button" class="more" onClick={() => setAll(!all)}>
          {all ? "Show fewer" : `Show all ${sorted.length}`}
        </button>
      )}
    </div>
  );
}

function Subject({ panel, row, label }: { readonly panel: PanelJson; readonly row: Row; readonly label: string }) {
  const name = row.labels[label] ?? "";
  const kind = row.labels["connection_type"] ?? "";
  const isService =
    panel.kind === "dependencies" &&
    name !== "user" &&
    (kind === "" || kind === "unset" || kind === "messaging_system");
  if (isService) return <a href={serviceHref(name)}>{name}</a>;
  return <span title={name}>{name === "" ? <span class="muted">–</span> : name}</span>;
}

function kindWords(kind: string | undefined): string {
  switch (kind) {
    case "database":
      return "database";
    case "messaging_system":
      return "queue";
    case "virtual_node":
      return "uninstrumented";
    default:
      return kind ?? "";
  }
}

interface CellProps {
  readonly panel: PanelJson;
  readonly index: number;
  readonly value: number | null;
  readonly top: number;
}

function Cell({ panel, index, value, top }: CellProps) {
  const query = panel.queries[index];
  const unit = query?.unit ?? panel.unit;
  const level = unit === "ratio" ? levelOf(panel, value) : "";
  // Bars only where length is a quantity of the same kind in every row.
  const bar =
    top > 0 &&
    value !== null &&
    (unit === "requests_per_second" || query?.legend === "Busy" || query?.legend === "Used");
  const share = bar ? Math.max(0, Math.min(1, (value ?? 0) / (unit === "ratio" ? 1 : top))) : 0;
  return (
    <td class={`n ${level}${LESS.includes(query?.legend ?? "") ? " wide" : ""}`}>
      {bar && (
        <i class="track">
          <i class="bar" style={{ width: `${(share * 100).toFixed(1)}%` }} />
        </i>
      )}
      <Number quantity={quantity(value, unit)} />
    </td>
  );
}

/** A number with its unit muted beside it, aligned in its column. */
export function Number({ quantity: { number, unit } }: { readonly quantity: Quantity }) {
  return (
    <span class={number === "0" || number === "–" ? "q zero" : "q"}>
      {number}
      {unit !== "" && <small>{unit}</small>}
    </span>
  );
}

/** The highest threshold that a value has crossed. */
export function levelOf(panel: Pick<PanelJson, "thresholds">, value: number | null): "" | "warn" | "bad" {
  if (value === null) return "";
  return panel.thresholds.reduce<"" | "warn" | "bad">((level, t) => (value >= t.value ? t.level : level), "");
}
