// Feature search: here when the catalogue is complete, in the kernel otherwise.
import { computed, effect, type ReadonlySignal, signal } from "@preact/signals";
import type { Rpc } from "./rpc";
import type { Catalogue, Feature } from "./types";

export interface Found {
  features: Feature[];
  total: number;
  /** There are more than `total`, and nobody counted them. */
  more?: boolean;
}

const TYPING = 120; // ms without a key press before the kernel is asked
const LIMIT = 40; // 20 KB

/** Every word of the query has to be part of the label or the kind. */
export function searchLocally(features: Feature[], query: string): Feature[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return features;
  return features.filter(({ label, kind }) => {
    const text = `${label}\n${kind}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

export class FeatureSearch {
  readonly query = signal("");
  readonly searching = signal(false);
  readonly #answer = signal<Found | null>(null);

  /** The last known answer stays while a new one is on its way. */
  readonly found: ReadonlySignal<Found> = computed(() => {
    const { features, total, complete } = this.#catalogue.value;
    const query = this.query.value.trim();
    if (complete) {
      const hits = searchLocally(features, query);
      return { features: hits, total: hits.length };
    }
    return (query && this.#answer.value) || { features, total };
  });

  readonly #catalogue: ReadonlySignal<Catalogue>;
  readonly #rpc: Rpc;

  constructor(catalogue: ReadonlySignal<Catalogue>, rpc: Rpc, signal: AbortSignal) {
    this.#catalogue = catalogue;
    this.#rpc = rpc;
    const stop = effect(() => this.#askAfterTyping());
    signal.addEventListener("abort", stop, { once: true });
  }

  /** Runs for every change of the query; what it returns ends the search before. */
  #askAfterTyping(): (() => void) | undefined {
    const query = this.query.value.trim();
    if (this.#catalogue.value.complete || !query) return undefined;
    const controller = new AbortController();
    const timer = setTimeout(() => this.#ask(query, controller.signal), TYPING);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }

  async #ask(query: string, signal: AbortSignal): Promise<void> {
    this.searching.value = true;
    try {
      const args = { query, limit: LIMIT };
      this.#answer.value = await this.#rpc.request<Found>("search", args, {
        signal,
        abandon: true,
      });
    } catch {
      // Cancelled by the next key press, or refused: the last answer stays on screen.
    } finally {
      if (!signal.aborted) this.searching.value = false;
    }
  }
}
