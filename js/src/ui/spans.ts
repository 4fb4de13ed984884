// What a person has selected with the pointer, as tokens and as exact text.
import type { HeatToken } from "../host/tokens";

export interface Span {
  first: number;
  last: number;
  /** Characters of the first token before the selection, and of the last token up to its end. */
  from: number;
  to: number;
}

/** The browser's own selection of text, inside a shadow root too. */
export function nativeSelection(root: Element): Selection | null {
  const scope = root.getRootNode() as { getSelection?(): Selection | null };
  return scope.getSelection?.() ?? document.getSelection();
}

/** The selection inside an element, or null where there is none; cells carry data-index and data-start. */
export function selectedSpan(root: HTMLElement): Span | null {
  const selection = nativeSelection(root);
  if (!selection || selection.isCollapsed || !selection.rangeCount) return null;
  const range = selection.getRangeAt(0);
  if (!range.intersectsNode(root)) return null;
  const cells = [...root.querySelectorAll<HTMLElement>("[data-index]")]
    .filter((cell) => range.intersectsNode(cell))
    .map((cell) => covered(cell, range))
    .filter(({ from, to }) => to > from)
    .sort((a, b) => a.token - b.token || a.from - b.from);
  const [first, last] = [cells[0], cells.at(-1)];
  if (!first || !last) return null;
  return { first: first.token, last: last.token, from: first.from, to: last.to };
}

/** The exact text of a span: bytes that make whole characters together become these. */
export function exactText(tokens: readonly HeatToken[], span: Span): string {
  let text = "";
  let bytes: number[] = [];
  const flush = () => {
    if (bytes.length) text += new TextDecoder().decode(Uint8Array.from(bytes));
    bytes = [];
  };
  for (let index = span.first; index <= span.last; index++) {
    const token = tokens[index];
    if (!token) continue;
    if (token.fragment && /^[\dA-F]{2}( [\dA-F]{2})*$/.test(token.text)) {
      bytes.push(...token.text.split(" ").map((byte) => Number.parseInt(byte, 16)));
      continue;
    }
    flush();
    const start = index === span.first ? span.from : 0;
    text += token.text.slice(start, index === span.last ? span.to : undefined);
  }
  flush();
  return text;
}

/** The exact text of chosen tokens; what does not stand together comes on lines of its own. */
export function textOf(tokens: readonly HeatToken[], positions: readonly number[]): string {
  const runs: Span[] = [];
  for (const position of positions) {
    const run = runs.at(-1);
    const to = tokens[position]?.text.length ?? 0;
    if (run?.last === position - 1) Object.assign(run, { last: position, to });
    else runs.push({ first: position, last: position, from: 0, to });
  }
  return runs.map((run) => exactText(tokens, run)).join("\n");
}

function covered(cell: HTMLElement, range: Range) {
  const [token, start] = [Number(cell.dataset.index), Number(cell.dataset.start ?? 0)];
  const within = (node: Node) => cell.contains(node);
  const from = within(range.startContainer)
    ? lengthUpTo(cell, range.startContainer, range.startOffset)
    : 0;
  const to = within(range.endContainer)
    ? lengthUpTo(cell, range.endContainer, range.endOffset)
    : (cell.textContent?.length ?? 0);
  return { token, from: start + from, to: start + to };
}

function lengthUpTo(cell: HTMLElement, node: Node, offset: number): number {
  const before = document.createRange();
  before.setStart(cell, 0);
  before.setEnd(node, offset);
  return before.toString().length;
}
