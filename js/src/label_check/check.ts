// A label check's state: the item that is asked, what is chosen, and what a reader can do. One per model.

import { computed, signal } from "@preact/signals";
import { type HostModel, isFrozen } from "../host/host";
import { Cancelled, Rpc } from "../host/rpc";
import { Store } from "../host/store";
import { plural } from "../ui/format";
import { VERDICTS } from "../ui/verdicts";
import {
  type Answer,
  type CheckTraits,
  EMPTY_CHECK,
  isChoice,
  type Screen,
  stepsOf,
} from "./types";

const WAIT = 60; // ms; many choices make one message

export class Check {
  readonly traits: Store<CheckTraits>["traits"];
  readonly frozen: boolean;
  readonly failure = signal("");
  /** What the kernel is at, where it takes its time. */
  readonly doing = signal("");
  readonly kept = signal("");
  /** The row that the keys act on. */
  readonly row = signal(0);
  readonly #store: Store<CheckTraits>;
  readonly #rpc: Rpc;
  #began = performance.now();
  #of = -1;
  /** The screen changes since this page went on: the focus goes with it. */
  #moves = false;

  constructor(model: HostModel, until: AbortSignal) {
    this.frozen = isFrozen(model);
    this.#store = new Store(model, EMPTY_CHECK, until);
    this.traits = this.#store.traits;
    this.#rpc = new Rpc(model, { signal: until });
  }

  // --- what is shown

  readonly screen = computed<Screen | null>(() => {
    const screen = this.traits.screen.value;
    return typeof screen.kind === "string" ? (screen as Screen) : null;
  });

  /** How many answers the item takes. */
  readonly count = computed(() => {
    const screen = this.screen.value;
    if (screen?.kind !== "item") return 0;
    return isChoice(screen.mode) ? 1 : screen.texts.length;
  });

  readonly answers = computed<Answer[]>(() => {
    const { step, answers } = this.traits.draft.value;
    const count = this.count.value;
    if (answers && step === this.screen.value?.step && answers.length === count) return answers;
    return Array<Answer>(count).fill(null);
  });

  readonly open = computed(() => this.answers.value.filter((each) => each === null).length);

  /** A screen that this page brought about is new: whether the focus goes there. */
  arrive(step: number): boolean {
    if (step === this.#of) return false;
    this.#of = step;
    this.#began = performance.now();
    this.row.value = 0;
    this.kept.value = "";
    const moves = this.#moves;
    this.#moves = false;
    return moves;
  }

  // --- what a reader does

  choose(at: number, answer: Answer): void {
    const screen = this.screen.peek();
    if (this.frozen || screen?.kind !== "item") return;
    const answers = this.answers.peek().map((each, i) => (i === at ? answer : each));
    this.failure.value = "";
    this.#store.draft("draft", { step: screen.step, answers }, WAIT);
  }

  /** A digit that is typed: an answer to the row that has the focus, a choice, or a verdict. The row to go to, if any. */
  digit(number: number, row: number): number | null {
    const screen = this.screen.peek();
    if (screen?.kind === "reveal") {
      const verdict = VERDICTS[number - 1];
      if (verdict) this.judge({ verdict: verdict === screen.verdict ? "" : verdict });
    }
    if (screen?.kind !== "item") return null;
    if (isChoice(screen.mode)) {
      const options = screen.choices.length || screen.texts.length;
      if (number <= options) this.choose(0, number - 1);
      return null;
    }
    const step = stepsOf(screen.mode)[number - 1];
    if (!step) return null;
    this.choose(row, step.value);
    return Math.min(row + 1, screen.texts.length - 1);
  }

  /** The one next step: send what is chosen, or leave what is told. */
  next(): void {
    const screen = this.screen.peek();
    if (screen?.kind === "reveal") this.#go("next", {});
    else if (screen?.kind === "item" && this.open.peek() < this.count.peek())
      this.#go("answer", { answers: this.answers.peek(), seconds: this.#seconds() });
    else if (screen?.kind === "item")
      this.failure.value = "Nothing is chosen yet; choose, or skip this item.";
  }

  skip(): void {
    if (this.screen.peek()?.kind === "item") this.#go("answer", { answers: null });
  }

  async judge(change: { verdict?: string; note?: string }): Promise<void> {
    this.kept.value = "";
    await this.#ask(async () => {
      await this.#rpc.request("verdict", { step: this.screen.peek()?.step, ...change });
      this.kept.value = "saved on this machine";
    });
  }

  exportAs(kind: "csv" | "json"): Promise<{ text: string; filename: string }> {
    return this.#rpc.request(`export_${kind}`, {});
  }

  exportHtml(): Promise<{ html: string; filename: string }> {
    return this.#rpc.request("export_html", {});
  }

  fail(error: unknown): void {
    this.failure.value = error instanceof Error ? error.message : String(error);
  }

  #seconds(): number {
    return (performance.now() - this.#began) / 1000;
  }

  async #go(name: "answer" | "next", args: object): Promise<void> {
    if (this.frozen || this.doing.peek()) return;
    this.doing.value = "Making the next item…";
    this.#moves = true;
    await this.#ask(async () => {
      await this.#rpc.request(
        name,
        { step: this.screen.peek()?.step, ...args },
        {
          onSlow: (late) => {
            this.doing.value = late
              ? "Waiting for the kernel: it is busy with a cell, or gone."
              : "Making the next item…";
          },
        },
      );
    });
    this.doing.value = "";
  }

  async #ask(ask: () => Promise<void>): Promise<void> {
    this.failure.value = "";
    try {
      await ask();
    } catch (error) {
      if (!(error instanceof Cancelled)) this.fail(error);
    }
  }
}

/** How much of the queue is done, 0 to 1. */
export function shareDone(screen: Screen): number {
  return screen.steps ? screen.step / screen.steps : 1;
}

/** What is still open, in words. */
export function openSaid(open: number, count: number): string {
  return open && open < count ? `${plural(open, "text")} not answered` : "";
}
