// Where and when a steer acts, in words and choices. Pure.

import { formatNumber } from "../ui/format";
import type { Positions, Steer, When, Where } from "./types";

/** The positions that can be chosen for one steer; what else there is comes from code. */
export const PHASES = [
  ["all", "every token"],
  ["prompt", "the prompt"],
  ["last_prompt", "the prompt's last token"],
  ["generated", "generated tokens"],
  ["first generated", "first generated tokens"],
  ["after generated", "generated tokens after"],
  ["first text", "first tokens of the text"],
  ["after text", "tokens of the text after"],
  ["role user", "the user's words"],
  ["role assistant", "the assistant's words"],
  ["role system", "the system prompt's words"],
] as const;

/** Places to choose from; greyed are those that leave out some tokens, where the model steers all alike and says why. */
export function choicesOf<Place extends string>(
  places: readonly (readonly [Place, string])[],
  alike: string | undefined,
) {
  const isAlike = (place: string) => place === "all" || place === "prompt";
  return places.map(([place, text]) => [place, text, isAlike(place) ? undefined : alike] as const);
}

export type Phase = (typeof PHASES)[number][0] | "code";

const COUNT = 8;
/** What all steers can share. */
const SHARED: readonly Where[] = ["all", "prompt", "generated", "indices"];

export function phaseOf({ where, of, role }: Positions): Phase {
  const detail =
    where === "role" ? role : where === "first" || where === "after" ? (of ?? "text") : "";
  const name = [where, detail].filter(Boolean).join(" ");
  return PHASES.find(([phase]) => phase === name)?.[0] ?? "code";
}

/** Other positions of the same steer, with as many tokens where both count. */
export function atPhase(positions: Positions, phase: Phase): Positions {
  const [where, detail] = phase.split(" ") as [Where, string | undefined];
  const bare = { where, indices: [], special: positions.special };
  if (where === "role") return { ...bare, role: detail ?? "" };
  if (where !== "first" && where !== "after") return bare;
  const of = detail === "generated" ? "generated" : "text";
  return { ...bare, of, count: positions.count ?? COUNT };
}

/** Where a steer acts: at the positions of the whole recipe, or at its own. */
export function positionsOf(steer: Steer, shared: Positions): Positions {
  const own = shared.where === "mixed" ? steer.positions : shared;
  return { ...(own ?? { where: "all", special: true }), indices: own?.indices ?? [] };
}

/** All steers at positions of their own, or at those that they share. */
export function placed(
  steers: Steer[],
  shared: Positions,
  id: string,
  positions: Positions,
): { steers: Steer[]; positions: Positions } {
  const all = steers.map((steer) => ({
    ...steer,
    positions: steer.id === id ? positions : positionsOf(steer, shared),
  }));
  const agree = new Set(all.map((steer) => asWritten(steer.positions))).size === 1;
  const one = agree && SHARED.includes(positions.where);
  return {
    steers: all,
    positions: one ? positions : { where: "mixed", indices: [], special: true },
  };
}

/** The same text for the same positions, whoever made them: the kernel writes more fields than the page. */
function asWritten({ where, indices, special, of, count, role, parts }: Positions): string {
  const counted = where === "first" || where === "after" ? [of ?? "text", count] : [];
  return JSON.stringify([where, indices, special, counted, role ?? "", parts ?? []]);
}

/** What a row says of where and when, beside its strength. */
export function actingSaid(
  steer: Steer,
  shared: Positions,
  labelOf: (key: string) => string,
): string[] {
  const said: string[] = [];
  if (shared.where === "mixed") said.push(positionsSaid(positionsOf(steer, shared)));
  if (steer.when) said.push(`only when ${whenSaid(steer.when, labelOf)}`);
  if (steer.fade) {
    const { to, over } = steer.fade;
    said.push(`fades to ${formatNumber(to)} × over ${over} generated tokens`);
  }
  return said;
}

function positionsSaid(positions: Positions): string {
  const { where, of, count, indices, role, parts } = positions;
  const tokens = of === "generated" ? "generated tokens" : "tokens of the text";
  if (where === "first") return `first ${count} ${tokens}`;
  if (where === "after") return `${tokens} after ${count}`;
  const phase = phaseOf(positions);
  const named = PHASES.find(([name]) => name === phase)?.[1];
  if (named) return named;
  if (where === "indices") return `tokens ${indices.join(", ")}`;
  if (where === "role") return `the ${role}'s words`;
  return (parts ?? []).map(positionsSaid).join(" that are also ");
}

export function whenSaid(when: When, labelOf: (key: string) => string): string {
  if ("feature" in when) return `${labelOf(when.feature)} ${when.is} ${formatNumber(when.than)}`;
  const [parts, word] = "all" in when ? [when.all, " and "] : [when.any, " or "];
  return parts
    .map((part) => ("feature" in part ? whenSaid(part, labelOf) : `(${whenSaid(part, labelOf)})`))
    .join(word);
}
