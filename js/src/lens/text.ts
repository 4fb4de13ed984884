// The tokens that a lens names, and bytes that make a character together.

import { type Packed, unpack } from "../host/arrays";
import type { Token } from "../host/tokens";
import { formatNumber, splitLead, visible } from "../ui/format";

export interface VocabularyWire {
  ids: Packed;
  texts: string[];
  /** Ids of tokens that are bytes of a character. */
  fragments: number[];
}

/** Every token that the lens names, by id: two that read alike stay two. */
export function vocabularyOf(wire: VocabularyWire | Record<string, never>): Map<number, Token> {
  if (!wire.ids) return new Map();
  const { ids, texts, fragments } = wire as VocabularyWire;
  const broken = new Set(fragments);
  return new Map(
    Array.from(unpack(ids).values, Number).map((id, at) => [
      id,
      { id, text: texts[at] ?? "", fragment: broken.has(id) },
    ]),
  );
}

/** The whole characters that a token is part of, read from its neighbours' bytes; "" where there are none. */
export function joinedText(tokens: readonly Token[], position: number): string {
  if (!tokens[position]?.fragment) return "";
  let [first, last] = [position, position];
  while (tokens[first - 1]?.fragment) first--;
  while (tokens[last + 1]?.fragment) last++;
  return decoded(tokens.slice(first, last + 1));
}

/** What a predicted fragment makes together with the bytes that the text ends in at a position; "" for nothing. */
export function completedText(tokens: readonly Token[], position: number, next: Token): string {
  if (!next.fragment) return "";
  let first = position + 1;
  while (tokens[first - 1]?.fragment) first--;
  const whole = decoded([...tokens.slice(first, position + 1), next]);
  return whole.includes("\ufffd") ? "" : whole;
}

function decoded(tokens: readonly Token[]): string {
  const hex = tokens.map(({ text }) => text).join(" ");
  if (!/^[\dA-F]{2}( [\dA-F]{2})*$/.test(hex)) return "";
  const bytes = hex.split(" ").map((byte) => Number.parseInt(byte, 16));
  return new TextDecoder().decode(Uint8Array.from(bytes));
}

/** A token as it is shown; nothing for none. */
export function shownText(token: Token | undefined): string {
  if (!token) return "";
  return visible(token) || "∅";
}

/** .342 rather than 0.342, and 2.1e−5 where it is small. */
export function share(value: number): string {
  const size = Math.abs(value);
  const minus = value < 0 ? "−" : "";
  if (size >= 0.9995) return `${minus}${size.toFixed(2)}`;
  return size >= 0.0005 ? `${minus}${size.toFixed(3).slice(1)}` : formatNumber(value, 2);
}

/** The text of a cell: its spaces are seen, and bytes stand in brackets. */
export function cellText(token: Token | undefined): { lead: string; body: string } {
  if (!token) return { lead: "", body: "" };
  if (token.fragment) return { lead: "", body: shownText(token) };
  const { lead, body } = splitLead(token.text);
  return { lead: "␣".repeat(lead.length), body: shownText({ ...token, text: body }) };
}
