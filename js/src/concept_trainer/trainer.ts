// A trainer's state: traits, what follows from them, and what a user can do. One per model.
import { computed, signal } from "@preact/signals";
import { type HostModel, isFrozen } from "../host/host";
import { Store, same } from "../host/store";
import { type Doing as DoingOf, Work } from "../host/work";
import {
  type Checked,
  EMPTY_TRAINER,
  type Entry,
  type Inputs,
  isChecked,
  isInputs,
  isPlan,
  isResult,
  isSteered,
  isTable,
  isTotal,
  type Layer,
  type Plan,
  type Result,
  type Side,
  type Steered,
  type Table,
  type Term,
  type Total,
  type TrainerTraits,
} from "./types";

const TYPING = 400; // ms after the last key before the kernel looks at what was written

type Run = "train" | "write" | "dose" | "blocks";

export type Doing = DoingOf<Run | "other">;

export class Trainer extends Work<Run | "other"> {
  readonly traits: Store<TrainerTraits>["traits"];
  readonly frozen: boolean;
  /** What became of the last thing that was done: a file taken in, a concept sent. */
  readonly said = signal("");
  /** What stands in the boxes and the kernel has not seen yet; null where it has. */
  readonly edited = signal<Inputs | null>(null);
  readonly #store: Store<TrainerTraits>;
  #typing: ReturnType<typeof setTimeout> | undefined;

  constructor(model: HostModel, until: AbortSignal) {
    super(model, until, ({ state }) => (state ? undefined : "other"));
    this.frozen = isFrozen(model);
    this.#store = new Store(model, EMPTY_TRAINER, until);
    this.traits = this.#store.traits;
    until.addEventListener("abort", () => clearTimeout(this.#typing), { once: true });
  }

  // --- what is shown

  readonly inputs = computed<Inputs | null>(() => {
    const inputs = this.traits.inputs.value;
    return this.edited.value ?? (isInputs(inputs) ? inputs : null);
  });

  readonly plan = computed<Plan>(() => {
    const plan = this.traits.plan.value;
    return isPlan(plan) ? plan : { problem: "", told: [], counts: [0, 0] };
  });

  readonly table = computed<Table | null>(() => {
    const table = this.traits.table.value;
    return isTable(table) ? table : null;
  });

  readonly result = computed<Result | null>(() => {
    const result = this.traits.result.value;
    return isResult(result) ? result : null;
  });

  /** Which of the result's blocks is looked at. */
  readonly at = computed(() => {
    const layers = this.result.value?.layers ?? [];
    const found = layers.findIndex(({ layer }) => layer === this.traits.selected.value);
    return Math.max(found, 0);
  });

  readonly layer = computed<Layer | null>(() => this.result.value?.layers[this.at.value] ?? null);

  readonly total = computed<Total | null>(() => {
    const total = this.traits.total.value;
    return isTotal(total) && total.layer === this.layer.value?.layer ? total : null;
  });

  readonly checked = computed<Checked | null>(() => {
    const checked = this.traits.checked.value;
    return isChecked(checked) ? checked : null;
  });

  readonly steered = computed<Steered | null>(() => {
    const steered = this.traits.steered.value;
    return isSteered(steered) ? steered : null;
  });

  /** Texts of a list that were typed, or those that the model wrote. */
  shown(side: Side): Entry[] {
    return this.inputs.value?.[side] ?? [];
  }

  // --- what a user does

  edit(changes: Partial<Inputs>, wait = 0): void {
    const inputs = this.inputs.peek();
    if (!inputs || this.frozen) return;
    this.edited.value = { ...inputs, ...changes };
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => void this.#read(), wait);
  }

  type(changes: Partial<Inputs>): void {
    this.edit(changes, TYPING);
  }

  /** One text for each line. */
  add(side: Side, lines: string): void {
    const texts = lines
      .split("\n")
      .map((line) => line.trim())
      .filter(Boolean);
    const inputs = this.inputs.peek();
    if (!texts.length || !inputs) return;
    const fresh = texts.map((text) => ({ text, key: -1, written: false }));
    this.edit({ [side]: [...inputs[side], ...fresh] });
  }

  remove(side: Side, index: number): void {
    const inputs = this.inputs.peek();
    if (inputs) this.edit({ [side]: inputs[side].filter((_, at) => at !== index) });
  }

  clear(side: Side): void {
    this.edit({ [side]: [] });
  }

  run(what: "train" | "write"): void {
    clearTimeout(this.#typing);
    const inputs = this.inputs.peek();
    void this.#run(what, { inputs }, () => this.#settle(inputs));
  }

  checkDose(): void {
    void this.#run("dose", {});
  }

  checkBlocks(): void {
    void this.#run("blocks", {});
  }

  select(layer: number): void {
    this.said.value = "";
    this.#store.write("selected", layer);
  }

  async file(side: Side | "table", file: File): Promise<void> {
    clearTimeout(this.#typing);
    const data = base64(new Uint8Array(await file.arrayBuffer()));
    const inputs = this.inputs.peek();
    await this.#ask("file", { filename: file.name, data, side, inputs }, (value) => {
      this.#settle(inputs);
      this.#say(value);
    });
  }

  addUp(terms: readonly Term[]): void {
    void this.#ask("sum", { terms: terms.map(({ id, sign }) => ({ id, sign })) });
  }

  send(total: boolean): void {
    void this.#ask("send", { total }, (value) => this.#say(value));
  }

  async save(): Promise<{ bytes: Uint8Array<ArrayBuffer>; filename: string }> {
    const { data, filename } = await this.rpc.request<{ data: string; filename: string }>(
      "save",
      {},
    );
    return { bytes: Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0)), filename };
  }

  #say(value: unknown): void {
    this.said.value = (value as { said?: string })?.said ?? "";
  }

  async #read(): Promise<void> {
    const inputs = this.edited.peek();
    if (inputs) await this.#ask("plan", { inputs }, () => this.#settle(inputs));
  }

  /** What stands in the boxes is what the kernel has, unless more was written meanwhile. */
  #settle(inputs: Inputs | null): void {
    if (same(this.edited.peek(), inputs)) this.edited.value = null;
  }

  /** A run goes on whatever is asked meanwhile: the kernel answers after it. */
  async #ask(name: string, args: object, onDone?: (value: unknown) => void): Promise<void> {
    if (name !== "plan") this.said.value = "";
    await this.ask(name, args, onDone);
  }

  async #run(what: Run, args: object, onDone?: (value: unknown) => void): Promise<void> {
    const before = this.doing.peek();
    if (before && before.what !== "other") return;
    this.said.value = "";
    await this.askAndShow(what, args, onDone);
  }
}

/** In pieces: a call takes only so many arguments. */
function base64(bytes: Uint8Array): string {
  let letters = "";
  for (let at = 0; at < bytes.length; at += 8192)
    letters += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(letters);
}
