// How wide tokens are on the screen. The numbers stand for what heat_row.css adds to the bare text.
import type { Measure } from "./lines";

const MARK = 10; // a mark for a line break, a tab or a lone space
const FRAME = 8; // the outline of a token that does not count
const CHARACTER = 7.5; // where nothing can be measured

export function measureWith(element: Element | null): Measure {
  const context = document.createElement("canvas").getContext?.("2d");
  const style = element ? getComputedStyle(element) : null;
  const widths = new Map<string, number>();
  const bare = (text: string, font: string) => {
    if (!context) return text.length * CHARACTER;
    const key = `${font}\n${text}`;
    let width = widths.get(key);
    if (width === undefined) {
      context.font = font;
      width = context.measureText(text).width;
      widths.set(key, width);
    }
    return width;
  };
  const plain = `400 ${style?.fontSize || "14px"} ${style?.fontFamily || "sans-serif"}`;
  const mono = `500 10.5px ${style?.getPropertyValue("--mono") || "monospace"}`;
  return ({ fragment, counted }, text) => {
    const frame = counted ? 0 : FRAME;
    if (fragment) return bare(text, mono) + 10 + frame;
    const marks = text.trim() ? (text.match(/[\n\t\r]/g)?.length ?? 0) : text.length;
    const letters = marks ? text.replace(text.trim() ? /[\n\t\r]/g : /\s/g, "") : text;
    return bare(letters, plain) + marks * MARK + frame;
  };
}
