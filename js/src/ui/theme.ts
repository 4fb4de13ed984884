// Light or dark as the host is, followed for as long as the view lives.

import { type ReadonlySignal, signal } from "@preact/signals";
import { onArrival } from "./arrival";
import { DARK, inkOn, LIGHT, type Palette, parseRgb } from "./colour";

export interface Theme {
  dark: boolean;
  palette: Palette;
}

/** Of a contrast theme that is light it says both. */
const VSCODE = [
  ["vscode-light", false],
  ["vscode-high-contrast-light", false],
  ["vscode-dark", true],
  ["vscode-high-contrast", true],
] as const;
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
  start();
  onArrival(root, until, start);
  system.addEventListener("change", update, { signal: until });
  until.addEventListener("abort", () => marks.disconnect(), { once: true });
  return theme;
}

export function isDark(root: HTMLElement, systemDark: boolean): boolean {
  const jupyter = document.body.getAttribute("data-jp-theme-light");
  if (jupyter) return jupyter === "false";
  for (const [mark, dark] of VSCODE) if (document.body.classList.contains(mark)) return dark;
  for (const element of ancestors(root)) {
    const named = element.getAttribute("data-theme") ?? element.getAttribute("theme");
    if (named === "dark" || element.classList.contains("dark")) return true;
    if (named === "light" || element.classList.contains("light")) return false;
  }
  return onDarkGround(root, systemDark);
}

/** What is painted behind the root; a page that paints nothing is white, but where it takes the system's colours. */
function onDarkGround(root: HTMLElement, systemDark: boolean): boolean {
  for (const element of ancestors(root)) {
    const { backgroundColor: ground } = getComputedStyle(element);
    const painted = ground.startsWith("rgb") && parseRgb(ground);
    if (painted) return inkOn(painted) === "#fff";
  }
  const { colorScheme } = getComputedStyle(document.documentElement);
  return colorScheme.includes("dark") && (systemDark || !colorScheme.includes("light"));
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
