import "../styles/strength_row.css";
import { formatNumber } from "../lib/format";
import { meanings, sliderParameter, sliderRange } from "../lib/strength";
import type { Feature, Op, OpParameter, Readout, Steer } from "../lib/types";
import { Button } from "./button";
import { NumberBox } from "./number_box";
import { Slider } from "./slider";
import { Switch } from "./switch";

interface Props {
  steer: Steer;
  feature: Feature | undefined;
  ops: Record<string, Op>;
  readout: Readout | undefined;
  colour: string;
  onOp(op: string): void;
  onParameter(name: string, value: number | null): void;
  onHold(held: boolean): void;
  onEnable(enabled: boolean): void;
  onRemove(): void;
}

/** One steer: what, how, how much, and what that strength means. */
export function StrengthRow(props: Props) {
  const { steer, feature, ops, colour } = props;
  const label = feature?.label ?? steer.key;
  const op = ops[steer.op];
  const main = sliderParameter(op);
  const others = op?.parameters.filter((parameter) => parameter !== main) ?? [];
  return (
    <li class={steer.enabled ? "sw-strength" : "sw-strength off"} style={{ "--colour": colour }}>
      <div class="top">
        <span class="label" title={label}>
          {label}
        </span>
        <span class="controls">
          <OpSelect label={label} steer={steer} feature={feature} ops={ops} onOp={props.onOp} />
          {main && <Box {...props} label={label} name="strength" parameter={main} />}
          <Switch
            label={`${label} on`}
            title={steer.enabled ? "Leave this steer out" : "Steer with this again"}
            on={steer.enabled}
            colour={colour}
            onToggle={props.onEnable}
          />
          <Button
            kind="icon"
            aria-label={`Remove ${label}`}
            title="Remove"
            onClick={props.onRemove}
          >
            ×
          </Button>
        </span>
      </div>
      {main && op && <StrengthSlider {...props} label={label} op={op} parameter={main} />}
      {others.length > 0 && (
        <div class="others">
          {others.map((parameter) => (
            <label key={parameter.name}>
              {parameter.symbol || parameter.name}
              <Box {...props} label={label} name={parameter.name} parameter={parameter} />
            </label>
          ))}
        </div>
      )}
      <Meanings {...props} op={op} parameter={main} />
    </li>
  );
}

function OpSelect({
  label,
  steer,
  feature,
  ops,
  onOp,
}: Pick<Props, "steer" | "feature" | "ops" | "onOp"> & { label: string }) {
  const names = feature?.ops.length ? feature.ops : [steer.op];
  const all = names.includes(steer.op) ? names : [steer.op, ...names];
  const op = ops[steer.op];
  return (
    <select
      class="sw-select quiet op"
      aria-label={`${label} op`}
      title={op ? `${op.formula}: ${op.summary}` : steer.op}
      value={steer.op}
      onChange={(event) => onOp(event.currentTarget.value)}
    >
      {all.map((name) => (
        <option key={name} value={name}>
          {(ops[name]?.name ?? name).replaceAll("_", " ")}
        </option>
      ))}
    </select>
  );
}

type ParameterProps = Props & { label: string; parameter: OpParameter };

function Box({ steer, label, name, parameter, onParameter }: ParameterProps & { name: string }) {
  const { step, optional, unit } = parameter;
  return (
    <NumberBox
      label={`${label} ${name}`}
      title={[parameter.name, unit].filter(Boolean).join(", ")}
      value={steer.params[parameter.name] ?? null}
      step={optional ? "any" : step}
      optional={optional}
      placeholder={optional ? "open" : ""}
      onValue={(value) => onParameter(parameter.name, value)}
    />
  );
}

function StrengthSlider({
  steer,
  feature,
  op,
  parameter,
  label,
  colour,
  onParameter,
  onHold,
}: ParameterProps & { op: Op }) {
  const value = steer.params[parameter.name] ?? parameter.default ?? 0;
  return (
    <Slider
      key={op.name}
      label={label}
      value={value}
      valueText={`${formatNumber(value)} ${parameter.unit}`.trim()}
      range={sliderRange(parameter, op, feature, steer)}
      colour={colour}
      disabled={!steer.enabled}
      onValue={(next) => onParameter(parameter.name, next)}
      onHold={onHold}
    />
  );
}

function Meanings({
  steer,
  feature,
  readout,
  op,
  parameter,
}: Pick<Props, "steer" | "feature" | "readout"> & {
  op: Op | undefined;
  parameter: OpParameter | undefined;
}) {
  const source = feature?.max_activation_of;
  return (
    <p class="meanings sw-num">
      {feature && (
        <span class="sw-badge">
          {feature.kind} {feature.layer}
        </span>
      )}
      {meanings(steer, feature, readout, parameter).map(({ value, unit }) => (
        <span
          key={unit}
          class="fact"
          title={unit.startsWith("max") ? (source ?? undefined) : undefined}
        >
          <b>{value}</b> {unit}
        </span>
      ))}
      {op && <span class="fact formula">{op.formula}</span>}
      {readout?.note && <span class="fact">{readout.note}</span>}
    </p>
  );
}
