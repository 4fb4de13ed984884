// The steering panel's state: traits, the run that is streaming, and what a user can do. One per model.

import { batch, computed, signal } from "@preact/signals";
import type { HostModel } from "../host/host";
import { Cancelled, type StrayListener, type StreamMessage } from "../host/rpc";
import { Store } from "../host/store";
import { Bench } from "../recipe_editor/bench";
import { searchLocally } from "../recipe_editor/search";
import { sliderParameter } from "../recipe_editor/strength";
import type { Breaks, Feature, Steer } from "../recipe_editor/types";
import { type Asked, followNextToken, type NextTokenView } from "./next_token";
import { applyMessage, applyWholeText, forkRun, type LiveRun, startRun } from "./run";
import { isResult, type Shown, shownResult, shownRun } from "./shown";
import { createSweep, type SweepView } from "./sweep";
import {
  type Alternative,
  type Beside,
  EMPTY_TRAITS,
  type PanelTraits,
  type Positions,
  type Settings,
  type Tab,
} from "./types";

const TYPING = 200; // ms; the kernel tokenises every prompt it is told of

export class Panel extends Bench {
  override readonly traits: Store<PanelTraits>["traits"];
  readonly #store: Store<PanelTraits>;
  readonly live = signal<LiveRun | null>(null);
  readonly running = computed(() => this.live.value !== null);
  readonly shown = computed((): Shown | null => {
    const run = this.live.value;
    if (run) return shownRun(run, this.feature(this.traits.watched.value));
    return shownResult(this.traits.result.value, (key) => this.feature(key));
  });
  readonly nextToken: NextTokenView;
  readonly sweeping: SweepView;
  /** The texts that are shown are answers, to which one can reply. */
  readonly repliable = computed(() => {
    const result = this.traits.result.value;
    return isResult(result) && result.chat;
  });
  #dismissed = signal("");
  #stopper: (() => void) | null = null;
  /** What was asked of the kernel that changes what a run depends on, and is not answered. */
  readonly #acts = new Set<Promise<unknown>>();

  constructor(
    readonly model: HostModel,
    until: AbortSignal,
  ) {
    const onStray = (message: StreamMessage) => this.#adopt(message);
    const store = new Store(model, EMPTY_TRAITS, until);
    super(model, { store, findHere: searchLocally, onStray }, until);
    this.#store = store;
    this.traits = store.traits;
    this.nextToken = followNextToken({
      rpc: this.rpc,
      found: this.traits.next_token,
      asked: computed((): Asked => {
        const { settings, watched, beside, ...asked } = this.inputs();
        return asked;
      }),
      idle: computed(() => !this.frozen && !this.live.value),
      until,
    });
    this.sweeping = createSweep(this.rpc, () => this.inputs(), until);
  }

  /** The sentence of the last failure, until it is dismissed or the next run starts. */
  override readonly error = computed(() => {
    const { state, message } = this.traits.status.value;
    const sentence = this.failed.value || (state === "error" ? message : "");
    return this.live.value || sentence === this.#dismissed.value ? "" : sentence;
  });

  override dismiss(): void {
    this.#dismissed.value = this.error.peek();
    this.failed.value = "";
  }

  override add(feature: Feature): void {
    batch(() => {
      super.add(feature);
      if (!this.traits.watched.peek()) this.watch(feature.key);
    });
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

  setBeside(beside: Partial<Beside>): void {
    this.#store.draft("beside", { ...this.traits.beside.peek(), ...beside }, TYPING);
  }

  // --- the conversation

  setSystem(system: string): void {
    this.#store.draft("system", system, TYPING);
  }

  /** An answer becomes a turn, and the next prompt a reply to it. */
  async reply(row: string): Promise<void> {
    const { prompt } = this.traits;
    const answered = prompt.peek();
    this.#store.write("prompt", ""); // here and now: what is typed while the kernel works is the next prompt
    try {
      await this.#act("reply", { row });
    } catch (error) {
      if (!prompt.peek()) this.#store.write("prompt", answered);
      this.fail(error);
    }
  }

  /** A message of the user's is the prompt again, and what came after it is gone. */
  edit(turn: number): void {
    this.#act("edit", { turn }).catch((error) => this.fail(error));
  }

  forgetTurns(): void {
    this.#store.write("turns", []);
  }

  /** Something done with presets; the sentence of what went wrong, or empty. */
  async preset(args: Record<string, string>): Promise<string> {
    try {
      await this.#act("preset", args);
      return "";
    } catch (error) {
      return error instanceof Cancelled ? "" : (error as Error).message;
    }
  }

  setStrength(steer: Steer, value: number): void {
    const parameter = sliderParameter(this.traits.ops.peek()[steer.op]);
    if (parameter) this.setParameter(steer, parameter.name, value);
  }

  // --- what stands below the texts

  override sweep(steer: Steer): void {
    if (this.frozen) return;
    this.openTab("sweep");
    this.sweeping.choose(steer.id);
  }

  override breaksOf({ key, op, control }: Steer): Breaks | undefined {
    return control ? undefined : this.traits.breaks.value[`${key} ${op}`];
  }

  openTab(tab: Tab): void {
    this.#store.write("tab", tab);
  }

  /** Something done to a run that is over; the traits say what came of it. */
  past(args: Record<string, unknown>): void {
    if (this.frozen) return;
    this.#act("history", args).catch((error) => this.fail(error));
  }

  /** Takes in runs that were exported; what became of them, or the sentence of what went wrong. */
  async importRuns(text: string): Promise<{ said: string; error: string }> {
    try {
      const { said } = await this.#act<{ said: string }>("history", { do: "import", text });
      return { said, error: "" };
    } catch (error) {
      return { said: "", error: error instanceof Cancelled ? "" : (error as Error).message };
    }
  }

  // --- the lens of a generated token

  openLens(row: string, step: number): void {
    this.rpc.request("lens", { row, step }).catch((error) => this.fail(error));
  }

  closeLens(): void {
    this.#store.write("lens", "");
  }

  // --- runs

  generate(): Promise<void> {
    const run = startRun(this.traits.settings.peek().max_new_tokens);
    return this.#ask("generate", () => this.inputs(), run);
  }

  /** What could have stood in the place of a token. */
  async alternatives(row: string, step: number): Promise<Alternative[]> {
    const args = { row, step };
    return (await this.rpc.request<{ tokens: Alternative[] }>("alternatives", args)).tokens;
  }

  /** Goes on from another token of one row. */
  fork(row: number, step: number, token: number): Promise<void> {
    const { rows = [] } = this.traits.result.peek();
    const args = { row: rows[row]?.name, step, token };
    return this.#ask("fork", () => args, forkRun(rows, row, step));
  }

  /** Asks for something that changes what a run depends on: runs wait for it, else they would go without. */
  async #act<Value = void>(name: string, args: object): Promise<Value> {
    const act = this.rpc.request<Value>(name, args);
    this.#acts.add(act);
    try {
      return await act;
    } finally {
      this.#acts.delete(act);
    }
  }

  async #ask(name: string, args: () => object, run: LiveRun): Promise<void> {
    if (this.frozen || this.live.peek()) return;
    const controller = new AbortController();
    this.#begin(run, () => controller.abort());
    try {
      if (this.#acts.size) await Promise.allSettled(this.#acts);
      if (controller.signal.aborted) throw new Cancelled();
      await this.rpc.request(name, args(), {
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

  /** Everything that a run depends on. It travels with the request: trait sync may lag behind. */
  inputs() {
    const { prompt, chat, settings, steers, positions, watched, beside, system, turns } =
      this.traits;
    return {
      prompt: prompt.value,
      chat: chat.value,
      settings: settings.value,
      steers: steers.value,
      positions: positions.value,
      watched: watched.value,
      beside: beside.value,
      system: system.value,
      turns: turns.value,
    };
  }

  #begin(run: LiveRun, stopper: () => void): void {
    this.#stopper = stopper;
    batch(() => {
      this.failed.value = "";
      this.#dismissed.value = this.traits.status.peek().message;
      this.live.value = run;
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
      const whole = await this.rpc.request<Parameters<typeof applyWholeText>[1]>("resync", {
        run,
      });
      this.#update((live) => applyWholeText(live, whole));
    } catch {
      // The run is over: its result says all.
    }
  }

  /** A run that code or another page started shows here as well, and Stop works on it. */
  #adopt({ id, type, total, of }: StreamMessage): StrayListener | undefined {
    // Searches report progress as well, but only runs have a total; and sweeps say what they are.
    if (this.live.peek() || of || (type === "progress" && total === undefined)) return undefined;
    const run = startRun(this.traits.settings.peek().max_new_tokens);
    this.#begin(run, () => this.rpc.cancel(id));
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
