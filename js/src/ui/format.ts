// Numbers and token text as people read them.

const PLAIN = new Intl.NumberFormat("en-US", { maximumFractionDigits: 6 });
const NARROW = "\u202f"; // keeps a number and its unit on one line

/** Three significant digits, a real minus, no trailing zeros. */
export function formatNumber(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const short = Number(value.toPrecision(digits));
  const size = Math.abs(short);
  const text =
    size !== 0 && (size < 0.001 || size >= 1e6) ? short.toExponential() : PLAIN.format(short);
  return text.replace("-", "−");
}

export function formatPercent(share: number): string {
  const percent = share * 100;
  const text = percent >= 10 ? percent.toFixed(0) : formatNumber(percent, 2);
  return `${text}${NARROW}%`;
}

export function formatDuration(seconds: number): string {
  if (seconds < 90) return `${seconds < 10 ? formatNumber(seconds, 2) : seconds.toFixed(0)} s`;
  return `${Math.round(seconds / 60)} min`;
}

export function plural(count: number, noun: string): string {
  return `${PLAIN.format(count)} ${noun}${count === 1 ? "" : "s"}`;
}

const MARKS: Record<string, string> = { " ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍", "\u00a0": "⍽" };

export function markOf(character: string): string | undefined {
  return MARKS[character];
}

/** Token text with its whitespace made visible, for labels and read-outs. */
export function visible(token: { text: string; fragment?: boolean }): string {
  if (token.fragment) return `‹${token.text}›`;
  return token.text.replace(/[ \n\t\r\u00a0]/g, (character) => markOf(character) ?? character);
}

/** Marks that turn the direction of what follows: a token that holds one stands apart from the others. */
export const TURNS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;

export interface TokenParts {
  /** Spaces in front of the word: they stay uncoloured. */
  lead: string;
  body: string;
}

/** A token made of spaces only is all body, or it could not be seen. */
export function splitLead(text: string): TokenParts {
  const body = text.trimStart();
  const lead = text.slice(0, text.length - body.length);
  return body && /^ +$/.test(lead) ? { lead, body } : { lead: "", body: text };
}
