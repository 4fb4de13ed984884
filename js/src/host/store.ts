// Signals that follow a model's traits. One store per model, shared by all of its views.

import { signal as createSignal, type Signal } from "@preact/signals";
import { type HostModel, listen } from "./host";
import { noteWritten } from "./subshell";

const SETTLE = 400; // ms after the last local edit during which the kernel's word on that trait is held back

/** What a hand is doing to a trait right now. */
interface Draft {
  /** A pointer is down on its control. */
  held: boolean;
  settle: ReturnType<typeof setTimeout> | undefined;
  send: ReturnType<typeof setTimeout> | undefined;
}

export type Signals<Traits> = { readonly [Name in keyof Traits]: Signal<Traits[Name]> };

/** A store of these traits, or of these and more. */
export interface TraitStore<Traits extends object> {
  readonly traits: Signals<Traits>;
  /** Sets a trait here and in the kernel at once. */
  write<Name extends keyof Traits & string>(name: Name, value: Traits[Name]): void;
  /**
   * Sets a trait here at once and in the kernel within `wait` ms (many edits make one message).
   * Until the edits settle the kernel's older values do not move the control back.
   */
  draft<Name extends keyof Traits & string>(name: Name, value: Traits[Name], wait?: number): void;
  /** A pointer went down on, or left, a control of this trait. */
  hold(name: keyof Traits & string, held: boolean): void;
}

export class Store<Traits extends object> implements TraitStore<Traits> {
  readonly traits: Signals<Traits>;
  readonly write: TraitStore<Traits>["write"];
  readonly draft: TraitStore<Traits>["draft"];
  readonly hold: TraitStore<Traits>["hold"];

  constructor(model: HostModel, defaults: Traits, signal: AbortSignal) {
    type Name = keyof Traits & string;
    const drafts = new Map<Name, Draft>();
    const names = Object.keys(defaults) as Name[];
    const read = (name: Name) => (model.get(name) ?? defaults[name]) as Traits[Name];
    const traits = {} as { [Each in keyof Traits]: Signal<Traits[Each]> };
    for (const name of names) traits[name] = createSignal(read(name));

    const commit = (name: Name): void => {
      const draft = drafts.get(name);
      if (draft) {
        clearTimeout(draft.send);
        draft.send = undefined;
      }
      model.set(name, traits[name].peek());
      noteWritten(model, name);
      model.save_changes();
    };
    const draftOf = (name: Name): Draft => {
      const draft = drafts.get(name) ?? { held: false, settle: undefined, send: undefined };
      drafts.set(name, draft);
      return draft;
    };
    /** What the hand did last wins over what the kernel said meanwhile. */
    const settle = (name: Name): void => {
      drafts.delete(name);
      if (!same(model.get(name), traits[name].peek())) commit(name);
    };
    const settleLater = (name: Name, draft: Draft): void => {
      clearTimeout(draft.settle);
      if (!draft.held) draft.settle = setTimeout(() => settle(name), SETTLE);
    };
    const follow = (name: Name): void => {
      const value = read(name);
      if (!drafts.has(name) && !same(value, traits[name].peek())) traits[name].value = value;
    };
    const dispose = (): void => {
      for (const draft of drafts.values()) {
        clearTimeout(draft.settle);
        clearTimeout(draft.send);
      }
      drafts.clear();
    };

    this.traits = traits;
    this.write = (name, value) => {
      traits[name].value = value;
      commit(name);
    };
    this.draft = (name, value, wait = 16) => {
      traits[name].value = value;
      const draft = draftOf(name);
      draft.send ??= setTimeout(() => commit(name), wait);
      settleLater(name, draft);
    };
    this.hold = (name, held) => {
      const draft = draftOf(name);
      draft.held = held;
      settleLater(name, draft);
    };
    for (const name of names) listen(model, `change:${name}`, () => follow(name), signal);
    signal.addEventListener("abort", dispose, { once: true });
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
