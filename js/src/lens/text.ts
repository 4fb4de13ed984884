// The tokens that a lens names, and bytes that make a character together.

import { unpack } from "../host/packed";
import type { Token } from "../host/types";
import { visible } from "../ui/format";
import type { LensTraits } from "./types";

/** Every token that the lens names, by id: two that read alike stay two. */
export function vocabularyOf(wire: LensTraits["vocabulary"]): Map<number, Token> {
  if (!wire.ids) return new Map();
  const { ids, texts, fragments } = wire as Exclude<typeof wire, Record<string, never>>;
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
