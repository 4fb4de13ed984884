// A logit lens' state: traits, what follows from them, and what a user can do. One per model.

import { computed, signal } from "@preact/signals";
import { unpack } from "../host/arrays";
import { type HostModel, isFrozen } from "../host/host";
import { Cancelled, Rpc } from "../host/rpc";
import { Store } from "../host/store";
import type { Token } from "../host/tokens";
import { textTokens } from "../host/tokens";
import {
  type Chosen,
  changeScale,
  changesOf,
  type LensScale,
  measureOf,
  type Values,
} from "./measure";
import { rowsOf } from "./rows";
import { type GridWire, LensRun } from "./run";
import { shownText, vocabularyOf } from "./text";
import type { DifferenceWire, LensTraits, Shows, Wrote } from "./types";
import { EMPTY_LENS } from "./types";

/** A cell: the index of its layer and its position. */
export interface Cell {
  layer: number;
  position: number;
}

/** What the kernel is doing for this page. */
export interface Busy {
  doing: string;
  done: number;
  of: number;
}

/** The traits that a control of the view sets. */
type Choice = "shows" | "measure" | "stride" | "span" | "within" | "trajectory" | "chat" | "chosen";

export const MOST_FOLLOWED = 6; // as many as there are colours that stay apart
const LATE = "Waiting for the kernel: it is busy with a cell, or gone.";

export class Lens {
  readonly traits: Store<LensTraits>["traits"];
  readonly frozen: boolean;
  readonly busy = signal<Busy | null>(null);
  readonly failure = signal("");
  readonly hovered = signal<Cell | null>(null);
  readonly #store: Store<LensTraits>;
  readonly #rpc: Rpc;
  #stopper: AbortController | null = null;

  constructor(model: HostModel, until: AbortSignal) {
    this.frozen = isFrozen(model);
    this.#store = new Store(model, EMPTY_LENS, until);
    this.traits = this.#store.traits;
    this.#rpc = new Rpc(model, { signal: until });
  }

  // --- what is shown

  readonly tokens = computed(() => textTokens(this.traits.tokens.value, () => ({})));
  readonly vocabulary = computed(() => vocabularyOf(this.traits.vocabulary.value));
  readonly steered = computed(() => this.#run(this.traits.steered.value));
  /** The run without the recipe; of one token of a steered text there is only the steered one. */
  readonly baseline = computed(() => this.#run(this.traits.baseline.value) ?? this.steered.value);

  /** Both runs are there, and so is their difference. */
  readonly compares = computed(
    () => this.steered.value !== null && this.steered.value !== this.baseline.value,
  );

  readonly #difference = computed(() => {
    const { top, rises, falls } = this.traits.difference.value as Partial<DifferenceWire>;
    if (!top || !rises || !falls) return null;
    const changes = ({ ids, values }: DifferenceWire["rises"]) => ({
      ids: unpack(ids).values as Int32Array,
      values: unpack(values).values as Float32Array,
      count: ids.shape[2] ?? 0,
    });
    return {
      top: unpack(top).values as Float32Array,
      rises: changes(rises),
      falls: changes(falls),
    };
  });

  /** What can be shown: without a recipe there is only the baseline. */
  readonly shows = computed<Shows>(() => {
    if (this.compares.value) return this.traits.shows.value;
    return this.steered.value ? "steered" : "baseline";
  });

  /** The run whose tokens stand in the cells. */
  readonly run = computed(() =>
    this.shows.value === "baseline" ? this.baseline.value : this.steered.value,
  );

  readonly steeredLayers = computed(() => this.traits.steering.value.layers ?? []);

  readonly rows = computed(() => {
    const { stride, span, pinned } = this.traits;
    const layers = this.baseline.value?.layers ?? [];
    const always = [...this.steeredLayers.value, ...pinned.value.slice(0, 1)];
    return rowsOf(layers, stride.value, span.value, always);
  });

  readonly chosen = computed<Chosen>(() => {
    const id = this.traits.chosen.value;
    const name = id === null ? "a token that you choose" : this.name(id);
    return { id, name, vocabulary: this.traits.facts.value.vocabulary ?? 2 };
  });

  readonly values = computed<Values>(() => {
    const [before, after] = [this.baseline.value, this.steered.value];
    const { measure } = this.traits;
    const { id } = this.chosen.value;
    const difference = this.#difference.value;
    const run = this.run.value;
    if (this.shows.value === "difference" && before && after && difference)
      return changesOf(measure.value, { before, after, top: difference.top }, id);
    return run ? measureOf(measure.value).values(run, id) : () => Number.NaN;
  });

  readonly scale = computed<LensScale>(() => {
    const runs = [this.baseline.value, this.steered.value].filter((run) => run !== null);
    const measure = this.traits.measure.value;
    if (this.shows.value === "difference" && runs[0])
      return changeScale(measure, this.values.value, runs[0], this.chosen.value);
    return measureOf(measure).scale(runs, this.chosen.value);
  });

  /** The pinned cell, where the lens has one. */
  readonly pinned = computed<Cell | null>(() => {
    const [layer, position] = this.traits.pinned.value;
    const run = this.baseline.value;
    if (!run || layer === undefined || position === undefined) return null;
    const index = run.layers.indexOf(layer);
    return index < 0 || position >= run.positions ? null : { layer: index, position };
  });

  /** The cell that is spoken of: under the pointer or the focus, else pinned, else the output after the last token. */
  readonly current = computed<Cell | null>(() => {
    const run = this.baseline.value;
    if (!run?.positions) return null;
    const { value: hovered } = this.hovered;
    const last = { layer: run.layers.length - 1, position: run.positions - 1 };
    const inside = hovered && hovered.position < run.positions && hovered.layer <= last.layer;
    return inside ? hovered : (this.pinned.value ?? last);
  });

  /** The tokens whose way through the blocks is drawn: those followed, and the likeliest of the cell's column. */
  readonly followed = computed<number[]>(() => {
    const [run, cell] = [this.run.value, this.current.value];
    const ids = [...this.traits.tracked.value];
    if (run && cell) {
      const output = run.candidates(run.layers.length - 1, cell.position);
      const runs = this.shows.value === "baseline" ? [run] : [run, this.baseline.value ?? run];
      ids.push(...runs.map(({ answers }) => answers[cell.position] as number));
      ids.push(run.top(cell.layer, cell.position).id);
      ids.push(...output.slice(0, 2).map(({ id }) => id));
    }
    return [...new Set(ids)].slice(0, MOST_FOLLOWED);
  });

  token(id: number): Token | undefined {
    return this.vocabulary.value.get(id);
  }

  name(id: number): string {
    return shownText(this.token(id)) || `token ${id}`;
  }

  /** What rises or falls most in a cell. */
  changes(kind: "rises" | "falls", { layer, position }: Cell): { id: number; value: number }[] {
    const found = this.#difference.value?.[kind];
    if (!found) return [];
    const start = (layer * (this.baseline.value?.positions ?? 0) + position) * found.count;
    return Array.from({ length: found.count }, (_, i) => ({
      id: found.ids[start + i] as number,
      value: found.values[start + i] as number,
    })).filter(({ value }) => value !== 0);
  }

  #run(wire: LensTraits["baseline"]): LensRun | null {
    if (!wire.layers) return null;
    const run = new LensRun(wire as GridWire, this.traits.tracked.value);
    // Of a generated token, the one that came after it stands there too.
    const beyond = this.tokens.value.length - run.positions;
    return beyond === 0 || (beyond === 1 && this.traits.facts.value.generated) ? run : null;
  }

  // --- what a user does

  choose<Name extends Choice>(name: Name, value: LensTraits[Name]): void {
    this.#store.write(name, value);
  }

  /** A text that was read is read again; the template of one that is not yet is a setting. */
  setChat(chat: boolean): void {
    this.choose("chat", chat);
    if (this.tokens.peek().length && this.traits.text.peek()) void this.read();
  }

  setText(text: string): void {
    this.#store.draft("text", text);
  }

  point(cell: Cell | null): void {
    const before = this.hovered.peek();
    if (before?.layer !== cell?.layer || before?.position !== cell?.position)
      this.hovered.value = cell;
  }

  pin(cell: Cell | null): void {
    const run = this.baseline.peek();
    const place = cell && run ? [run.layers[cell.layer] as number, cell.position] : [];
    this.#store.write("pinned", place);
  }

  read(): Promise<void> {
    const { text, chat, stream } = this.traits;
    const args = { text: text.peek(), chat: chat.peek(), stream: stream.peek() };
    return this.#ask("Reading", "read", args);
  }

  readBy(reading: string): Promise<void> {
    return this.#ask("Reading", "reading", { reading });
  }

  readStream(stream: string): Promise<void> {
    return this.#ask("Reading", "stream", { stream });
  }

  stop(): void {
    this.#stopper?.abort();
  }

  find(query: string): Promise<void> {
    return this.#ask("Looking for tokens", "find", { query });
  }

  /** Follows a token, or no longer. */
  async follow(id: number, on = true): Promise<void> {
    const rest = this.traits.tracked.peek().filter((other) => other !== id);
    const ids = on ? [...rest.slice(-(MOST_FOLLOWED - 1)), id] : rest;
    await this.#ask(on ? `Following ${this.name(id)}` : "Dropping a token", "track", { ids });
  }

  /** Makes a token the one whose rank colours the cells and whose way into the top k is marked. */
  async chooseToken(id: number | null): Promise<void> {
    if (id !== null && !this.traits.tracked.peek().includes(id) && !this.frozen)
      await this.follow(id);
    this.choose("chosen", id);
  }

  explain(about: Pick<Wrote, "position" | "id" | "minus" | "run">): Promise<void> {
    return this.#ask(`Asking what wrote ${this.name(about.id)}`, "wrote", about);
  }

  exportHtml(): Promise<{ html: string; filename: string }> {
    return this.#rpc.request("export_html", {});
  }

  fail(error: unknown): void {
    this.failure.value = error instanceof Error ? error.message : String(error);
  }

  async #ask(doing: string, name: string, args: object): Promise<void> {
    if (this.frozen) return;
    this.failure.value = "";
    const stopper = new AbortController();
    this.#stopper = stopper;
    const said = (text: string, done = 0, of = 0) => {
      this.busy.value = { doing: text, done, of };
    };
    said(`${doing}…`);
    try {
      await this.#rpc.request(name, args, {
        signal: stopper.signal,
        onSlow: (late) => said(late ? LATE : `${doing}…`),
        onMessage: ({ state, said: why, done, of }) =>
          state === "waiting" ? said(String(why)) : said(`${doing}…`, Number(done), Number(of)),
      });
    } catch (error) {
      if (!(error instanceof Cancelled)) this.fail(error);
    } finally {
      if (this.#stopper === stopper) {
        this.#stopper = null;
        this.busy.value = null;
      }
    }
  }
}
