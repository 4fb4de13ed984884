import "./numbers.css";
import { formatNumber, formatPercent } from "../ui/format";
import type { Dose } from "./dose";
import type { Result } from "./types";
import { interval, mean, of, range } from "./words";

/** The chart's numbers, for who can't see it or wants to copy them. */
export function DoseNumbers({ dose, result }: { dose: Dose; result: Result }) {
  const { baseline, prompted, axbench } = result;
  const iso = dose.traits.iso_kl.value;
  return (
    <details class="sw-dose-table">
      <summary>Table of the numbers</summary>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reachable by keys */}
      <section aria-label="Numbers, scrolls sideways" tabIndex={0}>
        <table class="sw-num" aria-label="Numbers of dose and response">
          <thead>
            <tr>
              {[
                "strength",
                ...(iso === null ? [] : ["iso-KL dose"]),
                "on topic",
                "95 %",
                "random",
                "surprise, nats",
                "distinct-2",
                "KL, nats",
                "KL p95",
                "‖Δ‖/‖h‖",
                "",
              ].map((name) => (
                <th key={name} scope="col">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {result.rows.map((row) => (
              <tr key={row.strength}>
                <th scope="row">{formatNumber(row.strength)}</th>
                {iso !== null && (
                  <td>{formatNumber((row.strength - result.origin) / (iso - result.origin))}</td>
                )}
                <td>{of(row.on_topic)}</td>
                <td>{interval(row.on_topic)}</td>
                <td>{row.random.n ? of(row.random) : "–"}</td>
                <td>{mean(row.surprise)}</td>
                <td>{mean(row.distinct_2)}</td>
                <td>{mean(row.kl)}</td>
                <td>{formatNumber(row.kl_p95)}</td>
                <td>{row.ratio === null ? "–" : formatPercent(row.ratio)}</td>
                <td>{row.useful ? "useful" : row.fluent === false ? "not fluent" : ""}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      <p class="sw-note sw-num">
        {[
          `baseline ${of(baseline.on_topic)} on topic (${interval(baseline.on_topic)})`,
          baseline.surprise && `its surprise ${range(baseline.surprise)} nats`,
          baseline.distinct_2 && `its distinct-2 ${range(baseline.distinct_2)}`,
          prompted && `asked for in the prompt ${of(prompted)} (${interval(prompted)})`,
          axbench &&
            `AxBench’s rule: ${formatNumber(axbench.strength)}, chosen on one half of the prompts, scores ${mean(axbench.score)} of 2 on the other`,
        ]
          .filter(Boolean)
          .join(" · ")}
      </p>
    </details>
  );
}
