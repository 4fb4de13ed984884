import "./verdict.css";
import { useLayoutEffect, useState } from "preact/hooks";
import { Button } from "../ui/button";
import { download } from "../ui/download";
import { Select } from "../ui/select";
import { useId } from "../ui/use_id";
import { VERDICTS } from "../ui/verdicts";
import type { Card } from "./card";

const STARS = [1, 2, 3, 4, 5];

/** What the user makes of the feature: kept on this machine by the kernel, whatever happens to the notebook. */
export function CardVerdict({ card }: { card: Card }) {
  const verdict = card.verdict.value;
  const key = card.content.value?.key ?? "";
  const nothing = !verdict.rating && !verdict.label && !verdict.note && !verdict.verdict;
  if (card.frozen && nothing) return null;
  return (
    <section aria-label="Your verdict" class="sw-card-verdict">
      <h3>Your verdict</h3>
      {verdict.unreadable && <p class="sw-note">{verdict.unreadable}</p>}
      <div class="sw--rating">
        <Stars
          rating={verdict.rating}
          frozen={card.frozen}
          onRate={(rating) => card.judge({ rating })}
        />
        <span class="sw-note" role="status">
          {card.kept.value}
        </span>
      </div>
      {(!card.frozen || verdict.verdict) && (
        <span class="sw-check" title="As in a label check">
          the label is
          {card.frozen ? (
            <b>{verdict.verdict}</b>
          ) : (
            <Select
              label="Verdict on the label"
              value={verdict.verdict}
              options={[["", "not judged"], ...VERDICTS.map((each) => [each, each] as const)]}
              onChoose={(chosen) => card.judge({ verdict: chosen })}
            />
          )}
        </span>
      )}
      <Text
        key={`${key} label`}
        name="Your label"
        placeholder="your label"
        value={verdict.label}
        frozen={card.frozen}
        onText={(label) => card.judge({ label })}
      />
      <Text
        key={`${key} note`}
        name="Your note"
        placeholder="a note"
        value={verdict.note}
        frozen={card.frozen}
        long
        onText={(note) => card.judge({ note })}
      />
      {!card.frozen && verdict.said > 0 && <Export card={card} said={verdict.said} />}
    </section>
  );
}

interface StarsProps {
  rating: number | null;
  frozen: boolean;
  onRate(rating: number | null): void;
}

function Stars({ rating, frozen, onRate }: StarsProps) {
  const name = useId();
  return (
    <fieldset class="sw--stars" aria-label="Rating" disabled={frozen}>
      {STARS.map((star) => (
        <label key={star} class={star <= (rating ?? 0) ? "sw--on" : ""} title={`${star} of 5`}>
          <input
            type="radio"
            name={name}
            aria-label={star === 1 ? "1 star" : `${star} stars`}
            checked={star === rating}
            onChange={() => onRate(star)}
          />
          <span aria-hidden="true">{star <= (rating ?? 0) ? "★" : "☆"}</span>
        </label>
      ))}
      {rating !== null && !frozen && (
        <Button kind="icon" aria-label="Take the rating away" onClick={() => onRate(null)}>
          ×
        </Button>
      )}
    </fieldset>
  );
}

interface TextProps {
  name: string;
  placeholder: string;
  value: string;
  frozen: boolean;
  long?: boolean;
  onText(text: string): void;
}

/** Saved when it is left, or with Enter. */
function Text({ name, placeholder, value, frozen, long, onText }: TextProps) {
  const [text, setText] = useState(value);
  useLayoutEffect(() => setText(value), [value]);
  const save = () => text !== value && onText(text);
  const shared = {
    class: "sw-field",
    "aria-label": name,
    placeholder: frozen ? "" : placeholder,
    value: text,
    readOnly: frozen,
    onBlur: save,
    onKeyDown: (event: KeyboardEvent) => {
      if (event.key === "Enter" && (!long || event.ctrlKey || event.metaKey)) save();
    },
  };
  if (frozen && !value) return null;
  return long ? (
    <textarea {...shared} rows={2} onInput={(event) => setText(event.currentTarget.value)} />
  ) : (
    <input {...shared} type="text" onInput={(event) => setText(event.currentTarget.value)} />
  );
}

function Export({ card, said }: { card: Card; said: number }) {
  const save = async (beside: Element) => {
    try {
      const { text, filename } = await card.exportVerdicts();
      download(text, filename, beside, "application/json");
    } catch (error) {
      card.fail(error);
    }
  };
  return (
    <Button
      kind="quiet small"
      asks
      title={`What you said of ${said === 1 ? "one feature" : `${said} features`} of this dictionary`}
      onClick={(event) => save(event.currentTarget)}
    >
      Export {said === 1 ? "1 verdict" : `${said} verdicts`} as JSON
    </Button>
  );
}
