import "./strength_row.css";
import { useState } from "preact/hooks";
import { Button } from "../ui/button";
import { formatNumber } from "../ui/format";
import { NumberBox } from "../ui/number_box";
import { Select } from "../ui/select";
import { Slider } from "../ui/slider";
import { Switch } from "../ui/switch";
import { actingSaid, positionsOf } from "./acting";
import { ActingRows } from "./acting_rows";
import { meanings, sliderParameter, sliderRange } from "./strength";
import type { Breaks, Feature, Op, OpParameter, Positions, Readout, Steer } from "./types";

interface Props {
  steer: Steer;
  feature: Feature | undefined;
  ops: Record<string, Op>;
  readout: Readout | undefined;
  breaks: Breaks | undefined;
  /** Where all steers act, or "mixed". */
  positions: Positions;
  /** Why the model can't steer some tokens and leave out others; undefined where it can. */
  alike: string | undefined;
  /** What its condition can read: keys and labels. */
  readable: readonly (readonly [key: string, label: string])[];
  colour: string;
  onSweep: (() => void) | undefined;
  onOp(op: string): void;
  onParameter(name: string, value: number | null): void;
  onHold(held: boolean): void;
  onChange(change: Partial<Steer>): void;
  onPositions(positions: Positions): void;
  onRemove(): void;
  labelOf(key: string): string;
}

/** One steer: what, how, how much, and what that strength means. */
export function StrengthRow(props: Props) {
  const { steer, feature, ops, readout, colour, onChange, onParameter, labelOf } = props;
  const [open, setOpen] = useState(false);
  const { enabled, control } = steer;
  const label = feature?.label ?? steer.key;
  const op = ops[steer.op];
  const main = sliderParameter(op);
  const others = op?.parameters.filter((parameter) => parameter !== main) ?? [];
  const box = (parameter: OpParameter, name: string) => {
    const { name: key, step, optional, unit } = parameter;
    return (
      <NumberBox
        label={`${label} ${name}`}
        title={[key, unit].filter(Boolean).join(", ")}
        value={steer.params[key] ?? null}
        step={optional ? "any" : step}
        optional={optional}
        placeholder={optional ? "open" : ""}
        onValue={(value) => onParameter(key, value)}
      />
    );
  };
  return (
    <li class={enabled ? "sw-strength" : "sw-strength sw--off"} style={{ "--colour": colour }}>
      <div class="sw--top">
        <span class="sw--label" title={label}>
          {label}
        </span>
        <span class="sw--controls">
          {opSelect(props, label, op)}
          {main && box(main, "strength")}
          <Switch
            label={`${label} on`}
            title={enabled ? "Leave this steer out" : "Steer with this again"}
            on={enabled}
            colour={colour}
            onToggle={(on) => onChange({ enabled: on })}
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
      {main && op && slider(props, label, op, main)}
      {others.length > 0 && (
        <div class="sw--others">
          {others.map((parameter) => (
            <label key={parameter.name}>
              {parameter.symbol || parameter.name}
              {box(parameter, parameter.name)}
            </label>
          ))}
        </div>
      )}
      <div class="sw--foot">
        <p class="sw--meanings sw-num">
          {feature && (
            <span class="sw-badge">
              {feature.kind} {feature.layer}
            </span>
          )}
          {meanings(steer, feature, readout, main).map(({ value, unit }) => (
            <span
              key={unit}
              class="sw--fact"
              title={unit.startsWith("max") ? (feature?.max_activation_of ?? undefined) : undefined}
            >
              <b>{value}</b> {unit}
            </span>
          ))}
          {breaksSaid(props.breaks)}
          {op && <span class="sw--fact sw--formula">{op.formula}</span>}
          {actingSaid(steer, props.positions, labelOf).map((said) => (
            <span key={said} class="sw--fact sw--long sw--acting">
              {said}
            </span>
          ))}
          {readout?.note && <span class="sw--fact sw--long">{readout.note}</span>}
        </p>
        {main && props.onSweep && (
          <Button
            kind="quiet small control"
            asks
            aria-label={`Sweep ${label}`}
            title="What every strength does, side by side"
            onClick={props.onSweep}
          >
            sweep
          </Button>
        )}
        <Button
          kind="quiet small control"
          aria-label={`Where and when ${label} acts`}
          aria-expanded={open}
          title="Which tokens, under which condition, and whether it fades"
          onClick={() => setOpen(!open)}
        >
          when
        </Button>
        <Button
          kind="quiet small control"
          aria-label={`${label} random direction`}
          aria-pressed={!!control}
          title={`Control: the same change in a random direction of the same norm, seed ${control?.seed ?? 0}`}
          onClick={() => onChange({ control: control ? null : { seed: 0 } })}
        >
          random
        </Button>
      </div>
      {open && (
        <ActingRows
          label={label}
          steer={steer}
          positions={positionsOf(steer, props.positions)}
          alike={props.alike}
          readable={props.readable}
          labelOf={labelOf}
          onChange={onChange}
          onPositions={props.onPositions}
        />
      )}
    </li>
  );
}

function breaksSaid(breaks: Breaks | undefined) {
  const near = breaks?.breaks.filter((at) => at !== null) ?? [];
  if (!near.length) return null;
  return (
    <span class="sw--fact" title={`seen in a sweep on “${breaks?.prompt}”`}>
      breaks near {near.map((at) => formatNumber(at)).join(" and ")}
    </span>
  );
}

function opSelect({ steer, feature, ops, onOp }: Props, label: string, op: Op | undefined) {
  const names = feature?.ops.length ? feature.ops : [steer.op];
  const all = names.includes(steer.op) ? names : [steer.op, ...names];
  return (
    <Select
      label={`${label} op`}
      kind="op"
      title={op ? `${op.formula}: ${op.summary}` : steer.op}
      value={steer.op}
      options={all.map((name) => {
        const { name: said = name, refused } = ops[name] ?? {};
        return [name, said.replaceAll("_", " "), refused] as const;
      })}
      onChoose={onOp}
    />
  );
}

function slider(props: Props, label: string, op: Op, parameter: OpParameter) {
  const { steer, feature, colour, onParameter, onHold } = props;
  const value = steer.params[parameter.name] ?? parameter.default ?? 0;
  return (
    <Slider
      key={op.name}
      label={label}
      value={value}
      valueText={`${formatNumber(value)} ${parameter.unit}`.trim()}
      range={{ ...sliderRange(parameter, op, feature, steer), breaks: props.breaks?.breaks }}
      colour={colour}
      disabled={!steer.enabled}
      onValue={(next) => onParameter(parameter.name, next)}
      onHold={onHold}
    />
  );
}
