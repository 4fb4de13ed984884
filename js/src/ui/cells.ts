// Which cells of a grid are in sight, and where the keys lead.

export interface Place {
  row: number;
  column: number;
}

export interface Window {
  first: number;
  /** One after the last. */
  last: number;
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
