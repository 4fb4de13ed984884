import "../ui/header.css";
import "./header.css";
import { NumberBox } from "../ui/number_box";
import { SaveButton } from "../ui/save_button";
import { Segmented } from "../ui/segmented";
import type { Lens } from "./lens";
import { MEASURES, type Measure } from "./measure";
import { shownText } from "./text";
import type { Shows } from "./types";

const CHOICES = Object.entries(MEASURES).map(
  ([name, { label }]) => [name as Measure, label] as const,
);
const VIEWS: readonly (readonly [Shows, string])[] = [
  ["baseline", "baseline"],
  ["steered", "steered"],
  ["difference", "difference"],
];

/** What is read and which blocks are shown on the left, how it is coloured on the right. */
export function LensHeader({ lens }: { lens: Lens }) {
  const { measure, facts } = lens.traits;
  return (
    <header class="sw-header sw-lens-header">
      <div class="sw--line">
        <h2>
          {facts.value.generated ? `After “${shownText(lens.tokens.value[0])}”` : "Logit lens"}
        </h2>
        {facts.value.model && <span class="sw-chip sw--model">{facts.value.model}</span>}
        <ReadingChoice lens={lens} />
        <StreamChoice lens={lens} />
        <Blocks lens={lens} />
        <div class="sw--right">
          {lens.compares.value && (
            <Segmented
              label="Run"
              value={lens.shows.value}
              options={VIEWS}
              onChoose={(value) => lens.choose("shows", value)}
            />
          )}
          <Segmented
            label="Colour by"
            value={measure.value}
            options={CHOICES}
            onChoose={(value) => lens.choose("measure", value)}
          />
          {lens.frozen ? (
            <span class="sw-chip" title="Hover, pins, measures and rows work without a kernel">
              frozen copy
            </span>
          ) : (
            <SaveButton from={lens} />
          )}
        </div>
      </div>
      <Meaning lens={lens} />
    </header>
  );
}

/** By which lens the residuals are read, where a fitted one was given. */
function ReadingChoice({ lens }: { lens: Lens }) {
  const { facts, reading } = lens.traits;
  const readings = facts.value.readings ?? [];
  if (readings.length < 2) return null;
  if (lens.frozen) return <span class="sw-chip">{reading.value}</span>;
  return (
    <select
      class="sw-select"
      aria-label="Lens"
      value={reading.value}
      onChange={(event) => lens.readBy(event.currentTarget.value)}
    >
      {readings.map(([name]) => (
        <option key={name} value={name}>
          {name}
        </option>
      ))}
    </select>
  );
}

function Meaning({ lens }: { lens: Lens }) {
  const { facts, reading } = lens.traits;
  const readings = facts.value.readings ?? [];
  const meaning = readings.find(([name]) => name === reading.value)?.[1];
  if (readings.length < 2 || !meaning) return null;
  return (
    <p class="sw-lens-meaning">
      <b>{reading.value}</b>: {meaning}
    </p>
  );
}

function StreamChoice({ lens }: { lens: Lens }) {
  const { facts, stream } = lens.traits;
  const streams = facts.value.streams ?? [];
  const name = streams.find(([id]) => id === stream.value)?.[1] ?? stream.value;
  if (lens.frozen) return <span class="sw-chip">{name}</span>;
  return (
    <select
      class="sw-select"
      aria-label="Stream"
      value={stream.value}
      onChange={(event) => lens.readStream(event.currentTarget.value)}
    >
      {streams.map(([id, text]) => (
        <option key={id} value={id}>
          {text}
        </option>
      ))}
    </select>
  );
}

function Blocks({ lens }: { lens: Lens }) {
  const { stride, span } = lens.traits;
  const layers = lens.baseline.value?.layers;
  if (!layers?.length) return null;
  const [low, high] = [layers[0] as number, layers.at(-1) as number];
  const [from, to] = [span.value[0] ?? low, span.value[1] ?? high];
  const range = (first: number, last: number) =>
    lens.choose("span", first === low && last === high ? [] : [first, last]);
  return (
    <>
      <label
        class="sw-chip sw--number"
        title="A row for every so many blocks, from the deepest down"
      >
        every
        <NumberBox
          label="Layer stride"
          value={stride.value}
          min={1}
          max={layers.length}
          step={1}
          onValue={(value) => value && lens.choose("stride", Math.round(value))}
        />
        of {layers.length}
      </label>
      <span class="sw-chip sw--number" title="The blocks that have rows, counted from 0">
        blocks
        <NumberBox
          label="First block"
          value={from}
          min={low}
          max={to}
          step={1}
          onValue={(value) => value !== null && range(Math.round(value), to)}
        />
        to
        <NumberBox
          label="Last block"
          value={to}
          min={from}
          max={high}
          step={1}
          onValue={(value) => value !== null && range(from, Math.round(value))}
        />
      </span>
    </>
  );
}
