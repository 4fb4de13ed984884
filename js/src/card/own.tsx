import "./own.css";
import { Button } from "../ui/button";
import { formatNumber, visible } from "../ui/format";
import type { Card, Doing } from "./card";
import type { LinePaint } from "./line";
import { CardLines } from "./lines_shown";

/** A box for a text of one's own; it is read as one types. */
export function CardOwn({ card, paint }: { card: Card; paint: LinePaint }) {
  const { own_text } = card.traits;
  const doing = card.doing.value;
  if (card.frozen && !card.tried.value) return null;
  return (
    <section aria-label="Try your own text" class="sw-card-own">
      <h3>{card.frozen ? "Own text" : "Try your own text"}</h3>
      {!card.frozen && (
        <textarea
          class="sw-field"
          dir="auto"
          aria-label="Your own text"
          placeholder="Type a text and see where the feature fires"
          rows={Math.min(6, own_text.value.split("\n").length)}
          value={own_text.value}
          onInput={(event) => card.type(event.currentTarget.value)}
        />
      )}
      {doing?.what === "try" && <Progress card={card} doing={doing} />}
      <Result card={card} paint={paint} />
    </section>
  );
}

function Result({ card, paint }: { card: Card; paint: LinePaint }) {
  const tried = card.tried.value;
  const lines = card.triedLines.value;
  const content = card.content.value;
  if (!tried || !content || !card.traits.own_text.value) return null;
  const { strongest } = tried;
  const token = strongest && lines[0]?.tokens[strongest.position];
  const fires = strongest && strongest.value !== 0 && token;
  const parts = fires
    ? [
        `strongest ${formatNumber(strongest.value)} at “${visible(token)}”`,
        content.maximum &&
          !content.mixture &&
          `${formatNumber(strongest.value / content.maximum, 2)} × maximum`,
        `position ${strongest.position}`,
      ]
    : ["it does not fire on this text"];
  return (
    <div class={card.doing.value?.what === "try" ? "sw--older" : ""}>
      <CardLines card={card} name="Your text" id="own" lines={lines} paint={paint} whole own />
      <p class="sw-note sw-num" aria-live="polite">
        {parts.filter(Boolean).join(" · ")}
      </p>
    </div>
  );
}

/** What is being done, how far it is, and the way to end it. */
export function Progress({ card, doing }: { card: Card; doing: Doing }) {
  const { said, done, of, seconds } = doing;
  return (
    <div class="sw-card-progress" role="status">
      <span class="sw-num">
        {said}
        {of !== null && ` ${done} of ${of}`}
        {seconds !== null && done > 0 && done < (of ?? 0) && `, ${Math.ceil(seconds)} s left`}
      </span>
      <progress max={of ?? undefined} value={of === null ? undefined : done} aria-label={said} />
      <Button kind="small" onClick={() => card.stop()}>
        Stop
      </Button>
    </div>
  );
}
