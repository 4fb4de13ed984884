/** What a person makes of a feature's label. */
export const VERDICTS = ["true", "too wide", "too narrow", "mixed", "wrong", "unclear"] as const;
