import { render } from "preact";
import { expect, it } from "vitest";
import { Select } from "../../src/ui/select";

it("shows what can't be chosen, and says why not", () => {
  const root = document.createElement("div");
  const options = [
    ["add", "add"],
    ["clamp", "clamp", "the server has no clamp"],
  ] as const;
  render(<Select label="op" value="add" options={options} onChoose={() => {}} />, root);
  const said = [...root.querySelectorAll("option")].map(({ disabled, title }) => [disabled, title]);
  expect(said).toEqual([
    [false, ""],
    [true, "the server has no clamp"],
  ]);
});
