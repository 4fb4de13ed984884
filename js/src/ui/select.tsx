import { parts } from "./flags";

interface Props<Value extends string> {
  label: string;
  value: Value;
  /** What can't be chosen says why not. */
  options: readonly (readonly [value: Value, text: string, whyNot?: string | undefined])[];
  kind?: string;
  title?: string;
  onChoose(value: Value): void;
}

/** One of several, in the space of one. */
export function Select<Value extends string>(props: Props<Value>) {
  const { label, value, options, kind = "", title, onChoose } = props;
  return (
    <select
      class={parts(`sw-select quiet ${kind}`)}
      aria-label={label}
      title={title}
      value={value}
      onChange={(event) => onChoose(event.currentTarget.value as Value)}
    >
      {options.map(([option, text, whyNot]) => (
        <option key={option} value={option} disabled={!!whyNot} title={whyNot || undefined}>
          {text}
        </option>
      ))}
    </select>
  );
}
