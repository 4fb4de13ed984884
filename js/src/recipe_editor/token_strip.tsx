import "./token_strip.css";
import type { TextToken, Token } from "../host/tokens";
import { visible } from "../ui/format";
import { rovingHandlers } from "../ui/roving";

interface Props {
  label: string;
  tokens: (Token & Partial<TextToken>)[];
  pressed(index: number): boolean;
  /** The text has changed and the kernel has not tokenised it yet. */
  stale?: boolean;
  onToggle(index: number): void;
}

/** The tokens of a prompt as switches; one tab stop. */
export function TokenStrip({ label, tokens, pressed, stale, onToggle }: Props) {
  const handlers = rovingHandlers(tokens.length, {
    onPoint: () => {},
    onPin: (index) => index !== null && onToggle(index),
  });
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset has a legend and a layout of its own
    <div
      class={stale ? "sw-strip sw--stale" : "sw-strip"}
      role="group"
      dir="auto"
      aria-label={label}
      onKeyDown={handlers.onKeyDown}
    >
      {tokens.map((token, index) => (
        <button
          key={index}
          type="button"
          class={token.special || token.template ? "sw--piece sw--template" : "sw--piece"}
          data-index={index}
          tabIndex={index === 0 ? 0 : -1}
          aria-pressed={pressed(index)}
          aria-label={`token ${index} ${visible(token)}${token.sink ? ", attention sink" : ""}`}
          title={`position ${index} · id ${token.id}${token.sink ? " · attention sink" : ""}`}
          onClick={() => onToggle(index)}
        >
          {visible(token)}
          {token.sink && <sup data-mark="sink" />}
        </button>
      ))}
    </div>
  );
}
