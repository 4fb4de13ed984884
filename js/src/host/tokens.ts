// The tokens of a text as they travel: texts, ids, and what each token is, as bits.
import { type Packed, unpack } from "./arrays";

export interface Token {
  id: number;
  /** Exact decoded text; for a fragment, its bytes in hex ("E2 9C"). */
  text: string;
  fragment: boolean;
}

export interface TextWire {
  texts: string[];
  ids: Packed | null;
  /** A byte of bits for each token, see FLAGS. */
  flags: Packed;
}

export const FLAGS = {
  fragment: 1,
  special: 2,
  template: 4,
  sink: 8,
  leftOut: 16,
  generated: 32,
  word: 64,
  sentence: 128,
} as const;

export interface TextToken extends Token {
  special: boolean;
  template: boolean;
  sink: boolean;
}

/** A token whose value is read. */
export interface HeatToken extends TextToken {
  /** The model wrote it. */
  generated?: boolean;
  /** A word, a sentence begins here. */
  word?: boolean;
  sentence?: boolean;
  /** Its value counts: it can be coloured, and takes part in words and lines. */
  counted: boolean;
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
