import "./tip.css";
import { type Signal, signal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { formatNumber, visible } from "../ui/format";
import type { CardToken } from "./lines";

export interface Told {
  token: CardToken;
  position: number;
  of: number;
  /** The value as a share of the scale's end. */
  share: number | null;
}

interface Shown extends Told {
  word: Element;
}

export class Tip {
  readonly shown: Signal<Shown | null> = signal(null);

  show(word: Element | null, told: Told): void {
    this.shown.value = word && { ...told, word };
  }
  hide(): void {
    this.shown.value = null;
  }
}

/** All that is known of the token under the pointer or the focus, beside it; never in the way of the pointer. */
export function TipBox({ tip, root }: { tip: Tip; root: HTMLElement }) {
  const box = useRef<HTMLDivElement>(null);
  const shown = tip.shown.value;
  useLayoutEffect(() => {
    const element = box.current;
    if (!shown || !element) return;
    const word = shown.word.getClientRects()[0];
    const frame = root.getBoundingClientRect();
    if (!word) return;
    const { offsetWidth: width, offsetHeight: height } = element;
    const left = Math.min(Math.max(word.left - frame.left, 4), frame.width - width - 4);
    const above = word.top - frame.top - height - 5;
    const top = above < 4 ? word.bottom - frame.top + 5 : above;
    Object.assign(element.style, { left: `${left}px`, top: `${top}px` });
  }, [shown]);
  if (!shown) return null;
  const { token, position, of, share } = shown;
  return (
    <div ref={box} class="sw-card-tip sw-num" aria-hidden="true">
      <code>{visible(token)}</code>
      {token.why ? <span>{token.why} · not counted</span> : <b>{formatNumber(token.value, 4)}</b>}
      {!token.why && share !== null && token.value !== 0 && (
        <span>{formatNumber(share, 2)} × scale end</span>
      )}
      <span>id {token.id}</span>
      <span>
        {position + 1} of {of}
      </span>
      {token.fragment && <span>bytes of a character</span>}
    </div>
  );
}
