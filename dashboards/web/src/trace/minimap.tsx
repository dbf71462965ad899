/** The whole trace in 56 pixels: drag over it to look closer, double-click to see all again. */
import { useEffect, useRef } from "preact/hooks";

import { useWidth } from "../chart/size";
import { useCell } from "../store";
import { color, faded, palette } from "../theme";
import type { Stretch, Tree } from "./layout";

const HEIGHT = 56;

interface Props {
  readonly tree: Tree;
  readonly view: Stretch;
  readonly onView: (view: Stretch) => void;
}

export function Minimap({ tree, view, onView }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const dragged = useRef<{ from: number; shade: HTMLElement | null } | null>(null);
  const shade = useRef<HTMLElement>(null);
  const width = useWidth(host);
  const colors = useCell(palette);
  useEffect(() => {
    const ctx = canvas.current?.getContext("2d");
    if (ctx && width > 0) paint(ctx, tree, width);
  }, [tree, width, colors]);

  const at = (event: PointerEvent) => {
    const box = host.current?.getBoundingClientRect();
    return box ? Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) : 0;
  };
  const down = (event: PointerEvent) => {
    host.current?.setPointerCapture(event.pointerId);
    dragged.current = { from: at(event), shade: shade.current };
  };
  const moved = (event: PointerEvent) => {
    if (!dragged.current || !shade.current) return;
    const [a, b] = [dragged.current.from, at(event)];
    shade.current.style.left = `${Math.min(a, b) * 100}%`;
    shade.current.style.width = `${Math.abs(b - a) * 100}%`;
  };
  const up = (event: PointerEvent) => {
    const start = dragged.current?.from;
    dragged.current = null;
    if (shade.current) shade.current.style.width = "0";
    if (start === undefined) return;
    const end = at(event);
    if (Math.abs(end - start) * width < 6) return;
    onView({ from: Math.min(start, end) * tree.duration, to: Math.max(start, end) * tree.duration });
  };
  const [left, right] = [view.from / tree.duration, 1 - view.to / tree.duration];
  return (
    <div
      class="minimap"
      ref={host}
      onPointerDown={down}
      onPointerMove={moved}
      onPointerUp={up}
      onDblClick={() => onView({ from: 0, to: tree.duration })}
      title="Drag to look closer, double-click to see all"
    >
      <canvas ref={canvas} style={{ width: `${width}px`, height: `${HEIGHT}px` }} aria-hidden="true" />
      <i class="outside" style={{ left: 0, width: `${left * 100}%` }} />
      <i class="outside" style={{ right: 0, width: `${right * 100}%` }} />
      <i class="drag" ref={shade} />
    </div>
  );
}

function paint(ctx: CanvasRenderingContext2D, tree: Tree, width: number): void {
  const scale = devicePixelRatio;
  ctx.canvas.width = width * scale;
  ctx.canvas.height = HEIGHT * scale;
  ctx.scale(scale, scale);
  const row = Math.min(4, (HEIGHT - 8) / tree.nodes.length);
  tree.nodes.forEach((node, i) => {
    const x = (node.start / tree.duration) * width;
    const w = Math.max(1, ((node.end - node.start) / tree.duration) * width);
    ctx.fillStyle = node.failed ? color("bad") : faded(node.tint, 0.75);
    ctx.fillRect(x, 4 + i * row, w, Math.max(0.5, row - (row > 2 ? 1 : 0)));
  });
}
