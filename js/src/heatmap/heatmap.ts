// A token heatmap's state: traits, what follows from them, and what a user can do. One per model.

import { computed, signal } from "@preact/signals";
import { unpack } from "../host/arrays";
import { type HostModel, isFrozen } from "../host/host";
import { Cancelled, Rpc } from "../host/rpc";
import { Store } from "../host/store";
import { FLAGS, type HeatToken, type TextWire, textTokens } from "../host/tokens";
import { type HeatScale, isBeyond, scaleOf } from "./colour";
import { pool, segment, withCharacters } from "./segments";
import { type Column, EMPTY_HEAT, type HeatTraits, type Kept } from "./types";

const POINTING = 50; // ms between two words to the kernel about where the pointer is

export interface TopFeature {
  index: number;
  label: string;
  value: number;
}

/** The traits that a control of the view sets. */
type Choice = "domain" | "curve" | "granularity" | "pooling" | "mixing" | "solo";

export class Heatmap {
  readonly traits: Store<HeatTraits>["traits"];
  readonly frozen: boolean;
  /** What the kernel is busy with for this page, as a sentence. */
  readonly busy = signal("");
  readonly failure = signal("");
  readonly #store: Store<HeatTraits>;
  readonly #rpc: Rpc;

  constructor(model: HostModel, until: AbortSignal) {
    this.frozen = isFrozen(model);
    this.#store = new Store(model, EMPTY_HEAT, until);
    this.traits = this.#store.traits;
    this.#rpc = new Rpc(model, { signal: until });
  }

  // --- what is shown

  readonly tokens = computed(() => readTokens(this.traits.text.value));

  /** The features and their values, [position, column]; none while text and values are of different texts. */
  readonly matrix = computed(() => {
    const { features, values } = this.traits.reading.value;
    const decoded = values && unpack(values);
    const fits = decoded?.shape[0] === this.tokens.value.length;
    return {
      columns: fits ? ((features ?? []) as Column[]) : [],
      values: (fits ? decoded.values : new Float32Array()) as Float32Array,
    };
  });

  readonly scales = computed<HeatScale[]>(() => {
    const { domain, curve } = this.traits;
    return this.matrix.value.columns.map((column) => scaleOf(column, domain.value, curve.value));
  });

  /** The columns that colour the text. */
  readonly lit = computed(() => {
    const { columns } = this.matrix.value;
    const alone = columns.findIndex(({ key }) => key === this.traits.solo.value);
    return alone >= 0 ? [alone] : columns.map((_, index) => index);
  });

  /** The tokens as they are written: in words, bytes become their characters. */
  readonly shown = computed(() =>
    this.traits.granularity.value === "tokens"
      ? this.tokens.value
      : withCharacters(this.tokens.value, this.segments.value),
  );
  readonly segments = computed(() => segment(this.tokens.value, this.traits.granularity.value));

  /** The values that are painted, [segment, column]. */
  readonly pooled = computed(() => {
    const { columns, values } = this.matrix.value;
    const { pooling } = this.traits;
    return pool(values, columns.length, this.tokens.value, this.segments.value, pooling.value);
  });

  /** How many tokens, words or lines lie beyond the end of each scale. */
  readonly beyond = computed(() => {
    const scales = this.scales.value;
    const counts = scales.map(() => 0);
    this.pooled.value.forEach((value, at) => {
      const column = at % scales.length;
      const scale = scales[column];
      if (scale && isBeyond(value, scale)) counts[column] = (counts[column] as number) + 1;
    });
    return counts;
  });

  readonly selected = computed(() => new Set(this.traits.selected.value));

  value(token: number, column: number): number {
    const { columns, values } = this.matrix.value;
    return values[token * columns.length + column] ?? Number.NaN;
  }

  /** The value that colours a token: its own, or its word's. */
  painted(token: number, column: number): number {
    const at = this.segments.value.of[token] ?? 0;
    return this.pooled.value[at * this.matrix.value.columns.length + column] ?? Number.NaN;
  }

  /** The strongest features of a token, as the kernel left them here. */
  strongest(token: number): TopFeature[] {
    const kept = this.#kept.value;
    if (!kept) return [];
    const k = kept.values.shape[1] ?? 0;
    const found: TopFeature[] = [];
    for (let at = token * k; at < (token + 1) * k; at++) {
      const [value, index] = [Number(kept.values.values[at]), Number(kept.indices.values[at])];
      if (value) found.push({ index, value, label: kept.labels[index] ?? `feature ${index}` });
    }
    return found;
  }

  readonly #kept = computed(() => {
    const { values, indices, labels } = this.traits.strongest.value as Partial<Kept>;
    if (!values || !indices || values.shape[0] !== this.tokens.value.length) return null;
    return { values: unpack(values), indices: unpack(indices), labels: labels ?? {} };
  });

  // --- what a user does

  choose<Name extends Choice>(name: Name, value: HeatTraits[Name]): void {
    this.#store.write(name, value);
  }

  point(token: number | null): void {
    if (token !== this.traits.hovered.peek()) this.#store.draft("hovered", token, POINTING);
  }

  select(positions: Iterable<number>): void {
    const sorted = [...new Set(positions)].sort((a, b) => a - b);
    this.#store.draft("selected", sorted);
  }

  toggle(token: number): void {
    const chosen = new Set(this.selected.peek());
    if (!chosen.delete(token)) chosen.add(token);
    this.select(chosen);
  }

  get canSearch(): boolean {
    return !this.frozen && Boolean(this.traits.facts.value.searchable);
  }

  search(): Promise<void> {
    const positions = this.traits.selected.peek();
    return this.#ask("Looking for features that fire here…", "fires", { positions });
  }

  show(index: number): Promise<void> {
    return this.#ask("Reading the feature…", "show", { index });
  }

  remove(key: string): Promise<void> {
    return this.#ask("Removing…", "remove", { key });
  }

  exportHtml(): Promise<{ html: string; filename: string }> {
    return this.#rpc.request("export_html", {});
  }

  fail(error: unknown): void {
    this.failure.value = error instanceof Error ? error.message : String(error);
  }

  async #ask(doing: string, name: string, args: object): Promise<void> {
    this.failure.value = "";
    this.busy.value = doing;
    const slow = "Waiting for the kernel: it is busy with a cell, or gone.";
    try {
      await this.#rpc.request(name, args, {
        onSlow: (late) => {
          this.busy.value = late ? slow : doing;
        },
      });
    } catch (error) {
      if (!(error instanceof Cancelled)) this.fail(error);
    } finally {
      this.busy.value = "";
    }
  }
}

function readTokens(wire: TextWire | Record<string, never>): HeatToken[] {
  return textTokens(wire, (has) => ({
    generated: has(FLAGS.generated),
    word: has(FLAGS.word),
    sentence: has(FLAGS.sentence),
    counted: !has(FLAGS.special | FLAGS.template | FLAGS.sink | FLAGS.leftOut),
  }));
}
