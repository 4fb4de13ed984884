/**
 * Class names of parts and states, each with the prefix that every class of ours has: a bare `label`, `row` or `fixed`
 * is Bootstrap's or Tailwind's too. (`sw-…` are blocks, `sw--…` their parts and states.)
 */
export function parts(names: string): string {
  return names
    .split(" ")
    .filter(Boolean)
    .map((name) => (name.startsWith("sw-") ? name : `sw--${name}`))
    .join(" ");
}

/** The names of what is true, as a class attribute takes them. */
export function flags(states: Record<string, unknown>): string {
  return parts(
    Object.keys(states)
      .filter((name) => states[name])
      .join(" "),
  );
}
