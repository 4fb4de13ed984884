// A feature card's state: traits, what follows from them, and what a user can do. One per model.

import { computed, signal } from "@preact/signals";
import type { HeatScale } from "../heatmap/colour";
import { unpack } from "../host/arrays";
import { type HostModel, isFrozen } from "../host/host";
import { Cancelled, Rpc } from "../host/rpc";
import { Store } from "../host/store";
import { chooseEnd, type End } from "../ui/scale_end";
import { readLines } from "./lines";
import {
  type CardTraits,
  type Content,
  EMPTY_CARD,
  isContent,
  type Silent,
  type Tab,
  type Tried,
  type Verdict,
} from "./types";

const TYPING = 250; // ms without a key before a text is read
const SLOW = 500; // ms before a request says that it is at work

/** What the pointer or the focus is on, anywhere on the card. */
export interface Pointed {
  value: number;
  counted: boolean;
  /** The token's place in the user's own text; null elsewhere. */
  own: number | null;
}

/** Something that the kernel is doing for this page. */
export interface Doing {
  what: "show" | "try" | "silent" | "effect";
  said: string;
  done: number;
  of: number | null;
  seconds: number | null;
}

export class Card {
  readonly traits: Store<CardTraits>["traits"];
  readonly frozen: boolean;
  readonly failure = signal("");
  readonly doing = signal<Doing | null>(null);
  readonly pointed = signal<Pointed | null>(null);
  /** What became of "Steer with this". */
  readonly steered = signal("");
  readonly kept = signal("");
  readonly #store: Store<CardTraits>;
  readonly #rpc: Rpc;
  #running: AbortController | null = null;
  #typing: ReturnType<typeof setTimeout> | undefined;
  #slow: ReturnType<typeof setTimeout> | undefined;

  constructor(model: HostModel, until: AbortSignal) {
    this.frozen = isFrozen(model);
    this.#store = new Store(model, EMPTY_CARD, until);
    this.traits = this.#store.traits;
    this.#rpc = new Rpc(model, { signal: until });
    until.addEventListener("abort", () => this.#dispose(), { once: true });
  }

  // --- what is shown

  readonly content = computed<Content | null>(() => {
    const content = this.traits.content.value;
    return isContent(content) ? content : null;
  });

  readonly lines = computed(() => {
    const content = this.content.value;
    return content ? readLines(content.examples[this.traits.tab.value]) : [];
  });

  /** The user's text as it was read; null while it is of another feature. */
  readonly tried = computed<Tried | null>(() => {
    const tried = this.traits.tried.value;
    return tried.key && tried.key === this.content.value?.key ? (tried as Tried) : null;
  });

  readonly triedLines = computed(() => readLines(this.tried.value?.text));

  /** The latents of a mixture's component at each of the text's tokens. */
  readonly latents = computed(() => {
    const packed = this.tried.value?.latents;
    return packed ? unpack(packed) : null;
  });

  readonly silent = computed<Silent | null>(() => {
    const silent = this.traits.silent.value;
    return silent.key && silent.key === this.content.value?.key ? (silent as Silent) : null;
  });

  readonly silentLines = computed(() => readLines(this.silent.value?.text));

  readonly verdict = computed<Verdict>(() => ({
    label: "",
    note: "",
    rating: null,
    verdict: "",
    said: 0,
    ...this.traits.verdict.value,
  }));

  readonly expanded = computed(() => new Set(this.traits.expanded.value));

  /** Ends at the feature's maximum over its corpus, or else at the largest value on the card. */
  readonly scale = computed<HeatScale>(() => {
    const content = this.content.value;
    const maximum = { end: content?.maximum, source: "feature maximum" };
    const { zero, zero_of: zeroOf } = content ?? {};
    const sized = typeof zero === "number" ? (value: number) => value : Math.abs;
    const end = chooseEnd([maximum], zero, () => this.#largestShown(sized));
    const signed = (content?.signed ?? false) && typeof zero !== "number";
    return { ...end, signed, curve: this.traits.curve.value, zero, zeroOf };
  });

  #largestShown(sized: (value: number) => number): End {
    const lines = [...this.lines.value, ...this.triedLines.value];
    const values = lines.flatMap(({ tokens }) =>
      tokens.map(({ value, why }) => (why ? 0 : sized(value))),
    );
    return { end: Math.max(0, ...values), source: "largest shown here" };
  }

  // --- what a user does

  choose(name: "tab", value: Tab): void;
  choose(name: "curve", value: CardTraits["curve"]): void;
  choose(name: "tab" | "curve", value: never): void {
    this.#store.write(name, value);
  }

  toggle(line: string): void {
    const open = new Set(this.expanded.peek());
    if (!open.delete(line)) open.add(line);
    this.#store.write("expanded", [...open]);
  }

  point(pointed: Pointed | null): void {
    this.pointed.value = pointed;
  }

  /** Whether a feature's card can be opened from here. */
  canShow(index: number): boolean {
    const content = this.content.value;
    if (!content || index < 0 || index >= content.size) return false;
    return !this.frozen || this.#held(index) !== undefined;
  }

  show(index: number): void {
    this.pointed.value = null;
    this.steered.value = "";
    if (!this.frozen) {
      this.#run("show", "Opening the feature…", { feature: index });
      return;
    }
    const page = this.#held(index);
    if (!page) return;
    this.#store.write("content", page.content);
    this.#store.write("verdict", page.verdict);
    this.#store.write("tried", page.tried);
    this.#store.write("expanded", []);
  }

  /** The next or previous feature that can be shown: in a frozen copy, of those that it holds. */
  beside(step: 1 | -1): number | null {
    const content = this.content.value;
    if (!content) return null;
    if (!this.frozen) return this.canShow(content.index + step) ? content.index + step : null;
    const pages = this.traits.pages.value.map((page) => page.content);
    const own = pages.filter((page) => page.kind === content.kind).map((page) => page.index);
    const further = own.filter((index) => (index - content.index) * step > 0);
    return further.length ? further.reduce((a, b) => ((b - a) * step < 0 ? b : a)) : null;
  }

  /** Reads the text once the keys rest; a text that is typed meanwhile takes its place. */
  type(text: string): void {
    this.#store.draft("own_text", text, TYPING);
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => this.#run("try", "Reading your text…", { text }), TYPING);
  }

  look(words: string[]): void {
    this.#run("silent", "Looking through examples…", { words });
  }

  /** Steers with the feature, for what it promotes through the model. */
  measure(): void {
    this.#run("effect", "Steering with the feature…", {});
  }

  stop(): void {
    this.#running?.abort();
  }

  async steer(): Promise<void> {
    await this.#ask(async () => {
      const { said } = await this.#rpc.request<{ said: string }>("steer", {});
      this.steered.value = said;
    });
  }

  async judge(
    change: Partial<Pick<Verdict, "rating" | "label" | "note" | "verdict">>,
  ): Promise<void> {
    this.kept.value = "";
    await this.#ask(async () => {
      const key = this.content.peek()?.key;
      await this.#rpc.request("verdict", { key, ...change });
      this.kept.value = "saved on this machine";
    });
  }

  exportVerdicts(): Promise<{ text: string; filename: string }> {
    return this.#rpc.request("export_verdicts", {});
  }

  exportHtml(): Promise<{ html: string; filename: string }> {
    return this.#rpc.request("export_html", {});
  }

  fail(error: unknown): void {
    this.failure.value = error instanceof Error ? error.message : String(error);
  }

  #held(index: number) {
    const kind = this.content.peek()?.kind;
    return this.traits.pages.value.find(
      ({ content }) => content.kind === kind && content.index === index,
    );
  }

  async #ask(ask: () => Promise<void>): Promise<void> {
    this.failure.value = "";
    try {
      await ask();
    } catch (error) {
      if (!(error instanceof Cancelled)) this.fail(error);
    }
  }

  /** One of these at a time: a new one takes the place of what runs. */
  async #run(what: Doing["what"], said: string, args: object): Promise<void> {
    this.#running?.abort();
    const running = new AbortController();
    this.#running = running;
    const tell = (changes: Partial<Doing>) => {
      if (this.#running !== running) return;
      const before = this.doing.peek() ?? { what, said, done: 0, of: null, seconds: null };
      this.doing.value = { ...before, ...changes };
    };
    const begin = () => tell({ what, said, done: 0, of: null, seconds: null });
    this.doing.value = null;
    clearTimeout(this.#slow);
    // What is quick changes nothing on the way; a long search shows its progress from the start.
    if (what === "silent" || what === "effect") begin();
    else this.#slow = setTimeout(begin, SLOW);
    await this.#ask(async () => {
      await this.#rpc.request(what, args, {
        signal: running.signal,
        abandon: what !== "silent",
        onSlow: (late) => {
          if (late) tell({ said: "Waiting for the kernel: it is busy with a cell, or gone." });
          else if (this.doing.peek()) tell({ said });
        },
        onMessage: ({ state, said: why, done, of, seconds_left }) => {
          if (state === "waiting") tell({ said: String(why) });
          else if (typeof of === "number")
            tell({
              said: "Reading texts…",
              done: Number(done),
              of,
              seconds: typeof seconds_left === "number" ? seconds_left : null,
            });
        },
      });
    });
    if (this.#running !== running) return;
    clearTimeout(this.#slow);
    this.#running = null;
    this.doing.value = null;
  }

  #dispose(): void {
    clearTimeout(this.#typing);
    clearTimeout(this.#slow);
  }
}
