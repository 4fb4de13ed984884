import "../styles/text_pane.css";
import { Button } from "./button";
import { useEffect, useRef, useState } from "./hooks";

interface Props {
  title: string;
  /** Accessible name of the copy button. */
  copy: string;
  text: string;
  onClose(): void;
}

/**
 * Text to read and copy, opened in place: a modal would stand in the middle of a cell's output
 * frame, which may be far from what is in sight.
 */
export function TextPane({ title, copy, text, onClose }: Props) {
  const pane = useRef<HTMLDivElement>(null);
  const code = useRef<HTMLPreElement>(null);
  const [copied, setCopied] = useState(false);
  useEffect(() => pane.current?.focus({ preventScroll: true }), []);
  useEffect(() => setCopied(false), [text]);
  return (
    <div
      ref={pane}
      class="sw-pane"
      role="dialog"
      aria-label={title}
      tabIndex={-1}
      onKeyDown={(event) => event.key === "Escape" && onClose()}
    >
      <div class="sw-heading">
        <h3>{title}</h3>
        <Button
          kind="small"
          aria-label={copy}
          onClick={async () => setCopied(await copyText(text, code.current))}
        >
          {copied ? "Copied" : "Copy"}
        </Button>
        <Button kind="icon" aria-label={`Close ${title}`} onClick={onClose}>
          ×
        </Button>
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reachable by keys */}
      <pre ref={code} tabIndex={0}>
        {text}
      </pre>
    </div>
  );
}

/** The clipboard needs a secure page and a permission; selecting and copying works without. */
async function copyText(text: string, element: HTMLElement | null): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    if (!element) return false;
    getSelection()?.selectAllChildren(element);
    return document.execCommand("copy");
  }
}
