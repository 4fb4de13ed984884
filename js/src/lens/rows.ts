// Which blocks have a row, which cells are in sight, and where the keys lead.

export interface Place {
  row: number;
  column: number;
}

export interface Window {
  first: number;
  /** One after the last. */
  last: number;
}

/**
 * Indices of the layers that are shown, deepest first: every `stride`-th from the deepest of the range, and always
 * those that are steered or pinned.
 */
export function rowsOf(
  layers: readonly number[],
  stride: number,
  span: readonly number[],
  always: readonly number[],
): number[] {
  const [low, high] = [span[0] ?? Number.NEGATIVE_INFINITY, span[1] ?? Number.POSITIVE_INFINITY];
  const within = layers.flatMap((layer, index) => (layer >= low && layer <= high ? [index] : []));
  const top = within.length - 1;
  return within
    .filter(
      (index, at) =>
        (top - at) % Math.max(stride, 1) === 0 || always.includes(layers[index] as number),
    )
    .reverse();
}

/** The row of a layer, or of the next deeper one that is shown; −1 where there is none. */
export function rowAtOrAbove(rows: readonly number[], layer: number): number {
  if (layer < 0) return -1;
  for (let row = rows.length - 1; row >= 0; row--) if ((rows[row] as number) >= layer) return row;
  return -1;
}

/** What of `count` items of one size is in sight, and a little more. */
export function windowOf(
  scroll: number,
  extent: number,
  size: number,
  count: number,
  ahead: number,
): Window {
  const first = Math.max(0, Math.floor(scroll / size) - ahead);
  const last = Math.min(count, Math.ceil((scroll + extent) / size) + ahead);
  return { first: Math.min(first, last), last };
}

/** The place that a key leads to, or null where the key means nothing here. */
export function cellMove(
  key: string,
  ctrl: boolean,
  { row, column }: Place,
  { rows, columns, page }: { rows: number; columns: number; page: number },
): Place | null {
  const bounded = (r: number, c: number): Place => ({
    row: Math.min(Math.max(r, 0), rows - 1),
    column: Math.min(Math.max(c, 0), columns - 1),
  });
  if (!rows || !columns) return null;
  switch (key) {
    case "ArrowRight":
      return bounded(row, column + 1);
    case "ArrowLeft":
      return bounded(row, column - 1);
    case "ArrowDown":
      return bounded(row + 1, column);
    case "ArrowUp":
      return bounded(row - 1, column);
    case "PageDown":
      return bounded(row + page, column);
    case "PageUp":
      return bounded(row - page, column);
    case "Home":
      return bounded(ctrl ? 0 : row, 0);
    case "End":
      return bounded(ctrl ? rows - 1 : row, columns - 1);
    default:
      return null;
  }
}
