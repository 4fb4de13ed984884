// Lines of tokens with activations, read from the wire, and how much of a line is shown before it is opened.

import { unpack } from "../host/arrays";
import type { Token } from "../host/tokens";
import { FLAGS } from "../host/tokens";
import { formatNumber } from "../ui/format";
import type { LinesWire, LineWire } from "./types";

export interface CardToken extends Token {
  value: number;
  /** Why it does not count; "" for one that does. */
  why: string;
}

export interface CardLine extends LineWire {
  tokens: CardToken[];
}

export function readLines(wire: LinesWire | undefined): CardLine[] {
  if (!wire) return [];
  const { texts } = wire.vocabulary;
  const ids = unpack(wire.vocabulary.ids).values;
  const places = unpack(wire.tokens).values;
  const values = unpack(wire.values).values;
  const flags = unpack(wire.flags).values;
  let start = 0;
  return wire.lines.map((line) => {
    const tokens = Array.from({ length: line.length }, (_, i) => {
      const place = Number(places[start + i]);
      const bits = Number(flags[start + i]);
      return {
        id: Number(ids[place]),
        text: texts[place] ?? "",
        fragment: (bits & FLAGS.fragment) !== 0,
        value: Number(values[start + i]),
        why: whyNot(bits),
      };
    });
    start += line.length;
    return { ...line, tokens };
  });
}

function whyNot(bits: number): string {
  if (bits & FLAGS.special) return "special token";
  if (bits & FLAGS.template) return "chat template";
  return bits & FLAGS.sink ? "attention sink" : "";
}

const BEFORE = 9; // tokens shown around the peak of a line that is not opened
const AFTER = 11;

/** The first token that is shown, and the one after the last. */
export function shownPart(line: CardLine, open: boolean): [number, number] {
  const { length } = line.tokens;
  if (open) return [0, length];
  return [Math.max(0, line.peak - BEFORE), Math.min(length, line.peak + AFTER + 1)];
}

/** Lines in groups with one heading each; null where they have none. */
export function inBands(lines: CardLine[]): { low: number; high: number; from: number }[] | null {
  const bands: { low: number; high: number; from: number }[] = [];
  lines.forEach(({ low, high }, from) => {
    if (low === undefined || high === undefined) return;
    const last = bands.at(-1);
    if (last?.low !== low || last.high !== high) bands.push({ low, high, from });
  });
  return bands.length ? bands : null;
}

/** A number with as many digits as its neighbours in a column have: 47.0 under 48.2. */
export function steady(value: number, digits = 3): string {
  const size = Math.abs(value);
  if (!value || size >= 1000 || size < 0.001) return formatNumber(value, digits);
  return value.toPrecision(digits).replace("-", "−");
}
