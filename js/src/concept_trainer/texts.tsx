import "./texts.css";
import { useRef, useState } from "preact/hooks";
import { Button } from "../ui/button";
import { FileButton } from "../ui/file_button";
import { plural } from "../ui/format";
import { NumberBox } from "../ui/number_box";
import { rovingHandlers } from "../ui/roving";
import { Segmented } from "../ui/segmented";
import { Select } from "../ui/select";
import { TypedBox } from "../ui/typed_box";
import type { Trainer } from "./trainer";
import type { Entry, Inputs, Side, Source, Table } from "./types";

const SOURCES: readonly (readonly [Source, string])[] = [
  ["texts", "texts"],
  ["prompts", "two prompts"],
  ["table", "table"],
];
const TEXTS = ".txt,.csv,.tsv,.json,.jsonl";
const NAMES: Record<Side, string> = { positives: "with it", negatives: "without" };

interface Props {
  trainer: Trainer;
  inputs: Inputs;
}

/** Where the texts come from: typed lists, two system prompts, or a table with labels. */
export function TrainerTexts({ trainer, inputs }: Props) {
  const keys = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    // The box that has the focus adds what stands in it first.
    (event.target as HTMLElement).blur();
    (event.target as HTMLElement).focus();
    if (!trainer.doing.peek()) trainer.run("train");
  };
  const { told, problem, counts } = trainer.plan.value;
  const written = inputs.source === "prompts";
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: a shortcut of the boxes within
    <div class="sw-trainer-texts" onKeyDown={keys}>
      <div class="sw-heading">
        <h3>Concept</h3>
        {!trainer.frozen && (
          <Segmented
            label="Where the texts come from"
            value={inputs.source}
            options={SOURCES}
            onChoose={(source) => trainer.edit({ source })}
          />
        )}
      </div>
      <input
        class="sw-field"
        dir="auto"
        aria-label="Name of the concept"
        placeholder="its name, such as grateful"
        readOnly={trainer.frozen}
        value={inputs.name}
        onInput={(event) => trainer.type({ name: event.currentTarget.value })}
      />
      {written && <Prompts trainer={trainer} inputs={inputs} />}
      {inputs.source === "table" ? (
        <Columns trainer={trainer} inputs={inputs} />
      ) : (
        (["positives", "negatives"] as const).map((side) => (
          <List
            key={side}
            trainer={trainer}
            side={side}
            all={trainer.shown(side)}
            written={written}
          />
        ))
      )}
      {problem && (
        <p class="sw--problem" role="status">
          {problem}
        </p>
      )}
      <div class="sw-note" role="note" aria-label="What is read">
        {counts[0] + counts[1] > 0 && <p>A quarter is held out.</p>}
        {told.map((sentence) => (
          <p key={sentence}>{sentence}</p>
        ))}
      </div>
    </div>
  );
}

interface ListProps {
  trainer: Trainer;
  side: Side;
  all: readonly Entry[];
  /** Whether the list is of the model's answers. */
  written: boolean;
}

function List({ trainer, side, all, written }: ListProps) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const box = useRef<HTMLTextAreaElement>(null);
  const name = NAMES[side];
  const items = all
    .map((entry, index) => ({ entry, index }))
    .filter(({ entry }) => entry.written === written);
  const add = () => {
    trainer.add(side, text);
    setText("");
  };
  /** Back into the box, to be written otherwise; what the model wrote stays as it is. */
  const take = (place: number | null) => {
    const item = place === null ? undefined : items[place];
    if (!item || item.entry.key >= 0 || trainer.frozen) return;
    setText((before) => (before ? `${before}\n${item.entry.text}` : item.entry.text));
    trainer.remove(side, item.index);
    box.current?.focus();
  };
  const roving = rovingHandlers(items.length, {
    onPoint: (place) => place !== null && setAt(place),
    onPin: take,
  });
  const stop = Math.min(at, Math.max(items.length - 1, 0));
  return (
    <section class={`sw--list sw--${side}`} aria-label={`Texts ${name}`}>
      <h3>
        {plural(items.length, "text")} {name}
      </h3>
      {items.length > 0 && (
        <div
          class="sw--items"
          role="listbox"
          tabIndex={-1}
          aria-label={`Texts ${name}: Enter edits, Delete removes`}
          {...roving}
          onKeyDown={(event) => {
            const item = (event.target as HTMLElement).closest<HTMLElement>("[data-index]");
            if ((event.key === "Delete" || event.key === "Backspace") && item && !trainer.frozen) {
              event.preventDefault();
              const list = event.currentTarget;
              const place = Number(item.dataset.index);
              trainer.remove(side, items[place]?.index ?? -1);
              const next = Math.min(place, items.length - 2);
              requestAnimationFrame(() =>
                (list.querySelector<HTMLElement>(`[data-index="${next}"]`) ?? box.current)?.focus(),
              );
            } else roving.onKeyDown(event);
          }}
        >
          {items.map(({ entry, index }, place) => (
            <div
              key={`${index} ${entry.text}`}
              role="option"
              aria-selected={false}
              data-index={place}
              tabIndex={place === stop ? 0 : -1}
              dir="auto"
            >
              <span>{entry.text}</span>
              {!trainer.frozen && (
                <span
                  class="sw--remove"
                  aria-hidden="true"
                  title="Remove"
                  onClick={(event) => {
                    event.stopPropagation();
                    trainer.remove(side, index);
                  }}
                >
                  ×
                </span>
              )}
            </div>
          ))}
        </div>
      )}
      {!trainer.frozen && !written && (
        <div class="sw--add">
          <textarea
            ref={box}
            class="sw-field"
            dir="auto"
            rows={2}
            aria-label={`Add texts ${name}`}
            placeholder="Type or paste: one text in each line, Enter adds them"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
            onBlur={add}
            onKeyDown={(event) => {
              if (event.key !== "Enter" || event.shiftKey || event.ctrlKey || event.metaKey) return;
              event.preventDefault();
              add();
            }}
          />
          <div class="sw--buttons">
            <Button kind="small" onClick={add}>
              Add
            </Button>
            <FileButton
              name={`File of texts ${name}`}
              accept={TEXTS}
              onFile={(file) => trainer.file(side, file)}
            >
              File
            </FileButton>
            {items.length > 0 && (
              <Button
                kind="quiet small"
                aria-label={`Remove all texts ${name}`}
                onClick={() => trainer.clear(side)}
              >
                Remove all
              </Button>
            )}
          </div>
        </div>
      )}
    </section>
  );
}

function Prompts({ trainer, inputs }: Props) {
  if (trainer.frozen)
    return (
      <>
        {inputs.systems.map((system, at) => (
          <p key={at} class="sw-note" dir="auto">
            {at ? "without" : "with it"}: {system}
          </p>
        ))}
      </>
    );
  const system = (at: 0 | 1, title: string, example: string) => (
    <label class="sw--wide">
      <span>{title}</span>
      <textarea
        class="sw-field"
        dir="auto"
        rows={2}
        placeholder={example}
        value={inputs.systems[at]}
        onInput={(event) => {
          const systems = [...inputs.systems] as [string, string];
          systems[at] = event.currentTarget.value;
          trainer.type({ systems });
        }}
      />
    </label>
  );
  const can =
    !trainer.doing.value && inputs.systems.every((text) => text.trim()) && inputs.questions.length;
  return (
    <section class="sw--prompts" aria-label="Two prompts">
      {system(0, "System prompt with it", "You are deeply grateful for everything.")}
      {system(1, "System prompt without", "You take everything for granted.")}
      <label class="sw--wide">
        <span>Questions, one in each line</span>
        <TypedBox
          label="Questions, one in each line"
          class="sw-field"
          dir="auto"
          rows={4}
          value={inputs.questions.join("\n")}
          take={(text) =>
            trainer.edit({ questions: text.split("\n").filter((line) => line.trim()) })
          }
        />
      </label>
      <div class="sw--buttons">
        <Button kind="small" asks aria-disabled={!can} onClick={() => can && trainer.run("write")}>
          Let the model write {2 * inputs.questions.length}
        </Button>
        <label class="sw-chip">
          tokens
          <NumberBox
            label="Tokens of an answer"
            value={inputs.tokens}
            min={1}
            max={1024}
            step={1}
            onValue={(tokens) => tokens !== null && trainer.type({ tokens })}
          />
        </label>
      </div>
      {trainer.traits.facts.value.template === false && (
        <p class="sw-note">
          This tokenizer has no chat template: prompt and question stand before each answer as plain
          text.
        </p>
      )}
    </section>
  );
}

function Columns({ trainer, inputs }: Props) {
  const table = trainer.table.value;
  return (
    <section class="sw--prompts" aria-label="Table">
      {table && <Chosen trainer={trainer} inputs={inputs} table={table} />}
      {!trainer.frozen && (
        <div class="sw--buttons">
          <FileButton
            name="File with texts and labels"
            accept=".csv,.tsv,.json,.jsonl"
            onFile={(file) => trainer.file("table", file)}
          >
            {table ? "Another file" : "Choose a file"}
          </FileButton>
        </div>
      )}
    </section>
  );
}

function Chosen({ trainer, inputs, table }: Props & { table: Table }) {
  const [one, other] = trainer.plan.value.counts;
  const choose = (at: 0 | 1 | 2, value: string) => {
    const columns = [...inputs.columns] as Inputs["columns"];
    columns[at] = value;
    if (at === 1) columns[2] = "";
    trainer.edit({ columns });
  };
  const columns = table.columns.map((name) => [name, name] as const);
  return (
    <>
      <p class="sw-note">
        {table.name}: {plural(table.rows, "row")}
      </p>
      {!trainer.frozen && (
        <>
          <label class="sw--pick">
            texts
            <Select
              label="Column of texts"
              value={table.text}
              options={columns}
              onChoose={(value) => choose(0, value)}
            />
          </label>
          <label class="sw--pick">
            labels
            <Select
              label="Column of labels"
              value={table.label}
              options={[["", "choose"], ...columns]}
              onChoose={(value) => choose(1, value)}
            />
          </label>
          <label class="sw--pick">
            the concept is
            <Select
              label="Label of the concept"
              value={table.positive}
              options={[
                ["", "by itself"],
                ...table.labels.map(([name, count]) => [name, `${name} (${count})`] as const),
              ]}
              onChoose={(value) => choose(2, value)}
            />
          </label>
        </>
      )}
      <p class="sw--counts">
        <b>{plural(one, "text")} with it</b> · {plural(other, "text")} without
      </p>
    </>
  );
}
