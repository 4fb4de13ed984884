/** The names of what is true, as a class attribute takes them. */
export function flags(states: Record<string, unknown>): string {
  return Object.keys(states)
    .filter((name) => states[name])
    .join(" ");
}
