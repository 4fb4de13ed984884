import "../styles/positions.css";
import { plural, visible } from "../lib/format";
import type { Panel } from "../lib/panel";
import { steeredTokens, toggleToken } from "../lib/recipe";
import type { PromptToken, Where } from "../lib/types";
import { rovingHandlers } from "./roving";

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
  const choices: [Where, string][] =
    positions.where === "mixed" ? [["mixed", "differs between steers"], ...CHOICES] : CHOICES;
  return (
    <section class="sw-section sw-positions" aria-label="Positions">
      <div class="sw-heading">
        <h3>Positions</h3>
        <select
          class="sw-select quiet"
          aria-label="Positions to steer"
          value={positions.where}
          onChange={(event) =>
            panel.setPositions({ ...positions, where: event.currentTarget.value as Where })
          }
        >
          {choices.map(([where, text]) => (
            <option key={where} value={where}>
              {text}
            </option>
          ))}
        </select>
      </div>
      <label class="sw-check">
        <input
          type="checkbox"
          checked={positions.special}
          onChange={(event) =>
            panel.setPositions({ ...positions, special: event.currentTarget.checked })
          }
        />
        Special and template tokens
      </label>
      {tokens.length > 0 && (
        <Strip
          tokens={tokens}
          steered={steered}
          stale={prompt !== panel.traits.prompt.value}
          onToggle={(index) => panel.setPositions(toggleToken(positions, tokens, index))}
        />
      )}
      <p class="sw-note sw-num">{summary(tokens, steered, positions.where)}</p>
    </section>
  );
}

interface StripProps {
  tokens: PromptToken[];
  steered: boolean[] | null;
  /** The prompt has changed and the kernel has not tokenised it yet. */
  stale: boolean;
  onToggle(index: number): void;
}

function Strip({ tokens, steered, stale, onToggle }: StripProps) {
  const handlers = rovingHandlers(tokens.length, {
    onPoint: () => {},
    onPin: (index) => index !== null && onToggle(index),
  });
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset has a legend and a layout of its own
    <div
      class={stale ? "strip stale" : "strip"}
      role="group"
      aria-label="Prompt tokens"
      onKeyDown={handlers.onKeyDown}
    >
      {tokens.map((token, index) => (
        <button
          key={index}
          type="button"
          class={token.special || token.template ? "piece template" : "piece"}
          data-index={index}
          tabIndex={index === 0 ? 0 : -1}
          aria-pressed={steered?.[index] ?? false}
          aria-label={`token ${index} ${visible(token)}${token.sink ? ", attention sink" : ""}`}
          title={`position ${index} · id ${token.id}${token.sink ? " · attention sink" : ""}`}
          onClick={() => onToggle(index)}
        >
          {visible(token)}
          {token.sink && <sup aria-hidden="true">sink</sup>}
        </button>
      ))}
    </div>
  );
}

function summary(tokens: PromptToken[], steered: boolean[] | null, where: Where): string {
  if (!tokens.length) return "Write a prompt to see its tokens here.";
  if (!steered)
    return "The steers of this recipe act at different positions, set in code. Choosing here replaces them.";
  const count = steered.filter(Boolean).length;
  const generated = where === "all" || where === "generated" ? ", and every generated one" : "";
  return `${count} of ${plural(tokens.length, "prompt token")} steered${generated}.`;
}
