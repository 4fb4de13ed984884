// The tokens of a text as they travel: texts, ids, and what each token is, as bits.
import { FLAGS, type TextWire } from "./heat_types";
import { unpack } from "./packed";
import type { Token } from "./types";

export interface TextToken extends Token {
  special: boolean;
  template: boolean;
  sink: boolean;
}

/** Each token, with what `more` reads of its bits. */
export function textTokens<More extends object>(
  wire: TextWire | Record<string, never>,
  more: (has: (flag: number) => boolean) => More,
): (TextToken & More)[] {
  if (!wire.texts) return [];
  const { texts, ids, flags } = wire as TextWire;
  const numbers = ids && unpack(ids).values;
  const bits = unpack(flags).values;
  return texts.map((text, index) => {
    const has = (flag: number) => (Number(bits[index]) & flag) !== 0;
    return {
      id: numbers ? Number(numbers[index]) : -1,
      text,
      fragment: has(FLAGS.fragment),
      special: has(FLAGS.special),
      template: has(FLAGS.template),
      sink: has(FLAGS.sink),
      ...more(has),
    };
  });
}
