import "./detail.css";
import { useRef } from "preact/hooks";
import { Bars } from "../lens/bars";
import { Button } from "../ui/button";
import { download } from "../ui/download";
import { FileButton } from "../ui/file_button";
import { formatNumber } from "../ui/format";
import type { Trainer } from "./trainer";
import type { Checked, Layer, Promoted, Result, Steered } from "./types";
import { interval, nameOf, of, score, signed } from "./words";

interface Props {
  trainer: Trainer;
  result: Result;
  layer: Layer;
}

/** All that is known of one block: its scores and their control, what its direction promotes, where it can go. */
export function TrainerDetail({ trainer, result, layer }: Props) {
  const near = layer.others.filter((each) => each.near).slice(0, 6);
  return (
    <>
      <section class="sw-trainer-detail" aria-label={`Block ${layer.layer}`}>
        <h3>Block {layer.layer}</h3>
        <dl class="sw-num">
          {numbers(layer, trainer.steered.value).map(([name, value, title]) => (
            <div key={name} title={title}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
        {!layer.converged && (
          <p class="sw-note">The solver had not converged when its steps were used up.</p>
        )}
        {layer.layer === result.best && result.layers.length > 1 && (
          <p class="sw-note">
            Chosen by these same held-out texts, which flatters its scores a little.
          </p>
        )}
      </section>
      <Promotes name="Promotes" tokens={layer.promoted} weak={layer.weak} />
      <section class="sw-trainer-detail" aria-label="Nearest">
        <h3>Nearest, by cosine</h3>
        {near.length ? (
          <ul class="sw-plain sw--near">
            {near.map((each) => (
              <li key={each.id}>
                <span title={nameOf(each)}>{nameOf(each)}</span>
                <span class="sw-num">{signed(each.cosine)}</span>
              </li>
            ))}
          </ul>
        ) : (
          <p class="sw-note">
            {trainer.traits.facts.value.dictionaries
              ? "No dictionary of this trainer is of this block."
              : "Give dictionaries=[…] to compare it with other features."}
          </p>
        )}
      </section>
      <Dose trainer={trainer} layer={layer} />
      <Actions trainer={trainer} />
    </>
  );
}

function numbers(layer: Layer, steered: Steered | null): [string, string, string?][] {
  const { auroc, accuracy, right, tested, shuffled, selectivity } = layer;
  const found: [string, string, string?][] = [
    ["AUROC, held out", score(auroc), "How often a text with it projects higher than one without"],
    [
      "accuracy",
      tested ? `${score(accuracy)} · ${right} of ${tested}` : "–",
      "Held-out texts told right",
    ],
  ];
  if (layer.interval[1] > layer.interval[0] && tested)
    found.push(["95 %", interval(layer.interval), "Wilson’s interval of the accuracy"]);
  if (shuffled) {
    found.push([
      "shuffled labels",
      `${score(shuffled.auroc)} · ${score(shuffled.accuracy)}`,
      "AUROC and accuracy of the same fit to shuffled labels",
    ]);
    found.push([
      "selectivity",
      `${signed(selectivity?.auroc)} · ${signed(selectivity?.accuracy)}`,
      "The difference of both, in AUROC and in accuracy (Hewitt and Liang 2019)",
    ]);
  }
  const row = steered?.rows.find((each) => each.layer === layer.layer);
  if (row)
    found.push([
      "steered, on topic",
      `${of(row.on_topic)} · random ${of(row.random)}`,
      `Wilson’s interval ${interval(row.on_topic.interval)}`,
    ]);
  return found;
}

function Promotes({ name, tokens, weak }: { name: string; tokens: Promoted[]; weak: string }) {
  const most = Math.max(...tokens.map(({ value }) => Math.abs(value)), 1e-9);
  return (
    <section class="sw-trainer-detail" aria-label={name}>
      <h3>{name}</h3>
      {tokens.length > 0 && (
        <Bars
          label={name}
          most={most}
          rows={tokens.map((token) => ({
            key: token.id,
            token,
            size: token.value,
            value: signed(token.value),
            title: `id ${token.id}`,
          }))}
        />
      )}
      {weak && <p class="sw-note">{weak}</p>}
    </section>
  );
}

/** What the concept does at a few strengths, judged by what it was not made from. */
function Dose({ trainer, layer }: { trainer: Trainer; layer: Layer }) {
  const checked = trainer.checked.value;
  const own = checked?.layer === layer.layer ? checked : null;
  const busy = trainer.doing.value !== null;
  if (!own && trainer.frozen) return null;
  return (
    <section class="sw-trainer-detail" aria-label="Dose check">
      <h3>Dose check</h3>
      {own && own.rows.length > 0 && <Doses checked={own} />}
      {!trainer.frozen && (
        <Button kind="small" asks aria-disabled={busy} onClick={() => !busy && trainer.checkDose()}>
          {own ? "Check again" : "Check the dose"}
        </Button>
      )}
      {!own?.rows.length && (
        <p class="sw-note">
          Four strengths on three everyday prompts, beside random directions. A probe of another
          block, made from the held-out texts, judges; where those are few, the words of the
          concept's name are counted.
        </p>
      )}
    </section>
  );
}

function Doses({ checked }: { checked: Checked }) {
  const { useful, breaks } = checked;
  return (
    <>
      <table class="sw-num sw--doses" aria-label="On topic by strength">
        <thead>
          <tr>
            <th scope="col">strength</th>
            <th scope="col">on topic</th>
            <th scope="col">random</th>
          </tr>
        </thead>
        <tbody>
          {checked.rows.map(({ strength, on_topic, random }) => (
            <tr key={strength}>
              <th scope="row">{formatNumber(strength)}</th>
              <td title={interval(on_topic.interval)}>{of(on_topic)}</td>
              <td title={interval(random.interval)}>{random.n ? of(random) : "–"}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="sw-note">
        baseline {of(checked.baseline)} · judged by the {checked.judge}
        {useful && ` · useful ${formatNumber(useful[0])}–${formatNumber(useful[1])}`}
        {breaks !== null && ` · text breaks from ${formatNumber(breaks)}`}. A few answers are an
        anecdote: sw.DoseResponse(lm, trainer.cav[0].add) asks more.
      </p>
    </>
  );
}

function Actions({ trainer }: { trainer: Trainer }) {
  const place = useRef<HTMLDivElement>(null);
  const save = async () => {
    try {
      const { bytes, filename } = await trainer.save();
      if (place.current) download(bytes, filename, place.current, "application/octet-stream");
    } catch (error) {
      trainer.fail(error);
    }
  };
  if (trainer.frozen) return null;
  return (
    <div ref={place} class="sw-trainer-actions">
      <Button kind="primary" asks onClick={() => trainer.send(false)}>
        Steer with this
      </Button>
      <Button asks onClick={save} title="Direction, scores and both lists of texts, in one file">
        Save
      </Button>
      <Load trainer={trainer} />
      <p class="sw-note" role="status">
        {trainer.said.value}
      </p>
    </div>
  );
}

export function Load({ trainer }: { trainer: Trainer }) {
  return (
    <FileButton
      name="Load a concept"
      accept=".safetensors,.pt,.gguf"
      onFile={(file) => trainer.file("table", file)}
    >
      Load
    </FileButton>
  );
}
