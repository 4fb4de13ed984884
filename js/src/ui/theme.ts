// Light or dark as the host is, followed for as long as the view lives.

import { type ReadonlySignal, signal } from "@preact/signals";
import { DARK, LIGHT, type Palette, parseRgb } from "./colour";

export interface Theme {
  dark: boolean;
  palette: Palette;
}

const MARKS = ["class", "style", "theme", "data-theme", "data-jp-theme-light"];

export function watchTheme(root: HTMLElement, until: AbortSignal): ReadonlySignal<Theme> {
  const theme = signal<Theme>({ dark: false, palette: LIGHT });
  const system = matchMedia("(prefers-color-scheme: dark)");
  const update = () => {
    const dark = isDark(root, system.matches);
    root.classList.toggle("sw--dark", dark);
    theme.value = { dark, palette: readPalette(root, dark ? DARK : LIGHT) };
  };
  const marks = new MutationObserver(update);
  const start = () => {
    for (const element of [document.documentElement, document.body, ...ancestors(root)]) {
      marks.observe(element, { attributeFilter: MARKS });
    }
    update();
  };
  // Hosts may render a view before they put it on the page, and only there it has ancestors.
  const arrival = new ResizeObserver(() => {
    if (!root.isConnected) return;
    arrival.disconnect();
    start();
  });
  arrival.observe(root);
  start();
  system.addEventListener("change", update, { signal: until });
  const stop = () => {
    marks.disconnect();
    arrival.disconnect();
  };
  until.addEventListener("abort", stop, { once: true });
  return theme;
}

export function isDark(root: HTMLElement, systemDark: boolean): boolean {
  const jupyter = document.body.getAttribute("data-jp-theme-light");
  if (jupyter) return jupyter === "false";
  if (document.body.classList.contains("vscode-dark")) return true;
  if (document.body.classList.contains("vscode-light")) return false;
  for (const element of ancestors(root)) {
    const named = element.getAttribute("data-theme") ?? element.getAttribute("theme");
    if (named === "dark" || element.classList.contains("dark")) return true;
    if (named === "light" || element.classList.contains("light")) return false;
  }
  return systemDark;
}

/** From the root's parent up, out of shadow roots too (marimo). */
function* ancestors(root: HTMLElement): Generator<HTMLElement> {
  let node: Node | null = root;
  while (node) {
    node = node instanceof ShadowRoot ? node.host : node.parentNode;
    if (node instanceof HTMLElement) yield node;
  }
}

/** The colours as the host resolves them: its own surface wins over ours. */
function readPalette(root: HTMLElement, fallback: Palette): Palette {
  const style = getComputedStyle(root);
  const read = (text: string, otherwise: Palette["surface"]) => parseRgb(text) ?? otherwise;
  return {
    surface: read(style.backgroundColor, fallback.surface),
    positive: read(style.getPropertyValue("--heat"), fallback.positive),
    negative: read(style.getPropertyValue("--heat-negative"), fallback.negative),
  };
}
