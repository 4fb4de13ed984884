// Signals: values that know who reads them. What the widgets use of @preact/signals-core, with the same names and
// meanings, in a third of its size: every instance of a widget carries its bundle.

export interface ReadonlySignal<T> {
  /** Whoever reads it while being computed, run or rendered is told when it changes. */
  readonly value: T;
  /** The value, read by nobody. */
  peek(): T;
}

export interface Signal<T> extends ReadonlySignal<T> {
  value: T;
}

/** Something that can be read: it has a new version whenever its value is another one. */
interface Source {
  version: number;
  readers: Set<Reader>;
  /** Brings the version up to date. */
  refresh(): void;
  /** Who reads on its behalf, where it is computed. */
  reader?: Reader;
}

/** Something that reads, and remembers what, at which version. */
export interface Reader {
  sources: Map<Source, number>;
  /** Whether its sources know of it. Computed ones are known only while they have readers: or they would never go. */
  live: boolean;
  /** Something it has read may have changed. */
  told(): void;
}

/** A reader that acts when something it has read is another value, once per batch. */
export interface Watcher extends Reader {
  act(): void;
}

const ROUNDS = 100; // effects that keep setting what they read would never end

/** Grows with every change of any signal: while it stands still, what was computed holds. */
let changes = 0;
let current: Reader | null = null;
let depth = 0;
let waiting = new Set<Watcher>();

export function signal<T>(held: T): Signal<T> {
  const source: Source = { version: 0, readers: new Set(), refresh() {} };
  return {
    get value() {
      note(source);
      return held;
    },
    set value(next) {
      if (Object.is(next, held)) return;
      held = next;
      source.version++;
      changes++;
      batch(() => tell(source));
    },
    peek: () => held,
  };
}

/** Computes when it is read, and again only when something it has read is another value. */
export function computed<T>(compute: () => T): ReadonlySignal<T> {
  let held: T;
  let error: { thrown: unknown } | null = null;
  let checked = -1;
  const reader: Reader = { sources: new Map(), live: false, told: () => tell(source) };
  const source: Source = { version: 0, readers: new Set(), reader, refresh };

  function refresh(): void {
    if (checked === changes) return;
    const isFirst = checked < 0;
    checked = changes;
    if (!isFirst && !isStale(reader)) return;
    const end = begin(reader);
    try {
      const next = compute();
      if (isFirst || error || !Object.is(next, held)) source.version++;
      held = next;
      error = null;
    } catch (thrown) {
      error = { thrown };
      source.version++;
    } finally {
      end();
    }
  }
  function peek(): T {
    refresh();
    if (error) throw error.thrown;
    return held;
  }
  return {
    get value() {
      refresh();
      note(source);
      return peek();
    },
    peek,
  };
}

/** Runs now and whenever something it has read changes; what it returns runs before the next time, and at the end. */
export function effect(run: () => unknown): () => void {
  let clean: unknown;
  const tidy = () => {
    const end = begin(null);
    if (typeof clean === "function") clean();
    clean = undefined;
    end();
  };
  const reader = watcher(() => {
    tidy();
    const end = begin(reader);
    try {
      clean = batch(run);
    } finally {
      end();
    }
  });
  reader.act();
  return () => {
    dispose(reader);
    tidy();
  };
}

export function watcher(act: () => void): Watcher {
  const reader: Watcher = { sources: new Map(), live: true, told: () => waiting.add(reader), act };
  return reader;
}

/** Nobody is told of the changes inside before the last of them. */
export function batch<T>(run: () => T): T {
  depth++;
  try {
    return run();
  } finally {
    try {
      if (depth === 1) settle();
    } finally {
      depth--;
    }
  }
}

/** From here on `reader` is the one who reads, until what is returned is called. */
export function begin(reader: Reader | null): () => void {
  const outer = current;
  const before = reader?.sources;
  if (reader) reader.sources = new Map();
  current = reader;
  return () => {
    current = outer;
    for (const source of before?.keys() ?? [])
      if (!reader?.sources.has(source)) leave(source, reader);
  };
}

export function dispose(reader: Watcher): void {
  waiting.delete(reader);
  setLive(reader, false);
  reader.sources.clear();
}

function settle(): void {
  const errors: unknown[] = [];
  for (let round = 0; waiting.size; round++) {
    const readers = waiting;
    waiting = new Set();
    if (round === ROUNDS) throw new Error("An effect changes what it reads, for ever.");
    for (const reader of readers) {
      try {
        if (isStale(reader)) reader.act();
      } catch (error) {
        errors.push(error);
      }
    }
  }
  if (errors.length) throw errors[0];
}

function note(source: Source): void {
  if (!current) return;
  current.sources.set(source, source.version);
  if (current.live) join(source, current);
}

function tell({ readers }: Source): void {
  for (const reader of readers) reader.told();
}

function isStale({ sources }: Reader): boolean {
  for (const [source, version] of sources) {
    source.refresh();
    if (source.version !== version) return true;
  }
  return false;
}

function join(source: Source, reader: Reader): void {
  if (!source.readers.size && source.reader) setLive(source.reader, true);
  source.readers.add(reader);
}

function leave(source: Source, reader: Reader | null): void {
  if (reader) source.readers.delete(reader);
  if (!source.readers.size && source.reader) setLive(source.reader, false);
}

function setLive(reader: Reader, live: boolean): void {
  reader.live = live;
  for (const source of reader.sources.keys()) (live ? join : leave)(source, reader);
}
