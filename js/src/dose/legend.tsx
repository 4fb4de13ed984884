import "./legend.css";
import { Segmented } from "../ui/segmented";
import { Select } from "../ui/select";
import type { Dose } from "./dose";
import type { Facts, Result } from "./types";
import { AXES } from "./words";

interface Props {
  dose: Dose;
  facts: Facts;
  result: Result | null;
}

/** Who judges, on which axis, and what the lines are. */
export function DoseLegend({ dose, facts, result }: Props) {
  const axes = dose.frozen
    ? AXES.filter(([axis]) => axis !== "iso_kl" || dose.traits.iso_kl.value !== null)
    : facts.held_back.length
      ? AXES
      : AXES.filter(([axis]) => axis !== "iso_kl");
  return (
    <div class="sw-dose-legend">
      <span class="sw-note">judge</span>
      {dose.frozen || (facts.judges.length < 2 && facts.judge !== null) ? (
        <b>{result?.judge ?? facts.judges[facts.judge ?? 0]}</b>
      ) : (
        <Select
          label="Judge"
          value={`${facts.judge ?? ""}`}
          options={[
            ...(facts.judge === null ? [["", result?.judge ?? ""] as const] : []),
            ...facts.judges.map((name, index) => [`${index}`, name] as const),
          ]}
          onChoose={(value) => value && dose.chooseJudge(Number(value))}
        />
      )}
      {result && (
        <>
          <span class="sw-note">dose</span>
          <Segmented
            label="Dose"
            value={dose.axis.value}
            options={axes}
            onChoose={(axis) => dose.chooseAxis(axis)}
          />
          <ul class="sw-plain" aria-label="Lines">
            <li class="sw--steered">steered</li>
            {facts.random > 0 && <li class="sw--random">{facts.random} random</li>}
            {result.prompted && <li class="sw--prompted">prompted</li>}
          </ul>
        </>
      )}
    </div>
  );
}
