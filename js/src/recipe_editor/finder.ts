// Finds features: in the page where it holds them all, page by page in the kernel otherwise. One per model.

import { computed, effect, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import { Cancelled, type Rpc } from "../host/rpc";
import { same, type TraitStore } from "../host/store";
import type { Token } from "../host/tokens";
import { type BenchTraits, type Found, SEARCH, type Search } from "./types";

const PAGE = 100; // rows of one request
const KEPT = 50; // pages
const TYPING = 120; // ms without a change before the kernel is asked
const THINKING = 450; // the same where the model has to read a prompt
const SCROLLING = 80; // ms between two looks at what is in sight

/** Rows by column, a third of the bytes: what several share stands once, and `of` says which share is whose. */
interface Compact {
  rows: number;
  of: number[];
  shared: Partial<Found>[];
  columns: Record<string, unknown[]>;
}

interface Reply {
  features: Found[];
  total: number;
  more?: boolean;
  tokens?: Token[];
  note?: string;
}

export interface Answer {
  /** What was looked for. */
  search: Search;
  /** Holes where a page was not needed yet. */
  rows: Found[];
  total: number;
  /** There are more than `total`, and nobody counted them. */
  more: boolean;
  /** The searched prompt's. */
  tokens: Token[];
  /** What the rows' values are. */
  note: string;
}

/** What has to be there before anything can be found: the kernel, a text, a feature. */
export type Lack = "" | "kernel" | "query" | "key";

export interface Finder {
  readonly search: ReadonlySignal<Search>;
  /** The last one stays while the next is on its way; null before the first. */
  readonly answer: ReadonlySignal<Answer | null>;
  readonly lacks: ReadonlySignal<Lack>;
  readonly searching: ReadonlySignal<boolean>;
  /** The kernel has not answered in time. */
  readonly slow: ReadonlySignal<boolean>;
  /** The sentence of the last failure, until it is dismissed. */
  readonly error: Signal<string>;
  /** Changes what is looked for; what is typed reaches the kernel in pauses. */
  look(change: Partial<Search>, typed?: boolean): void;
  /** Each mode keeps what was typed in it; the one by prompt begins with the widget's own. */
  setMode(mode: Search["mode"]): void;
  /** Rows that a view shows: their pages are fetched if they are not here yet. */
  show(first: number, last: number): void;
  /** Asks once more, since the kernel knows more than before. */
  again(): void;
}

interface Given {
  store: TraitStore<BenchTraits>;
  rpc: Rpc;
  frozen: boolean;
  /** Searches what the page holds. */
  findHere(features: Found[], search: Search): Found[];
  until: AbortSignal;
}

export function createFinder({ store, rpc, frozen, findHere, until }: Given): Finder {
  const { catalogue, selected, prompt } = store.traits;
  const error = signal("");
  const slow = signal(false);
  const loading = signal(0);
  const round = signal(0);
  const fetched = signal<Answer | null>(null);
  const queries: Partial<Record<string, string>> = {};
  const pages = new Map<number, AbortController>();
  let sight: [number, number] = [0, 0];
  let timer: ReturnType<typeof setTimeout> | undefined;

  let last = SEARCH;
  const search = computed(() => {
    const next = { ...SEARCH, ...store.traits.search.value };
    if (!same(next, last)) last = next;
    return last;
  });
  const isHere = computed(() => {
    const { mode, sort } = search.value;
    return mode === "label" && (frozen || (catalogue.value.complete && sort !== "output_score"));
  });
  const lacks = computed((): Lack => {
    const { mode, query, key } = search.value;
    if (mode === "label") return "";
    if (frozen || rpc.lost.value) return "kernel";
    if (mode === "similar") return key ? "" : "key";
    return query.trim() ? "" : "query";
  });
  const answer = computed(() => {
    const asked = search.value;
    if (!isHere.value && (fetched.value || asked.mode !== "label")) return fetched.value;
    const { features: held, total } = catalogue.value;
    const features = findHere(held, asked);
    const isWhole = features.length === held.length && !frozen;
    return answerOf(asked, { features, total: isWhole ? total : features.length });
  });

  const load = async (page: number, asked: Search): Promise<void> => {
    if (pages.has(page)) return;
    const controller = new AbortController();
    const { signal } = controller;
    pages.set(page, controller);
    loading.value++;
    try {
      // Before a span can be chosen there have to be tokens.
      const rank = asked.rank === "span" && !asked.span ? "maximum" : asked.rank;
      const args = { ...asked, rank, offset: page * PAGE, limit: PAGE, compact: true };
      const onSlow = (late: boolean) => {
        slow.value = late;
      };
      const options = { signal, abandon: true, onSlow };
      const reply = await rpc.request<Reply & Compact>("find", args, options);
      take(page, asked, { ...reply, features: rowsOf(reply) });
    } catch (thrown) {
      if (!signal.aborted && !(thrown instanceof Cancelled))
        error.value = (thrown as Error).message;
    } finally {
      if (pages.get(page) === controller) pages.delete(page);
      loading.value--;
      slow.value = false;
    }
  };

  const take = (page: number, asked: Search, reply: Reply): void => {
    error.value = "";
    const before = fetched.peek();
    const isNext = page > 0 && before?.search === asked;
    const rows = isNext ? before.rows : [];
    reply.features.forEach((feature, index) => {
      rows[page * PAGE + index] = feature;
    });
    forget(rows, page);
    fetched.value = isNext ? { ...before, rows } : answerOf(asked, { ...reply, features: rows });
  };

  const loadSight = (): void => {
    timer = undefined;
    const shown = fetched.peek();
    if (!shown || shown !== answer.peek() || shown.search !== search.peek()) return;
    const [first, last] = sight.map((row) => Math.floor(row / PAGE)) as [number, number];
    for (const [page, controller] of pages) {
      if (page < first || page > last) controller.abort();
    }
    for (let page = first; page <= last; page++) {
      if (!(page * PAGE in shown.rows)) load(page, shown.search);
    }
  };

  const abandon = (): void => {
    clearTimeout(timer);
    timer = undefined;
    for (const controller of pages.values()) controller.abort();
    pages.clear();
  };

  const stop = effect(() => {
    const asked = search.value;
    round.value;
    abandon();
    if (isHere.value || lacks.value) return undefined;
    const wait = setTimeout(() => load(0, asked), asked.mode === "prompt" ? THINKING : TYPING);
    return () => clearTimeout(wait);
  });
  for (const end of [stop, abandon]) until.addEventListener("abort", end, { once: true });

  const look = (change: Partial<Search>, typed = false): void => {
    store[typed ? "draft" : "write"]("search", { ...search.peek(), ...change }, TYPING);
  };
  return {
    search,
    answer,
    lacks,
    searching: computed(() => loading.value > 0),
    slow,
    error,
    look,
    setMode(mode) {
      const now = search.peek();
      queries[now.mode] = now.query;
      const key = mode === "similar" ? selected.peek() || now.key : now.key;
      const query = queries[mode] ?? (mode === "prompt" ? prompt.peek() : "");
      look({ mode, key, query, span: null, rank: "maximum", sort: "match" });
    },
    show(first, last) {
      sight = [first, last];
      timer ??= setTimeout(loadSight, SCROLLING);
    },
    again() {
      round.value++;
    },
  };
}

function rowsOf({ rows, of, shared, columns }: Compact): Found[] {
  return Array.from({ length: rows }, (_, index) => {
    const row: Partial<Found> = { ...shared[of[index] as number] };
    for (const name in columns) Object.assign(row, { [name]: columns[name]?.[index] });
    row.key ??= `${row.dictionary}/${row.index}`;
    return row as Found;
  });
}

function answerOf(search: Search, { features, total, more, tokens, note }: Reply): Answer {
  return { search, rows: features, total, more: !!more, tokens: tokens ?? [], note: note ?? "" };
}

/** Of a million rows only some pages stay: the one farthest from the newest goes. */
function forget(rows: Found[], newest: number): void {
  const pages = [...new Set(Object.keys(rows).map((row) => Math.floor(Number(row) / PAGE)))];
  if (pages.length <= KEPT) return;
  const away = (page: number) => Math.abs(page - newest);
  const farthest = pages.reduce((a, b) => (away(b) > away(a) ? b : a));
  for (let row = farthest * PAGE; row < (farthest + 1) * PAGE; row++) delete rows[row];
}
