// Words, sentences and lines of a token sequence, and the value that each of them has.
import type { Granularity, HeatToken, Pooling } from "./heat_types";

export interface Segments {
  /** The segment of each token. */
  of: Int32Array;
  /** The first token of each segment, and at the end the number of tokens. */
  starts: Int32Array;
}

/** Special and template tokens stand alone at every granularity. */
export function segment(tokens: readonly HeatToken[], granularity: Granularity): Segments {
  const places = placesOf(tokens, granularity);
  const of = new Int32Array(tokens.length);
  const starts: number[] = [];
  tokens.forEach((token, index) => {
    const before = tokens[index - 1];
    const alone = !before || isFrame(token) || isFrame(before) || granularity === "tokens";
    if (alone || places[index] !== places[index - 1]) starts.push(index);
    of[index] = starts.length - 1;
  });
  return { of, starts: Int32Array.from([...starts, tokens.length]) };
}

const isFrame = ({ special, template }: HeatToken) => special || template;

/** A number for each token that changes where a segment ends. */
function placesOf(tokens: readonly HeatToken[], granularity: Granularity): Int32Array {
  const places = new Int32Array(tokens.length);
  if (granularity === "tokens") return places.map((_, index) => index);
  if (granularity === "lines") {
    for (let i = 1; i < tokens.length; i++)
      places[i] = (places[i - 1] as number) + Number(tokens[i - 1]?.text.includes("\n"));
    return places;
  }
  const kind = granularity === "words" ? "word" : "sentence";
  const text = tokens.map(spoken).join("");
  const ends = endsOf(text, kind);
  let [offset, piece] = [0, 0];
  tokens.forEach((token, index) => {
    const own = spoken(token);
    const at = offset + Math.max(own.search(/\S/), 0);
    while (at >= (ends[piece] ?? Number.POSITIVE_INFINITY)) piece++;
    places[index] = piece;
    offset += own.length;
  });
  return places;
}

/** Bytes of a character that is not whole count as a letter: they are part of the word around them. */
const spoken = (token: HeatToken) => (token.fragment ? "x" : token.text);

function endsOf(text: string, granularity: "word" | "sentence"): number[] {
  const find = finder(granularity);
  const ends: number[] = [];
  // Word segmenters slow down with the length of what they are given, and no word goes over a space.
  const chunks =
    granularity === "word" ? (text.match(/.{1,2000}(?:\s|$)|.{1,2000}/gsu) ?? []) : [text];
  let offset = 0;
  for (const chunk of chunks) {
    for (const length of find(chunk)) ends.push(offset + length);
    offset += chunk.length;
  }
  return ends;
}

/** Finds where the pieces of a text end. */
function finder(granularity: "word" | "sentence"): (text: string) => number[] {
  if ("Segmenter" in Intl) {
    const segmenter = new Intl.Segmenter(undefined, { granularity });
    return (text) =>
      Array.from(segmenter.segment(text), (piece) => piece.index + piece.segment.length);
  }
  // Firefox before 125
  const rule = granularity === "word" ? /[\p{L}\p{N}_'’]+|\s+|./gsu : /.+?(?:[.!?…]+\s+|\n|$)/gsu;
  return (text: string) =>
    Array.from(text.matchAll(rule), (match) => match.index + match[0].length);
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
