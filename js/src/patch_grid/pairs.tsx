import "./pairs.css";
import { shownText } from "../lens/text";
import { Segmented } from "../ui/segmented";
import type { Patch } from "./patch";
import type { Plan } from "./types";

const WAYS = [
  ["auto", "by position"],
  ["hand", "by hand"],
] as const;
const ENDS = [["auto", "from both ends"], WAYS[1]] as const;

/** Which tokens of the two texts belong together: by themselves, or chosen token by token. */
export function PatchPairs({ patch }: { patch: Patch }) {
  const inputs = patch.inputs.value;
  const plan = patch.plan.value;
  if (!inputs || !plan?.source || !plan.target) return null;
  const { source, target } = plan;
  const partners = plan.partners ?? target.map(() => -1);
  const hand = inputs.pairs !== null;
  const set = (all: readonly number[]) =>
    patch.edit({ pairs: all.flatMap((from, to) => (from < 0 ? [] : [[from, to]])) as never });
  const alone = source.flatMap((token, i) => (partners.includes(i) ? [] : [shownText(token)]));
  if (patch.frozen) return null;
  return (
    <section class="sw-patch-pairs" aria-label="Pairs">
      <div class="sw--how">
        <span class="sw-note">Tokens are paired</span>
        <Segmented
          label="Pairing"
          value={hand ? "hand" : "auto"}
          options={source.length === target.length ? WAYS : ENDS}
          onChoose={(way) => (way === "hand" ? set(partners) : patch.edit({ pairs: null }))}
        />
        {alone.length > 0 && (
          <span class="sw-note">not paired of the source: {alone.slice(0, 8).join(" ")}</span>
        )}
      </div>
      {hand && <Chosen plan={plan} partners={partners} set={set} />}
    </section>
  );
}

interface ChosenProps {
  plan: Plan;
  partners: readonly number[];
  set(partners: readonly number[]): void;
}

/** Under each token of the target a list of the source's; one that is taken elsewhere moves. */
function Chosen({ plan, partners, set }: ChosenProps) {
  const choose = (to: number, from: number) =>
    set(partners.map((old, at) => (at === to ? from : old === from ? -1 : old)));
  return (
    <ol class="sw-plain">
      {plan.target?.map((token, to) => (
        <li key={to}>
          <label>
            <span class="sw--token">{shownText(token)}</span>
            <select
              class="sw-select"
              aria-label={`Source token for ${shownText(token)}, position ${to}`}
              value={`${partners[to] ?? -1}`}
              onChange={(event) => choose(to, Number(event.currentTarget.value))}
            >
              <option value="-1">none</option>
              {plan.source?.map((other, from) => (
                <option key={from} value={`${from}`}>
                  {from} {shownText(other)}
                </option>
              ))}
            </select>
          </label>
        </li>
      ))}
    </ol>
  );
}
