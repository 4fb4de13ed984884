// Words, sentences and lines of a token sequence, and the value that each of them has.
import type { HeatToken } from "../host/tokens";
import type { Granularity, Pooling } from "./types";

export interface Segments {
  /** The segment of each token. */
  of: Int32Array;
  /** The first token of each segment, and at the end the number of tokens. */
  starts: Int32Array;
}

/** Special and template tokens stand alone at every granularity. */
export function segment(tokens: readonly HeatToken[], granularity: Granularity): Segments {
  const of = new Int32Array(tokens.length);
  const starts: number[] = [];
  tokens.forEach((token, index) => {
    const before = tokens[index - 1];
    if (!before || isFrame(token) || isFrame(before) || BEGINS[granularity](token, before))
      starts.push(index);
    of[index] = starts.length - 1;
  });
  return { of, starts: Int32Array.from([...starts, tokens.length]) };
}

const isFrame = ({ special, template }: HeatToken) => special || template;

/** Where the kernel found that words and sentences begin. */
const BEGINS: Record<Granularity, (token: HeatToken, before: HeatToken) => boolean> = {
  tokens: () => true,
  words: ({ word }) => Boolean(word),
  sentences: ({ sentence }) => Boolean(sentence),
  lines: (_, before) => before.text.includes("\n"),
};

const UTF8 = new TextDecoder("utf-8", { fatal: true });

/**
 * The tokens as pieces of the segments: bytes that are a character together are written as that, at the first of them.
 * What makes no character stays bytes, and so does one whose bytes fall into several segments.
 */
export function withCharacters(tokens: HeatToken[], { of }: Segments): HeatToken[] {
  const shown = [...tokens];
  for (let first = 0; first < tokens.length; first++) {
    let bytes: number[] = [];
    for (let last = first; bytes.length < 8 && of[last] === of[first]; last++) {
      if (!tokens[last]?.fragment) break;
      bytes = [...bytes, ...bytesOf(tokens[last] as HeatToken)];
      const text = decoded(bytes);
      if (text === null) continue;
      for (let at = first; at <= last; at++)
        shown[at] = {
          ...(tokens[at] as HeatToken),
          fragment: false,
          text: at === first ? text : "",
        };
      first = last;
      break;
    }
  }
  return shown;
}

const bytesOf = ({ text }: HeatToken) => text.split(" ").map((byte) => Number.parseInt(byte, 16));

function decoded(bytes: number[]): string | null {
  try {
    return UTF8.decode(Uint8Array.from(bytes));
  } catch {
    return null;
  }
}

/**
 * One value for each segment and column, [segment, column]: of its counted tokens the strongest (the one furthest
 * from zero) or the mean; NaN where none counts.
 */
export function pool(
  values: Float32Array,
  columns: number,
  tokens: readonly HeatToken[],
  { starts }: Segments,
  pooling: Pooling,
): Float32Array {
  const pooled = new Float32Array((starts.length - 1) * columns).fill(Number.NaN);
  for (let each = 0; each + 1 < starts.length; each++)
    for (let column = 0; column < columns; column++) {
      let [strongest, sum, count] = [0, 0, 0];
      for (let token = starts[each] as number; token < (starts[each + 1] as number); token++) {
        const value = values[token * columns + column] as number;
        if (!tokens[token]?.counted || Number.isNaN(value)) continue;
        if (!count || Math.abs(value) > Math.abs(strongest)) strongest = value;
        sum += value;
        count++;
      }
      if (count) pooled[each * columns + column] = pooling === "max" ? strongest : sum / count;
    }
  return pooled;
}
