import "./rows.css";
import { formatNumber } from "../ui/format";
import { Select } from "../ui/select";
import { useId } from "../ui/use_id";
import type { Dose } from "./dose";
import type { Result, Row } from "./types";
import { interval, of } from "./words";

/** One row for each strength: how many answers are on topic, how surprising, and the answer to one prompt. */
export function DoseRows({ dose, result }: { dose: Dose; result: Result }) {
  const name = useId();
  const { prompt, seed } = dose.shown.value;
  const at = dose.at.value;
  return (
    <div role="radiogroup" aria-label="Strength to look at">
      <table class="sw-dose-rows" aria-label="Strengths">
        <thead>
          <tr>
            <th scope="col">α</th>
            <th scope="col">on topic</th>
            <th scope="col" class="sw--nats">
              nats
            </th>
            <th scope="col">
              <div class="sw--choose">
                <Select
                  label="Prompt"
                  value={`${prompt}`}
                  options={result.prompts.map((text, index) => [`${index}`, text] as const)}
                  onChoose={(value) => dose.show("prompt", Number(value))}
                />
                {result.seeds.length > 1 && (
                  <Select
                    label="Seed"
                    value={`${seed}`}
                    options={result.seeds.map((each) => [`${each}`, `seed ${each}`] as const)}
                    onChoose={(value) => dose.show("seed", Number(value))}
                  />
                )}
              </div>
            </th>
          </tr>
        </thead>
        <tbody>
          {result.rows.map((row, index) => (
            <Strength key={row.strength} {...{ dose, row, result, name }} on={index === at} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface Props {
  dose: Dose;
  row: Row;
  result: Result;
  name: string;
  on: boolean;
}

function Strength({ dose, row, result, name, on }: Props) {
  const { k, n } = row.on_topic;
  const answer = dose.answer("steered", row.strength);
  const said = [
    row.useful ? "useful" : "",
    row.fluent === false ? "not fluent" : "",
    row.strength === result.breaks ? "text breaks from here" : "",
  ].filter(Boolean);
  return (
    <tr class={on ? "sw--on" : ""} onClick={() => dose.select(row.strength)}>
      <td class="sw-num">
        <label title={said.join(", ")}>
          <input
            type="radio"
            name={name}
            checked={on}
            aria-label={[
              `Strength ${formatNumber(row.strength)}: on topic ${of(row.on_topic)}, ${interval(row.on_topic)}`,
              ...said,
            ].join(", ")}
            onChange={() => dose.select(row.strength)}
          />
          {formatNumber(row.strength)}
          {row.fluent === false && <span class="sw--broken"> ✕</span>}
          {row.useful && <span class="sw--good"> ✓</span>}
        </label>
      </td>
      <td class="sw-num sw--count">
        {k}/{n}
        <span class="sw--bar" aria-hidden="true">
          <span style={{ "--share": n ? k / n : 0 }} />
        </span>
      </td>
      <td class="sw-num sw--nats">{formatNumber(row.surprise.value, 2)}</td>
      <td class="sw--text" dir="auto">
        {answer?.on_topic && <span class="sw--good">✓ </span>}
        {answer ? answer.text.trim() || "(nothing)" : "…"}
      </td>
    </tr>
  );
}
