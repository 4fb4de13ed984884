import "./legend.css";
import { Button } from "../ui/button";
import type { Palette } from "../ui/colour";
import { formatNumber, plural } from "../ui/format";
import type { Hue } from "../ui/hues";
import { toLab, toRgb } from "../ui/oklab";
import { zeroSaid } from "../ui/scale_end";
import { css, type HeatScale, isSilent, mixed, ramp } from "./colour";
import type { Heatmap } from "./heatmap";
import type { Column } from "./types";

interface Props {
  heatmap: Heatmap;
  hues: Hue[];
  palette: Palette;
}

/** Which features colour the text, and each one's scale: both ends, curve, where it comes from. */
export function HeatLegend({ heatmap, hues, palette }: Props) {
  const { columns } = heatmap.matrix.value;
  const lit = new Set(heatmap.lit.value);
  return (
    <section class="sw-heat-legend" aria-label="Features">
      <ul class="sw-plain">
        {columns.map((column, index) => (
          <li key={column.key} class={lit.has(index) ? "" : "sw--dim"}>
            <Feature heatmap={heatmap} column={column} hue={hues[index] as Hue} />
            <Scale
              scale={heatmap.scales.value[index] as HeatScale}
              hue={hues[index] as Hue}
              palette={palette}
              beyond={heatmap.beyond.value[index] ?? 0}
            />
          </li>
        ))}
      </ul>
      <HowMixed heatmap={heatmap} hues={hues} palette={palette} />
    </section>
  );
}

function Feature({ heatmap, column, hue }: { heatmap: Heatmap; column: Column; hue: Hue }) {
  const { columns } = heatmap.matrix.value;
  const alone = columns.length < 2;
  const solo = heatmap.traits.solo.value === column.key;
  const content = (
    <>
      <span
        class="sw--swatch"
        style={{ background: css(toRgb(hue.positive)) }}
        aria-hidden="true"
      />
      <span class="sw--label" title={column.label}>
        {column.label}
      </span>
    </>
  );
  return (
    <span class="sw--feature">
      {alone ? (
        <span class="sw--name">{content}</span>
      ) : (
        <button
          type="button"
          class="sw--name"
          aria-pressed={solo}
          aria-label={`Solo ${column.label}`}
          title={solo ? "Show all features again" : "Colour the text by this feature alone"}
          onClick={() => heatmap.choose("solo", solo ? "" : column.key)}
        >
          {content}
        </button>
      )}
      {column.label_author === "language model" && (
        <span class="sw-badge" title="This label was written by a language model">
          LM label
        </span>
      )}
      {column.kind && (
        <span class="sw-badge">
          {column.kind} {column.index ?? ""}
        </span>
      )}
      {heatmap.canSearch && (
        <Button
          kind="icon"
          aria-label={`Remove ${column.label}`}
          title="Remove"
          onClick={() => heatmap.remove(column.key)}
        >
          ×
        </Button>
      )}
    </span>
  );
}

interface ScaleProps {
  scale: HeatScale;
  hue: Hue;
  palette: Palette;
  beyond: number;
}

function Scale({ scale, hue, palette, beyond }: ScaleProps) {
  const zero = zeroSaid(scale.zero, scale.zeroOf);
  if (isSilent(scale))
    return (
      <span class="sw--scale sw--silent">
        {["silent in this text", zero].filter(Boolean).join(" · ")}
      </span>
    );
  const end = formatNumber(scale.end);
  return (
    <>
      <span class="sw--scale sw-num">
        <span class="sw--ends">{scale.signed ? `−${end}` : formatNumber(scale.zero ?? 0)}</span>
        <span
          class="sw--ramp"
          style={{ background: ramp(scale, hue, palette.surface) }}
          aria-hidden
        />
        <span class="sw--ends">{scale.signed ? `+${end}` : end}</span>
        {beyond > 0 && (
          <span class="sw--beyond" title="stronger than the end of the scale">
            <span class="sw-word sw--clipped">{beyond}</span> beyond
          </span>
        )}
      </span>
      <span class="sw--scale sw--source sw-num" title={CURVES[scale.curve]}>
        {scale.curve} · {scale.source}
        {zero && ` · ${zero}`}
      </span>
    </>
  );
}

const CURVES = {
  linear: "colour = (value − zero) / (end − zero)",
  log: "colour = log10(1 + 9 · (value − zero) / (end − zero))",
};

const UNITS = { words: "word", sentences: "sentence", lines: "line" } as const;

/** In words: how several tokens, and how several features, come to one look. */
function HowMixed({ heatmap, hues, palette }: Props) {
  const { granularity, pooling, mixing } = heatmap.traits;
  const unit = granularity.value === "tokens" ? "" : UNITS[granularity.value];
  const how = pooling.value === "max" ? "strongest" : "mean";
  const lit = heatmap.lit.value;
  const several = lit.length > 1;
  if (!unit && !several) return null;
  return (
    <p class="sw-note">
      {unit && (
        <span>
          each {unit} shows the {how} of its tokens that count
        </span>
      )}
      {several && mixing.value === "stripes" && (
        <span>{plural(lit.length, "bar")} under a word, in this order: length is strength</span>
      )}
      {several && mixing.value === "blend" && (
        <span class="sw--together">
          where several fire, their colours add up
          {lit.length <= 3 && <Together lit={lit} hues={hues} palette={palette} />}
        </span>
      )}
    </p>
  );
}

function Together({ lit, hues, palette }: { lit: number[]; hues: Hue[]; palette: Palette }) {
  const sets =
    lit.length === 2 ? [lit] : [...lit.map((left) => lit.filter((i) => i !== left)), lit];
  return (
    <>
      {sets.map((set) => {
        const shares = hues.map((_, index) => (set.includes(index) ? 1 : 0));
        const background = css(mixed(shares, hues, toLab(palette.surface)));
        return (
          <span key={set.join()} class="sw--sum">
            {set.map((index) => (
              <span
                key={index}
                class="sw--swatch"
                style={{ background: css(toRgb((hues[index] as Hue).positive)) }}
              />
            ))}
            <i>=</i>
            <span class="sw--swatch" style={{ background }} />
          </span>
        );
      })}
    </>
  );
}
