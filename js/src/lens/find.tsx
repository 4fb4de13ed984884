import "./find.css";
import { useState } from "preact/hooks";
import { Button } from "../ui/button";
import type { Lens } from "./lens";
import { shownText } from "./text";

const TOPS = [1, 5, 10, 100];

/** A token is looked up by its text, and one of its ids is marked where it first enters the top k. */
export function LensFind({ lens }: { lens: Lens }) {
  const { found, within, tracked } = lens.traits;
  const [query, setQuery] = useState("");
  const chosen = lens.chosen.value;
  const hits = found.value.tokens ?? [];
  const choices = lens.frozen
    ? lens.followed.value.map((id) => lens.token(id)).filter((token) => token !== undefined)
    : hits;
  return (
    <section class="sw-lens-find" aria-label="Find a token">
      {!lens.frozen && (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            if (query) lens.find(query);
          }}
        >
          <input
            type="search"
            class="sw-field"
            aria-label="Token text"
            placeholder="Find a token, as “ Paris”"
            value={query}
            onInput={(event) => setQuery(event.currentTarget.value)}
          />
          <button type="submit" class="sw-button sw--small">
            Find
          </button>
        </form>
      )}
      {(chosen.id !== null || lens.frozen) && (
        <span class="sw--mark">
          {chosen.id === null ? (
            "Mark where a token comes in:"
          ) : (
            <>
              <i class="sw--corner" aria-hidden="true" /> {chosen.name}{" "}
              <small class="sw-num">id {chosen.id}</small> enters the top
              <select
                class="sw-select"
                aria-label="Top k"
                value={within.value}
                onChange={(event) => lens.choose("within", Number(event.currentTarget.value))}
              >
                {TOPS.map((k) => (
                  <option key={k} value={k}>
                    {k}
                  </option>
                ))}
              </select>
              <Button
                kind="icon"
                aria-label="Clear the chosen token"
                title="Mark no token"
                onClick={() => lens.chooseToken(null)}
              >
                ×
              </Button>
            </>
          )}
        </span>
      )}
      {choices.length > 0 && (
        <ul class="sw-plain sw--hits" aria-label="Tokens found">
          {choices.map((token) => (
            <li key={token.id}>
              <button
                type="button"
                class="sw-chip"
                aria-pressed={token.id === chosen.id}
                title={tracked.value.includes(token.id) ? "followed" : "follow and mark it"}
                onClick={() => lens.chooseToken(token.id)}
              >
                {shownText(token)} <small class="sw-num">{token.id}</small>
              </button>
            </li>
          ))}
        </ul>
      )}
      {found.value.query && !hits.length && !lens.frozen && (
        <span class="sw-note">No token reads “{found.value.query}”.</span>
      )}
    </section>
  );
}
