import "./alternatives.css";
import { useState } from "preact/hooks";
import { Button } from "../ui/button";
import { visible } from "../ui/format";
import { share } from "./logits";
import type { Panel } from "./panel";
import type { ShownRow } from "./shown";
import type { Alternative } from "./types";

interface Props {
  panel: Panel;
  row: ShownRow | undefined;
  place: { row: number; index: number };
  onChosen(): void;
}

/** What could have stood in the place of a pinned token; choosing one goes on from there. */
export function Alternatives({ panel, row, place, onChosen }: Props) {
  const [offered, setOffered] = useState<Alternative[] | null>(null);
  const [asking, setAsking] = useState(false);
  const taken = row?.tokens[place.index];
  if (!row || !taken) return null;
  const ask = async () => {
    setAsking(true);
    try {
      setOffered(await panel.alternatives(row.name, place.index));
    } catch (error) {
      panel.fail(error);
    } finally {
      setAsking(false);
    }
  };
  if (!offered)
    return (
      <p class="sw-alternatives">
        <Button
          kind="small"
          asks
          aria-label={`Alternatives to ${visible(taken)}`}
          aria-busy={asking}
          onClick={() => !asking && ask()}
        >
          {asking ? "Reading…" : "Alternatives"}
        </Button>
      </p>
    );
  const choose = (token: Alternative) => {
    onChosen();
    panel.fork(place.row, place.index, token.id);
  };
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset has a legend and a layout of its own
    <div class="sw-alternatives sw-num" role="group" aria-label="Alternatives">
      {offered.map((token) => (
        <Button
          key={token.id}
          kind="small"
          asks
          aria-label={`Go on with ${visible(token)}, ${share(token.p)}`}
          aria-disabled={token.id === taken.id}
          title={token.id === taken.id ? "This one stands there" : "Go on from here with this one"}
          onClick={token.id === taken.id ? undefined : () => choose(token)}
        >
          <code>{visible(token)}</code> {share(token.p)}
        </Button>
      ))}
      <span class="sw-note">probability at temperature 1; the noise stays the same</span>
    </div>
  );
}
