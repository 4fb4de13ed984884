// Text broken into lines by us, so that only the lines in sight have to exist; and where the keys lead among them.
import type { HeatToken } from "../host/tokens";

/** A token, or as much of it as stands on one line. */
export interface Piece {
  token: number;
  start: number;
  end: number;
  x: number;
  width: number;
}

export type Line = Piece[];

/** The width of a part of a token's text, its marks and frame included. */
export type Measure = (token: HeatToken, text: string) => number;

export function breakLines(tokens: readonly HeatToken[], width: number, measure: Measure): Line[] {
  const lines: Line[] = [];
  let line: Line = [];
  let x = 0;
  const flush = () => {
    if (line.length) lines.push(line);
    line = [];
    x = 0;
  };
  const place = (token: number, start: number, end: number, size: number) => {
    line.push({ token, start, end, x, width: size });
    x += size;
  };
  tokens.forEach((token, index) => {
    for (const [start, end] of parts(token)) {
      const text = token.text.slice(start, end);
      const size = measure(token, text);
      if (x + size > width && line.length) {
        const carried = mayBreakBefore(tokens, index) ? [] : takeWord(tokens, line);
        flush();
        for (const piece of carried) place(piece.token, piece.start, piece.end, piece.width);
        if (x + size > width) flush();
      }
      if (size > width && !token.fragment) {
        for (let at = start; at < end; ) {
          flush();
          const stop = cut(token, at, end, width, measure);
          place(index, at, stop, measure(token, token.text.slice(at, stop)));
          at = stop;
        }
      } else place(index, start, end, size);
      if (!token.fragment && text.endsWith("\n")) flush();
    }
  });
  flush();
  return lines;
}

const WITHIN = /^(?:\p{M}|\u200d|[\udc00-\udfff])/u;
const STACKED = 64; // marks on one letter, and no more

/** Where the longest part of a token ends that fits a line; marks stay with their letter. */
function cut(token: HeatToken, at: number, end: number, width: number, measure: Measure): number {
  const fits = (stop: number) => measure(token, token.text.slice(at, stop)) <= width;
  let [low, high] = [at + 1, end];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (fits(middle)) low = middle;
    else high = middle - 1;
  }
  let stop = low;
  while (stop > at + 1 && low - stop < STACKED && WITHIN.test(token.text.slice(stop, stop + 1)))
    stop--;
  return WITHIN.test(token.text.slice(stop, stop + 1)) ? low : stop;
}

export type Direction = "ltr" | "rtl";

const LETTER = /\p{L}/u;
const RIGHT_TO_LEFT =
  /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u;

/** Where each line begins: where its paragraph does, which its first letter says, as with `dir="auto"`. */
export function directionsOf(lines: readonly Line[], tokens: readonly HeatToken[]): Direction[] {
  const found: Direction[] = [];
  let paragraph: Direction | undefined;
  let from = 0;
  lines.forEach((line, index) => {
    const texts = line.map(({ token, start, end }) => {
      const { text, fragment, special } = tokens[token] as HeatToken;
      return fragment || special ? "" : text.slice(start, end);
    });
    const letter = paragraph ? undefined : LETTER.exec(texts.join(""))?.[0];
    if (letter) paragraph = RIGHT_TO_LEFT.test(letter) ? "rtl" : "ltr";
    const ends = texts.at(-1)?.endsWith("\n") || index === lines.length - 1;
    if (!ends) return;
    while (from <= index) found[from++] = paragraph ?? "ltr";
    paragraph = undefined;
  });
  return found;
}

/** The line on which each token begins. */
export function linesOfTokens(lines: readonly Line[], count: number): Int32Array {
  const found = new Int32Array(count).fill(-1);
  lines.forEach((line, index) => {
    for (const { token } of line) if (found[token] === -1) found[token] = index;
  });
  return found;
}

/** The token of a line that is nearest to a place. */
export function nearest(line: Line, x: number): number {
  let best = line[0] as Piece;
  const distance = (piece: Piece) => Math.abs(piece.x + piece.width / 2 - x);
  for (const piece of line) if (distance(piece) < distance(best)) best = piece;
  return best.token;
}

/** A line break ends its line, so a token with two of them stands on two lines. */
function parts({ text, fragment }: HeatToken): [number, number][] {
  if (fragment || !text.includes("\n")) return [[0, text.length]];
  const found: [number, number][] = [];
  let start = 0;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", start)) {
    found.push([start, at + 1]);
    start = at + 1;
  }
  if (start < text.length) found.push([start, text.length]);
  return found;
}

const NO_SPACES = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u;

function mayBreakBefore(tokens: readonly HeatToken[], index: number): boolean {
  const [before, token] = [tokens[index - 1], tokens[index]];
  if (!before || !token) return true;
  if (before.special || token.special) return true;
  return (
    /^\s/.test(token.text) ||
    /[\s\-–—/]$/.test(before.text) ||
    NO_SPACES.test(token.text.charAt(0)) ||
    NO_SPACES.test(before.text.slice(-1))
  );
}

/** Takes the unfinished word off the end of a line; nothing where it is the whole line. */
function takeWord(tokens: readonly HeatToken[], line: Line): Line {
  for (let at = line.length - 1; at > 0; at--)
    if (mayBreakBefore(tokens, (line[at] as Piece).token)) return line.splice(at);
  return [];
}

// The numbers stand for what heatmap/row.css adds to the bare text.
const MARK = 10; // a mark for a line break, a tab or a lone space
const FRAME = 8; // the outline of a token that does not count
const CHARACTER = 7.5; // where nothing can be measured

/** How wide tokens are on the screen. */
export function measureWith(element: Element | null): Measure {
  const context = document.createElement("canvas").getContext?.("2d");
  const style = element ? getComputedStyle(element) : null;
  const widths = new Map<string, number>();
  const bare = (text: string, font: string) => {
    if (!context) return text.length * CHARACTER;
    const key = `${font}\n${text}`;
    let width = widths.get(key);
    if (width === undefined) {
      context.font = font;
      width = context.measureText(text).width;
      widths.set(key, width);
    }
    return width;
  };
  const plain = `400 ${style?.fontSize || "14px"} ${style?.fontFamily || "sans-serif"}`;
  const mono = `500 10.5px ${style?.getPropertyValue("--mono") || "monospace"}`;
  return ({ fragment, counted }, text) => {
    const frame = counted ? 0 : FRAME;
    if (fragment) return bare(text, mono) + 10 + frame;
    const marks = text.trim() ? (text.match(/[\n\t\r]/g)?.length ?? 0) : text.length;
    const letters = marks ? text.replace(text.trim() ? /[\n\t\r]/g : /\s/g, "") : text;
    return bare(letters, plain) + marks * MARK + frame;
  };
}

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
