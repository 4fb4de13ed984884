import { describe, expect, it } from "vitest";
import { pool, segment, withCharacters } from "../../src/heatmap/segments";
import type { Granularity } from "../../src/heatmap/types";
import { unpack } from "../../src/host/arrays";
import type { HeatToken } from "../../src/host/tokens";
import {
  breakLines,
  directionsOf,
  gridMove,
  linesOfTokens,
  type Measure,
} from "../../src/ui/lines";
import { exactText, textOf } from "../../src/ui/spans";
import { packed } from "../examples";
import { heatToken } from "./examples";

const of = (...texts: string[]) => texts.map((text) => heatToken(text));
const pieces = (tokens: HeatToken[], granularity: Granularity) => {
  const { starts } = segment(tokens, granularity);
  return Array.from(starts.slice(0, -1), (start, i) =>
    tokens
      .slice(start, starts[i + 1])
      .map(({ text }) => text)
      .join(""),
  );
};

describe("granularity", () => {
  const begins = (text: string, ...what: ("word" | "sentence")[]) =>
    heatToken(text, { word: what.includes("word"), sentence: what.includes("sentence") });
  const text = [
    begins("The", "word", "sentence"),
    begins(" worm", "word"),
    begins("hole"),
    begins(".\n", "word"),
    begins(" It", "word", "sentence"),
    begins("'s"),
  ];

  it("makes words and sentences where the kernel found that they begin", () => {
    expect(pieces(text, "words")).toEqual(["The", " wormhole", ".\n", " It's"]);
    expect(pieces(text, "sentences")).toEqual(["The wormhole.\n", " It's"]);
  });

  it("makes lines at line breaks, and tokens of tokens", () => {
    expect(pieces(of("a", ",\n", "b", "c"), "lines")).toEqual(["a,\n", "bc"]);
    expect(pieces(text, "tokens")).toHaveLength(6);
  });

  it("keeps special and template tokens alone", () => {
    const framed = [
      heatToken("<s>", { special: true, counted: false }),
      ...of("sea", "side"),
      heatToken("user", { template: true, counted: false }),
    ];
    for (const granularity of ["words", "sentences", "lines"] as const)
      expect(pieces(framed, granularity)).toEqual(["<s>", "seaside", "user"]);
  });

  it("pools the strongest or the mean of the tokens that count", () => {
    const tokens = [heatToken("a", { counted: false, sink: true }), ...of("b", "c", "d")];
    const all = { of: new Int32Array(4), starts: Int32Array.from([0, 4]) };
    const values = Float32Array.from([900, 1, 1, 0, -5, Number.NaN, 1, 2]);
    expect([...pool(values, 2, tokens, all, "max")]).toEqual([-5, 2]);
    const mean = pool(values, 2, tokens, all, "mean");
    expect(mean[0]).toBeCloseTo(-1, 6);
    expect(mean[1]).toBeCloseTo(1, 6);
  });

  it("has no value where no token counts", () => {
    const tokens = [heatToken("<s>", { special: true, counted: false })];
    expect([...pool(Float32Array.from([7]), 1, tokens, segment(tokens, "words"), "max")]).toEqual([
      Number.NaN,
    ]);
  });
});

describe("bytes in words", () => {
  const bytes = (text: string, word = false) => heatToken(text, { fragment: true, word });
  const shown = (...tokens: HeatToken[]) =>
    withCharacters(tokens, segment(tokens, "words")).map(({ text }) => text);

  it("become the characters that they make", () => {
    expect(shown(heatToken("a", { word: true }), bytes("20 E2", true), bytes("98 95"))).toEqual([
      "a",
      " ☕",
      "",
    ]);
    expect(shown(bytes("D7", true), bytes("A9"), bytes("D7"), bytes("9C"))).toEqual([
      "ש",
      "",
      "ל",
      "",
    ]);
  });

  it("stay bytes where they make none", () => {
    expect(shown(bytes("E2", true), bytes("98"), heatToken("b"))).toEqual(["E2", "98", "b"]);
    expect(shown(bytes("D7", true), bytes("A9", true))).toEqual(["D7", "A9"]);
  });
});

describe("lines", () => {
  const perCharacter: Measure = (_, text) => text.length * 10;
  const broken = (tokens: HeatToken[], width: number) =>
    breakLines(tokens, width, perCharacter).map((line) =>
      line.map(({ token, start, end }) => tokens[token]?.text.slice(start, end)).join("|"),
    );

  it("break before a word, not within it", () => {
    expect(broken(of("The", " worm", "hole", " is", " old"), 100)).toEqual([
      "The",
      " worm|hole",
      " is| old",
    ]);
  });

  it("break at line breaks, one line for each", () => {
    expect(broken(of("a", ".\n\n", "b\n", "c"), 500)).toEqual(["a|.\n", "\n", "b\n", "c"]);
  });

  it("cut a token that is longer than a line", () => {
    expect(broken(of("ab", "x".repeat(25)), 100)).toEqual([
      "ab",
      "x".repeat(10),
      "x".repeat(10),
      "x".repeat(5),
    ]);
  });

  it("cut a token of wide and narrow letters where each line fits, and no mark from its letter", () => {
    const measure: Measure = (_, text) => 3 * text.length + 12 * text.replace(/[^W]/g, "").length;
    const text = "i".repeat(60) + "W".repeat(30) + "a\u0301\u0323".repeat(40);
    const lines = breakLines(of(text), 100, measure);
    const parts = lines.flat().map(({ start, end }) => text.slice(start, end));
    expect(parts.join("")).toBe(text);
    for (const part of parts) {
      expect(measure(heatToken(part), part)).toBeLessThanOrEqual(100);
      expect(part).not.toMatch(/^[\u0301\u0323]/);
    }
  });

  it("lose nothing, whatever the width", () => {
    const tokens = of(
      "The",
      " sea",
      "side",
      "\n",
      "漢字",
      "かな",
      "",
      " ",
      "long".repeat(9),
      "<|x|>",
      ".\n\n\t",
      "end",
    );
    const whole = tokens.map(({ text }) => text).join("");
    for (const width of [1, 15, 40, 90, 1000]) {
      const lines = breakLines(tokens, width, perCharacter);
      expect(
        lines
          .flat()
          .map(({ token, start, end }) => tokens[token]?.text.slice(start, end))
          .join(""),
      ).toBe(whole);
      expect([...linesOfTokens(lines, tokens.length)].every((line) => line >= 0)).toBe(true);
    }
  });

  it("are quick for 20,000 tokens", () => {
    const tokens = Array.from({ length: 20_000 }, (_, i) =>
      heatToken(i % 9 ? ` w${i % 700}` : ".\n"),
    );
    const start = performance.now();
    const lines = breakLines(tokens, 700, perCharacter);
    segment(tokens, "words");
    expect(performance.now() - start).toBeLessThan(5000);
    expect(lines.length).toBeGreaterThan(2000);
  });

  it("are what the keys move over", () => {
    const tokens = of("one", " two", " three", "\n", "four", " five");
    const lines = breakLines(tokens, 500, perCharacter);
    const lineOf = linesOfTokens(lines, tokens.length);
    const go = (key: string, from: number, ctrl = false) =>
      gridMove({ key, ctrl }, from, lines, lineOf, 5);
    expect(go("ArrowRight", 3)).toBe(4);
    expect(go("ArrowLeft", 0)).toBe(0);
    expect(go("ArrowDown", 1)).toBe(5);
    expect(go("ArrowUp", 5)).toBe(1);
    expect(go("Home", 2)).toBe(0);
    expect(go("End", 0)).toBe(3);
    expect(go("Home", 5, true)).toBe(0);
    expect(go("End", 0, true)).toBe(5);
    expect(go("PageDown", 0)).toBe(4);
    expect(go("x", 0)).toBeNull();
  });
});

describe("text that is copied", () => {
  it("is exact, also within tokens and across bytes of a character", () => {
    const tokens = [
      heatToken("The"),
      heatToken(" caf"),
      heatToken("C3", { fragment: true }),
      heatToken("A9", { fragment: true }),
      heatToken("\n bar"),
    ];
    expect(exactText(tokens, { first: 0, last: 4, from: 0, to: 5 })).toBe("The café\n bar");
    expect(exactText(tokens, { first: 1, last: 4, from: 1, to: 2 })).toBe("café\n ");
    expect(exactText(tokens, { first: 1, last: 1, from: 1, to: 3 })).toBe("ca");
  });
});

describe("chosen tokens", () => {
  it("are copied as their exact text, one line for each run", () => {
    expect(textOf(of("The", " old", " sea", "\n", "end"), [0, 1, 4])).toBe("The old\nend");
    expect(textOf(of("a"), [])).toBe("");
  });
});

describe("packed arrays", () => {
  it("come out as they went in", () => {
    expect([...(unpack(packed(Float32Array.from([1.5, -2, 0]))).values as Float32Array)]).toEqual([
      1.5, -2, 0,
    ]);
    expect(unpack(packed(Uint16Array.from([65535, 1]), [2, 1])).shape).toEqual([2, 1]);
  });
});

describe("a line", () => {
  it("begins where the first letter of its paragraph says, on all lines of it", () => {
    const measure: Measure = (_, text) => text.length;
    const [peace, sea] = ["\u05e9\u05dc\u05d5\u05dd", "\u05d9\u05dd\n"];
    const start = heatToken("<s>", { special: true, counted: false });
    const tokens = [start, ...of(peace, " sea", " ships", ".\n", "1. ", "sea ", sea, "12\n")];
    const lines = breakLines(tokens, 9, measure);
    const texts = lines.map((line) => line.map(({ token }) => tokens[token]?.text).join(""));
    const sides = directionsOf(lines, tokens).map((side, index) => [texts[index], side]);
    expect(sides).toEqual([
      [`<s>${peace}`, "rtl"],
      [" sea", "rtl"],
      [" ships.\n", "rtl"],
      ["1. sea ", "ltr"],
      [sea, "ltr"],
      ["12\n", "ltr"],
    ]);
  });
});
