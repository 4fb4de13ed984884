import "./kl_bars.css";
import type { Token } from "../host/tokens";
import { flags } from "../ui/flags";
import { formatNumber, visible } from "../ui/format";
import { type Pointing, rovingHandlers } from "../ui/roving";
import type { Shown } from "./shown";

interface Props extends Pointing {
  kl: number[];
  tokens: Token[];
  active: number | null;
  pinned: number | null;
}

/** How far each step of the steered text is from what the model would have said: one bar per token. */
export function KlBars({ kl, tokens, active, pinned, onPoint, onPin }: Props) {
  const largest = Math.max(...kl, Number.MIN_VALUE);
  const stop = Math.min(active ?? pinned ?? 0, kl.length - 1);
  return (
    <div
      class="sw-kl"
      role="listbox"
      aria-label="KL per step"
      {...rovingHandlers(kl.length, { onPoint, onPin })}
    >
      {kl.map((value, index) => (
        <span
          key={index}
          class={flags({ bar: true, active: index === active, pinned: index === pinned })}
          role="option"
          aria-selected={index === pinned}
          aria-label={`token ${index + 1} ${tokens[index] ? visible(tokens[index]) : ""}, KL ${formatNumber(value)} nats`}
          tabIndex={index === stop ? 0 : -1}
          data-index={index}
        >
          <span style={{ height: `${Math.max(value / largest, 0) * 100}%` }} />
        </span>
      ))}
    </div>
  );
}

/** The same in words; it stands also where there are no bars. */
export function differenceText(shown: Shown): string {
  const parts: string[] = [];
  if (shown.kl?.length) {
    const mean = shown.kl.reduce((sum, value) => sum + value, 0) / shown.kl.length;
    parts.push(
      `KL per step, mean ${formatNumber(mean, 2)} nats, largest ${formatNumber(Math.max(...shown.kl), 2)}`,
    );
  }
  if (shown.divergence !== null) parts.push(`texts part at token ${shown.divergence + 1}`);
  else if (!shown.streaming) parts.push("the texts are the same");
  if (!shown.streaming)
    parts.push(shown.sampled ? "same noise in both rows" : "likeliest token in both rows");
  if (shown.klFloor !== null) parts.push(`floor ${formatNumber(shown.klFloor, 2)}`);
  return parts.join(" · ");
}
