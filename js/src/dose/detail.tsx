import "./detail.css";
import { useMemo, useState } from "preact/hooks";
import type { Token } from "../host/tokens";
import { Button } from "../ui/button";
import type { Palette } from "../ui/colour";
import { formatNumber, formatPercent, visible } from "../ui/format";
import { Select } from "../ui/select";
import { TokenText } from "../ui/token_text";
import type { Dose } from "./dose";
import type { Answer, Result, Row } from "./types";
import { interval, mean, of } from "./words";

interface Props {
  dose: Dose;
  result: Result;
  palette: Palette;
}

/** All that is known of one strength, its answer beside the unsteered one, and where it can go. */
export function DoseDetail({ dose, result, palette }: Props) {
  const row = dose.row.value;
  if (!row) return null;
  const other = dose.traits.compared.value;
  const compared = other === null ? dose.answer("baseline") : dose.answer("steered", other);
  const asked = dose.answer("asked");
  const strength = formatNumber(row.strength);
  return (
    <>
      <section aria-label={`Strength ${strength}`} class="sw-dose-numbers">
        <h3>Strength {strength}</h3>
        <dl class="sw-num">{numbers(row, result).map(([name, value]) => entry(name, value))}</dl>
      </section>
      <section aria-label="Against another row" class="sw-dose-texts">
        <div class="sw-heading">
          <h3>Against</h3>
          <Select
            label="Compare with"
            value={other === null ? "" : `${other}`}
            options={[
              ["", "baseline"],
              ...result.rows
                .filter((each) => each.strength !== row.strength)
                .map((each) => [`${each.strength}`, formatNumber(each.strength)] as const),
            ]}
            onChoose={(value) => dose.compare(value === "" ? null : Number(value))}
          />
        </div>
        <Text
          name={`Strength ${strength}`}
          answer={dose.answer("steered", row.strength)}
          palette={palette}
        />
        <Text
          name={other === null ? "Baseline" : `Strength ${formatNumber(other)}`}
          answer={compared}
          palette={palette}
        />
        {asked && <Text name={`Asked: ${result.asked}`} answer={asked} palette={palette} />}
      </section>
      <div class="sw-dose-send">
        {!dose.frozen && (
          <Button asks onClick={() => dose.send()}>
            Send {strength} to panel
          </Button>
        )}
        <p class="sw-note" role="status">
          {dose.sent.value}
        </p>
      </div>
      <p class="sw-note">
        Useful: the interval of answers on topic lies above those of the baseline and of random
        directions, with surprise within the baseline’s own range (mean ± 2 sd over seeds) and
        distinct-2 not below it. Text breaks where they no longer are, for good. All rows of a
        prompt ran in one batch with the same noise. Nothing is claimed beyond the strengths that
        were tested.
      </p>
    </>
  );
}

const entry = (name: string, value: string) => (
  <div key={name}>
    <dt>{name}</dt>
    <dd>{value}</dd>
  </div>
);

function numbers(row: Row, { baseline }: Result): [string, string][] {
  const found: [string, string][] = [
    ["on topic", `${of(row.on_topic)} · ${interval(row.on_topic)}`],
    ["random direction", row.random.n ? `${of(row.random)} · ${interval(row.random)}` : "none"],
    ["baseline", `${of(baseline.on_topic)} · ${interval(baseline.on_topic)}`],
    [
      "surprise, unsteered",
      `${formatNumber(row.surprise.value)} nats (baseline ${formatNumber(baseline.mean_surprise)})`,
    ],
    [
      "distinct-2",
      `${formatNumber(row.distinct_2.value)} (baseline ${formatNumber(baseline.mean_distinct_2)})`,
    ],
    ["‖change‖ / ‖h‖", row.ratio === null ? "–" : formatPercent(row.ratio)],
    [
      "KL to baseline, mean · p95",
      `${formatNumber(row.kl.value)} · ${formatNumber(row.kl_p95)} nats`,
    ],
  ];
  if (row.overall) found.push(["concept × instruct × fluency", `${mean(row.overall)} of 2`]);
  return found;
}

/** The tokens of an answer, without their ids. */
function tokensOf({ tokens = [], fragments = [] }: Answer): Token[] {
  return tokens.map((text, id) => ({ id, text, fragment: fragments.includes(id) }));
}

/** One answer; where it was steered, its tokens are coloured by what steering did to them. */
function Text({
  name,
  answer,
  palette,
}: {
  name: string;
  answer: Answer | null;
  palette: Palette;
}) {
  const [pointed, setPointed] = useState<number | null>(null);
  const tokens = useMemo(() => answer && tokensOf(answer), [answer]);
  const kl = answer?.kl ?? [];
  const most = Math.max(0, ...kl.map((each) => each ?? 0));
  const coloured = answer?.kind === "steered" && most > 0;
  const at = pointed === null ? undefined : tokens?.[pointed];
  return (
    <div class="sw--answer">
      <h4>
        {name}
        {answer?.on_topic !== null && answer && (
          <small>{answer.on_topic ? "on topic ✓" : "not on topic"}</small>
        )}
      </h4>
      {!answer && <p class="sw-empty">Not written yet.</p>}
      {tokens?.length ? (
        <TokenText
          name={name}
          tokens={tokens}
          values={kl}
          scale={coloured ? { domain: most, signed: false } : null}
          valueName="KL in nats"
          palette={palette}
          fork={null}
          active={pointed}
          pinned={null}
          onPoint={setPointed}
          onPin={() => {}}
        />
      ) : (
        answer && (
          <p class="sw-text" dir="auto">
            {answer.text || "(nothing)"}
          </p>
        )
      )}
      {coloured && (
        <p class="sw-note sw-num">
          {at && pointed !== null
            ? `${visible(at)} · KL ${formatNumber(kl[pointed])} nats`
            : `colour: KL to the baseline at each token, full at ${formatNumber(most)} nats`}
        </p>
      )}
    </div>
  );
}
