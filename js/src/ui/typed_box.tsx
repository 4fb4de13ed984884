import type { TargetedEvent } from "preact";
import { useState } from "preact/hooks";

interface Props {
  label: string;
  class: string;
  value: string;
  /** Takes the text over once the box is left; false for what can't be taken, which stays to be mended. */
  take(text: string): unknown;
  /** Several lines. */
  rows?: number;
  dir?: "auto";
  placeholder?: string;
  maxLength?: number;
  readOnly?: boolean;
  invalid?: boolean;
}

/** A box whose text is taken once it is left: until then what was typed stands in it, whatever comes meanwhile. */
export function TypedBox({ label, value, take, rows, invalid, ...rest }: Props) {
  const [typed, setTyped] = useState<string | null>(null);
  const shared = {
    ...rest,
    "aria-label": label,
    "aria-invalid": invalid,
    value: typed ?? value,
    onInput: ({ currentTarget }: TargetedEvent<HTMLInputElement | HTMLTextAreaElement>) =>
      setTyped(currentTarget.value),
    onChange: ({ currentTarget }: TargetedEvent<HTMLInputElement | HTMLTextAreaElement>) =>
      setTyped(take(currentTarget.value) === false ? currentTarget.value : null),
    onBlur: () => typed === value && setTyped(null),
  };
  return rows ? <textarea {...shared} rows={rows} /> : <input {...shared} />;
}
