import "./token.css";
import type { Token as TokenData } from "../host/tokens";
import { type Palette, paint } from "./colour";
import { flags } from "./flags";
import { formatNumber, markOf, splitLead, TURNS, visible } from "./format";
import { Memo } from "./memo";

// Flat, and the same from one delta to the next: only what changed renders.
interface Props {
  index: number;
  token: TokenData;
  value: number | null;
  /** What the value is, for screen readers. */
  valueName: string;
  /** The value at full colour; null where nothing colours the text. */
  domain: number | null;
  signed: boolean;
  /** Where colour begins, if not at 0. */
  zero: number | null;
  palette: Palette;
  fork: boolean;
  active: boolean;
  pinned: boolean;
  /** The one token of its text that the Tab key reaches. */
  stop: boolean;
}

/** One token: exact text, so that copying gives what the model wrote; marks are drawn by the sheet. */
export class Token extends Memo<Props> {
  override render({ index, token, value, domain, signed, zero, palette, ...state }: Props) {
    const { fork, active, pinned, stop } = state;
    const { fragment } = token;
    const { lead, body } = fragment ? { lead: "", body: token.text } : splitLead(token.text);
    const look = domain === null ? null : paint(value, { domain, signed, zero }, palette);
    const classes = flags({ fragment, fork, active, pinned, clipped: look?.clipped });
    return (
      <span
        class={TURNS.test(token.text) ? "sw-token sw--apart" : "sw-token"}
        role="option"
        aria-label={this.#label()}
        aria-selected={pinned}
        tabIndex={stop ? 0 : -1}
        data-index={index}
      >
        {lead}
        <span
          class={`sw-word ${classes}`}
          style={{ background: look?.background, color: look?.ink || undefined }}
        >
          {withMarks(body)}
        </span>
      </span>
    );
  }

  #label(): string {
    const { token, value, valueName, fork } = this.props;
    const reading = value === null ? "" : `, ${valueName} ${formatNumber(value)}`;
    return visible(token) + reading + (fork ? ", the texts part here" : "");
  }
}

/** Line breaks, tabs and lone spaces get a mark in front of the real character. */
export function withMarks(text: string) {
  const invisible = text.trim() ? /([\n\t\r])/ : /(\s)/;
  if (!invisible.test(text)) return text;
  return text.split(invisible).map((piece) => {
    const mark = piece.length === 1 && invisible.test(piece) ? markOf(piece) : undefined;
    return mark ? (
      <span class={piece === " " ? "sw-space sw--lone" : "sw-space"} data-mark={mark}>
        {piece}
      </span>
    ) : (
      piece
    );
  });
}
