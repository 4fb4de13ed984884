// A subspace map's state: traits, what follows from them, and what a user can do. One per model.

import { computed, effect, signal } from "@preact/signals";
import { unpack } from "../host/arrays";
import { type HostModel, isFrozen } from "../host/host";
import { Cancelled } from "../host/rpc";
import { Store, same } from "../host/store";
import type { Token } from "../host/tokens";
import { Work } from "../host/work";
import {
  boundsOf,
  densitiesOf,
  loadingPlane,
  movedTo,
  type Place,
  type Plane,
  placeOf,
  placesOf,
  stepOf,
  tidy,
  transposed,
} from "./geometry";
import {
  type Asked,
  type AxesName,
  come,
  EMPTY_MAP,
  type Facts,
  type MapTraits,
  type Method,
  type NextToken,
  type Pair,
  type Target,
} from "./types";

const REST = 700; // ms without a key after which what was moved by keys counts as let go
const TYPING = 250; // ms without a key before the kernel searches
const LISTED = 60;
export const GREY = 6;
/** Colours of groups: six hues, then grey. Of density: seven steps. */
export const HUES = 6;

type What = "read" | "look" | "layout";

export interface Features {
  index: Int32Array;
  places: Float32Array;
  weight: Float32Array | null;
  labels: readonly string[];
  links: Int32Array;
  size: number;
}

export interface Tokens {
  component: number;
  count: number;
  rank: number;
  z: Float32Array;
  responsibility: Float32Array;
  /** Which of all tokens read each is. */
  at: Int32Array;
  cluster: Uint8Array;
}

/** Points of one colour. */
export interface Group {
  name: string;
  count: number;
  colour: number;
  rows: number[];
  middle: Place;
}

export interface Listed {
  index: number;
  label: string;
  weight: number | null;
}

export interface Told {
  before: string;
  token: Token;
  after: string;
}

export class MapState extends Work<What> {
  readonly traits: Store<MapTraits>["traits"];
  readonly frozen: boolean;
  readonly sent = signal("");
  readonly query = signal("");
  /** What dragging over the points does; null until somebody chose: then a finger draws too, and scrolls no more. */
  readonly drag = signal<"lasso" | "pan" | null>(null);
  readonly hovered = signal<number | null>(null);
  /** A feature of the overview under the pointer. */
  readonly pointed = signal<number | null>(null);
  readonly #found = signal<Listed[] | null>(null);
  readonly #views = signal(0);
  readonly #asking = signal(false);
  readonly #refused = signal<{ asked: Asked; message: string } | null>(null);
  readonly #store: Store<MapTraits>;
  #pairing: AbortController | null = null;
  /** What was answered last: it is never asked for twice in a row, whatever came of it. */
  #answered: Asked | null = null;
  #rest: ReturnType<typeof setTimeout> | undefined;
  #typing: ReturnType<typeof setTimeout> | undefined;

  constructor(model: HostModel, until: AbortSignal) {
    super(model, until, ({ phase }) => (phase === "layout" ? "layout" : "read"));
    this.frozen = isFrozen(model);
    this.#store = new Store(model, EMPTY_MAP, until);
    this.traits = this.#store.traits;
    const stop = effect(() => this.#keepUp());
    const end = () => {
      stop();
      clearTimeout(this.#rest);
      clearTimeout(this.#typing);
    };
    until.addEventListener("abort", end, { once: true });
  }

  // --- what is shown

  readonly facts = computed<Facts | null>(() => come(this.traits.facts.value));
  readonly rank = computed(() => this.facts.value?.rank ?? 0);
  readonly near = computed(() => come(this.traits.near.value));

  readonly features = computed<Features | null>(() => {
    const wire = come(this.traits.features.value);
    if (!wire) return null;
    return {
      index: unpack(wire.index).values as Int32Array,
      places: unpack(wire.places).values as Float32Array,
      weight: wire.weight && (unpack(wire.weight).values as Float32Array),
      labels: wire.labels,
      links: unpack(wire.links).values as Int32Array,
      size: wire.size,
    };
  });

  /** Where the chosen feature stands among those that are drawn, or -1. */
  readonly chosenRow = computed(
    () => this.features.value?.index.indexOf(this.traits.component.value) ?? -1,
  );

  readonly tokens = computed<Tokens | null>(() => {
    const wire = come(this.traits.tokens.value);
    if (!wire || wire.component !== this.traits.component.value) return null;
    return {
      component: wire.component,
      count: wire.count,
      rank: this.rank.value,
      z: unpack(wire.z).values as Float32Array,
      responsibility: unpack(wire.responsibility).values as Float32Array,
      at: unpack(wire.at).values as Int32Array,
      cluster: unpack(wire.cluster).values as Uint8Array,
    };
  });

  readonly hasRead = computed(() => come(this.traits.texts.value) !== null);
  readonly method = computed<Method>(() => come(this.traits.features.value)?.method ?? "pca");
  /** Directions were divided by their lengths. */
  readonly isUnit = computed(() => come(this.traits.features.value)?.at_unit_length === true);

  readonly #texts = computed(() => {
    const wire = come(this.traits.texts.value);
    if (!wire) return null;
    return {
      tokens: wire.tokens,
      at: unpack(wire.at).values as Int32Array,
      starts: unpack(wire.starts).values as Int32Array,
    };
  });

  readonly #pca = computed(() => {
    const wire = come(this.traits.tokens.value)?.pca;
    if (!wire) return null;
    const onto = matrix(wire.onto);
    return { onto, back: matrix(wire.back), explained: wire.explained, axes: onto.length };
  });

  /** Loadings, unless there are too few tokens for any axis of variance. */
  readonly axes = computed<AxesName>(() =>
    this.traits.axes.value === "pca" && this.#pca.value && this.rank.value > 1 ? "pca" : "loadings",
  );

  /** How many axes there are to choose from. */
  readonly axesCount = computed(() =>
    this.axes.value === "pca" ? (this.#pca.value?.axes ?? 0) : this.rank.value,
  );

  readonly dims = computed<Place>(() => {
    const [across = 0, up = 1] = this.traits.dims.value;
    const last = Math.max(this.axesCount.value - 1, 0);
    const first = Math.min(Math.max(across, 0), last);
    const second = Math.min(Math.max(up, 0), last);
    return [first, second !== first ? second : first ? 0 : Math.min(1, last)];
  });

  readonly plane = computed<Plane>(() => {
    const dims = this.dims.value;
    const pca = this.axes.value === "pca" ? this.#pca.value : null;
    if (!pca) return loadingPlane(this.rank.value, dims);
    const back = transposed(pca.back);
    const chosen = dims.map((dim) => back[dim] ?? []);
    return { onto: dims.map((dim) => pca.onto[dim] ?? []), back: transposed(chosen) };
  });

  axisName(at: 0 | 1): string {
    const dim = this.dims.value[at];
    if (this.axes.value === "loadings") return this.rank.value > 1 || !at ? `z${dim}` : "";
    const share = this.#pca.value?.explained[dim] ?? 0;
    return `PC${dim + 1} (${Math.round(100 * share)}\u202f%)`;
  }

  readonly places = computed<Float32Array>(() => {
    const tokens = this.tokens.value;
    return tokens ? placesOf(tokens.z, tokens.rank, this.plane.value) : new Float32Array();
  });

  readonly target = computed<Target>(() => {
    const target = come(this.traits.target.value);
    const rank = this.rank.value;
    return target?.z?.length === rank ? target : { a: target?.a ?? 0, z: Array(rank).fill(0) };
  });

  readonly targetPlace = computed<Place>(() => placeOf(this.target.value.z, this.plane.value));

  /** What the drawing shows whole: all tokens and the centroid. */
  readonly bounds = computed(() => {
    const places = this.places.value;
    return places.length ? boundsOf(places, true) : { left: -4, right: 4, bottom: -4, top: 4 };
  });

  /** How far an arrow key takes the target. */
  readonly step = computed(() => {
    const { left, right, bottom, top } = this.bounds.value;
    return stepOf(Math.max(right - left, top - bottom));
  });

  readonly densities = computed(() => densitiesOf(this.places.value));

  token(row: number): Token {
    const texts = this.#texts.value;
    const at = this.tokens.value?.at[row] ?? -1;
    return texts?.tokens[texts.at[at] ?? -1] ?? { id: -1, text: "", fragment: false };
  }

  /** A token with what stands around it. */
  context(row: number, before = 14, after = 8): Told | null {
    const texts = this.#texts.value;
    const at = this.tokens.value?.at[row];
    if (!texts || at === undefined) return null;
    const text = upperBound(texts.starts, at) - 1;
    const [start, end] = [texts.starts[text] ?? 0, texts.starts[text + 1] ?? texts.at.length];
    const said = (from: number, to: number) =>
      Array.from(texts.at.subarray(from, to), (i) => texts.tokens[i])
        .map((token) => (token?.fragment ? "\u2026" : (token?.text ?? "")))
        .join("");
    const [from, to] = [Math.max(start, at - before), Math.min(end, at + 1 + after)];
    return {
      before: `${from > start ? "… " : ""}${said(from, at)}`,
      token: this.token(row),
      after: `${said(at + 1, to)}${to < end ? " …" : ""}`,
    };
  }

  /** The points by colour: clusters, or the six commonest tokens and the rest. */
  readonly groups = computed<Group[]>(() => {
    const tokens = this.tokens.value;
    const wire = come(this.traits.tokens.value);
    if (!tokens || !wire || this.traits.colour.value === "density") return [];
    const places = this.places.value;
    if (this.traits.colour.value === "cluster")
      return wire.clusters.map(({ names }, cluster) => {
        const rows = rowsOf(tokens.count, (row) => tokens.cluster[row] === cluster);
        const name = names.map(plainWord).join(", ");
        return { name, count: rows.length, colour: cluster, rows, middle: middleOf(rows, places) };
      });
    const rows = new Map<number, number[]>();
    for (let row = 0; row < tokens.count; row++) {
      const { id } = this.token(row);
      const known = rows.get(id);
      if (known) known.push(row);
      else rows.set(id, [row]);
    }
    const all = [...rows.values()].sort((a, b) => b.length - a.length);
    const grouped = (own: number[], name: string, colour: number): Group => ({
      name,
      count: own.length,
      colour,
      rows: own,
      middle: middleOf(own, places),
    });
    const named = all
      .slice(0, HUES)
      .map((own, i) => grouped(own, plainWord(this.token(own[0] as number)), i));
    const rest = all.slice(HUES).flat();
    return rest.length ? [...named, grouped(rest, "other tokens", GREY)] : named;
  });

  readonly colours = computed<Uint8Array>(() => {
    const count = this.tokens.value?.count ?? 0;
    if (this.traits.colour.value === "density")
      return Uint8Array.from(this.densities.value, (share) => Math.round(share * HUES));
    const found = new Uint8Array(count);
    for (const { rows, colour } of this.groups.value) for (const row of rows) found[row] = colour;
    return found;
  });

  /** The features on the left: those found, else those with the largest weight; the chosen one among them. */
  readonly listed = computed<Listed[]>(() => {
    const features = this.features.value;
    if (!features) return [];
    const query = this.query.value.trim();
    if (query && this.#found.value) return this.#found.value;
    const { weight, labels, index } = features;
    const at = Array.from(index, (_, i) => i);
    const matching = query ? at.filter((i) => matches(query, labels[i] ?? "", index[i] ?? -1)) : at;
    if (weight) matching.sort((a, b) => (weight[b] as number) - (weight[a] as number));
    const shown = matching.slice(0, LISTED);
    const chosen = this.chosenRow.value;
    if (!query && chosen >= 0 && !shown.includes(chosen)) shown.unshift(chosen);
    return shown.map((i) => this.#listedAt(features, i));
  });

  #listedAt({ index, labels, weight }: Features, i: number): Listed {
    return { index: index[i] ?? -1, label: labels[i] ?? "", weight: weight?.[i] ?? null };
  }

  labelOf(row: number): Listed | null {
    const features = this.features.value;
    return features && row >= 0 ? this.#listedAt(features, row) : null;
  }

  readonly asked = computed<Asked>(() => ({
    component: this.traits.component.value,
    target: this.target.value,
    prompt: this.traits.prompt.value,
  }));

  readonly nextToken = computed<NextToken | null>(() => come(this.traits.next_token.value));
  readonly pair = computed<Pair | null>(() => come(this.traits.pair.value));

  /** Why the kernel has no logits for this; else empty. */
  readonly refused = computed(() => {
    const refused = this.#refused.value;
    return refused && same(refused.asked, this.asked.value) ? refused.message : "";
  });

  readonly isBehind = computed(() => !same(this.nextToken.value?.asked, this.asked.value));
  readonly isPairOld = computed(() => !same(this.pair.value?.asked, this.asked.value));

  // --- what a user does

  look(feature: number): void {
    this.sent.value = "";
    this.#answered = null;
    if (this.frozen || feature === this.traits.component.peek()) return;
    void this.#ask("look", { feature });
  }

  layOut(method: Method): void {
    void this.#ask("layout", { method });
  }

  search(query: string): void {
    this.query.value = query;
    this.#found.value = null;
    clearTimeout(this.#typing);
    const features = this.features.peek();
    if (this.frozen || !query.trim() || !features || features.index.length === features.size)
      return;
    // Not all are on this page: the kernel knows the rest.
    this.#typing = setTimeout(() => void this.#find(query), TYPING);
  }

  async #find(query: string): Promise<void> {
    try {
      const { found } = await this.rpc.request<{ found: Listed[] }>("find", { query });
      if (this.query.peek() === query)
        this.#found.value = found.map((each) => ({ ...each, weight: null }));
    } catch (error) {
      if (!(error instanceof Cancelled)) this.fail(error);
    }
  }

  choose<Name extends "axes" | "colour" | "dims">(name: Name, value: MapTraits[Name]): void {
    this.#store.write(name, value);
  }

  chooseDim(at: 0 | 1, dim: number): void {
    const dims: [number, number] = [...this.dims.peek()];
    const other = at ? 0 : 1;
    // The axis that the other one has changes places with it.
    if (dims[other] === dim) dims[other] = dims[at];
    dims[at] = dim;
    this.choose("dims", dims);
  }

  select(rows: number[]): void {
    this.#store.write("selected", rows);
  }

  write(prompt: string): void {
    this.#store.draft("prompt", prompt, 250);
  }

  /** The target is at another place of the plane; where it is let go it stays. */
  moveTo(place: Place): void {
    const { a, z } = this.target.peek();
    this.#put({ a, z: movedTo(z, place, this.plane.peek()).map(tidy) });
  }

  /** By keys: so many steps across and up. */
  nudge(right: number, up: number): void {
    const [x, y] = this.targetPlace.peek();
    const step = this.step.peek();
    this.moveTo([tidy(x + right * step), tidy(y + up * step)]);
    this.restSoon();
  }

  home(): void {
    this.#put({ a: this.target.peek().a, z: this.target.peek().z.map(() => 0) });
    this.restSoon();
  }

  setLoading(dim: number, value: number): void {
    const { a, z } = this.target.peek();
    this.#put({ a, z: z.map((each, i) => (i === dim ? value : each)) });
    this.restSoon();
  }

  setShare(a: number): void {
    this.#put({ a, z: this.target.peek().z });
  }

  #put(target: Target): void {
    this.sent.value = "";
    this.#pairing?.abort();
    clearTimeout(this.#rest);
    this.#store.draft("target", target, 40);
  }

  /** A pointer went down on the target or on the slider, or left it: then the pair is written. */
  hold(held: boolean): void {
    this.#store.hold("target", held);
    if (!held) this.rest();
  }

  restSoon(): void {
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => this.rest(), REST);
  }

  rest(): void {
    clearTimeout(this.#rest);
    if (!this.frozen && this.isPairOld.peek() && this.traits.prompt.peek().trim())
      void this.steer();
  }

  read(): void {
    void this.#ask("read", {});
  }

  override stop(): void {
    super.stop();
    this.#pairing?.abort();
  }

  /** Writes the steered text; what was being written for another place ends. */
  async steer(): Promise<void> {
    this.#pairing?.abort();
    const own = new AbortController();
    this.#pairing = own;
    this.failure.value = "";
    try {
      await this.rpc.request("pair", this.asked.peek(), { signal: own.signal, abandon: true });
    } catch (error) {
      if (!(error instanceof Cancelled)) this.fail(error);
    } finally {
      if (this.#pairing === own) this.#pairing = null;
    }
  }

  async send(): Promise<void> {
    await this.ask("send", this.asked.peek(), (value) => {
      this.sent.value = (value as { said: string }).said;
    });
  }

  /** Keeps Δ logits up with the target for as long as somebody sees them; gives what ends that. */
  watch(): () => void {
    this.#views.value++;
    return () => {
      this.#views.value--;
    };
  }

  /** One request at a time: what moved meanwhile is asked for when it ends, and of that only the last. */
  #keepUp(): void {
    const asked = this.asked.value;
    const idle = this.#views.value > 0 && !this.frozen && !this.rpc.lost.value;
    if (!idle || this.#asking.value || !this.rank.value || !asked.prompt.trim()) return;
    if (this.doing.value) return;
    if (!this.isBehind.value || this.refused.value || same(this.#answered, asked)) return;
    void this.#ofNextToken(asked);
  }

  async #ofNextToken(asked: Asked): Promise<void> {
    this.#asking.value = true;
    try {
      await this.rpc.request("logits", asked);
      this.#refused.value = null;
    } catch (error) {
      const message = error instanceof Cancelled ? "" : (error as Error).message;
      this.#refused.value = message ? { asked, message } : null;
    } finally {
      this.#answered = asked;
      this.#asking.value = false;
    }
  }

  async #ask(what: What, args: object): Promise<void> {
    if (!this.doing.peek()) await this.askAndShow(what, args);
  }
}

function matrix(wire: Parameters<typeof unpack>[0]): number[][] {
  const { values, shape } = unpack(wire);
  const [rows = 0, columns = 0] = shape;
  return Array.from({ length: rows }, (_, i) =>
    Array.from({ length: columns }, (_, j) => Number(values[i * columns + j])),
  );
}

function matches(query: string, label: string, index: number): boolean {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const text = label.toLowerCase();
  return words.every((word) => text.includes(word) || word.replace(/^#/, "") === `${index}`);
}

/** How many of ascending numbers are not above one. */
function upperBound(values: Int32Array, value: number): number {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((values[middle] as number) <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function rowsOf(count: number, takes: (row: number) => boolean): number[] {
  const rows: number[] = [];
  for (let row = 0; row < count; row++) if (takes(row)) rows.push(row);
  return rows;
}

function middleOf(rows: readonly number[], places: Float32Array): Place {
  const median = (axis: 0 | 1) => {
    const sorted = rows.map((row) => places[2 * row + axis] as number).sort((a, b) => a - b);
    return sorted[sorted.length >> 1] ?? 0;
  };
  return [median(0), median(1)];
}

/** A token as a word among others: without its leading space, unless it is nothing else. */
export function plainWord({ text, fragment }: Token): string {
  if (fragment) return `‹${text}›`;
  return text.trim() || text.replace(/ /g, "␣").replace(/\n/g, "⏎").replace(/\t/g, "⇥");
}
