// What the widgets use of preact/hooks and @preact/signals, with the same names and meanings, in a sixth of their
// size: every instance of a widget carries its bundle. A component renders again when a signal it has read changes.
import { Component, options, type VNode } from "preact";
import {
  begin,
  computed,
  dispose,
  type ReadonlySignal,
  signal,
  type Watcher,
  watcher,
} from "../host/signals";

/** What a component keeps from one render to the next. */
interface Slot {
  deps: readonly unknown[] | undefined;
  value: unknown;
  clean?: unknown;
}

interface Kept {
  slots: Slot[];
  watcher: Watcher;
  gone: boolean;
}

/** Preact's own names for what the two libraries hang on too. */
interface Internal {
  /** Before a render. */
  __r?: (node: VNode & { __c?: Component }) => void;
  /** An error was thrown. */
  __e?: (...args: unknown[]) => void;
  /** A tree of components has been rendered and is on the page. */
  __c?: (...args: unknown[]) => void;
  diffed?: (node: VNode) => void;
  unmount?: (node: VNode & { __c?: Component }) => void;
}

const internal = options as unknown as Internal;
const { __r, __e, __c, diffed, unmount } = internal;
const keeping = new WeakMap<Component, Kept>();
let current: Kept | undefined;
let next = 0;
let end: (() => void) | undefined;
let effects: (() => void)[] = [];

function stop(): void {
  end?.();
  end = undefined;
}

internal.__r = (node) => {
  stop(); // the parent has rendered by the time its children do
  __r?.(node);
  const component = node.__c as Component;
  current = keeping.get(component);
  if (!current) {
    current = { slots: [], watcher: watcher(() => component.forceUpdate()), gone: false };
    keeping.set(component, current);
  }
  next = 0;
  end = begin(current.watcher);
};
internal.__e = (...args) => {
  stop();
  __e?.(...args);
};
internal.__c = (...args) => {
  __c?.(...args);
  const due = effects;
  effects = [];
  for (const run of due) run();
};
internal.diffed = (node) => {
  stop();
  diffed?.(node);
};
internal.unmount = (node) => {
  unmount?.(node);
  const kept = node.__c && keeping.get(node.__c);
  if (!kept) return;
  kept.gone = true;
  dispose(kept.watcher);
  kept.slots.forEach(tidy);
};

/** What reads signals is told of changes, and so need not follow its parent while its props are the same. */
Component.prototype.shouldComponentUpdate = function (props) {
  const [now, then] = [props, this.props] as Record<string, unknown>[];
  const same = (name: string) => now?.[name] === then?.[name];
  return !keeping.get(this)?.watcher.sources.size || !Object.keys({ ...now, ...then }).every(same);
};

/** The next slot of the component that renders, and whether its value has to be made anew. */
function slot(deps: readonly unknown[] | undefined): [Slot, boolean] {
  const { slots } = current as Kept;
  const old = slots[next];
  const kept = old ?? { deps, value: undefined };
  slots[next++] = kept;
  const changed = !old || !deps || deps.some((value, at) => !Object.is(value, old.deps?.[at]));
  kept.deps = deps;
  return [kept, changed];
}

export function useMemo<T>(make: () => T, deps: readonly unknown[]): T {
  const [kept, changed] = slot(deps);
  if (changed) kept.value = make();
  return kept.value as T;
}

export function useRef<T>(initial: T): { current: T };
export function useRef<T>(initial: T | null): { current: T | null };
export function useRef<T>(initial: T): { current: T } {
  return useMemo(() => ({ current: initial }), []);
}

export function useState<T>(initial: T | (() => T)): [T, (next: T | ((before: T) => T)) => void] {
  const [state, set] = useMemo(() => {
    const state = signal(call(initial));
    return [
      state,
      (value: T | ((before: T) => T)) => (state.value = call(value, state.peek())),
    ] as const;
  }, []);
  return [state.value, set];
}

function call<T, Args extends unknown[]>(value: T | ((...args: Args) => T), ...args: Args): T {
  return typeof value === "function" ? (value as (...args: Args) => T)(...args) : value;
}

/** Runs after the render, before the page is painted. */
export function useEffect(run: () => unknown, deps?: readonly unknown[]): void {
  const [kept, changed] = slot(deps);
  const owner = current as Kept;
  if (!changed) return;
  effects.push(() => {
    if (owner.gone) return;
    tidy(kept);
    kept.clean = run();
  });
}

export const useLayoutEffect = useEffect;

function tidy(kept: Slot): void {
  if (typeof kept.clean === "function") kept.clean();
  kept.clean = undefined;
}

/** A name that no other element of the page has, whichever widget made it. */
export function useId(): string {
  return useMemo(() => `sw${Math.random().toString(36).slice(2)}`, []);
}

/** A computed signal that lives as long as its component. */
export function useComputed<T>(compute: () => T): ReadonlySignal<T> {
  const latest = useRef(compute);
  latest.current = compute;
  return useMemo(() => computed(() => latest.current()), []);
}
