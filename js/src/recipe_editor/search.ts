// Search by label in what the page holds, for pages without a kernel and for small catalogues.
import type { Filters, Found, Search } from "./types";

/** Every word of the query has to be part of the label or the kind, or be the index. */
export function searchLocally(features: Found[], { query }: Pick<Search, "query">): Found[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return features;
  return features.filter(({ label, kind, index }) => {
    const text = `${label}\n${kind}`.toLowerCase();
    return words.every((word) => text.includes(word) || word.replace(/^#/, "") === `${index}`);
  });
}

/** Label, filters and order, as the kernel would do it. */
export function findLocally(features: Found[], search: Search): Found[] {
  const { filters, sort, descending } = search;
  const found = searchLocally(features, search).filter((feature) => passes(feature, filters));
  if (sort === "match") return found;
  const size = (feature: Found) =>
    (sort === "maximum" ? feature.max_activation : feature[sort]) ?? null;
  return found.toSorted((a, b) => {
    const [x, y] = [size(a), size(b)];
    // Unknown ones come last, whichever way the rest goes.
    if (x === null || y === null) return Number(x === null) - Number(y === null);
    return descending ? y - x : x - y;
  });
}

function passes({ dictionary, density, label_source, verdict }: Found, filters: Filters): boolean {
  const { density: range, labelled, dictionaries, verdicts } = filters;
  if (labelled && !label_source) return false;
  if (verdicts && !verdicts.includes(verdict ?? "")) return false;
  if (dictionaries && !dictionaries.includes(dictionary ?? "")) return false;
  return !range || (density != null && density >= range[0] && density <= range[1]);
}
