// How each token looks: blended colour, or one bar for each feature.
import type { Palette } from "../ui/colour";
import { formatNumber, visible } from "../ui/format";
import type { Hue } from "../ui/hues";
import { toRgb } from "../ui/oklab";
import { css, isBeyond, type Look, lookOf, shareOf } from "./colour";
import type { Heatmap } from "./heatmap";

export interface TokenLook {
  style: Record<string, string | number>;
  classes: string[];
}

/** Why a token has no colour, in words; "" for one that counts. */
export function whyNotCounted(heatmap: Heatmap, index: number): string {
  const token = heatmap.tokens.value[index];
  if (!token || token.counted) return "";
  if (token.special) return "special token";
  if (token.template) return "chat template";
  return token.sink ? "attention sink" : "left out";
}

/** Looks and names of tokens as the heatmap stands now; made anew when it changes. */
export class Painter {
  readonly #heatmap: Heatmap;
  readonly hues: Hue[];
  readonly #palette: Palette;

  constructor(heatmap: Heatmap, hues: Hue[], palette: Palette) {
    this.#heatmap = heatmap;
    this.hues = hues;
    this.#palette = palette;
  }

  look(token: number): TokenLook {
    const { lit, scales, tokens, traits } = this.#heatmap;
    if (!tokens.value[token]?.counted) return { style: {}, classes: [] };
    const columns = lit.value;
    const values = columns.map((column) => this.#heatmap.painted(token, column));
    const shares = values.map((value, i) => {
      const scale = scales.value[columns[i] as number];
      return scale ? shareOf(value, scale) : 0;
    });
    const beyond = values.some((value, i) => {
      const scale = scales.value[columns[i] as number];
      return scale !== undefined && isBeyond(value, scale);
    });
    const strongest = shares.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);
    const marks = [beyond ? "clipped" : "", strongest < -0.02 ? "negative" : ""];
    const hues = columns.map((column) => this.hues[column] as Hue);
    const striped = traits.mixing.value === "stripes" && columns.length > 1;
    const look = striped ? null : lookOf(shares, hues, this.#palette.surface);
    return {
      style: striped ? stripes(shares, hues) : blended(look),
      classes: [look || striped ? "lit" : "", ...marks].filter(Boolean),
    };
  }

  /** What a screen reader says of a token. */
  name(index: number): string {
    const { tokens, matrix, lit } = this.#heatmap;
    const token = tokens.value[index];
    if (!token) return "";
    const why = whyNotCounted(this.#heatmap, index);
    const { columns } = matrix.value;
    const readings = lit.value.map((column) => {
      const value = this.#heatmap.value(index, column);
      return `${columns[column]?.label} ${formatNumber(value)}`;
    });
    const notes = [why && `${why}, not counted`, this.begins(index) && "generated from here on"];
    return [visible(token), ...readings, ...notes].filter(Boolean).join(", ");
  }

  /** What the model wrote begins at this token. */
  begins(index: number): boolean {
    const tokens = this.#heatmap.tokens.value;
    return Boolean(tokens[index]?.generated && !tokens[index - 1]?.generated);
  }

  /** Tokens of one word or line look like one piece. */
  joined(index: number): boolean {
    const { of } = this.#heatmap.segments.value;
    return index > 0 && of[index] === of[index - 1];
  }
}

function blended(look: Look | null): Record<string, string | number> {
  if (!look) return {};
  const { background, ink, share } = look;
  return { background, "--share": share, ...(ink ? { color: ink } : {}) };
}

export const LANE = 4; // px from one bar to the next

/** One bar under the word for each feature: its place says which, its length how strong. */
function stripes(shares: readonly number[], hues: readonly Hue[]): Record<string, string> {
  const images: string[] = [];
  const sizes: string[] = [];
  const places: string[] = [];
  shares.forEach((share, index) => {
    const hue = hues[index];
    if (!hue || Math.abs(share) < 0.02) return;
    const colour = css(toRgb(share < 0 ? hue.negative : hue.positive));
    images.push(`linear-gradient(${colour}, ${colour})`);
    sizes.push(`${Math.max(Math.abs(share) * 100, 8)}% 3px`);
    places.push(`${share < 0 ? "100%" : "0"} calc(100% - ${(shares.length - 1 - index) * LANE}px)`);
  });
  if (!images.length) return {};
  return {
    backgroundImage: images.join(", "),
    backgroundSize: sizes.join(", "),
    backgroundPosition: places.join(", "),
  };
}
