import "../ui/token.css";
import "./text.css";
import { type HeatScale, lookOf, shareOf } from "../heatmap/colour";
import type { Palette } from "../ui/colour";
import { flags } from "../ui/flags";
import { formatNumber, splitLead, TURNS } from "../ui/format";
import type { Hue } from "../ui/hues";
import { withMarks } from "../ui/token";
import type { CheckText } from "./types";

/** How values become colours. */
export interface Paint {
  hue: Hue;
  palette: Palette;
}

interface Props {
  text: CheckText;
  /** The value at full colour; null where none is shown. */
  end: number | null;
  paint: Paint;
}

/** A text as exact tokens: marked, coloured, or plain. */
export function TextOf({ text, end, paint }: Props) {
  const marked = new Set(text.marked);
  return (
    <span class="sw-check-text" dir="auto">
      {text.tokens.map((token, at) => {
        const { lead, body } = token.fragment
          ? { lead: "", body: token.text }
          : splitLead(token.text);
        const value = text.values?.[at];
        const look =
          end && value
            ? lookOf([shareOf(value, scaleTo(end))], [paint.hue], paint.palette.surface)
            : null;
        const marks = { fragment: token.fragment, lit: look !== null, marked: marked.has(at) };
        return (
          <span key={at} class={TURNS.test(token.text) ? "sw-token sw--apart" : "sw-token"}>
            {at ? lead : ""}
            <span
              class={`sw-word ${flags(marks)}`}
              title={end && value ? formatNumber(value) : undefined}
              style={
                look
                  ? {
                      background: look.background,
                      "--share": look.share,
                      ...(look.ink ? { color: look.ink } : {}),
                    }
                  : undefined
              }
            >
              {withMarks(body)}
            </span>
          </span>
        );
      })}
    </span>
  );
}

function scaleTo(end: number): HeatScale {
  return { end, source: "", signed: false, curve: "linear" };
}
