import "./grid.css";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { LensHeads } from "./heads";
import type { Cell, Lens } from "./lens";
import type { LensPainter } from "./painter";
import { LensRow } from "./row";
import { cellMove, type Place, rowAtOrAbove, windowOf } from "./rows";
import { LensSums } from "./sums";

const ROW = 33; // px
const HEAD = 42; // the two lines of column names
const SUM = 25; // a line of the summary
const SIDE = 80; // the names of the rows
const NARROW = 58;
const WIDE = 150;
const MOST_ROWS = 16; // in sight at once
const AHEAD = 3; // rows and columns drawn outside the window

interface View {
  width: number;
  height: number;
  left: number;
  top: number;
}

/** Blocks × tokens, of which only the cells in sight exist. */
export function LensGrid({ lens, painter }: { lens: Lens; painter: LensPainter }) {
  const scroller = useRef<HTMLDivElement>(null);
  const [view, setView] = useState<View>({ width: 0, height: 0, left: 0, top: 0 });
  const [stop, setStop] = useState<Place | null>(null);
  const focusNext = useRef(false);
  const rows = lens.rows.value;
  const run = lens.run.value;
  const columns = run?.positions ?? 0;
  const sums = lens.chosen.value.id === null ? 1 : 2;
  const height = HEAD + rows.length * ROW + sums * SUM;
  const width = widthOf(view.width, columns);
  const pinned = placeOf(rows, lens.pinned.value);
  const active = placeOf(rows, lens.hovered.value);
  const at = bounded(stop ?? pinned ?? { row: 0, column: columns - 1 }, rows.length, columns);

  const cellAt = ({ row, column }: Place): Cell => ({
    layer: rows[row] as number,
    position: column,
  });
  const reveal = ({ row, column }: Place) => {
    const box = scroller.current;
    if (!box) return;
    const across = box.clientWidth - SIDE - width;
    const down = box.clientHeight - HEAD - sums * SUM - ROW;
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
  const shown = windowOf(view.top, view.height - HEAD - sums * SUM, ROW, rows.length, AHEAD);
  const drawn = Array.from({ length: shown.last - shown.first }, (_, i) => shown.first + i);
  if (rows.length && (at.row < shown.first || at.row >= shown.last)) drawn.push(at.row);

  const onKeyDown = (event: KeyboardEvent) => {
    const from = placeUnder(event);
    if (!from) return;
    const page = Math.max(1, Math.floor((view.height - HEAD) / ROW) - 2);
    const target = cellMove(event.key, event.ctrlKey || event.metaKey, from, {
      rows: rows.length,
      columns,
      page,
    });
    if (target) {
      focusNext.current = true;
      setStop(target);
      reveal(target);
      lens.point(cellAt(target));
    } else if (event.key === "Enter" || event.key === " ") lens.pin(cellAt(from));
    else if (event.key === "Escape") lens.pin(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const point = (event: Event) => {
    const place = placeUnder(event);
    lens.point(place && cellAt(place));
  };
  const onClick = (event: MouseEvent) => {
    const place = placeUnder(event);
    if (!place) return;
    lens.pin(cellAt(place));
    setStop(place);
  };

  return (
    <div
      class="sw-lens-grid"
      ref={scroller}
      style={{ maxHeight: `${HEAD + MOST_ROWS * ROW + 2 * SUM + 14}px` }}
      onScroll={(event) => setView(readView(event.currentTarget))}
    >
      {/* biome-ignore lint/a11y/useSemanticElements: most of the grid does not exist at any time */}
      <div
        class="sw--inner"
        role="grid"
        aria-label="Logit lens"
        aria-rowcount={rows.length + 1 + sums}
        aria-colcount={columns + 1}
        style={{ width: `${SIDE + columns * width}px`, height: `${height}px` }}
        onPointerOver={point}
        onPointerLeave={() => lens.point(null)}
        onFocusIn={point}
        onFocusOut={() => lens.point(null)}
        onClick={onClick}
        onKeyDown={onKeyDown}
      >
        <LensHeads lens={lens} left={SIDE} width={width} height={HEAD} {...seen} />
        {drawn.map((row) => {
          const block = run?.layers[rows[row] as number] as number;
          return (
            <LensRow
              key={block}
              row={row}
              block={block}
              steered={lens.steeredLayers.value.includes(block)}
              top={HEAD + row * ROW}
              height={ROW}
              width={width}
              left={SIDE}
              {...seen}
              painter={painter}
              active={active?.row === row ? active.column : -1}
              pinned={pinned?.row === row ? pinned.column : -1}
              stop={at.row === row ? at.column : -1}
            />
          );
        })}
        <LensSums lens={lens} left={SIDE} width={width} height={SUM} rows={rows.length} {...seen} />
      </div>
    </div>
  );
}

function widthOf(available: number, columns: number): number {
  const even = Math.floor((available - SIDE - 1) / Math.max(columns, 1));
  return Math.min(Math.max(even, NARROW), WIDE);
}

/** Where a cell stands; the row of a layer that has none is the next deeper one's. */
function placeOf(rows: readonly number[], cell: Cell | null): Place | null {
  if (!cell) return null;
  const row = rowAtOrAbove(rows, cell.layer);
  return row < 0 ? null : { row, column: cell.position };
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
