import "./pane.css";
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { Button } from "./button";

interface Props {
  title: string;
  role: "dialog" | "region";
  /** Buttons beside the title. */
  tools?: ComponentChildren;
  onClose(): void;
  children: ComponentChildren;
}

/**
 * Something opened in place: a modal would stand in the middle of a cell's output frame, which may
 * be far from what is in sight.
 */
export function Pane({ title, role, tools, onClose, children }: Props) {
  const pane = useRef<HTMLElement>(null);
  // A region may have been opened from code, or in another view, while someone types elsewhere.
  useLayoutEffect(() => {
    if (role === "dialog") pane.current?.focus({ preventScroll: true });
  }, []);
  return (
    <section
      ref={pane}
      class="sw-pane"
      role={role}
      aria-label={title}
      tabIndex={-1}
      onKeyDown={(event) => event.key === "Escape" && onClose()}
    >
      <div class="sw-heading">
        <h3>{title}</h3>
        {tools}
        <Button kind="icon" aria-label={`Close ${title}`} onClick={onClose}>
          ×
        </Button>
      </div>
      {children}
    </section>
  );
}
