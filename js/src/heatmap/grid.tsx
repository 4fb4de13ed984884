import "./grid.css";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { breakLines, directionsOf, gridMove, linesOfTokens, measureWith } from "../ui/lines";
import { indexOf, letDragSelect, readingKey } from "../ui/roving";
import { exactText, selectedSpan, textOf } from "../ui/spans";
import type { Heatmap } from "./heatmap";
import { LANE, type Painter } from "./painter";
import { HeatRow } from "./row";

const LINE = 27; // px, as in grid.css
const AHEAD = 8; // lines drawn outside the window
const EDGE = 30; // px at the sides, with the scroll bar

interface Props {
  heatmap: Heatmap;
  painter: Painter;
  /** A token to bring into sight: a new object for every wish. */
  wanted: { token: number } | null;
}

/** The text, of which only the lines in sight exist. */
export function HeatGrid({ heatmap, painter, wanted }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const [frame, setFrame] = useState({ width: 0, height: 432, fonts: 0 });
  const [top, setTop] = useState(0);
  const [stop, setStop] = useState(0);
  const focusNext = useRef(false);
  const drag = useRef<Drag | null>(null);
  const pointer = useRef("");
  const tokens = heatmap.shown.value;
  const striped = heatmap.traits.mixing.value === "stripes" && heatmap.lit.value.length > 1;
  const written = Boolean(tokens.at(-1)?.generated);
  const height = LINE + (striped ? heatmap.lit.value.length * LANE : 0);
  const lines = useMemo(
    () =>
      breakLines(
        tokens,
        (frame.width || 700) - EDGE,
        measureWith(scroller.current?.firstElementChild ?? null),
      ),
    [tokens, frame.width, frame.fonts],
  );
  const directions = useMemo(() => directionsOf(lines, tokens), [lines, tokens]);
  const lineOf = useMemo(() => linesOfTokens(lines, tokens.length), [lines, tokens]);
  const hovered = heatmap.traits.hovered.value;
  const current = Math.min(stop, Math.max(tokens.length - 1, 0));

  useLayoutEffect(() => watchFrame(scroller.current, setFrame), []);

  const reveal = (token: number) => {
    const box = scroller.current;
    const line = lineOf[token];
    if (!box || line === undefined) return;
    if (line * height < box.scrollTop) box.scrollTop = line * height;
    else if ((line + 1) * height > box.scrollTop + box.clientHeight - 12)
      box.scrollTop = (line + 1) * height - box.clientHeight + 12;
    setTop(box.scrollTop);
  };
  useLayoutEffect(() => {
    if (!focusNext.current) return;
    focusNext.current = false;
    const item = scroller.current?.querySelector<HTMLElement>(
      `[data-index="${current}"][data-start="0"]`,
    );
    if (!item) return;
    // A click that is quicker than `letDragSelect` finds no tab stop there.
    item.tabIndex = 0;
    item.focus({ preventScroll: true });
  });
  useLayoutEffect(() => {
    if (!wanted) return;
    reveal(wanted.token);
    setStop(wanted.token);
  }, [wanted]);

  const first = Math.max(0, Math.floor(top / height) - AHEAD);
  const last = Math.min(lines.length, Math.ceil((top + frame.height) / height) + AHEAD);
  const shown = Array.from({ length: Math.max(last - first, 0) }, (_, i) => first + i);
  const stopLine = lineOf[current];
  if (stopLine !== undefined && (stopLine < first || stopLine >= last)) shown.push(stopLine);

  const onKeyDown = (event: KeyboardEvent) => {
    const from = indexOf(event);
    if (from === null) return;
    const page = Math.max(1, Math.floor(frame.height / height) - 1);
    const move = { key: readingKey(event), ctrl: event.ctrlKey || event.metaKey };
    const target = gridMove(move, from, lines, lineOf, page);
    if (target !== null) {
      if (event.shiftKey) extend(heatmap, from, target);
      focusNext.current = true;
      setStop(target);
      reveal(target);
      heatmap.point(target);
    } else if (event.key === "Enter" || event.key === " ") heatmap.toggle(from);
    else if (event.key === "Escape") heatmap.select([]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const onClick = (event: MouseEvent) => {
    const token = indexOf(event);
    const box = scroller.current;
    if (token === null || !box) return;
    setStop(token);
    if (event.shiftKey) heatmap.select(between(current, token));
    else if (drag.current?.moved || selectedSpan(box)) return;
    else heatmap.toggle(token);
    focusNext.current = true;
  };

  // A drag selects text natively, and the span follows it token by token.
  const onPointerDown = (event: PointerEvent) => {
    const token = indexOf(event);
    const usable = event.button === 0 && event.pointerType !== "touch" && !event.shiftKey;
    drag.current = usable && token !== null ? { from: token, moved: false } : null;
  };
  const onPointerOver = (event: PointerEvent) => {
    // Text that scrolls under a resting pointer must not take the place of the focus.
    const place = `${event.clientX} ${event.clientY}`;
    if (pointer.current === place && event.clientX) return;
    pointer.current = place;
    const token = indexOf(event);
    heatmap.point(token);
    const held = drag.current;
    if (!held || token === null || !(event.buttons & 1)) return;
    if (token === held.from && !held.moved) return;
    held.moved = true;
    heatmap.select(between(held.from, token));
  };

  const onCopy = (event: ClipboardEvent) => {
    const span = scroller.current && selectedSpan(scroller.current);
    const chosen = heatmap.traits.selected.peek();
    if (!span && !chosen.length) return;
    const text = span ? exactText(tokens, span) : textOf(tokens, chosen);
    event.clipboardData?.setData("text/plain", text);
    event.preventDefault();
  };

  return (
    <div class="sw-heat-text" ref={scroller} onScroll={(e) => setTop(e.currentTarget.scrollTop)}>
      {/* biome-ignore lint/a11y/useSemanticElements: lines of running text are no table to lay out */}
      <div
        class={["sw-lines", striped ? "sw--striped" : "", written ? "sw--written" : ""].join(" ")}
        role="grid"
        aria-label="Token activations"
        aria-multiselectable="true"
        aria-rowcount={lines.length}
        style={{ height: `${lines.length * height}px`, "--lanes": heatmap.lit.value.length }}
        onPointerDown={onPointerDown}
        onPointerOver={onPointerOver}
        onPointerLeave={() => heatmap.point(null)}
        onFocusIn={(event) => heatmap.point(indexOf(event))}
        onFocusOut={() => heatmap.point(null)}
        onMouseDown={letDragSelect}
        onClick={onClick}
        onKeyDown={onKeyDown}
        onCopy={onCopy}
      >
        {shown.map((row) => {
          const line = lines[row] ?? [];
          const has = (token: number | null) => line.some((piece) => piece.token === token);
          return (
            <HeatRow
              key={row}
              index={row}
              line={line}
              direction={directions[row] ?? "ltr"}
              height={height}
              tokens={tokens}
              painter={painter}
              selected={heatmap.selected.value}
              active={has(hovered) ? hovered : null}
              stop={has(current) ? current : null}
            />
          );
        })}
      </div>
    </div>
  );
}

function between(a: number, b: number): number[] {
  const first = Math.min(a, b);
  return Array.from({ length: Math.abs(a - b) + 1 }, (_, i) => first + i);
}

/** With Shift held the selection grows by what the focus passes, or starts here. */
function extend(heatmap: Heatmap, from: number, to: number): void {
  const chosen = heatmap.selected.peek();
  heatmap.select([...(chosen.has(from) ? chosen : []), ...between(from, to)]);
}

interface Drag {
  from: number;
  moved: boolean;
}

type Frame = { width: number; height: number; fonts: number };

function watchFrame(
  box: HTMLElement | null,
  set: (change: (frame: Frame) => Frame) => void,
): (() => void) | undefined {
  if (!box) return undefined;
  const read = () => {
    const { clientWidth: width, clientHeight: height } = box;
    set((frame) =>
      frame.width === width && frame.height === (height || 432)
        ? frame
        : { ...frame, width, height: height || 432 },
    );
  };
  const watcher = new ResizeObserver(read);
  watcher.observe(box);
  read();
  let gone = false;
  document.fonts?.ready.then(() => {
    if (!gone) set((frame) => ({ ...frame, fonts: frame.fonts + 1 }));
  });
  return () => {
    gone = true;
    watcher.disconnect();
  };
}
