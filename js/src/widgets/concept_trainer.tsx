import "./concept_trainer.css";
import { TrainerArithmetic } from "../concept_trainer/arithmetic";
import { TrainerChart, TrainerNumbers } from "../concept_trainer/chart";
import { Load, TrainerDetail } from "../concept_trainer/detail";
import { TrainerHeader } from "../concept_trainer/header";
import { TrainerProjections } from "../concept_trainer/projections";
import { SteeredBlocks } from "../concept_trainer/steered";
import { TrainerTexts } from "../concept_trainer/texts";
import { Trainer } from "../concept_trainer/trainer";
import { METHODS, named } from "../concept_trainer/words";
import { Failure } from "../ui/failure";
import { type Mounted, mount } from "../ui/mount";
import { Provenance } from "../ui/provenance";

export default mount(Trainer, View, "sw-trainer");

function View({ state: trainer }: Mounted<Trainer>) {
  const inputs = trainer.inputs.value;
  const result = trainer.result.value;
  const layer = trainer.layer.value;
  const failure = trainer.failure.value;
  if (!inputs)
    return (
      <div class="sw-frame">
        <p class="sw-empty">Waiting for the kernel…</p>
      </div>
    );
  return (
    <div class="sw-frame">
      <TrainerHeader trainer={trainer} />
      <section class="sw-texts" aria-label="Texts">
        <TrainerTexts trainer={trainer} inputs={inputs} />
      </section>
      <div class="sw-main">
        {failure && (
          <Failure
            sentence={failure}
            onDismiss={() => {
              trainer.failure.value = "";
            }}
          />
        )}
        {result && layer ? (
          <>
            {result.tests.length > 0 && <TrainerChart trainer={trainer} result={result} />}
            {result.fitted.length > 0 && result.layers.length > 1 && (
              <SteeredBlocks trainer={trainer} />
            )}
            {result.tests.length > 0 && (
              <TrainerNumbers result={result} steered={trainer.steered.value} />
            )}
            <TrainerProjections result={result} layer={layer} />
            <TrainerArithmetic trainer={trainer} result={result} layer={layer} />
            <p class="sw-note">
              {[result.name, named(METHODS, result.method), result.pooling]
                .filter(Boolean)
                .join(" · ")}
              {result.stopped && " · stopped before the last block"}
            </p>
            {!result.tests.length &&
              result.told.map((sentence) => (
                <p key={sentence} class="sw-note">
                  {sentence}
                </p>
              ))}
          </>
        ) : (
          <p class="sw-empty sw--framed">
            Give texts with a concept and texts without it, then press Train: every block gets a
            direction, with its scores on texts that were held out, beside the same with shuffled
            labels.
          </p>
        )}
        <Provenance facts={trainer.traits.provenance.value} />
      </div>
      <section class="sw-side" aria-label="Details">
        {result && layer ? (
          <TrainerDetail trainer={trainer} result={result} layer={layer} />
        ) : (
          <>
            <p class="sw-empty">
              Here stands what is known of one block: how well it tells the texts apart, what its
              direction promotes, and which features point the same way.
            </p>
            {!trainer.frozen && <Load trainer={trainer} />}
            <p class="sw-note" role="status">
              {trainer.said.value}
            </p>
          </>
        )}
      </section>
    </div>
  );
}
