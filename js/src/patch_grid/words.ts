// What the grid says of itself.
import { shownText } from "../lens/text";
import { formatDuration, plural } from "../ui/format";
import type { Patch } from "./patch";
import type { Place } from "./types";

export const STREAMS = [
  ["resid_post", "residual after block"],
  ["resid_pre", "residual before block"],
  ["attn_out", "attention out"],
  ["mlp_out", "MLP out"],
  ["attn_z", "attention heads"],
] as const;

/** 0.64 and −0.02. */
export function wholeShare(share: number): string {
  const text = Math.abs(share).toFixed(2);
  return share < 0 && Number(text) !== 0 ? `−${text}` : text;
}

/** .64 and −.02, as a cell has room for. */
export function shareText(share: number): string {
  return Number.isFinite(share) ? wholeShare(share).replace(/^(−?)0/, "$1") : "";
}

/** +3.86 or −4.11; a KL has a unit instead of a sign. */
export function metricText(value: number, metric = "logit difference"): string {
  const text = Math.abs(value).toFixed(2);
  if (metric === "kl") return `${text} nats`;
  return value < 0 ? `−${text}` : `+${text}`;
}

/** What every cell's number is a share of. */
export function measuredText(patch: Patch): string {
  const [source, target] = patch.plan.value?.answers ?? [];
  const noise = patch.noise.value;
  if (source && target)
    return `share of the difference logit(${shownText(source)}) − logit(${shownText(target)}) that one patch ${noise ? "from the target breaks" : "brings over"}`;
  return noise
    ? "share of the KL to the source’s own next token that one patch from the target makes"
    : "share of the KL to the source’s next token that one patch takes away";
}

/** "Block 18, after “␣of”". */
export function placeText(patch: Patch, { first, last, column }: Place): string {
  const blocks = first === last ? `Block ${first}` : `Blocks ${first} to ${last}`;
  const found = patch.columns.value.find(({ id }) => id === column);
  if (!found) return blocks;
  return found.token ? `${blocks}, after “${found.name}”` : `${blocks}, ${found.name}`;
}

export function statusText(patch: Patch): string {
  const doing = patch.doing.value;
  const plan = patch.plan.value;
  if (doing?.waiting) return doing.waiting;
  if (doing?.slow) return "Waiting for the kernel: it is busy with a cell, or gone.";
  if (doing?.stopping) return "Stopping…";
  if (doing?.what === "run") {
    const left = doing.secondsLeft;
    const time = left === null ? "" : `, about ${formatDuration(left)} left`;
    return doing.total ? `${doing.done} of ${batches(doing.total)}${time}` : "Starting…";
  }
  if (doing?.what === "plan" || patch.edited.value) return "Reading the texts…";
  if (!plan || plan.problem || !plan.cells) return "";
  const { status } = patch.traits;
  const size = `${plural(plan.cells, "cell")} · ${batches(plan.layers.length)}`;
  const done = patch.measured.value;
  if (done === plan.layers.length) {
    const { seconds } = status.value;
    return seconds === undefined ? size : `${size} · ran in ${formatDuration(seconds)}`;
  }
  const time = plan.seconds === null ? "" : ` · about ${formatDuration(plan.seconds)}`;
  return done ? `${done} of ${batches(plan.layers.length)} done` : `${size}${time}`;
}

export function batches(count: number): string {
  return count === 1 ? "1 batch" : `${count} batches`;
}
