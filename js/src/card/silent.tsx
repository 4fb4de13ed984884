import "./silent.css";
import { useState } from "preact/hooks";
import { Button } from "../ui/button";
import { formatNumber, formatPercent } from "../ui/format";
import type { Card } from "./card";
import type { LinePaint } from "./line";
import type { CardLine } from "./lines";
import { CardLines } from "./lines_shown";
import { FeatureName } from "./lists";
import { Progress } from "./own";
import type { Silent } from "./types";

/** Texts with the label's words where the feature stays silent, and what fires there instead. */
export function CardSilent({ card, paint }: { card: Card; paint: LinePaint }) {
  const [words, setWords] = useState("");
  const silent = card.silent.value;
  const lines = card.silentLines.value;
  const doing = card.doing.value;
  if (card.frozen && !silent) return null;
  const look = () => card.look(words.split(/[,;\s]+/).filter(Boolean));
  return (
    <section aria-label="Where it stays silent" class="sw-card-silent">
      <h3>Where it should fire and stays silent</h3>
      {!card.frozen && (
        <div class="sw--ask">
          <input
            type="text"
            class="sw-field"
            aria-label="Words to look for"
            placeholder="words; by default the label’s and the examples’ own"
            value={words}
            onInput={(event) => setWords(event.currentTarget.value)}
            onKeyDown={(event) => event.key === "Enter" && look()}
          />
          <Button asks onClick={look}>
            Look for silent texts
          </Button>
        </div>
      )}
      {doing?.what === "silent" && <Progress card={card} doing={doing} />}
      {silent && <p class="sw-note sw-num">{summary(silent)}</p>}
      {silent && lines.length > 0 && (
        <CardLines
          card={card}
          name="Silent texts"
          id="silent"
          lines={lines}
          paint={paint}
          below={(at) => <Why card={card} line={lines[at] as CardLine} />}
        />
      )}
    </section>
  );
}

function summary({ share, silent, read, words, stopped }: Silent): string {
  const named = words.map((word) => `“${word}”`).join(", ");
  const early = stopped ? " (stopped before the end)" : "";
  if (!read) return `No other text with ${named} was found${early}.`;
  const found = `Below ${formatPercent(share)} of its typical value in ${silent} of ${read} texts with ${named}${early}.`;
  const what = "What fires there instead may have absorbed this feature (arXiv 2409.14507).";
  return silent ? `${found} ${what}` : found;
}

function Why({ card, line }: { card: Card; line: CardLine }) {
  return (
    <p class="sw-card-why sw-num">
      <span>
        “{line.word}” {formatNumber(line.value)}, typically {formatNumber(line.expected)}
      </span>
      {line.instead?.map(({ index, label, value, along }) => (
        <span key={index} class="sw--rival">
          <FeatureName card={card} index={index} label={label} /> {formatNumber(value)}
          {along !== null && (
            <small title="what it adds along this feature's own direction: activation × d·d′ / ‖d‖">
              {along > 0 ? "+" : ""}
              {formatNumber(along, 2)} along it
            </small>
          )}
        </span>
      ))}
    </p>
  );
}
