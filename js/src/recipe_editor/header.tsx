import "../ui/header.css";
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { Button } from "../ui/button";
import { Pane } from "../ui/pane";
import { SaveButton } from "../ui/save_button";
import type { Bench } from "./bench";
import { describeRecipe } from "./recipe";

type Open = "recipe" | "code" | null;

interface HeaderProps {
  bench: Bench;
  /** Below the recipe's text: what else can be done with recipes. */
  keeping?: ComponentChildren;
}

/** What model this is, whether it is being steered, and what can be taken away from here. */
export function Header({ bench, keeping }: HeaderProps) {
  const [open, setOpen] = useState<Open>(null);
  const opener = useRef<HTMLButtonElement | null>(null);
  const { model_info, steers, recipe_json, snippet } = bench.traits;
  const { name, device, dtype, blocks, d_model } = model_info.value;
  const state = describeRecipe(steers.value, (key) => bench.feature(key)?.layer);
  const toggle = (which: Open) => (event: { currentTarget: HTMLButtonElement }) => {
    opener.current = event.currentTarget;
    setOpen(open === which ? null : which);
  };
  const close = () => {
    setOpen(null);
    opener.current?.focus();
  };
  return (
    <header class="sw-header">
      <div class="sw--line">
        <h2 title={name}>{name || "No model"}</h2>
        {device && (
          <span class="sw-chip">
            {device} · {dtype}
          </span>
        )}
        {blocks > 0 && (
          <span class="sw-chip" title={`${blocks} blocks, residual stream of ${d_model}`}>
            {blocks} blocks · {d_model}
          </span>
        )}
        <div class="sw--right">
          <span class={state === "not steering" ? "sw-chip" : "sw-chip sw--steering"}>{state}</span>
          <span class="sw--actions">
            <Button kind="quiet" aria-expanded={open === "recipe"} onClick={toggle("recipe")}>
              Recipe JSON
            </Button>
            {snippet.value && (
              <Button kind="quiet" aria-expanded={open === "code"} onClick={toggle("code")}>
                Code
              </Button>
            )}
            {!bench.frozen && <SaveButton from={bench} />}
          </span>
        </div>
      </div>
      {open === "recipe" && (
        <TextPane title="Recipe" copy="Copy recipe" text={recipe_json.value} onClose={close}>
          {keeping}
        </TextPane>
      )}
      {open === "code" && (
        <TextPane title="Python" copy="Copy code" text={snippet.value} onClose={close} />
      )}
    </header>
  );
}

interface PaneProps {
  title: string;
  /** Accessible name of the copy button. */
  copy: string;
  text: string;
  onClose(): void;
  children?: ComponentChildren;
}

/** Text to read and copy. */
function TextPane({ title, copy, text, onClose, children }: PaneProps) {
  const code = useRef<HTMLPreElement>(null);
  const [copied, setCopied] = useState(false);
  useLayoutEffect(() => setCopied(false), [text]);
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
      {children}
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
