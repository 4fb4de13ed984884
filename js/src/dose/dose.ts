// A dose–response's state: traits, what follows from them, and what a user can do. One per model.

import { computed, signal } from "@preact/signals";
import { type HostModel, isFrozen } from "../host/host";
import { Store, same } from "../host/store";
import { type Doing as DoingOf, Work } from "../host/work";
import {
  type Answer,
  type Axis,
  type DoseTraits,
  EMPTY_DOSE,
  type Facts,
  type Inputs,
  isFacts,
  isInputs,
  isResult,
  type Kind,
  type Result,
  type Row,
} from "./types";

type What = "run" | "judge" | "iso_kl";
export type Doing = DoingOf<What>;

export class Dose extends Work<What> {
  readonly traits: Store<DoseTraits>["traits"];
  readonly frozen: boolean;
  /** What became of "Send to panel". */
  readonly sent = signal("");
  /** What stands in the boxes and is not run yet; null where it is what was asked for last. */
  readonly edited = signal<Inputs | null>(null);
  readonly #store: Store<DoseTraits>;

  constructor(model: HostModel, until: AbortSignal) {
    super(model, until, () => "run");
    this.frozen = isFrozen(model);
    this.#store = new Store(model, EMPTY_DOSE, until);
    this.traits = this.#store.traits;
  }

  // --- what is shown

  readonly facts = computed<Facts | null>(() => {
    const facts = this.traits.facts.value;
    return isFacts(facts) ? facts : null;
  });

  readonly result = computed<Result | null>(() => {
    const result = this.traits.result.value;
    return isResult(result) ? result : null;
  });

  readonly inputs = computed<Inputs | null>(() => {
    const inputs = this.traits.inputs.value;
    return this.edited.value ?? (isInputs(inputs) ? inputs : null);
  });

  /** The axis that can be drawn: without its dose, iso-KL is none. */
  readonly axis = computed<Axis>(() => {
    const axis = this.traits.axis.value;
    return axis === "iso_kl" && this.traits.iso_kl.value === null ? "strength" : axis;
  });

  /** Where each row stands on the axis. */
  readonly doses = computed<number[]>(() => {
    const result = this.result.value;
    return result ? result.rows.map((row) => this.doseOf(row, result)) : [];
  });

  doseOf(row: Row, { origin }: Result): number {
    switch (this.axis.value) {
      case "ratio":
        return (row.ratio ?? 0) * Math.sign(row.strength - origin);
      case "iso_kl":
        return (row.strength - origin) / ((this.traits.iso_kl.value ?? 1) - origin);
      default:
        return row.strength;
    }
  }

  /** The row that is looked at. */
  readonly at = computed<number>(() => {
    const rows = this.result.value?.rows ?? [];
    const found = rows.findIndex((row) => row.strength === this.traits.selected.value);
    return Math.max(found, 0);
  });

  readonly row = computed<Row | null>(() => this.result.value?.rows[this.at.value] ?? null);

  /** The prompt and the seed whose answers are shown, of those that there are. */
  readonly shown = computed(() => {
    const result = this.result.value;
    const prompts = result?.prompts.length ?? 0;
    const seeds = result?.seeds ?? [];
    return {
      prompt: Math.min(this.traits.prompt.value, Math.max(prompts - 1, 0)),
      seed: seeds.includes(this.traits.seed.value) ? this.traits.seed.value : (seeds[0] ?? 0),
    };
  });

  answer(kind: Kind, strength: number | null = null): Answer | null {
    const { prompt, seed } = this.shown.value;
    const found = this.result.value?.answers.find(
      (each) =>
        each.kind === kind &&
        each.strength === strength &&
        each.prompt === prompt &&
        each.seed === seed,
    );
    return found ?? null;
  }

  /** The boxes no longer say what these answers were made with. */
  readonly stale = computed(
    () => this.edited.value !== null && !same(this.edited.value, this.traits.inputs.value),
  );

  // --- what a user does

  select(strength: number): void {
    this.sent.value = "";
    this.#store.write("selected", strength);
  }

  compare(strength: number | null): void {
    this.#store.write("compared", strength);
  }

  show(name: "prompt" | "seed", value: number): void {
    this.#store.write(name, value);
  }

  edit(changes: Partial<Inputs>): void {
    const inputs = this.inputs.peek();
    if (inputs) this.edited.value = { ...inputs, ...changes };
  }

  run(): void {
    this.#ask("run", { inputs: this.inputs.peek() }, () => {
      this.edited.value = null;
    });
  }

  /** The iso-KL dose is measured when it is first wanted. */
  chooseAxis(axis: Axis): void {
    if (axis === "iso_kl" && this.traits.iso_kl.peek() === null) this.#ask("iso_kl", {});
    else this.#store.write("axis", axis);
  }

  chooseJudge(judge: number): void {
    this.#ask("judge", { judge });
  }

  async send(): Promise<void> {
    const strength = this.row.peek()?.strength;
    await this.ask("send", { strength }, (value) => {
      this.sent.value = (value as { said: string }).said;
    });
  }

  /** Once the kernel has taken it, or ended it. */
  async #ask(what: What, args: object, onTaken?: () => void): Promise<void> {
    if (this.doing.peek()) return;
    this.sent.value = "";
    await this.askAndShow(what, args, onTaken, onTaken);
  }
}
