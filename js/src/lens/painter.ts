// What a cell of the lens looks like, and what it is called.

import type { Token } from "../host/tokens";
import type { CellLook } from "../ui/cell_row";
import { type Palette, paint } from "../ui/colour";
import { flags } from "../ui/flags";
import type { Lens } from "./lens";
import { type Chosen, type LensScale, type Measure, measureOf, type Values } from "./measure";
import { rowAtOrAbove } from "./rows";
import type { LensRun } from "./run";
import { cellText, shownText } from "./text";

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
      ...cellText(token),
      background: colour?.background,
      ink: colour?.ink || undefined,
      classes: flags(marks),
      name: this.#name(layer, position, value, marks),
    };
  }

  #name(
    layer: number,
    position: number,
    value: number,
    marks: { settles: boolean; enters: boolean; moved: boolean },
  ): string {
    const { run, before, chosen, tokens, within } = this.#seen;
    const named = (id: number) => shownText(this.#seen.vocabulary.get(id)) || `token ${id}`;
    const was = before?.top(layer, position).id;
    return [
      `block ${run.layers[layer]} after ${shownText(tokens[position])}: ${named(run.top(layer, position).id)}`,
      marks.moved && was !== undefined ? `in place of ${named(was)}` : "",
      this.#measured(value),
      marks.settles ? "the answer from here on" : "",
      marks.enters ? `${chosen.name} enters the top ${within}` : "",
    ]
      .filter(Boolean)
      .join(", ");
  }

  /** A value with its name, as it is read out. */
  #measured(value: number): string {
    const { before, measure, chosen } = this.#seen;
    if (!Number.isFinite(value)) return "";
    const { said, saidChange } = measureOf(measure);
    return (before ? saidChange : said)(value, chosen);
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
