import "./cell_grid.css";
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { cellMove, type Place, type Window, windowOf } from "./cells";

const ROW = 33; // px
const HEAD = 42; // the two lines of column names
const LINE = 25; // a line of the foot
const SIDE = 80; // the names of the rows
const NARROW = 58;
const WIDE = 150;
const MOST_ROWS = 16; // in sight at once
const AHEAD = 3; // rows and columns drawn outside the window

/** Where what is drawn stands, in px, and which columns are in sight. */
export interface Frame extends Window {
  left: number;
  width: number;
  height: number;
}

/** Where a row stands, and its one cell that the Tab key reaches; −1 where that is in another row. */
export interface RowFrame extends Frame {
  row: number;
  top: number;
  stop: number;
}

interface Props {
  name: string;
  rows: number;
  columns: number;
  /** Lines below the rows. */
  lines?: number;
  /** Where one begins. */
  pinned: Place | null;
  onPoint(place: Place | null): void;
  /** `extend` where Shift was held. */
  onPin(place: Place | null, extend: boolean): void;
  heads(frame: Frame): ComponentChildren;
  row(frame: RowFrame): ComponentChildren;
  foot?(frame: Frame): ComponentChildren;
}

interface View {
  width: number;
  height: number;
  left: number;
  top: number;
}

/** Named rows × named columns, of which only the cells in sight exist; one of them is reached by Tab, keys do the rest. */
export function CellGrid(props: Props) {
  const { name, rows, columns, lines = 0, pinned, onPoint, onPin } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const [view, setView] = useState<View>({ width: 0, height: 0, left: 0, top: 0 });
  const [stop, setStop] = useState<Place | null>(null);
  const focusNext = useRef(false);
  const height = HEAD + rows * ROW + lines * LINE;
  const width = widthOf(view.width, columns);
  const at = bounded(stop ?? pinned ?? { row: 0, column: columns - 1 }, rows, columns);

  const reveal = ({ row, column }: Place) => {
    const box = scroller.current;
    if (!box) return;
    const across = box.clientWidth - SIDE - width;
    const down = box.clientHeight - HEAD - lines * LINE - ROW;
    box.scrollLeft = into(box.scrollLeft, column * width, across);
    box.scrollTop = into(box.scrollTop, row * ROW, down);
  };

  useLayoutEffect(() => {
    if (pinned) reveal(pinned);
    return watchView(scroller.current, setView);
  }, []);
  useLayoutEffect(() => {
    if (!focusNext.current) return;
    focusNext.current = false;
    scroller.current
      ?.querySelector<HTMLElement>(`[data-row="${at.row}"][data-column="${at.column}"]`)
      ?.focus({ preventScroll: true });
  });

  const seen = windowOf(view.left, view.width - SIDE, width, columns, AHEAD);
  const shown = windowOf(view.top, view.height - HEAD - lines * LINE, ROW, rows, AHEAD);
  const drawn = Array.from({ length: shown.last - shown.first }, (_, i) => shown.first + i);
  if (rows && (at.row < shown.first || at.row >= shown.last)) drawn.push(at.row);

  const onKeyDown = (event: KeyboardEvent) => {
    const from = placeUnder(event);
    if (!from) return;
    const page = Math.max(1, Math.floor((view.height - HEAD) / ROW) - 2);
    const room = { rows, columns, page };
    const target = cellMove(event.key, event.ctrlKey || event.metaKey, from, room);
    if (target) {
      focusNext.current = true;
      setStop(target);
      reveal(target);
      onPoint(target);
    } else if (event.key === "Enter" || event.key === " ") onPin(from, event.shiftKey);
    else if (event.key === "Escape") onPin(null, false);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const point = (event: Event) => onPoint(placeUnder(event));
  const onClick = (event: MouseEvent) => {
    const place = placeUnder(event);
    if (!place) return;
    onPin(place, event.shiftKey);
    setStop(place);
  };

  return (
    <div
      class="sw-cells"
      ref={scroller}
      style={{ maxHeight: `${HEAD + MOST_ROWS * ROW + 2 * LINE + 14}px` }}
      onScroll={(event) => setView(readView(event.currentTarget))}
    >
      {/* biome-ignore lint/a11y/useSemanticElements: most of the grid does not exist at any time */}
      <div
        class="sw--inner"
        role="grid"
        aria-label={name}
        aria-rowcount={rows + 1 + lines}
        aria-colcount={columns + 1}
        style={{ width: `${SIDE + columns * width}px`, height: `${height}px` }}
        onPointerOver={point}
        onPointerLeave={() => onPoint(null)}
        onFocusIn={point}
        onFocusOut={() => onPoint(null)}
        onMouseDown={(event) => event.shiftKey && event.preventDefault()} // it would select text
        onClick={onClick}
        onKeyDown={onKeyDown}
      >
        {props.heads({ ...seen, left: SIDE, width, height: HEAD })}
        {drawn.map((row) =>
          props.row({
            ...seen,
            left: SIDE,
            width,
            height: ROW,
            row,
            top: HEAD + row * ROW,
            stop: at.row === row ? at.column : -1,
          }),
        )}
        {props.foot?.({ ...seen, left: SIDE, width, height: LINE })}
      </div>
    </div>
  );
}

function widthOf(available: number, columns: number): number {
  const even = Math.floor((available - SIDE - 1) / Math.max(columns, 1));
  return Math.min(Math.max(even, NARROW), WIDE);
}

function bounded({ row, column }: Place, rows: number, columns: number): Place {
  const within = (value: number, count: number) => Math.max(0, Math.min(value, count - 1));
  return { row: within(row, rows), column: within(column, columns) };
}

function placeUnder(event: Event): Place | null {
  const cell = (event.target as Element | null)?.closest?.<HTMLElement>("[data-row]");
  return cell ? { row: Number(cell.dataset.row), column: Number(cell.dataset.column) } : null;
}

/** The scroll that brings an item into a window of `extent` beside it. */
function into(scroll: number, start: number, extent: number): number {
  return Math.max(Math.min(scroll, start), start - extent);
}

function readView({ clientWidth, clientHeight, scrollLeft, scrollTop }: HTMLElement): View {
  return { width: clientWidth, height: clientHeight || 600, left: scrollLeft, top: scrollTop };
}

function watchView(box: HTMLElement | null, set: (view: View) => void): (() => void) | undefined {
  if (!box) return undefined;
  const watcher = new ResizeObserver(() => set(readView(box)));
  watcher.observe(box);
  set(readView(box));
  return () => watcher.disconnect();
}
