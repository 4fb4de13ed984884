import "./positions.css";
import type { TextToken } from "../host/tokens";
import { choicesOf } from "../recipe_editor/acting";
import { TokenStrip } from "../recipe_editor/token_strip";
import { plural } from "../ui/format";
import { Select } from "../ui/select";
import type { Panel } from "./panel";
import type { Positions, Where } from "./types";

const CHOICES: [Where, string][] = [
  ["all", "every token"],
  ["prompt", "the prompt only"],
  ["generated", "generated tokens only"],
  ["indices", "chosen prompt tokens"],
];

/** Which tokens are steered, shown on the prompt itself. */
export function PositionsRegion({ panel }: { panel: Panel }) {
  const positions = panel.traits.positions.value;
  const { tokens, prompt } = panel.traits.prompt_tokens.value;
  const steered = steeredTokens(positions, tokens);
  const alike = panel.traits.model_info.value.lacks?.where;
  const mixed: [Where, string][] =
    positions.where === "mixed" ? [["mixed", "each steer's own"]] : [];
  return (
    <section class="sw-section sw-positions" aria-label="Positions">
      <div class="sw-heading">
        <h3>Positions</h3>
        <Select
          label="Positions to steer"
          value={positions.where}
          options={[...mixed, ...choicesOf(CHOICES, alike)]}
          onChoose={(where) => panel.setPositions({ ...positions, where })}
        />
      </div>
      <label class="sw-check">
        <input
          type="checkbox"
          checked={positions.special}
          disabled={!!alike && positions.special}
          title={alike}
          onChange={(event) =>
            panel.setPositions({ ...positions, special: event.currentTarget.checked })
          }
        />
        Special and template tokens
      </label>
      {tokens.length > 0 && (
        <TokenStrip
          label="Prompt tokens"
          tokens={tokens}
          pressed={(index) => steered?.[index] ?? false}
          stale={prompt !== panel.traits.prompt.value}
          fixed={alike}
          said={(index) => stateOf(positions, tokens, steered, index)}
          onToggle={(index) => panel.setPositions(toggleToken(positions, tokens, index))}
          onPaint={(index, on) => {
            const now = panel.traits.positions.peek();
            if (steeredTokens(now, tokens)?.[index] !== on)
              panel.setPositions(toggleToken(now, tokens, index));
          }}
        />
      )}
      {tokens.length > 0 && (
        <p class="sw-key" aria-hidden="true">
          <i class="sw--steered">steered</i>
          <i class="sw--left">left out</i>
          {!positions.special && <i class="sw--excluded">excluded</i>}
          <i class="sw--template">template</i>
          <i class="sw--sink">sink</i>
        </p>
      )}
      <p class="sw-note sw-num">{summary(tokens, steered, positions.where)}</p>
    </section>
  );
}

/** What a token is to the steers, in a word. */
function stateOf(
  { special, where }: Positions,
  tokens: TextToken[],
  steered: boolean[] | null,
  index: number,
): string {
  const token = tokens[index];
  if (!steered || !token) return "";
  if (steered[index]) return "steered";
  const framed = !special && where !== "generated" && (token.special || token.template);
  return framed ? "excluded" : "left out";
}

function summary(tokens: TextToken[], steered: boolean[] | null, where: Where): string {
  if (!tokens.length) return "Write a prompt to see its tokens here.";
  if (!steered)
    return "Each steer of this recipe has positions of its own. Choosing here replaces them.";
  const count = steered.filter(Boolean).length;
  const generated = where === "all" || where === "generated" ? ", and every generated one" : "";
  return `${count} of ${plural(tokens.length, "prompt token")} steered${generated}.`;
}

/** Which prompt tokens are steered; null when the steers differ (a recipe set from code). */
export function steeredTokens(positions: Positions, tokens: TextToken[]): boolean[] | null {
  const { where, special } = positions;
  if (where === "mixed") return null;
  const chosen = new Set(positions.indices);
  return tokens.map((token, index) => {
    if (!special && (token.special || token.template)) return false;
    return where === "indices" ? chosen.has(index) : where !== "generated";
  });
}

/** Flips one token, whatever the rule was: from then on the indices are explicit. */
export function toggleToken(positions: Positions, tokens: TextToken[], index: number): Positions {
  const steered = steeredTokens(positions, tokens) ?? tokens.map(() => false);
  const indices = steered.flatMap((on, at) => (on !== (at === index) ? [at] : []));
  return { where: "indices", indices, special: true };
}
