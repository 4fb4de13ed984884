// The steering panel's state: traits, the run that is streaming, and what a user can do. One per model.
import { batch, computed, type ReadonlySignal, signal } from "@preact/signals";
import type { HostModel } from "./host";
import { newSteer, replace, withOp } from "./recipe";
import { Cancelled, Rpc, type StrayListener, type StreamMessage } from "./rpc";
import { applyMessage, applyWholeText, type LiveRun, startRun } from "./run";
import { FeatureSearch } from "./search";
import { type Shown, shownResult, shownRun } from "./shown";
import { Store } from "./store";
import {
  EMPTY_TRAITS,
  type Feature,
  type PanelTraits,
  type Positions,
  type Settings,
  type Steer,
} from "./types";

const TYPING = 200; // ms; the kernel tokenises every prompt it is told of

export class Panel {
  readonly traits: Store<PanelTraits>["traits"];
  readonly frozen: boolean;
  readonly search: FeatureSearch;
  readonly live = signal<LiveRun | null>(null);
  readonly running = computed(() => this.live.value !== null);
  readonly shown: ReadonlySignal<Shown | null>;
  #failure = signal("");
  #dismissed = signal("");
  #store: Store<PanelTraits>;
  #rpc: Rpc;
  #seen = signal<Record<string, Feature>>({});
  #stopper: (() => void) | null = null;

  constructor(model: HostModel, until: AbortSignal) {
    this.frozen = model.frozen ?? false;
    this.#store = new Store(model, EMPTY_TRAITS, until);
    this.traits = this.#store.traits;
    this.#rpc = new Rpc(model, { signal: until, onStray: (id) => this.#adopt(id) });
    this.search = new FeatureSearch(this.traits.catalogue, this.#rpc, until);
    this.shown = computed(() => {
      const run = this.live.value;
      if (run) return shownRun(run, this.feature(this.traits.watched.value));
      return shownResult(this.traits.result.value, (key) => this.feature(key));
    });
  }

  /** The sentence of the last failure, until it is dismissed or the next run starts. */
  readonly error = computed(() => {
    const { state, message } = this.traits.status.value;
    const sentence = this.#failure.value || (state === "error" ? message : "");
    return this.live.value || sentence === this.#dismissed.value ? "" : sentence;
  });

  dismiss(): void {
    this.#dismissed.value = this.error.peek();
    this.#failure.value = "";
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

  // --- the recipe

  add(feature: Feature): void {
    batch(() => {
      this.#seen.value = { ...this.#seen.peek(), [feature.key]: feature };
      this.#store.write("steers", [
        ...this.traits.steers.peek(),
        newSteer(feature, this.traits.ops.peek()),
      ]);
      if (!this.traits.watched.peek()) this.#store.write("watched", feature.key);
    });
  }

  remove(id: string): void {
    this.#store.write(
      "steers",
      this.traits.steers.peek().filter((steer) => steer.id !== id),
    );
  }

  enable(id: string, enabled: boolean): void {
    this.#store.write("steers", replace(this.traits.steers.peek(), id, { enabled }));
  }

  setOp(steer: Steer, op: string): void {
    const changed = withOp(steer, op, this.feature(steer.key), this.traits.ops.peek());
    this.#store.write("steers", replace(this.traits.steers.peek(), steer.id, changed));
  }

  setParameter(steer: Steer, name: string, value: number | null): void {
    const params = { ...steer.params, [name]: value };
    this.#store.draft("steers", replace(this.traits.steers.peek(), steer.id, { params }));
  }

  holdRecipe(held: boolean): void {
    this.#store.hold("steers", held);
  }

  // --- the other inputs

  setPrompt(prompt: string): void {
    this.#store.draft("prompt", prompt, TYPING);
  }

  setChat(chat: boolean): void {
    this.#store.write("chat", chat);
  }

  setSetting(name: keyof Settings, value: number): void {
    this.#store.draft("settings", { ...this.traits.settings.peek(), [name]: value });
  }

  setPositions(positions: Positions): void {
    this.#store.write("positions", positions);
  }

  watch(key: string): void {
    this.#store.write("watched", key);
  }

  // --- runs

  async generate(): Promise<void> {
    if (this.frozen || this.live.peek()) return;
    const controller = new AbortController();
    this.#begin(this.traits.settings.peek().max_new_tokens, () => controller.abort());
    try {
      await this.#rpc.request("generate", this.#inputs(), {
        signal: controller.signal,
        onMessage: (message) => this.#receive(message),
        onGap: (id) => this.#resync(id),
        onSlow: (slow) => this.#update((run) => ({ ...run, slow })),
      });
      this.#end();
    } catch (error) {
      this.#end(error as Error);
    }
  }

  stop(): void {
    if (!this.live.peek()) return;
    this.#update((run) => ({ ...run, phase: "stopping" }));
    this.#stopper?.();
  }

  exportHtml(): Promise<{ html: string; filename: string }> {
    return this.#rpc.request("export_html", {});
  }

  fail(error: unknown): void {
    this.#failure.value = error instanceof Error ? error.message : String(error);
  }

  /** Everything the run depends on travels with the request: trait sync may lag behind. */
  #inputs() {
    const { prompt, chat, settings, steers, positions, watched } = this.traits;
    return {
      prompt: prompt.peek(),
      chat: chat.peek(),
      settings: settings.peek(),
      steers: steers.peek(),
      positions: positions.peek(),
      watched: watched.peek(),
    };
  }

  #begin(total: number, stopper: () => void): void {
    this.#stopper = stopper;
    batch(() => {
      this.#failure.value = "";
      this.#dismissed.value = this.traits.status.peek().message;
      this.live.value = startRun(total);
    });
  }

  #end(error?: Error): void {
    this.#stopper = null;
    batch(() => {
      this.live.value = null;
      if (!error) return;
      if (!(error instanceof Cancelled)) {
        this.#dismissed.value = "";
        this.fail(error);
      }
    });
  }

  #receive(message: StreamMessage): void {
    const run = this.live.peek();
    if (!run) return;
    const applied = applyMessage(run, message);
    this.live.value = applied.run;
    if (applied.gap) this.#resync(message.id);
  }

  async #resync(run: string): Promise<void> {
    try {
      const whole = await this.#rpc.request<Parameters<typeof applyWholeText>[1]>("resync", {
        run,
      });
      this.#update((live) => applyWholeText(live, whole));
    } catch {
      // The run is over: its result says all.
    }
  }

  /** A run that code or another page started shows here as well, and Stop works on it. */
  #adopt(id: string): StrayListener | undefined {
    if (this.live.peek()) return undefined;
    this.#begin(this.traits.settings.peek().max_new_tokens, () => this.#rpc.cancel(id));
    return {
      onMessage: (message) => this.#receive(message),
      onGap: (run) => this.#resync(run),
      onEnd: (error) => this.#end(error),
    };
  }

  #update(change: (run: LiveRun) => LiveRun): void {
    const run = this.live.peek();
    if (run) this.live.value = change(run);
  }
}
