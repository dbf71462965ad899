/**
 * The waterfall: one row per span, only those in sight drawn. Left the tree, right the time. Keys: up and down move,
 * left and right fold, Enter opens the span, e goes to the next error, Escape closes.
 */
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";

import { count, nanoseconds } from "../units";
import { type Node, type Stretch, ticks, type Tree, visible } from "./layout";

const ROW = 28;
/** Rows drawn beyond the edge, so that scrolling shows no gap. */
const OVERSCAN = 12;
const INDENT = 14;
/** Deeper than this, the tree stops moving right: names must stay readable. */
const INDENT_MAX = 12;
/** Stretches of the critical path below this part of the view are specks, not hints. */
const CRITICAL_MIN = 0.004;

interface Props {
  readonly tree: Tree;
  readonly view: Stretch;
  readonly dimmed: string | null;
  readonly selected: string | null;
  readonly onSelect: (id: string | null) => void;
}

export function Waterfall({ tree, view, dimmed, selected, onSelect }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const [collapsed, setCollapsed] = useState<ReadonlySet<string>>(new Set());
  const [focused, setFocused] = useState<string | null>(selected);
  const rows = useMemo(() => visible(tree, collapsed), [tree, collapsed]);
  const { first, last, height } = useRowsInSight(scroller, rows.length);
  const cursor = Math.max(
    0,
    rows.findIndex((node) => node.span.span_id === (focused ?? selected)),
  );

  useEffect(() => setFocused(selected), [selected]);
  useEffect(() => {
    // A linked span is brought into sight once its trace is there.
    if (selected === null) return;
    const at = rows.findIndex((node) => node.span.span_id === selected);
    if (at >= 0) reveal(scroller.current, at);
  }, [selected, tree]);

  const fold = (node: Node, shut: boolean) => {
    if (node.children.length === 0) return;
    const next = new Set(collapsed);
    if (shut) next.add(node.span.span_id);
    else next.delete(node.span.span_id);
    setCollapsed(next);
  };
  const move = (to: number) => {
    const at = Math.min(rows.length - 1, Math.max(0, to));
    const id = rows[at]?.span.span_id ?? null;
    setFocused(id);
    if (selected !== null) onSelect(id);
    reveal(scroller.current, at);
  };
  const onKey = (event: KeyboardEvent) => {
    const node = rows[cursor];
    if (!node || event.metaKey || event.ctrlKey || event.altKey) return;
    const acts: Readonly<Record<string, () => void>> = {
      ArrowDown: () => move(cursor + 1),
      j: () => move(cursor + 1),
      ArrowUp: () => move(cursor - 1),
      k: () => move(cursor - 1),
      PageDown: () => move(cursor + 15),
      PageUp: () => move(cursor - 15),
      Home: () => move(0),
      End: () => move(rows.length - 1),
      ArrowLeft: () => {
        const foldable = node.children.length > 0 && !collapsed.has(node.span.span_id);
        if (foldable) fold(node, true);
        else if (node.parent) move(rows.indexOf(node.parent));
      },
      ArrowRight: () => (collapsed.has(node.span.span_id) ? fold(node, false) : move(cursor + 1)),
      Enter: () => onSelect(selected === node.span.span_id ? null : node.span.span_id),
      Escape: () => onSelect(null),
      e: () => {
        const next = [...rows.slice(cursor + 1), ...rows.slice(0, cursor + 1)].find((row) => row.failed);
        if (next) move(rows.indexOf(next));
      },
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  };

  return (
    <div class="waterfall">
      <div class="axis" aria-hidden="true">
        <span class="names">Span</span>
        <span class="times">
          {ticks(view.from, view.to, 5).map((at) => (
            <i key={at} style={{ left: percent(at, view) }}>
              {nanoseconds(at)}
            </i>
          ))}
        </span>
      </div>
      <div
        class="rows"
        ref={scroller}
        tabIndex={0}
        role="tree"
        aria-label="Spans"
        aria-activedescendant={`row-${rows[cursor]?.span.span_id ?? ""}`}
        onKeyDown={onKey}
      >
        <div style={{ height: `${rows.length * ROW}px` }}>
          <div style={{ transform: `translateY(${first * ROW}px)` }}>
            {rows.slice(first, last).map((node) => (
              <RowView
                key={node.span.span_id}
                node={node}
                view={view}
                dim={dimmed !== null && node.span.service !== dimmed}
                shut={collapsed.has(node.span.span_id)}
                selected={node.span.span_id === selected}
                focused={node.span.span_id === rows[cursor]?.span.span_id}
                onOpen={() => onSelect(node.span.span_id === selected ? null : node.span.span_id)}
                onFold={() => fold(node, !collapsed.has(node.span.span_id))}
              />
            ))}
          </div>
        </div>
      </div>
      <p class="keys muted" aria-hidden="true">
        <kbd>↑</kbd> <kbd>↓</kbd> move <kbd>←</kbd> <kbd>→</kbd> fold <kbd>Enter</kbd> details <kbd>e</kbd> next error{" "}
        <kbd>Esc</kbd> close
        <span class="what">
          <i /> under a bar: on the critical path
        </span>
        {height > 0 && rows.length < tree.nodes.length && (
          <span>{count(tree.nodes.length - rows.length, "span")} folded away</span>
        )}
      </p>
    </div>
  );
}

interface RowProps {
  readonly node: Node;
  readonly view: Stretch;
  readonly dim: boolean;
  readonly shut: boolean;
  readonly selected: boolean;
  readonly focused: boolean;
  readonly onOpen: () => void;
  readonly onFold: () => void;
}

function RowView({ node, view, dim, shut, selected, focused, onOpen, onFold }: RowProps) {
  const { span } = node;
  const left = ((node.start - view.from) / (view.to - view.from)) * 100;
  const width = ((node.end - node.start) / (view.to - view.from)) * 100;
  const room = left + width < 84 ? "after" : left > 16 ? "before" : "inside";
  const label = {
    after: { left: `calc(${Math.max(0, left + width)}% + 6px)` },
    before: { right: `calc(${Math.max(0, 100 - left)}% + 6px)` },
    inside: { right: `calc(${Math.max(0, 100 - left - width)}% + 7px)` },
  }[room];
  const hidden = shut && node.failedBelow > 0;
  return (
    <div
      id={`row-${span.span_id}`}
      class={`row${selected ? " selected" : ""}${focused ? " focused" : ""}${dim ? " dim" : ""}`}
      role="treeitem"
      aria-level={node.depth + 1}
      aria-selected={selected}
      {...(node.children.length > 0 ? { "aria-expanded": !shut } : {})}
      onClick={onOpen}
    >
      <span class="names" style={{ paddingLeft: `${Math.min(node.depth, INDENT_MAX) * INDENT + 4}px` }}>
        {node.children.length > 0 ? (
          <button
            type="button"
            tabIndex={-1}
            class="fold"
            aria-label={shut ? "Unfold" : "Fold"}
            onClick={(e) => {
              e.stopPropagation();
              onFold();
            }}
          >
            {shut ? `+${node.below}` : "–"}
          </button>
        ) : (
          <span class="fold" />
        )}
        <i class="chip" style={{ background: `var(--${node.tint})` }} />
        {node.orphan && (
          <span
            class="orphan"
            title={`Its parent ${span.parent_span_id ?? ""} is missing: sampled away, late, or not instrumented`}
          >
            ⤴
          </span>
        )}
        {(node.failed || hidden) && (
          <span
            class="mark"
            title={node.failed ? "This span failed" : `${count(node.failedBelow, "failed span")} below`}
          >
            !
          </span>
        )}
        <span class="name" title={`${span.service} ${span.name}`}>
          <b>{span.service}</b> {span.name}
        </span>
      </span>
      <span class="times">
        <i
          class={node.failed ? "span failed" : "span"}
          style={{ left: `${left}%`, width: `max(2px, ${width}%)`, "--tint": `var(--${node.tint})` }}
        />
        {node.critical
          .filter((stretch) => stretch.to - stretch.from > (view.to - view.from) * CRITICAL_MIN)
          .map((stretch) => (
            <i
              key={stretch.from}
              class="critical"
              style={{
                left: percent(stretch.from, view),
                width: `max(1px, ${((stretch.to - stretch.from) / (view.to - view.from)) * 100}%)`,
              }}
            />
          ))}
        <em class={room} style={label}>
          {nanoseconds(node.end - node.start)}
        </em>
      </span>
    </div>
  );
}

function percent(at: number, view: Stretch): string {
  return `${((at - view.from) / (view.to - view.from)) * 100}%`;
}

function reveal(scroller: HTMLDivElement | null, row: number): void {
  if (!scroller) return;
  const top = row * ROW;
  if (top < scroller.scrollTop) scroller.scrollTop = top;
  else if (top + ROW > scroller.scrollTop + scroller.clientHeight)
    scroller.scrollTop = top + ROW - scroller.clientHeight + ROW;
}

/** The rows that the scroller shows, and its height. */
function useRowsInSight(ref: { readonly current: HTMLDivElement | null }, rows: number) {
  const [place, setPlace] = useState({ top: 0, height: 0 });
  useLayoutEffect(() => {
    const element = ref.current;
    if (!element) return;
    const read = () => setPlace({ top: element.scrollTop, height: element.clientHeight });
    read();
    element.addEventListener("scroll", read, { passive: true });
    const observer = new ResizeObserver(read);
    observer.observe(element);
    return () => {
      element.removeEventListener("scroll", read);
      observer.disconnect();
    };
  }, []);
  const first = Math.max(0, Math.floor(place.top / ROW) - OVERSCAN);
  return { first, last: Math.min(rows, Math.ceil((place.top + place.height) / ROW) + OVERSCAN), height: place.height };
}
