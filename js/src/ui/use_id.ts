import { useMemo } from "preact/hooks";

/** A name that no other element of the page has, whichever widget made it: Preact counts from 0 in each of them. */
export function useId(): string {
  return useMemo(() => `sw${Math.random().toString(36).slice(2)}`, []);
}
