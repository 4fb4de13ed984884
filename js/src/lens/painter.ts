// What a cell of the lens looks like, and what it is called.

import type { Token } from "../host/types";
import { type Palette, paint } from "../ui/colour";
import { formatNumber, splitLead } from "../ui/format";
import type { Lens } from "./lens";
import type { Chosen, LensScale, Values } from "./measure";
import { rowAtOrAbove } from "./rows";
import type { LensRun } from "./run";
import { shownText } from "./text";
import type { Measure } from "./types";

export interface CellLook {
  token: Token | undefined;
  background: string | undefined;
  ink: string | undefined;
  classes: string;
  name: string;
}

/** All that cells are painted from, as it stood when this was made. */
interface Seen {
  run: LensRun;
  /** The baseline, where a difference from it is shown. */
  before: LensRun | null;
  rows: readonly number[];
  values: Values;
  scale: LensScale;
  measure: Measure;
  chosen: Chosen;
  within: number;
  tokens: readonly Token[];
  vocabulary: ReadonlyMap<number, Token>;
}

/** Made anew whenever anything that it paints from changes, and only then. */
export class LensPainter {
  readonly #seen: Seen;
  readonly #palette: Palette;
  readonly #settles: Int32Array;
  readonly #enters: Int32Array;

  constructor(seen: Seen, palette: Palette) {
    this.#seen = seen;
    this.#palette = palette;
    const { run, rows, chosen, within } = seen;
    this.#settles = Int32Array.from(run.settled, (block) =>
      rowAtOrAbove(rows, run.layers.indexOf(block)),
    );
    this.#enters = Int32Array.from(run.settled, (_, position) =>
      chosen.id === null ? -1 : rowAtOrAbove(rows, run.enters(chosen.id, within, position)),
    );
  }

  look(row: number, position: number): CellLook {
    const { run, before, rows, values, scale, vocabulary } = this.#seen;
    const layer = rows[row] as number;
    const { id } = run.top(layer, position);
    const value = values(layer, position);
    const colour = paint(scale.share(value), { domain: 1, signed: scale.signed }, this.#palette);
    const was = before?.top(layer, position).id;
    const token = vocabulary.get(id);
    const marks = {
      settles: this.#settles[position] === row,
      enters: this.#enters[position] === row,
      moved: was !== undefined && was !== id,
      kept: was === id,
      beyond: scale.isBeyond(value),
      fragment: token?.fragment,
    };
    return {
      token,
      background: colour?.background,
      ink: colour?.ink || undefined,
      classes: Object.entries(marks)
        .flatMap(([name, on]) => (on ? [name] : []))
        .join(" "),
      name: this.#name(layer, position, value, marks),
    };
  }

  #name(
    layer: number,
    position: number,
    value: number,
    marks: { settles: boolean; enters: boolean; moved: boolean },
  ): string {
    const { run, before, measure, chosen, tokens, within } = this.#seen;
    const named = (id: number) => shownText(this.#seen.vocabulary.get(id)) || `token ${id}`;
    const was = before?.top(layer, position).id;
    return [
      `block ${run.layers[layer]} after ${shownText(tokens[position])}: ${named(run.top(layer, position).id)}`,
      marks.moved && was !== undefined ? `in place of ${named(was)}` : "",
      measured(measure, value, before !== null, chosen.name),
      marks.settles ? "the answer from here on" : "",
      marks.enters ? `${chosen.name} enters the top ${within}` : "",
    ]
      .filter(Boolean)
      .join(", ");
  }
}

/** A painter of what the lens shows now; null where there is nothing. */
export function painterOf(lens: Lens, palette: Palette): LensPainter | null {
  const run = lens.run.value;
  if (!run) return null;
  return new LensPainter(
    {
      run,
      before: lens.shows.value === "difference" ? lens.baseline.value : null,
      rows: lens.rows.value,
      values: lens.values.value,
      scale: lens.scale.value,
      measure: lens.traits.measure.value,
      chosen: lens.chosen.value,
      within: lens.traits.within.value,
      tokens: lens.tokens.value,
      vocabulary: lens.vocabulary.value,
    },
    palette,
  );
}

/** A value with its name, as it is read out. */
export function measured(
  measure: Measure,
  value: number,
  difference: boolean,
  chosen: string,
): string {
  if (!Number.isFinite(value)) return "";
  const sign = difference && value > 0 ? "+" : "";
  const of = difference ? "change of " : "";
  switch (measure) {
    case "probability":
      return `${of}probability ${sign}${share(value)}`;
    case "log_probability":
      return `${of}log-probability ${sign}${formatNumber(value)}`;
    case "rank":
      return difference
        ? `${chosen} climbs ${sign}${formatNumber(value)} powers of ten`
        : `rank of ${chosen} ${formatNumber(value, 7)}`;
    case "entropy":
      return `${of}entropy ${sign}${formatNumber(value)} nats`;
    default:
      return `${of}KL to the output ${sign}${formatNumber(value)} nats`;
  }
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
