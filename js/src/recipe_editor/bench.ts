// What the picker and the panel have in common: traits, a search, a recipe and its edits. One per model.

import { batch, computed, type ReadonlySignal, signal } from "@preact/signals";
import { type HostModel, isFrozen } from "../host/host";
import { Rpc, type RpcOptions } from "../host/rpc";
import type { TraitStore } from "../host/store";
import { placed } from "./acting";
import { createFinder, type Finder } from "./finder";
import { newSteer, replace, withOp } from "./recipe";
import type { BenchTraits, Breaks, Feature, Found, Positions, Search, Steer } from "./types";

/** What makes one bench differ from another. */
interface Kind {
  store: TraitStore<BenchTraits>;
  /** Searches what the page holds. */
  findHere(features: Found[], search: Search): Found[];
  onStray?: NonNullable<RpcOptions["onStray"]>;
}

export class Bench {
  readonly traits: TraitStore<BenchTraits>["traits"];
  readonly frozen: boolean;
  readonly finder: Finder;
  protected readonly rpc: Rpc;
  protected readonly failed = signal("");
  readonly #store: TraitStore<BenchTraits>;
  readonly #seen = signal<Record<string, Feature>>({});

  constructor(model: HostModel, { store, findHere, onStray }: Kind, until: AbortSignal) {
    const frozen = isFrozen(model);
    this.frozen = frozen;
    this.#store = store;
    this.traits = store.traits;
    this.rpc = new Rpc(model, { signal: until, ...(onStray && { onStray }) });
    this.finder = createFinder({ store, rpc: this.rpc, frozen, findHere, until });
  }

  /** Details of a feature: the kernel's, or those of the list it was picked from. */
  feature(key: string): Feature | undefined {
    return (
      this.traits.steer_features.value[key] ??
      this.#seen.value[key] ??
      this.#inCatalogue.value.get(key)
    );
  }

  #inCatalogue = computed(
    () => new Map(this.traits.catalogue.value.features.map((feature) => [feature.key, feature])),
  );

  select(feature: Found): void {
    this.#remember(feature);
    this.#store.write("selected", feature.key);
  }

  exportHtml(): Promise<{ html: string; filename: string }> {
    return this.rpc.request("export_html", {});
  }

  fail(error: unknown): void {
    this.failed.value = error instanceof Error ? error.message : String(error);
  }

  /** The sentence of the last failure, until it is dismissed. */
  readonly error: ReadonlySignal<string> = this.failed;

  dismiss(): void {
    this.failed.value = "";
  }

  // --- the recipe

  add(feature: Feature): void {
    this.#remember(feature);
    const { steers, ops } = this.traits;
    this.#set([...steers.peek(), newSteer(feature, ops.peek())]);
  }

  remove(id: string): void {
    this.#set(this.traits.steers.peek().filter((steer) => steer.id !== id));
  }

  /** Switches a steer on or off, or takes a random direction in its place. */
  change(id: string, change: Partial<Steer>): void {
    this.#set(replace(this.traits.steers.peek(), id, change));
  }

  /** Puts one steer at positions of its own; the others stay where they are. */
  place(id: string, positions: Positions): void {
    const made = placed(this.traits.steers.peek(), this.traits.positions.peek(), id, positions);
    batch(() => {
      this.#set(made.steers);
      this.#store.write("positions", made.positions);
    });
  }

  /** What a steer's condition can read: features of the recipe and the row last chosen, up to its own block. */
  readableBy(steer: Steer): [key: string, label: string][] {
    const { steers, selected } = this.traits;
    const keys = new Set([...steers.value.map(({ key }) => key), selected.value].filter(Boolean));
    const last = this.feature(steer.key)?.layer ?? Infinity;
    return [...keys].flatMap((key) => {
      const feature = this.feature(key);
      return feature && feature.layer <= last ? [[key, feature.label] as [string, string]] : [];
    });
  }

  setOp(steer: Steer, op: string): void {
    this.change(steer.id, withOp(steer, op, this.feature(steer.key), this.traits.ops.peek()));
  }

  setParameter(steer: Steer, name: string, value: number | null): void {
    const params = { ...steer.params, [name]: value };
    this.#store.draft("steers", replace(this.traits.steers.peek(), steer.id, { params }));
  }

  /** Shows what a sweep of this steer would be, where the widget has one. */
  sweep?(steer: Steer): void;

  /** Where a sweep has seen texts break under this steer. */
  breaksOf(_steer: Steer): Breaks | undefined {
    return undefined;
  }

  holdRecipe(held: boolean): void {
    this.#store.hold("steers", held);
  }

  #set(steers: Steer[]): void {
    this.#store.write("steers", steers);
  }

  #remember(feature: Feature): void {
    this.#seen.value = { ...this.#seen.peek(), [feature.key]: feature };
  }
}
