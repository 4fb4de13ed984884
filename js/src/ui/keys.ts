// Keys that are typed inside a widget are the widget's and the browser's; the host's shortcuts get Ctrl+S alone.

/**
 * Where hosts built on Lumino (JupyterLab, Notebook 7) stop looking for what a key is bound to. They go upwards from the
 * element that has the focus and match selectors such as `.jp-Notebook.jp-mod-commandMode :focus` on the way: that
 * element has to have the attribute itself, on the widget's root alone it comes too late.
 */
const SUPPRESS = "data-lm-suppress-shortcuts";
const FOCUSABLE = "button, input, select, textarea, summary, a[href], [tabindex]";

interface Classic {
  keyboard_manager?: { enabled: boolean; enable(): void; disable(): void };
}

export function keepKeys(root: HTMLElement, until: AbortSignal): void {
  root.setAttribute(SUPPRESS, "true");
  // Notebook 7 listens on the document in the capture phase: only the window comes before it.
  window.addEventListener("keydown", (event) => suppress(root, event), {
    capture: true,
    signal: until,
  });
  // All others listen in the bubble phase, above the widget.
  root.addEventListener("keydown", keep, { signal: until });
  // A slider that is touched is never clicked; what a mouse does after a touch may move the focus once more.
  for (const event of ["pointerup", "click"] as const)
    root.addEventListener(event, takeFocus, { signal: until });
}

function suppress(root: HTMLElement, event: KeyboardEvent): void {
  const [target] = event.composedPath();
  if (target instanceof Element && root.contains(target)) target.setAttribute(SUPPRESS, "true");
}

function keep(event: KeyboardEvent): void {
  event.stopPropagation();
  if (event.key.toLowerCase() !== "s" || !(event.ctrlKey || event.metaKey)) return;
  // The classic notebook is deaf while the focus is in an output.
  const { keyboard_manager: classic } = (window as { Jupyter?: Classic }).Jupyter ?? {};
  const deaf = classic && !classic.enabled;
  if (deaf) classic.enable();
  // Not through the cell, which would take the focus.
  const copy = new KeyboardEvent(event.type, event);
  if (!document.body.dispatchEvent(copy)) event.preventDefault();
  if (deaf) classic.disable();
}

/** A tap focuses what it is on, as a click does, and Safari's clicks on buttons: else the next key acts on the cell. */
function takeFocus(event: MouseEvent): void {
  const root = event.currentTarget as HTMLElement;
  const focused = (root.getRootNode() as Document | ShadowRoot).activeElement;
  if (focused && focused !== root && root.contains(focused)) return;
  const control = (event.target as Element).closest<HTMLElement>(FOCUSABLE);
  if (control && root.contains(control)) control.focus({ preventScroll: true });
}
