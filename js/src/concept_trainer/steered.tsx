import "./steered.css";
import { Button } from "../ui/button";
import { formatPercent } from "../ui/format";
import type { Trainer } from "./trainer";
import type { Steered } from "./types";
import { interval, of } from "./words";

/** At which block the concept steers best: asked for, told in words beside its controls. */
export function SteeredBlocks({ trainer }: { trainer: Trainer }) {
  const steered = trainer.steered.value;
  const busy = trainer.doing.value !== null;
  if (trainer.frozen && !steered) return null;
  return (
    <section class="sw-steered-blocks" aria-label="Steering by block">
      {!trainer.frozen && (
        <Button
          kind="small"
          asks
          aria-disabled={busy}
          onClick={() => !busy && trainer.checkBlocks()}
        >
          {steered ? "Steer in every block again" : "Steer in every block"}
        </Button>
      )}
      <p class="sw-note">
        {steered ? (
          <>
            {verdict(steered)} {terms(steered)}
          </>
        ) : (
          "Which block steers best need not be the one that tells texts apart best: each block answers three everyday prompts twice, beside a random direction."
        )}
      </p>
    </section>
  );
}

function verdict({ best, rows, stopped }: Steered): string {
  const row = rows.find(({ layer }) => layer === best);
  const sofar = stopped ? "So far the" : "The";
  return row
    ? `${sofar} concept steers best at block ${best}: ${of(row.on_topic)} on topic (${interval(row.on_topic.interval)}).`
    : `${sofar} answers of no block are on topic more often than chance.`;
}

function terms({ ratio, baseline, random, judge, left_out }: Steered): string {
  const out = left_out.length ? `, whose own block ${left_out.join(", ")} is left out` : "";
  return `Random directions ${of(random)}, baseline ${of(baseline)}; every block adds ${formatPercent(ratio)} of ‖h‖, judged by the ${judge}${out}.`;
}
