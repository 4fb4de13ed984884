import "./arithmetic.css";
import { useState } from "preact/hooks";
import { Button } from "../ui/button";
import { visible } from "../ui/format";
import { Select } from "../ui/select";
import type { Trainer } from "./trainer";
import type { Layer, Result, Term } from "./types";
import { nameOf, signed } from "./words";

/** The concept plus others, minus others, with what the sum promotes. */
export function TrainerArithmetic({
  trainer,
  result,
  layer,
}: {
  trainer: Trainer;
  result: Result;
  layer: Layer;
}) {
  const [chosen, setChosen] = useState("");
  const total = trainer.total.value;
  const terms: Term[] = total?.terms ?? [];
  const { others } = layer;
  const other = others.find(({ id }) => id === chosen) ?? others[0];
  if (!others.length && !total)
    return (
      <section class="sw-trainer-sum" aria-label="Arithmetic">
        <h3>Arithmetic</h3>
        <p class="sw-note">
          {trainer.traits.facts.value.dictionaries
            ? `No dictionary of this trainer is of block ${layer.layer}: choose another block.`
            : "Give dictionaries=[…] to add other concepts to this one, or take them away."}
        </p>
      </section>
    );
  const add = (sign: 1 | -1) =>
    other && trainer.addUp([...terms, { id: other.id, sign, label: other.label }]);
  const known = terms.every(({ id }) => id);
  return (
    <section class="sw-trainer-sum" aria-label="Arithmetic">
      <h3>Arithmetic</h3>
      <p class="sw--terms">
        <span class="sw-chip">{result.name}</span>
        {terms.map(({ sign, label }, at) => (
          <span key={at} class="sw--term">
            <span>{sign > 0 ? "+" : "−"}</span>
            <span class="sw-chip">
              {label}
              {!trainer.frozen && known && (
                <Button
                  kind="icon"
                  asks
                  aria-label={`Remove ${label} from the sum`}
                  onClick={() => trainer.addUp(terms.filter((_, index) => index !== at))}
                >
                  ×
                </Button>
              )}
            </span>
          </span>
        ))}
      </p>
      {!trainer.frozen && other && known && (
        <div class="sw--choose">
          <Select
            label="Other concept"
            value={other.id}
            options={others.map(
              (each) => [each.id, `${nameOf(each)}, cos ${signed(each.cosine)}`] as const,
            )}
            onChoose={setChosen}
          />
          <Button kind="small" asks onClick={() => add(1)}>
            + Add
          </Button>
          <Button kind="small" asks onClick={() => add(-1)}>
            − Take away
          </Button>
        </div>
      )}
      {total && (
        <>
          <p class="sw-note" role="status">
            {total.promoted.length > 0 && (
              <>
                promotes{" "}
                {total.promoted.map((token) => (
                  <code key={token.id}>{visible(token)} </code>
                ))}{" "}
                ·{" "}
              </>
            )}
            cos to {result.name} {signed(total.cosine)}
          </p>
          {total.weak && <p class="sw-note">{total.weak}</p>}
          {!trainer.frozen && (
            <Button kind="small" asks onClick={() => trainer.send(true)}>
              Steer with the sum
            </Button>
          )}
        </>
      )}
    </section>
  );
}
