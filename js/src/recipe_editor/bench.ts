// What the picker and the panel have in common: traits, a search, a recipe and its edits. One per model.

import { computed, type ReadonlySignal, signal } from "@preact/signals";
import { type HostModel, isFrozen } from "../host/host";
import { Rpc, type RpcOptions } from "../host/rpc";
import type { TraitStore } from "../host/store";
import { createFinder, type Finder } from "./finder";
import { newSteer, replace, withOp } from "./recipe";
import type { BenchTraits, Breaks, Feature, Found, Search, Steer } from "./types";

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
