// Keeps the tab "Δ logits" up with the recipe: asks the kernel in pauses, while the tab is in sight and nothing runs.

import { computed, effect, type ReadonlySignal, signal } from "@preact/signals";
import { Cancelled, type Rpc } from "../host/rpc";
import { same } from "../host/store";
import type { Steer } from "../recipe_editor/types";
import type { NextTokens } from "./types";

const PAUSE = 350; // ms without an edit before the kernel is asked

/** What it depends on; the rest of a panel's inputs changes nothing before the first token. */
export type Asked = Record<string, unknown> & { prompt: string; steers: Steer[] };

interface Given {
  rpc: Rpc;
  found: ReadonlySignal<NextTokens | Record<string, never>>;
  asked: ReadonlySignal<Asked>;
  /** There is a kernel, and it has nothing else to do for this panel. */
  idle: ReadonlySignal<boolean>;
  until: AbortSignal;
}

export interface NextTokenView {
  shown: ReadonlySignal<NextTokens | null>;
  isStale: ReadonlySignal<boolean>;
  /** Why nothing can be shown, and what to do about it; else empty. */
  lacks: ReadonlySignal<string>;
  /** Keeps it up with the recipe for as long as somebody sees it; gives what ends that. */
  watch(): () => void;
}

export function followNextToken({ rpc, found, asked, idle, until }: Given): NextTokenView {
  const views = signal(0);
  const failed = signal<{ asked: Asked; message: string } | null>(null);
  const shown = computed(() => (isFound(found.value) ? found.value : null));
  const isStale = computed(() => {
    const before = shown.value?.asked;
    return !before || Object.entries(asked.value).some(([name, now]) => !same(before[name], now));
  });
  const message = computed(() =>
    failed.value && same(failed.value.asked, asked.value) ? failed.value.message : "",
  );
  const lacks = computed(() => {
    if (message.value) return message.value;
    if (!asked.value.steers.some((steer) => steer.enabled))
      return "Add a feature to the recipe: what it does to the next token then stands here.";
    return asked.value.prompt.trim() ? "" : "Write a prompt: what follows it then stands here.";
  });
  const load = async (signal: AbortSignal) => {
    const now = asked.peek();
    try {
      await rpc.request("logits", now, { signal, abandon: true });
      failed.value = null;
    } catch (error) {
      if (!(error instanceof Cancelled))
        failed.value = { asked: now, message: (error as Error).message };
    }
  };
  const stop = effect(() => {
    if (!views.value || !idle.value || lacks.value || !isStale.value || rpc.lost.value)
      return undefined;
    asked.value;
    const life = new AbortController();
    const timer = setTimeout(() => load(life.signal), PAUSE);
    return () => {
      clearTimeout(timer);
      life.abort();
    };
  });
  until.addEventListener("abort", stop, { once: true });
  const watch = () => {
    views.value++;
    return () => {
      views.value--;
    };
  };
  return { shown, isStale, lacks, watch };
}

function isFound(value: NextTokens | Record<string, never>): value is NextTokens {
  return Array.isArray(value.promoted);
}
