// A run while it streams. Pure: every message makes a new run.
import type { StreamMessage } from "../host/rpc";
import type { Token } from "../host/tokens";

export type Phase = "starting" | "waiting" | "running" | "scoring" | "stopping";

export interface LiveRow {
  tokens: Token[];
  watched: (number | null)[];
}

export interface LiveRun {
  phase: Phase;
  /** The kernel has not answered in time. */
  slow: boolean;
  /** What it waits for, in a sentence. */
  waitsFor: string;
  done: number;
  total: number;
  tokensPerSecond: number | null;
  secondsLeft: number | null;
  rows: LiveRow[];
  /** Of the rows. */
  names: string[];
  divergence: number | null;
}

interface Delta {
  rows: { row: number; start: number; tokens: Token[] }[];
  watched?: { row: number; start: number; values: (number | null)[] }[];
  divergence?: number | null;
}

interface WholeText {
  rows: { tokens: Token[]; watched?: (number | null)[] }[];
  divergence?: number | null;
}

export function startRun(total: number): LiveRun {
  return {
    phase: "starting",
    slow: false,
    waitsFor: "",
    done: 0,
    total,
    tokensPerSecond: null,
    secondsLeft: null,
    rows: [emptyRow(), emptyRow()],
    names: ["baseline", "steered"],
    divergence: null,
  };
}

/** A run that goes on from another token of one row: the other rows are as they were. */
export function forkRun(rows: (LiveRow & { name: string })[], row: number, step: number): LiveRun {
  const cut = ({ tokens, watched }: LiveRow, index: number): LiveRow =>
    index === row
      ? { tokens: tokens.slice(0, step), watched: watched.slice(0, step) }
      : { tokens, watched };
  return { ...startRun(0), rows: rows.map(cut), names: rows.map(({ name }) => name) };
}

export interface Applied {
  run: LiveRun;
  /** The message starts beyond the text so far: something was lost. */
  gap: boolean;
}

export function applyMessage(run: LiveRun, message: StreamMessage): Applied {
  return message.type === "progress"
    ? { run: applyProgress(run, message), gap: false }
    : applyDelta(run, message as StreamMessage & Delta);
}

export function applyWholeText(run: LiveRun, whole: WholeText): LiveRun {
  const rows = whole.rows.map(({ tokens, watched }) => ({ tokens, watched: watched ?? [] }));
  return { ...run, rows, divergence: whole.divergence ?? null };
}

function applyProgress(run: LiveRun, message: StreamMessage): LiveRun {
  const names = (message.rows as string[] | undefined) ?? run.names;
  const number = (field: string) => (message[field] as number | null | undefined) ?? null;
  return {
    ...run,
    phase: run.phase === "stopping" ? "stopping" : (message.state as Phase),
    waitsFor: String(message.said ?? ""),
    names,
    rows: names.map((_, row) => run.rows[row] ?? emptyRow()),
    done: number("done") ?? run.done,
    total: number("total") ?? run.total,
    tokensPerSecond: number("tokens_per_second"),
    secondsLeft: number("seconds_left"),
  };
}

function applyDelta(run: LiveRun, delta: Delta): Applied {
  const rows = run.rows.map((row) => ({ ...row }));
  let gap = false;
  const grow = (row: number, field: "tokens" | "watched", start: number, items: unknown[]) => {
    while (rows.length <= row) rows.push(emptyRow());
    const target = rows[row] as Record<typeof field, unknown[]>;
    const merged = mergeAt(target[field], start, items);
    gap ||= merged === null;
    if (merged) target[field] = merged;
  };
  for (const { row, start, tokens } of delta.rows) grow(row, "tokens", start, tokens);
  for (const { row, start, values } of delta.watched ?? []) grow(row, "watched", start, values);
  const divergence = delta.divergence ?? run.divergence;
  const phase = run.phase === "starting" ? "running" : run.phase;
  return { run: { ...run, phase, rows, divergence }, gap };
}

/** The list with `items` from `start` on; null when that would leave a hole. */
function mergeAt<T>(list: T[], start: number, items: T[]): T[] | null {
  if (start > list.length) return null;
  return [...list.slice(0, start), ...items, ...list.slice(start + items.length)];
}

function emptyRow(): LiveRow {
  return { tokens: [], watched: [] };
}
