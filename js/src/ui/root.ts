// What every widget's outermost element does: the class its styles hang on, the theme, and its keys to itself.
import "./base.css";
import "./hooks";
import type { ReadonlySignal } from "../host/signals";
import { type Theme, watchTheme } from "./theme";

export interface Root {
  element: HTMLElement;
  theme: ReadonlySignal<Theme>;
}

export function createRoot(el: HTMLElement, className: string, until: AbortSignal): Root {
  const element = document.createElement("div");
  element.className = `sw ${className}`;
  element.dataset.lmSuppressShortcuts = "true"; // JupyterLab's own attribute
  element.addEventListener("keydown", keepKeys, { signal: until });
  el.append(element);
  until.addEventListener("abort", () => element.remove(), { once: true });
  return { element, theme: watchTheme(element, until) };
}

/** Typing must not reach the notebook's shortcuts; Ctrl and Cmd combinations stay the host's. */
function keepKeys(event: KeyboardEvent): void {
  const combination = (event.ctrlKey || event.metaKey) && event.key !== "Enter";
  if (!combination) event.stopPropagation();
}
