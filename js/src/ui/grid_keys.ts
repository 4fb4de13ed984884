// Where the keys lead in a grid of text lines.
import { type Line, nearest } from "./lines";

export interface Move {
  key: string;
  ctrl: boolean;
}

/** The token that a key leads to, or null when the key means nothing here. */
export function gridMove(
  { key, ctrl }: Move,
  from: number,
  lines: readonly Line[],
  lineOf: Int32Array,
  page: number,
): number | null {
  const last = lineOf.length - 1;
  if (last < 0) return null;
  const row = lineOf[from] ?? 0;
  const line = lines[row] ?? [];
  switch (key) {
    case "ArrowRight":
      return Math.min(from + 1, last);
    case "ArrowLeft":
      return Math.max(from - 1, 0);
    case "ArrowDown":
      return vertical(1, from, row, lines);
    case "ArrowUp":
      return vertical(-1, from, row, lines);
    case "PageDown":
      return vertical(page, from, row, lines);
    case "PageUp":
      return vertical(-page, from, row, lines);
    case "Home":
      return ctrl ? 0 : (line[0]?.token ?? from);
    case "End":
      return ctrl ? last : (line.at(-1)?.token ?? from);
    default:
      return null;
  }
}

function vertical(by: number, from: number, row: number, lines: readonly Line[]): number {
  const piece = lines[row]?.find(({ token }) => token === from);
  const step = Math.sign(by);
  let target = Math.min(Math.max(row + by, 0), lines.length - 1);
  // A line that only goes on with the same token is none to stop at.
  while (lines[target]?.at(-1)?.token === from && lines[target + step]) target += step;
  const line = lines[target];
  return piece && line ? nearest(line, piece.x + piece.width / 2) : from;
}
