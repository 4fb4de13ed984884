import { Button } from "../ui/button";
import type { FindBy } from "./find_by";

/** The features that point the same way as one of them. */
export const SIMILAR: FindBy = {
  mode: "similar",
  text: "similar",
  asks: "Choose a row in another mode first: then its neighbours by direction are listed here.",
  head: () => "cosine",
  Query: ({ bench }) => {
    const { key } = bench.finder.search.value;
    const selected = bench.traits.selected.value;
    const label = (of: string) => bench.feature(of)?.label ?? of;
    return (
      <p class="options query" tabIndex={-1}>
        {key && (
          <span>
            Similar to <b>{label(key)}</b>
          </span>
        )}
        {selected && selected !== key && (
          <Button kind="small" onClick={() => bench.finder.look({ key: selected })}>
            Similar to {label(selected)}
          </Button>
        )}
      </p>
    );
  },
};
