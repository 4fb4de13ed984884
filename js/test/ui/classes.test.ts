// Every class that we write carries our prefix: bare ones are Bootstrap's, Tailwind's and everybody's.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { flags, parts } from "../../src/ui/flags";

const src = join(import.meta.dirname, "../../src");
const files = readdirSync(src, { recursive: true, encoding: "utf8" });
const texts = (ending: string) =>
  files
    .filter((file) => file.endsWith(ending))
    .map((file) => [file, readFileSync(join(src, file), "utf8")] as const);
const bare = (names: string[]) => names.filter((name) => !/^sw(-|$)/.test(name));

/** The classes that the selectors of a sheet name. */
function selected(sheet: string): string[] {
  const plain = sheet.replace(/\/\*[\s\S]*?\*\/|"[^"]*"|'[^']*'/g, "");
  const heads = [...plain.matchAll(/([^;{}]*)\{/g)].map(([, head]) => head as string);
  return heads
    .filter((head) => !head.trim().startsWith("@"))
    .flatMap((head) =>
      [...head.matchAll(/\.(-?[A-Za-z_][\w-]*)/g)].map(([, name]) => name as string),
    );
}

/** The words of the texts in a `class` attribute that no call names in full. */
function written(source: string): string[] {
  const attributes = [...source.matchAll(/\bclass=(?:"([^"]*)"|\{)/g)];
  return attributes.flatMap((found) => {
    if (found[1] !== undefined) return words(found[1]);
    const expression = balanced(source, found.index + found[0].length);
    if (/^(parts|flags|names)\(/.test(expression)) return [];
    const compared = expression.replace(/[!=]==\s*"[^"]*"|\b(parts|flags)\([^)]*\)/g, "");
    return [...compared.matchAll(/"([^"]*)"|[`}]([^`$"{}]*)(?=[`$])/g)].flatMap(([, a, b]) =>
      words(a ?? b ?? ""),
    );
  });
}

const words = (text: string) => text.split(/\s+/).filter((word) => /^[a-z]/i.test(word));

function balanced(source: string, from: number): string {
  let depth = 1;
  let at = from;
  for (; depth; at++) depth += source[at] === "{" ? 1 : source[at] === "}" ? -1 : 0;
  return source.slice(from, at - 1);
}

describe("every class carries our prefix", () => {
  it.each(texts(".css"))("in %s", (_, sheet) => {
    expect(bare(selected(sheet))).toEqual([]);
  });

  it.each(texts(".tsx"))("in %s", (_, source) => {
    expect(bare(written(source))).toEqual([]);
  });

  it("where it is made of a name", () => {
    expect(flags({ active: true, pinned: false, clipped: 1 })).toBe("sw--active sw--clipped");
    expect(parts("sw-button quiet sw-num")).toBe("sw-button sw--quiet sw-num");
  });

  it("and what has none is found", () => {
    expect(bare(selected('.sw .label, .sw-x:is(.fixed) { &.on { content: ".no" } }'))).toEqual([
      "label",
      "fixed",
      "on",
    ]);
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source
    const source = '<i class="sw-a row" /><b class={on === "x" ? "fixed" : `sw-b ${c} open`}>';
    expect(bare(written(source))).toEqual(["row", "fixed", "open"]);
  });
});
