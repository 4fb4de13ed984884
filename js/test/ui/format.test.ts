import { describe, expect, it } from "vitest";
import { formatNumber, splitLead, visible } from "../../src/ui/format";

describe("text for people", () => {
  it("shows whitespace and fragments", () => {
    expect(visible({ text: " a\n\tb" })).toBe("␣a⏎⇥b");
    expect(visible({ text: "E2 9C", fragment: true })).toBe("‹E2 9C›");
  });

  it("leaves leading spaces out of the coloured part, but not a token of spaces", () => {
    expect(splitLead("  sea")).toEqual({ lead: "  ", body: "sea" });
    expect(splitLead("  ")).toEqual({ lead: "", body: "  " });
    expect(splitLead("\nsea")).toEqual({ lead: "", body: "\nsea" });
  });

  it("writes numbers with three digits and a real minus", () => {
    expect([62, 18.44, -0.351, 1234.5, 0, 0.00042].map((value) => formatNumber(value))).toEqual([
      "62",
      "18.4",
      "−0.351",
      "1,230",
      "0",
      "4.2e−4",
    ]);
    expect(formatNumber(null)).toBe("–");
  });
});
