import type { ComponentChildren } from "preact";

const MARKED = /(?<![\w*])\*(\S|\S[^*\n]*\S)\*(?![\w*])/;

/** A teacher's text, in which *asterisks* stress a word, as in the notebook's own. Nothing else is markup. */
export function emphasised(text: string): ComponentChildren {
  // What a pattern captures stands at every second place of what it splits.
  return text.split(MARKED).map((part, index) => (index % 2 ? <em key={index}>{part}</em> : part));
}
