import type { ButtonHTMLAttributes, ComponentChildren } from "preact";
import { parts } from "./flags";

interface Props extends Omit<ButtonHTMLAttributes, "class" | "type"> {
  /** primary, quiet, small; "icon" is a small square for one character. */
  kind?: string;
  children: ComponentChildren;
}

export function Button({ kind = "", ...rest }: Props) {
  return (
    <button
      type="button"
      class={parts(kind.startsWith("icon") ? `sw-${kind}` : `sw-button ${kind}`)}
      {...rest}
    />
  );
}
