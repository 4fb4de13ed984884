import { beforeEach, expect, it, vi } from "vitest";
import load from "../../src/widgets/loader";
import { FakeModel } from "../host/fake_model";
import { el } from "../page";

// Node imports no blobs.
beforeEach(() => {
  vi.stubGlobal(
    "Blob",
    class {
      constructor(readonly parts: string[]) {}
    },
  );
  vi.stubGlobal("URL", {
    createObjectURL: ({ parts }: { parts: string[] }) =>
      `data:text/javascript,${encodeURIComponent(parts.join(""))}`,
    revokeObjectURL() {},
  });
  return () => vi.unstubAllGlobals();
});

const page = globalThis as { imported?: number };

const program = (said: string) => `
globalThis.imported = (globalThis.imported ?? 0) + 1;
export default () => {
  let models = 0;
  return {
    initialize: () => void models++,
    render: ({ el }) => el.append(\`${said} \${models} \`),
  };
};`;

async function shown(text: string, signal?: AbortSignal): Promise<string> {
  const model = new FakeModel({ _program: text });
  el.textContent = "";
  const widget = load();
  const given = { model, el, ...(signal && { signal }) };
  await widget.initialize(given);
  await widget.render(given);
  return el.textContent ?? "";
}

it("imports a program once for all models of a page, and gives each model its own widget", async () => {
  const [one, other] = [program("one"), program("other")];
  const said = [await shown(one), await shown(one), await shown(other), await shown(one)];
  expect(said).toEqual(["one 1 ", "one 1 ", "other 1 ", "one 1 "]);
  expect(page.imported).toBe(2);
});

it("shows nothing in a view that went away while the program came, and tries again after a failure", async () => {
  expect(await shown(program("late"), AbortSignal.abort())).toBe("");
  await expect(shown("export default nothing;")).rejects.toThrow();
  await expect(shown("export default nothing;")).rejects.toThrow();
});
