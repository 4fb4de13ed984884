// A patch grid's state: traits, what follows from them, and what a user can do. One per model.

import { computed, signal } from "@preact/signals";
import { unpack } from "../host/arrays";
import { type HostModel, isFrozen } from "../host/host";
import { Store, same } from "../host/store";
import type { Token } from "../host/tokens";
import { Work } from "../host/work";
import { shownText } from "../lens/text";
import {
  type CellFound,
  EMPTY_PATCH,
  type Inputs,
  isAt,
  isInputs,
  isPlan,
  type PatchTraits,
  type Place,
  type Plan,
  type Written,
} from "./types";

const TYPING = 600; // ms without a key before the texts are read

type What = "plan" | "run" | "cell" | "write" | "send";

/** A column: a token of the patched text, or a head. */
export interface Column {
  token: Token | null;
  /** The other text's token that it is paired with, where it is another one. */
  other: Token | null;
  name: string;
  /** Its place in the result, or −1 where nothing is patched. */
  at: number;
  /** What the kernel calls it: position or head. */
  id: number;
}

export class Patch extends Work<What> {
  readonly traits: Store<PatchTraits>["traits"];
  readonly frozen: boolean;
  /** What became of "Send to panel". */
  readonly sent = signal("");
  readonly hovered = signal<{ layer: number; column: number } | null>(null);
  /** What stands in the boxes and was not read yet. */
  readonly edited = signal<Inputs | null>(null);
  readonly #store: Store<PatchTraits>;
  #typing: ReturnType<typeof setTimeout> | undefined;

  constructor(model: HostModel, until: AbortSignal) {
    super(model, until, () => "run");
    this.frozen = isFrozen(model);
    this.#store = new Store(model, EMPTY_PATCH, until);
    this.traits = this.#store.traits;
    until.addEventListener("abort", () => clearTimeout(this.#typing), { once: true });
  }

  // --- what is shown

  readonly inputs = computed<Inputs | null>(() => {
    const inputs = this.traits.inputs.value;
    return this.edited.value ?? (isInputs(inputs) ? inputs : null);
  });

  readonly plan = computed<Plan | null>(() => {
    const plan = this.traits.plan.value;
    return isPlan(plan) ? plan : null;
  });

  /** The text that is patched, and the other one. */
  readonly noise = computed(() => this.traits.inputs.value.noise === true);

  readonly columns = computed<Column[]>(() => {
    const plan = this.plan.value;
    if (!plan?.source || !plan.target) return [];
    if (plan.heads)
      return Array.from({ length: plan.heads }, (_, head) => ({
        token: null,
        other: null,
        name: `head ${head}`,
        at: head,
        id: head,
      }));
    const noise = this.noise.value;
    const [own, others] = noise ? [plan.source, plan.target] : [plan.target, plan.source];
    const partners = plan.partners ?? [];
    return own.map((token, id) => {
      const paired = noise ? partners.indexOf(id) : (partners[id] ?? -1);
      const other = others[paired] ?? null;
      return {
        token,
        other: other && other.id !== token.id ? other : null,
        name: shownText(token),
        at: plan.columns?.indexOf(id) ?? -1,
        id,
      };
    });
  });

  /** The blocks, the deepest first. */
  readonly rows = computed(() => [...(this.plan.value?.layers ?? [])].reverse());

  readonly #shares = computed(() => {
    const { share } = this.traits.result.value;
    return share ? unpack(share) : null;
  });

  /** NaN where nothing is measured. */
  share(row: number, column: number): number {
    const shares = this.#shares.value;
    const at = this.columns.value[column]?.at ?? -1;
    if (!shares || at < 0) return Number.NaN;
    const [layers = 0, width = 0] = shares.shape;
    return Number(shares.values[(layers - 1 - row) * width + at] ?? Number.NaN);
  }

  /** The smallest share, for the scale. */
  readonly least = computed(() => {
    const values = this.#shares.value?.values ?? [];
    let least = 0;
    for (const value of values) if (Number(value) < least) least = Number(value);
    return least;
  });

  readonly measured = computed(() => this.traits.result.value.done ?? 0);

  readonly pinned = computed<Place | null>(() => {
    const [first, last, column] = this.traits.pinned.value;
    if (first === undefined || last === undefined || column === undefined) return null;
    return { first, last, column };
  });

  /** What is spoken of: the cell under the pointer or the focus, else the pinned one. */
  readonly current = computed<Place | null>(() => {
    const hovered = this.hovered.value;
    const pinned = this.pinned.value;
    if (!hovered) return pinned;
    const { layer, column } = hovered;
    const within = pinned?.column === column && layer >= pinned.first && layer <= pinned.last;
    return within ? pinned : { first: layer, last: layer, column };
  });

  /** What the kernel found of a cell, where it is the one that is pinned. */
  found(place: Place): CellFound | null {
    const cell = this.traits.cell.value;
    return isAt(place, cell) ? (cell as CellFound) : null;
  }

  written(place: Place): Written | null {
    const written = this.traits.written.value;
    return isAt(place, written) ? (written as Written) : null;
  }

  // --- what a user does

  /** Other inputs: the texts are read once the keys rest, everything else at once. */
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

  run(): void {
    clearTimeout(this.#typing);
    const inputs = this.inputs.peek();
    void this.#ask("run", { inputs }, () => this.#settle(inputs));
  }

  point(cell: { layer: number; column: number } | null): void {
    if (!same(this.hovered.peek(), cell)) this.hovered.value = cell;
  }

  /** Looks at a cell; with Shift, at all blocks from the pinned one on, patched together. */
  pin(cell: { layer: number; column: number } | null, extend: boolean): void {
    if (!cell) {
      this.#store.write("pinned", []);
      return;
    }
    const before = this.pinned.peek();
    const from = extend && before?.column === cell.column ? before : null;
    const ends = from ? [from.first, from.last, cell.layer] : [cell.layer];
    this.look({ first: Math.min(...ends), last: Math.max(...ends), column: cell.column });
  }

  look(place: Place): void {
    this.sent.value = "";
    this.#store.write("pinned", [place.first, place.last, place.column]);
    if (!this.frozen && this.measured.peek()) void this.#ask("cell", place);
  }

  write(place: Place): void {
    void this.#ask("write", place);
  }

  async send(place: Place): Promise<void> {
    await this.#ask("send", place, (value) => {
      this.sent.value = (value as { said?: string })?.said ?? "";
    });
  }

  async #read(): Promise<void> {
    const inputs = this.edited.peek();
    if (inputs) await this.#ask("plan", { inputs }, () => this.#settle(inputs));
  }

  /** What stands in the boxes is what the kernel has, unless more was written meanwhile. */
  #settle(inputs: Inputs | null): void {
    if (same(this.edited.peek(), inputs)) this.edited.value = null;
  }

  /** A run goes on, and stays in sight, whatever is asked meanwhile: the kernel answers after it. */
  async #ask(what: What, args: object, onDone?: (value: unknown) => void): Promise<void> {
    const runs = this.doing.peek()?.what === "run";
    if (runs && what !== "run") await this.ask(what, args, onDone);
    else await this.askAndShow(what, args, onDone);
  }
}
