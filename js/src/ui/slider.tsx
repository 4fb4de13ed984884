import "./slider.css";
import { useRef } from "preact/hooks";
import { parts } from "./flags";

export interface Range {
  min: number;
  max: number;
  step: number;
  /** Where the op changes nothing: the slider fills from here. */
  neutral: number;
  suggested: number | null;
  /** Below and above where nothing changes: from where on texts break, as far as anybody has seen. */
  breaks?: readonly [number | null, number | null] | undefined;
}

interface Props {
  label: string;
  value: number;
  range: Range;
  colour: string;
  valueText: string;
  disabled: boolean;
  onValue(value: number): void;
  onHold(held: boolean): void;
}

/** A native range whose bar fills from where the op changes nothing, with a tick at the suggested strength. */
export function Slider({
  label,
  value,
  range,
  colour,
  valueText,
  disabled,
  onValue,
  onHold,
}: Props) {
  const widest = useWidest(range);
  const share = (at: number) => (at - widest.min) / (widest.max - widest.min || 1);
  const [from, to] = [share(range.neutral), share(value)].sort((a, b) => a - b) as [number, number];
  const { suggested, breaks } = range;
  return (
    <div
      class={disabled ? "sw-slider sw--off" : "sw-slider"}
      style={{ "--from": from, "--to": to, "--colour": colour }}
    >
      <span class="sw--bar" aria-hidden="true" />
      {breaks?.map(
        (at, side) =>
          at !== null &&
          at >= widest.min &&
          at <= widest.max && (
            <Broken key={side} from={share(at)} to={side} title={`texts break near ${at}`} />
          ),
      )}
      {widest.min < range.neutral && (
        <Tick at={share(range.neutral)} kind="neutral" title="no change" />
      )}
      {suggested !== null && (
        <Tick at={share(suggested)} kind="suggested" title={`suggested ${suggested}`} />
      )}
      <input
        type="range"
        aria-label={label}
        aria-valuetext={valueText}
        min={widest.min}
        max={widest.max}
        step={range.step}
        value={value}
        onInput={(event) => onValue(Number(event.currentTarget.value))}
        onPointerDown={() => onHold(true)}
        onPointerUp={() => onHold(false)}
        onPointerCancel={() => onHold(false)}
        onBlur={() => onHold(false)}
      />
    </div>
  );
}

/** From where texts break to the end of that side, hatched. */
function Broken({ from, to, title }: { from: number; to: number; title: string }) {
  const [start, end] = [from, to].sort((a, b) => a - b) as [number, number];
  return (
    <span
      class={to ? "sw--broken" : "sw--broken sw--below"}
      style={{ "--start": Math.max(start, 0), "--end": Math.min(end, 1) }}
      title={title}
      aria-hidden="true"
    />
  );
}

function Tick({ at, kind, title }: { at: number; kind: string; title: string }) {
  return (
    <span class={parts(`tick ${kind}`)} style={{ "--at": at }} title={title} aria-hidden="true" />
  );
}

/** The range never shrinks under the thumb while its row lives. */
function useWidest({ min, max, neutral }: Range): { min: number; max: number } {
  const kept = useRef({ min, max, neutral });
  if (kept.current.neutral !== neutral) kept.current = { min, max, neutral };
  kept.current.min = Math.min(kept.current.min, min);
  kept.current.max = Math.max(kept.current.max, max);
  return kept.current;
}
