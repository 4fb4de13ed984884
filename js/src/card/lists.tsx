import "./lists.css";
import { Button } from "../ui/button";
import { visible } from "../ui/format";
import type { Card } from "./card";
import { steady } from "./lines";
import { Progress } from "./own";
import type { Content, Loading, Neighbour, ValuedToken } from "./types";

/** The tokens that steering with a feature raises and lowers: through the model, and along the direct path. */
export function Promotes({ card, content }: { card: Card; content: Content }) {
  const { promoted, suppressed, logits_note } = content;
  return (
    <>
      <ThroughModel card={card} content={content} />
      {(promoted.length > 0 || suppressed.length > 0) && (
        <div class="sw-card-promotes">
          <Tokens title="Promotes" by="direct path" tokens={promoted} />
          <Tokens title="Suppresses" by="direct path" tokens={suppressed} />
        </div>
      )}
      {logits_note && <p class="sw-note">{logits_note}</p>}
    </>
  );
}

function ThroughModel({ card, content: { effect, ops } }: { card: Card; content: Content }) {
  const doing = card.doing.value;
  if (effect)
    return (
      <>
        <div class="sw-card-promotes">
          <Tokens title="Promotes through the model" by="Δ logit" tokens={effect.promoted} />
          <Tokens title="Suppresses through the model" by="Δ logit" tokens={effect.suppressed} />
        </div>
        <p class="sw-note">{effect.said}</p>
      </>
    );
  if (card.frozen || !ops.length) return null;
  return (
    <section aria-label="Through the model" class="sw-card-through">
      <h3>Promotes through the model</h3>
      {doing?.what === "effect" ? (
        <Progress card={card} doing={doing} />
      ) : (
        <Button asks kind="small" onClick={() => card.measure()}>
          Steer and see
        </Button>
      )}
    </section>
  );
}

interface TokensProps {
  title: string;
  /** What the values are. */
  by: string;
  tokens: ValuedToken[];
}

function Tokens({ title, by, tokens }: TokensProps) {
  return (
    <section aria-label={title}>
      <h3>
        {title} <small>{by}</small>
      </h3>
      <ul class="sw-plain">
        {tokens.map((token) => (
          <li key={token.id} title={`token ${token.id}`}>
            <code>{visible(token)}</code>
            <span class="sw-num">{signed(token.value)}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}

function signed(value: number): string {
  const text = steady(value, 2);
  return value > 0 ? `+${text}` : text;
}

/** Features that point the same way, and features that fire at the same tokens; each opens its own card. */
export function Nearest({ card, content }: { card: Card; content: Content }) {
  const { nearest, coactive } = content;
  if (!nearest.length && !coactive.length) return null;
  return (
    <section aria-label="Nearest" class="sw-card-nearest">
      <h3>Nearest</h3>
      {nearest.length > 0 && (
        <List card={card} of={nearest} what="cos" title="cosine of the two directions" />
      )}
      {coactive.length > 0 && (
        <List
          card={card}
          of={coactive}
          what="fires with,"
          title="tokens where both fire / √(tokens of one · tokens of the other)"
        />
      )}
    </section>
  );
}

interface ListProps {
  card: Card;
  of: Neighbour[];
  what: string;
  title: string;
}

function List({ card, of, what, title }: ListProps) {
  return (
    <ul class="sw-plain">
      {of.slice(0, 6).map((each, i) => (
        <li key={each.index}>
          <FeatureName card={card} index={each.index} label={each.label} />
          <span class="sw-num" title={title}>
            {i === 0 ? `${what} ` : ""}
            {steady(each.value, 2)}
          </span>
        </li>
      ))}
    </ul>
  );
}

interface NameProps {
  card: Card;
  index: number;
  label: string;
}

/** A feature's name; where its card can be opened, the way there. */
export function FeatureName({ card, index, label }: NameProps) {
  if (!card.canShow(index))
    return (
      <span class="sw--name" title={label}>
        {label}
      </span>
    );
  return (
    <button
      type="button"
      class="sw--name"
      title={`${label} (${index})`}
      aria-label={`Open ${label} (${index})`}
      onClick={() => card.show(index)}
    >
      {label}
    </button>
  );
}

/** The directions in which a component of a mixture varies, with what each promotes. */
export function Loadings({ card, loadings }: { card: Card; loadings: Loading[] }) {
  const at = card.pointed.value?.own ?? null;
  const latents = card.latents.value;
  const rank = latents?.shape[1] ?? 0;
  return (
    <section aria-label="Loadings" class="sw-card-loadings">
      <h3>
        Loadings <small>{at !== null && latents ? "E[z] at the token" : "‖W‖"}</small>
      </h3>
      <ul class="sw-plain">
        {loadings.map(({ index, norm, promoted, suppressed }) => (
          <li key={index}>
            <span class="sw--index sw-num">z{index}</span>
            <span class="sw--tokens">
              <Side sign="+" tokens={promoted} />
              <Side sign="−" tokens={suppressed} />
            </span>
            <b class="sw-num">
              {at !== null && latents
                ? signed(Number(latents.values[at * rank + index]))
                : steady(norm)}
            </b>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Side({ sign, tokens }: { sign: string; tokens: ValuedToken[] }) {
  if (!tokens.length) return null;
  return (
    <span class="sw--side">
      <i>{sign}</i>
      {tokens.map((token) => (
        <code key={token.id}>{visible(token)}</code>
      ))}
    </span>
  );
}
