import "./number_box.css";
import { useRef } from "preact/hooks";

interface Props {
  label: string;
  value: number | null;
  /** Limits; without them every number will do. */
  min?: number;
  max?: number;
  step: number | "any";
  /** An empty box means null ("open"); otherwise leaving it empty brings the value back. */
  optional?: boolean;
  placeholder?: string;
  title?: string;
  onValue(value: number | null): void;
}

/** A number that can be typed. Half-typed text is left alone until it is a number or the box is left. */
export function NumberBox({
  label,
  value,
  min,
  max,
  step,
  optional,
  placeholder,
  title,
  onValue,
}: Props) {
  // Without limits, what lies between two steps is right too: sliders and code come to it. The box only walks in steps.
  const whole = min !== undefined && step !== "any" && Number.isInteger(step);
  const typing = useRef(false);
  const box = useRef<HTMLInputElement>(null);
  const shown = typing.current && box.current ? box.current.value : (value ?? "").toString();
  return (
    <input
      ref={box}
      class="sw-number sw-num"
      type="number"
      inputMode="decimal"
      aria-label={label}
      title={title}
      placeholder={placeholder}
      min={min}
      max={max}
      step={whole ? step : "any"}
      onKeyDown={(event) => {
        const way = { ArrowUp: 1, ArrowDown: -1 }[event.key];
        if (!way || whole || step === "any") return;
        event.preventDefault();
        const next = Number(((value ?? 0) + way * step).toPrecision(12));
        const settled = within(next, min, max);
        event.currentTarget.value = settled.toString();
        onValue(settled);
      }}
      value={shown}
      onFocus={() => {
        typing.current = true;
      }}
      onInput={(event) => {
        const number = read(event.currentTarget.value);
        if (
          number === null
            ? optional && event.currentTarget.validity.valid
            : number === within(number, min, max)
        ) {
          onValue(number);
        }
      }}
      onBlur={(event) => {
        typing.current = false;
        const number = read(event.currentTarget.value);
        const settled = number === null ? (optional ? null : value) : within(number, min, max);
        if (settled !== value) onValue(settled);
        event.currentTarget.value = (settled ?? "").toString();
      }}
    />
  );
}

function within(number: number, min = -Infinity, max = Infinity): number {
  return Math.min(Math.max(number, min), max);
}

function read(text: string): number | null {
  const number = Number(text);
  return text.trim() === "" || !Number.isFinite(number) ? null : number;
}
