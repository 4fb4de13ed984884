import "./settings.css";
import { useState } from "preact/hooks";
import { NumberBox } from "../ui/number_box";
import { TypedBox } from "../ui/typed_box";
import type { Dose } from "./dose";
import type { Facts, Inputs } from "./types";

/** What the next run tries: strengths, prompts, seeds, tokens, and the instruction that it has to beat. */
export function DoseSettings({ dose, facts }: { dose: Dose; facts: Facts }) {
  const inputs = dose.inputs.value;
  if (!inputs || dose.frozen) return null;
  return (
    <details class="sw-dose-settings">
      <summary>What is tried</summary>
      <div class="sw--fields">
        <Numbers inputs={inputs} onNumbers={(strengths) => dose.edit({ strengths })} />
        {typeof inputs.seeds === "number" && (
          <label class="sw-chip">
            seeds
            <NumberBox
              label="Seeds"
              value={inputs.seeds}
              min={1}
              max={100}
              step={1}
              onValue={(seeds) => seeds !== null && dose.edit({ seeds })}
            />
          </label>
        )}
        <label class="sw-chip" title="Texts die late: 48 or more">
          tokens
          <NumberBox
            label="Tokens"
            value={inputs.tokens}
            min={1}
            max={4096}
            step={1}
            onValue={(tokens) => tokens !== null && dose.edit({ tokens })}
          />
        </label>
        <label class="sw--wide">
          <span>prompts, one in each line</span>
          <TypedBox
            label="Prompts, one in each line"
            class="sw-field"
            dir="auto"
            rows={Math.min(8, inputs.prompts.length + 1)}
            value={inputs.prompts.join("\n")}
            take={(text) => dose.edit({ prompts: lines(text) })}
          />
        </label>
        <label class="sw--wide">
          <span>asked for in the system prompt, unsteered (empty: no such row)</span>
          <TypedBox
            label="Asked for in the system prompt"
            class="sw-field"
            dir="auto"
            value={inputs.asked}
            take={(text) => dose.edit({ asked: text })}
          />
        </label>
      </div>
      <p class="sw-note">
        Strengths are {facts.unit}. {facts.random} random directions take turns as controls; the
        baseline’s own range is over {facts.baseline_seeds} seeds
        {facts.held_back.length > 0 &&
          `; the iso-KL dose is found on ${facts.held_back.length} prompts that are not judged`}
        .
      </p>
    </details>
  );
}

interface NumbersProps {
  inputs: Inputs;
  onNumbers(numbers: number[]): void;
}

/** Several numbers in one box; what is none is told, and nothing changes. */
function Numbers({ inputs, onNumbers }: NumbersProps) {
  const [wrong, setWrong] = useState("");
  const take = (text: string) => {
    const words = text.split(/[\s,;]+/).filter(Boolean);
    const numbers = words.map((word) => Number(word.replace("−", "-")));
    const none = words.find((_, at) => !Number.isFinite(numbers[at]));
    const isRight = none === undefined && numbers.length > 0;
    setWrong(
      none !== undefined
        ? `“${none}” is no number: write some, such as 0, 20, 40.`
        : isRight
          ? ""
          : "Write at least one number.",
    );
    if (isRight) onNumbers([...new Set(numbers)].sort((a, b) => a - b));
    return isRight;
  };
  return (
    <label class="sw--wide">
      <span>strengths</span>
      <TypedBox
        label="Strengths"
        class="sw-field sw-num"
        invalid={wrong !== ""}
        value={inputs.strengths.join(", ")}
        take={take}
      />
      {wrong && (
        <span class="sw--wrong" role="alert">
          {wrong}
        </span>
      )}
    </label>
  );
}

const lines = (text: string): string[] =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
