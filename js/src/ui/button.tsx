import type { ButtonHTMLAttributes, ComponentChildren } from "preact";
import { parts } from "./flags";
import { useLost } from "./restarted";

interface Props extends Omit<ButtonHTMLAttributes, "class" | "type"> {
  /** primary, quiet, small; "icon" is a small square for one character. */
  kind?: string;
  /** It asks the kernel, so that it can do nothing once that is another one. */
  asks?: boolean;
  children: ComponentChildren;
}

export function Button({ kind = "", asks = false, ...rest }: Props) {
  const said = useLost();
  const lost = asks && said;
  return (
    <button
      type="button"
      class={parts(kind.startsWith("icon") ? `sw-${kind}` : `sw-button ${kind}`)}
      {...rest}
      {...(lost && { "aria-disabled": true, title: lost, onClick: undefined })}
    />
  );
}
