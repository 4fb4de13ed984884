// Signals that follow a model's traits. One store per model, shared by all of its views.
import { signal as createSignal, type Signal } from "@preact/signals";
import { type HostModel, listen } from "./host";

const SETTLE = 400; // ms after the last local edit during which the kernel's word on that trait is held back

/** What a hand is doing to a trait right now. */
interface Draft {
  /** A pointer is down on its control. */
  held: boolean;
  settle: ReturnType<typeof setTimeout> | undefined;
  send: ReturnType<typeof setTimeout> | undefined;
}

export type Signals<Traits> = { readonly [Name in keyof Traits]: Signal<Traits[Name]> };

export class Store<Traits extends object> {
  readonly traits: Signals<Traits>;
  readonly #drafts = new Map<keyof Traits & string, Draft>();

  readonly #model: HostModel;

  constructor(model: HostModel, defaults: Traits, signal: AbortSignal) {
    this.#model = model;
    const names = Object.keys(defaults) as (keyof Traits & string)[];
    const read = (name: keyof Traits & string) =>
      (model.get(name) ?? defaults[name]) as Traits[typeof name];
    this.traits = Object.fromEntries(
      names.map((name) => [name, createSignal(read(name))]),
    ) as unknown as Signals<Traits>;
    for (const name of names) {
      listen(model, `change:${name}`, () => this.#follow(name, read(name)), signal);
    }
    signal.addEventListener("abort", () => this.#dispose(), { once: true });
  }

  /** Sets a trait here and in the kernel at once. */
  write<Name extends keyof Traits & string>(name: Name, value: Traits[Name]): void {
    this.traits[name].value = value;
    this.#commit(name);
  }

  /**
   * Sets a trait here at once and in the kernel within `wait` ms (many edits make one message).
   * Until the edits settle the kernel's older values do not move the control back.
   */
  draft<Name extends keyof Traits & string>(name: Name, value: Traits[Name], wait = 16): void {
    this.traits[name].value = value;
    const draft = this.#draftOf(name);
    draft.send ??= setTimeout(() => this.#commit(name), wait);
    this.#settleLater(name, draft);
  }

  /** A pointer went down on, or left, a control of this trait. */
  hold(name: keyof Traits & string, held: boolean): void {
    const draft = this.#draftOf(name);
    draft.held = held;
    this.#settleLater(name, draft);
  }

  #draftOf(name: keyof Traits & string): Draft {
    let draft = this.#drafts.get(name);
    if (!draft) {
      draft = { held: false, settle: undefined, send: undefined };
      this.#drafts.set(name, draft);
    }
    return draft;
  }

  #settleLater(name: keyof Traits & string, draft: Draft): void {
    clearTimeout(draft.settle);
    if (!draft.held) draft.settle = setTimeout(() => this.#settle(name), SETTLE);
  }

  /** What the hand did last wins over what the kernel said meanwhile. */
  #settle(name: keyof Traits & string): void {
    this.#drafts.delete(name);
    if (!same(this.#model.get(name), this.traits[name].peek())) this.#commit(name);
  }

  #commit(name: keyof Traits & string): void {
    const draft = this.#drafts.get(name);
    if (draft) {
      clearTimeout(draft.send);
      draft.send = undefined;
    }
    this.#model.set(name, this.traits[name].peek());
    this.#model.save_changes();
  }

  #follow<Name extends keyof Traits & string>(name: Name, value: Traits[Name]): void {
    if (this.#drafts.has(name) || same(value, this.traits[name].peek())) return;
    this.traits[name].value = value;
  }

  #dispose(): void {
    for (const draft of this.#drafts.values()) {
      clearTimeout(draft.settle);
      clearTimeout(draft.send);
    }
    this.#drafts.clear();
  }
}

/** Equality of JSON values. */
export function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || !a || !b) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  return keys.every((key) => same(a[key as never], b[key as never]));
}
