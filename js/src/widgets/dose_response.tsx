import "./dose_response.css";
import { DoseChart } from "../dose/chart";
import { DoseDetail } from "../dose/detail";
import { Dose } from "../dose/dose";
import { DoseHeader } from "../dose/header";
import { DoseLegend } from "../dose/legend";
import { DoseNumbers } from "../dose/numbers";
import { DoseRows } from "../dose/rows";
import { DoseSettings } from "../dose/settings";
import { Failure } from "../ui/failure";
import { type Mounted, mount } from "../ui/mount";
import { Provenance } from "../ui/provenance";

export default mount(Dose, View, "sw-dose");

function View({ state: dose, theme }: Mounted<Dose>) {
  const facts = dose.facts.value;
  const result = dose.result.value;
  const failure = dose.failure.value;
  if (!facts)
    return (
      <div class="sw-frame">
        <p class="sw-empty">Waiting for the kernel…</p>
      </div>
    );
  return (
    <div class="sw-frame">
      <DoseHeader dose={dose} facts={facts} />
      <div class="sw-main">
        {failure && (
          <Failure
            sentence={failure}
            onDismiss={() => {
              dose.failure.value = "";
            }}
          />
        )}
        <DoseLegend dose={dose} facts={facts} result={result} />
        {result ? (
          <>
            <DoseChart dose={dose} result={result} />
            <DoseRows dose={dose} result={result} />
            <DoseNumbers dose={dose} result={result} />
          </>
        ) : (
          <p class="sw-empty sw--framed">
            {dose.doing.value
              ? "The baseline answers first, for its own range; then every prompt is answered at all strengths."
              : "Nothing was run yet: press Run, and every strength answers every prompt, beside the baseline, random directions and a prompt that asks."}
          </p>
        )}
        <DoseSettings dose={dose} facts={facts} />
        <Provenance facts={dose.traits.provenance.value} />
      </div>
      <div class="sw-side">
        {result ? (
          <DoseDetail dose={dose} result={result} palette={theme.value.palette} />
        ) : (
          <p class="sw-empty">
            Here stands what is known of one strength: on topic or not, with its interval, how
            surprising, how far from the baseline; and its answer beside the unsteered one.
          </p>
        )}
      </div>
    </div>
  );
}
