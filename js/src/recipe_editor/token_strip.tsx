import "./token_strip.css";
import { useRef } from "preact/hooks";
import type { TextToken, Token } from "../host/tokens";
import { flags } from "../ui/flags";
import { visible } from "../ui/format";
import { focusItem, indexOf, moveTo, rovingHandlers } from "../ui/roving";

interface Props {
  label: string;
  tokens: (Token & Partial<TextToken>)[];
  pressed(index: number): boolean;
  /** The text has changed and the kernel has not tokenised it yet. */
  stale?: boolean;
  /** Why they can't be switched one by one; undefined where they can. */
  fixed?: string | undefined;
  onToggle(index: number): void;
  /** Gives one token a state: what a drag does to those it goes over, and an arrow key with Shift. */
  onPaint?: (index: number, on: boolean) => void;
  /** What else is to be said of a token. */
  said?: (index: number) => string;
}

/** The tokens of a prompt as switches; one tab stop. */
export function TokenStrip(props: Props) {
  const { label, tokens, pressed, stale, fixed, said } = props;
  const onToggle = (index: number) => fixed || props.onToggle(index);
  const onPaint = fixed ? undefined : props.onPaint;
  const brush = useRef<boolean | null>(null); // the state that a drag gives
  const handlers = rovingHandlers(tokens.length, {
    onPoint: () => {},
    onPin: (index) => index !== null && onToggle(index),
  });
  const keys = (event: KeyboardEvent & { currentTarget: HTMLDivElement }) => {
    const index = indexOf(event);
    const next = index === null ? null : moveTo(event.key, index, tokens.length);
    if (!onPaint || !event.shiftKey || index === null || next === null) {
      handlers.onKeyDown(event);
      return;
    }
    event.preventDefault();
    onPaint(next, pressed(index));
    focusItem(event.currentTarget, next);
  };
  const paint = onPaint && {
    onPointerDown(event: PointerEvent) {
      const index = indexOf(event);
      if (index === null || event.button || event.pointerType === "touch") return;
      brush.current = !pressed(index);
    },
    onPointerOver(event: PointerEvent) {
      const index = indexOf(event);
      if (!(event.buttons & 1)) brush.current = null;
      if (index !== null && brush.current !== null) onPaint(index, brush.current);
    },
    onPointerOut(event: PointerEvent) {
      const index = indexOf(event);
      if (index !== null && brush.current !== null) onPaint(index, brush.current);
    },
    onPointerUp: () => {
      brush.current = null;
    },
  };
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset has a legend and a layout of its own
    <div
      class={stale ? "sw-strip sw--stale" : "sw-strip"}
      role="group"
      dir="auto"
      aria-label={label}
      title={fixed}
      onKeyDown={keys}
      {...paint}
    >
      {tokens.map((token, index) => (
        <button
          key={index}
          type="button"
          class={flags({
            piece: true,
            template: token.special || token.template,
            excluded: said?.(index) === "excluded",
          })}
          data-index={index}
          tabIndex={index === 0 ? 0 : -1}
          aria-pressed={pressed(index)}
          aria-disabled={fixed ? "true" : undefined}
          aria-label={[`token ${index} ${visible(token)}`, ...facts(token), said?.(index)]
            .filter(Boolean)
            .join(", ")}
          title={[`position ${index} · id ${token.id}`, ...facts(token), said?.(index)]
            .filter(Boolean)
            .join(" · ")}
          onClick={() => onToggle(index)}
        >
          {visible(token)}
          {token.sink && <sup data-mark="sink" />}
        </button>
      ))}
    </div>
  );
}

function facts(token: Partial<TextToken>): string[] {
  const frame = token.template ? "template" : "special";
  return [
    ...(token.template || token.special ? [frame] : []),
    ...(token.sink ? ["attention sink"] : []),
  ];
}
