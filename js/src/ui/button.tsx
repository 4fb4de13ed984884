import type { ButtonHTMLAttributes, ComponentChildren } from "preact";

interface Props extends Omit<ButtonHTMLAttributes, "class" | "type"> {
  /** primary, quiet, small; "icon" is a small square for one character. */
  kind?: string;
  children: ComponentChildren;
}

export function Button({ kind = "", ...rest }: Props) {
  return (
    <button
      type="button"
      class={kind.startsWith("icon") ? `sw-${kind}` : `sw-button ${kind}`}
      {...rest}
    />
  );
}
