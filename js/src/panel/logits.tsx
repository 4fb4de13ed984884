import "./logits.css";
import { useEffect } from "preact/hooks";
import { formatNumber, formatPercent, visible } from "../ui/format";
import type { Panel } from "./panel";
import type { NextToken } from "./types";

/** What the recipe does to the token after the prompt: up and down, with probabilities before and after. */
export function Logits({ panel }: { panel: Panel }) {
  useEffect(() => panel.nextToken.watch(), []);
  const shown = panel.nextToken.shown.value;
  const lacks = panel.nextToken.lacks.value;
  if (lacks) return <p class="sw-empty">{lacks}</p>;
  if (!shown)
    return (
      <p class="sw-empty">
        {panel.frozen ? "Nothing was read here before this copy was made." : "Reading the prompt…"}
      </p>
    );
  if (!shown.changes)
    return (
      <p class="sw-empty">
        Nothing of this recipe acts on the prompt, so the first generated token is the model's own.
      </p>
    );
  const most = Math.max(
    Number.MIN_VALUE,
    ...[...shown.promoted, ...shown.suppressed].map(({ delta }) => Math.abs(delta)),
  );
  return (
    <>
      <div class="sw-logits">
        <Side name="Rises" tokens={shown.promoted} most={most} />
        <Side name="Falls" tokens={shown.suppressed} most={most} />
      </div>
      <p class="sw-note">
        Steered minus unsteered logits of the token after the prompt, less what all logits share ·
        of tokens with 0.1 % or more before or after, at temperature 1
        {panel.nextToken.isStale.value ? " · of an earlier recipe" : ""}
      </p>
    </>
  );
}

function Side({ name, tokens, most }: { name: string; tokens: NextToken[]; most: number }) {
  return (
    <table class="sw-num" aria-label={name}>
      <colgroup>
        <col />
        <col style={{ width: "18%" }} />
        <col style={{ width: "52px" }} />
        <col style={{ width: "126px" }} />
      </colgroup>
      <thead>
        <tr>
          <th scope="col">{name}</th>
          <th scope="col" class="sw--logit" colSpan={2}>
            Δ logit
          </th>
          <th scope="col" class="sw--share">
            before → after
          </th>
        </tr>
      </thead>
      <tbody>
        {tokens.map((token) => (
          <tr key={token.id} title={`token ${token.id}`}>
            <th scope="row">
              <code>{visible(token)}</code>
            </th>
            <td class={token.delta < 0 ? "sw--bar sw--negative" : "sw--bar"} aria-hidden="true">
              <span style={{ width: `${(Math.abs(token.delta) / most) * 100}%` }} />
            </td>
            <td class="sw--number">{signed(token.delta)}</td>
            <td class="sw--share">
              {share(token.before)} → {share(token.after)}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function signed(value: number): string {
  return value > 0 ? `+${formatNumber(value)}` : formatNumber(value);
}

/** Of most tokens the probability is next to nothing, and its digits say no more than that. */
export function share(probability: number): string {
  return probability < 1e-4 ? "<\u202f0.01\u202f%" : formatPercent(probability);
}
