import "./segmented.css";
import { useId } from "./use_id";

interface Props<Value extends string> {
  label: string;
  value: Value;
  options: readonly (readonly [Value, string])[];
  onChoose(value: Value): void;
}

/** A few choices side by side; radio buttons, so that the arrow keys work. */
export function Segmented<Value extends string>({ label, value, options, onChoose }: Props<Value>) {
  const name = useId();
  return (
    <div class="sw-segmented" role="radiogroup" aria-label={label}>
      {options.map(([option, text]) => (
        <label key={option} class={option === value ? "sw--on" : ""}>
          <input
            type="radio"
            name={name}
            checked={option === value}
            onChange={() => onChoose(option)}
          />
          {text}
        </label>
      ))}
    </div>
  );
}
