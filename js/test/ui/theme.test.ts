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
  for (const name of ["data-jp-theme-light", "data-theme"]) document.body.removeAttribute(name);
  document.documentElement.removeAttribute("theme");
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

  it("is the system's where the page says nothing", () => {
    expect(isDark(root, true)).toBe(true);
    expect(isDark(root, false)).toBe(false);
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
