import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { isDark, watchTheme } from "../../src/ui/theme";

let root: HTMLElement;
const life = new AbortController();

beforeEach(() => {
  root = document.body.appendChild(document.createElement("div"));
});
afterEach(() => {
  root.remove();
  document.body.className = "";
  for (const name of ["data-jp-theme-light", "data-theme", "style"])
    document.body.removeAttribute(name);
  for (const name of ["theme", "style"]) document.documentElement.removeAttribute(name);
});

describe("the host's theme", () => {
  it("is JupyterLab's", () => {
    document.body.setAttribute("data-jp-theme-light", "false");
    expect(isDark(root, false)).toBe(true);
    document.body.setAttribute("data-jp-theme-light", "true");
    expect(isDark(root, true)).toBe(false);
  });

  it("is VS Code's", () => {
    document.body.className = "vscode-dark";
    expect(isDark(root, false)).toBe(true);
    document.body.className = "vscode-high-contrast";
    expect(isDark(root, false)).toBe(true);
    document.body.className = "vscode-high-contrast-light vscode-high-contrast";
    expect(isDark(root, true)).toBe(false);
  });

  it("is that of Colab's page", () => {
    document.documentElement.setAttribute("theme", "dark");
    expect(isDark(root, false)).toBe(true);
  });

  it("is found outside of marimo's shadow root", () => {
    document.body.setAttribute("data-theme", "dark");
    const inside = root.attachShadow({ mode: "open" }).appendChild(document.createElement("div"));
    expect(isDark(inside, false)).toBe(true);
  });

  it("is what the page has painted behind it, where it has painted something", () => {
    document.body.style.backgroundColor = "rgb(255, 255, 255)";
    expect(isDark(root, true)).toBe(false);
    document.body.style.backgroundColor = "rgb(20, 20, 30)";
    expect(isDark(root, false)).toBe(true);
  });

  it("is the system's only where the page goes with the system", () => {
    expect(isDark(root, true)).toBe(false);
    document.documentElement.style.colorScheme = "light dark";
    expect(isDark(root, true)).toBe(true);
    expect(isDark(root, false)).toBe(false);
    document.documentElement.style.colorScheme = "dark";
    expect(isDark(root, false)).toBe(true);
  });

  it("is followed until the view goes", async () => {
    const theme = watchTheme(root, life.signal);
    document.body.setAttribute("data-jp-theme-light", "false");
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(theme.value.dark).toBe(true);
    expect(root.classList.contains("sw--dark")).toBe(true);
    life.abort();
    document.body.setAttribute("data-jp-theme-light", "true");
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(theme.value.dark).toBe(true);
  });
});
