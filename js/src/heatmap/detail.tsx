import "./detail.css";
import { Button } from "../ui/button";
import { formatNumber, formatPercent, visible } from "../ui/format";
import type { Hue } from "../ui/hues";
import { toRgb } from "../ui/oklab";
import { css, type HeatScale, isBeyond, isSilent, shareOf } from "./colour";
import type { Heatmap } from "./heatmap";
import { whyNotCounted } from "./painter";

interface Props {
  heatmap: Heatmap;
  hues: Hue[];
}

/** All that is known of the token under the pointer or the focus, else of the last pinned one. */
export function HeatDetail({ heatmap, hues }: Props) {
  const { hovered, selected } = heatmap.traits;
  const index = hovered.value ?? selected.value.at(-1) ?? null;
  const token = index === null ? undefined : heatmap.tokens.value[index];
  if (index === null || !token) {
    return (
      <section class="sw-heat-detail" aria-label="Token">
        <h3>Token</h3>
        <p class="sw-empty">
          Point at a token, or reach it with Tab and the arrow keys. A click or Enter pins it, Esc
          unpins, and dragging selects a span.
        </p>
      </section>
    );
  }
  const why = whyNotCounted(heatmap, index);
  return (
    <section class="sw-heat-detail" aria-label="Token">
      <h3>Token</h3>
      <p class="sw--what sw-num">
        <code>{visible(token)}</code>
        {token.id >= 0 && <span>id {token.id}</span>}
        <span>position {index}</span>
        {token.generated && <span>generated</span>}
        {token.fragment && <span>bytes of a character</span>}
      </p>
      {why && <p class="sw--why">{why} · not counted, so not coloured</p>}
      <Values heatmap={heatmap} hues={hues} index={index} />
      <Strongest heatmap={heatmap} index={index} />
    </section>
  );
}

function Values({ heatmap, hues, index }: Props & { index: number }) {
  const { columns } = heatmap.matrix.value;
  const { granularity, pooling } = heatmap.traits;
  if (!columns.length) return null;
  const pooled = granularity.value !== "tokens" && heatmap.tokens.value[index]?.counted;
  const unit = granularity.value.slice(0, -1);
  return (
    <ul class="sw--values sw-plain">
      {columns.map((column, at) => {
        const value = heatmap.value(index, at);
        const scale = heatmap.scales.value[at];
        const share = scale ? Math.abs(shareOf(value, { ...scale, curve: "linear" })) : 0;
        const hue = hues[at] as Hue;
        const below = scale?.signed ? value < 0 : false;
        const colour = css(toRgb(below ? hue.negative : hue.positive));
        return (
          <li key={column.key}>
            <span class="sw--label" title={column.label}>
              {column.label}
            </span>
            <b class="sw-num">{formatNumber(value, 4)}</b>
            <span class="sw--bar" aria-hidden="true">
              <span style={{ width: `${share * 100}%`, background: colour }} />
            </span>
            <span class="sw--of sw-num">{scale ? ofScale(value, scale) : ""}</span>
            {pooled && (
              <span class="sw--unit sw-num">
                its {unit}: {formatNumber(heatmap.painted(index, at), 4)} ({pooling.value})
              </span>
            )}
          </li>
        );
      })}
    </ul>
  );
}

function ofScale(value: number, scale: HeatScale): string {
  if (isBeyond(value, scale)) return "beyond";
  if (typeof scale.zero === "number" && value <= scale.zero) return "below its zero";
  return isSilent(scale) || !value
    ? ""
    : formatPercent(shareOf(value, { ...scale, curve: "linear" }));
}

function Strongest({ heatmap, index }: { heatmap: Heatmap; index: number }) {
  const top = heatmap.strongest(index);
  if (!top.length) return null;
  const most = Math.abs(top[0]?.value ?? 1) || 1;
  const shown = new Set(heatmap.matrix.value.columns.map((column) => column.index));
  return (
    <>
      <h3>Strongest here</h3>
      <ol class="sw--ranked sw-plain">
        {top.map((feature) => (
          <li key={feature.index}>
            <span class="sw--label" title={`${feature.label} (${feature.index})`}>
              {feature.label}
            </span>
            <span class="sw--bar" aria-hidden="true">
              <span style={{ width: `${(Math.abs(feature.value) / most) * 100}%` }} />
            </span>
            <span class="sw--number sw-num">{formatNumber(feature.value)}</span>
            {heatmap.canSearch && (
              <Button
                kind="icon"
                aria-label={`Show ${feature.label}`}
                title={shown.has(feature.index) ? "Shown already" : "Colour the text by it too"}
                aria-disabled={shown.has(feature.index)}
                onClick={() => shown.has(feature.index) || heatmap.show(feature.index)}
              >
                {shown.has(feature.index) ? "·" : "+"}
              </Button>
            )}
          </li>
        ))}
      </ol>
    </>
  );
}
