import "./controls.css";
import { NumberBox } from "../ui/number_box";
import { Segmented } from "../ui/segmented";
import type { Heatmap } from "./heatmap";
import type { Domain } from "./types";

const GRANULARITIES = [
  ["tokens", "tokens"],
  ["words", "words"],
  ["sentences", "sentences"],
  ["lines", "lines"],
] as const;
const POOLINGS = [
  ["max", "max"],
  ["mean", "mean"],
] as const;
const MIXINGS = [
  ["blend", "blend"],
  ["stripes", "stripes"],
] as const;
const CURVES = [
  ["linear", "linear"],
  ["log", "log"],
] as const;

/** How values become colours. */
export function HeatControls({ heatmap }: { heatmap: Heatmap }) {
  const { granularity, pooling, mixing, curve } = heatmap.traits;
  return (
    <div class="sw-heat-controls">
      <Segmented
        label="Granularity"
        value={granularity.value}
        options={GRANULARITIES}
        onChoose={(value) => heatmap.choose("granularity", value)}
      />
      {granularity.value !== "tokens" && (
        <Segmented
          label="Pooling"
          value={pooling.value}
          options={POOLINGS}
          onChoose={(value) => heatmap.choose("pooling", value)}
        />
      )}
      {heatmap.matrix.value.columns.length > 1 && (
        <Segmented
          label="Several features"
          value={mixing.value}
          options={MIXINGS}
          onChoose={(value) => heatmap.choose("mixing", value)}
        />
      )}
      <span class="sw--scale">
        <ScaleEnd heatmap={heatmap} />
        <Segmented
          label="Curve"
          value={curve.value}
          options={CURVES}
          onChoose={(value) => heatmap.choose("curve", value)}
        />
      </span>
    </div>
  );
}

function ScaleEnd({ heatmap }: { heatmap: Heatmap }) {
  const domain = heatmap.traits.domain.value;
  const { columns } = heatmap.matrix.value;
  const knows = (name: "p995" | "maximum") => columns.some((column) => column[name]);
  const fixed = typeof domain === "number";
  const ends: [Domain | "fixed", string, boolean][] = [
    ["auto", "auto", true],
    ["p99.5", "99.5th percentile", knows("p995")],
    ["maximum", "corpus maximum", knows("maximum")],
    ["text", "this text", true],
    ["fixed", "fixed", true],
  ];
  const choose = (value: string) =>
    heatmap.choose("domain", value === "fixed" ? firstEnd(heatmap) : (value as Domain));
  return (
    <>
      <label>
        <span>Full colour at</span>
        <select
          class="sw-select"
          aria-label="Scale end"
          value={fixed ? "fixed" : domain}
          onChange={(event) => choose(event.currentTarget.value)}
        >
          {ends.map(([value, text, known]) => (
            <option key={value} value={value} disabled={!known}>
              {known ? text : `${text} (not known)`}
            </option>
          ))}
        </select>
      </label>
      {fixed && (
        <NumberBox
          label="Full colour at the value"
          value={domain}
          min={Number.MIN_VALUE}
          max={Number.MAX_VALUE}
          step="any"
          onValue={(value) => value !== null && heatmap.choose("domain", value)}
        />
      )}
    </>
  );
}

/** A fixed end begins where the scale ended. */
function firstEnd(heatmap: Heatmap): number {
  const end = heatmap.scales.value[heatmap.lit.value[0] ?? 0]?.end;
  return end ? Number(end.toPrecision(3)) : 1;
}
