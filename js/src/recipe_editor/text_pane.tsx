import { Button } from "../ui/button";
import { useEffect, useRef, useState } from "../ui/hooks";
import { Pane } from "../ui/pane";

interface Props {
  title: string;
  /** Accessible name of the copy button. */
  copy: string;
  text: string;
  onClose(): void;
}

/** Text to read and copy. */
export function TextPane({ title, copy, text, onClose }: Props) {
  const code = useRef<HTMLPreElement>(null);
  const [copied, setCopied] = useState(false);
  useEffect(() => setCopied(false), [text]);
  const button = (
    <Button
      kind="small"
      aria-label={copy}
      onClick={async () => setCopied(await copyText(text, code.current))}
    >
      {copied ? "Copied" : "Copy"}
    </Button>
  );
  return (
    <Pane title={title} role="dialog" tools={button} onClose={onClose}>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reachable by keys */}
      <pre ref={code} tabIndex={0}>
        {text}
      </pre>
    </Pane>
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
