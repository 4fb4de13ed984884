import type { ComponentChildren } from "preact";
import { type HeatScale, isBeyond, lookOf, shareOf } from "../heatmap/colour";
import { Button } from "../ui/button";
import type { Palette } from "../ui/colour";
import { flags } from "../ui/flags";
import { formatNumber, splitLead, TURNS, visible } from "../ui/format";
import type { Hue } from "../ui/hues";
import { Memo } from "../ui/memo";
import { withMarks } from "../ui/token";
import { type CardLine, type CardToken, shownPart, steady } from "./lines";
import type { Tip } from "./tip";

/** How values become colours; one object for as long as that stays the same. */
export interface LinePaint {
  scale: HeatScale;
  hue: Hue;
  palette: Palette;
  tip: Tip;
}

interface Props {
  at: number;
  line: CardLine;
  open: boolean;
  /** It can be neither opened nor closed. */
  fixed: boolean;
  paint: LinePaint;
  /** The token that the Tab key reaches, where it is on this line. */
  stop: number | null;
  above: ComponentChildren;
  below: ComponentChildren;
  onToggle(line: number): void;
}

/** One line: the value at its peak, then its tokens; closed, the peak stays in sight however narrow it is. */
export class CardLineRow extends Memo<Props> {
  override render({ at, line, open, fixed, above, below, onToggle }: Props) {
    const [first, end] = shownPart(line, open);
    const { length } = line.tokens;
    const peak = line.tokens[line.peak];
    return (
      <>
        {above}
        {/* biome-ignore lint/a11y/useFocusableInteractive: the cells of a grid take the focus, not its rows */}
        {/* biome-ignore lint/a11y/useSemanticElements: lines of running text are no table to lay out */}
        <div
          class={`sw-card-line${open ? " sw--open" : ""}${fixed ? " sw--fixed" : ""}`}
          role="row"
          data-line={at}
        >
          {!fixed && (
            // biome-ignore lint/a11y/useSemanticElements: as above
            // biome-ignore lint/a11y/useFocusableInteractive: as above
            <span class="sw--peak sw-num" role="rowheader">
              {steady(peak?.value ?? 0)}
            </span>
          )}
          <span class="sw--text" dir="auto">
            {open ? (
              this.#cells(0, length)
            ) : (
              <>
                <span class={first > 0 ? "sw--before sw--long" : "sw--before"}>
                  <span>
                    {first > 0 && <i class="sw--cut">… </i>}
                    {this.#cells(first, line.peak)}
                  </span>
                </span>
                <span class="sw--at">{this.#cells(line.peak, line.peak + 1)}</span>
                <span class="sw--after">
                  {this.#cells(line.peak + 1, end)}
                  {end < length && <i class="sw--cut"> …</i>}
                </span>
              </>
            )}
          </span>
          {!fixed && (
            // biome-ignore lint/a11y/useSemanticElements: as above
            // biome-ignore lint/a11y/useFocusableInteractive: as above
            <span class="sw--end" role="gridcell">
              <span class="sw--source">{line.source}</span>
              <Button
                kind="icon"
                tabIndex={-1}
                aria-expanded={open}
                aria-label={`Context of line ${at + 1}`}
                title={open ? "Less context" : `More context: ${length} tokens`}
                onClick={() => onToggle(at)}
              >
                {open ? "−" : "+"}
              </Button>
            </span>
          )}
        </div>
        {below}
      </>
    );
  }

  #cells(from: number, end: number) {
    const { line, open, stop } = this.props;
    const lead = shownPart(line, open)[0]; // the space before the first word is there to be copied, not to be seen
    const cells = [];
    for (let i = from; i < end; i++)
      cells.push(this.#cell(line.tokens[i] as CardToken, i, stop === i, i === lead));
    return cells;
  }

  #cell(token: CardToken, at: number, stop: boolean, first: boolean) {
    const { scale, hue, palette } = this.props.paint;
    const parts = token.fragment ? { lead: "", body: token.text } : splitLead(token.text);
    const share = token.why ? 0 : shareOf(token.value, scale);
    const look = share ? lookOf([share], [hue], palette.surface) : null;
    const marks = {
      fragment: token.fragment,
      uncounted: token.why !== "",
      lit: look !== null,
      negative: share < -0.02,
      clipped: !token.why && isBeyond(token.value, scale),
    };
    return (
      // biome-ignore lint/a11y/useSemanticElements: lines of running text are no table to lay out
      <span
        key={at}
        class={TURNS.test(token.text) ? "sw-token sw--apart" : "sw-token"}
        role="gridcell"
        aria-label={nameOf(token)}
        tabIndex={stop ? 0 : -1}
        data-token={at}
      >
        {first && parts.lead ? <span class="sw-lead">{parts.lead}</span> : parts.lead}
        <span
          class={`sw-word ${flags(marks)}`}
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
          {withMarks(parts.body)}
        </span>
      </span>
    );
  }
}

function nameOf(token: CardToken): string {
  const value = token.why ? `${token.why}, not counted` : formatNumber(token.value);
  return `${visible(token)}, ${value}`;
}
