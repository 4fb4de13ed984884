import "../ui/header.css";
import "./header.css";
import { Button } from "../ui/button";
import { formatNumber } from "../ui/format";
import { SaveButton } from "../ui/save_button";
import type { Card } from "./card";
import type { Content } from "./types";

/** Which feature this is, who called it that, the way to the next one, and the way to steer with it. */
export function CardHeader({ card, content }: { card: Card; content: Content }) {
  const said = card.steered.value;
  return (
    <header class="sw-header sw-card-header">
      <div class="sw--line">
        <span class="sw-badge" title={content.site}>
          {content.kind} {content.layer}
        </span>
        <h2 title={content.label}>{content.label}</h2>
        <span class="sw-chip sw-num">
          {content.mixture ? "component" : "feature"} {content.index}
        </span>
        <Source content={content} />
        {content.link && (
          <a class="sw-chip" href={content.link.url} target="_blank" rel="noopener noreferrer">
            {content.link.name} ↗
          </a>
        )}
        <div class="sw--right">
          {(!card.frozen || card.beside(-1) !== null || card.beside(1) !== null) && (
            <nav aria-label="Features">
              <Step card={card} step={-1} />
              <Step card={card} step={1} />
            </nav>
          )}
          {card.frozen ? (
            <span class="sw-chip" title="Hover, tabs and scale work without a kernel">
              frozen copy
            </span>
          ) : (
            <>
              <SaveButton from={card} />
              {content.ops.length > 0 && (
                <Button asks onClick={() => card.steer()}>
                  Steer with this
                </Button>
              )}
            </>
          )}
        </div>
      </div>
      <p class="sw--said" role="status">
        {said}
      </p>
    </header>
  );
}

/** Who wrote the label, and how well it did where it was tested. */
function Source({ content }: { content: Content }) {
  const { label_source, label_author, score, other_labels } = content;
  const yours = label_source === "your label";
  const who = yours ? "yours" : label_author === "language model" ? "LM label" : label_source;
  const detection = score?.detection;
  if (!who && detection === undefined) return null;
  const others = other_labels.map((each) => `${each.text} (${each.source || each.author})`);
  const title = [
    label_author === "language model" && "This label was written by a language model.",
    label_source && !yours && `Source: ${label_source}.`,
    score &&
      `Scores of the label: ${Object.entries(score)
        .map(([name, value]) => `${name} ${formatNumber(value)}`)
        .join(
          ", ",
        )}. Detection is the area under the ROC curve on texts that the labeller did not see.`,
    others.length && `Also called: ${others.join("; ")}.`,
  ];
  return (
    <span
      class={label_author === "language model" ? "sw-chip sw-num sw--by-model" : "sw-chip sw-num"}
      title={title.filter(Boolean).join(" ")}
    >
      {[who, detection !== undefined && `detection ${detection.toFixed(2)}`]
        .filter(Boolean)
        .join(" · ")}
    </span>
  );
}

function Step({ card, step }: { card: Card; step: 1 | -1 }) {
  const to = card.beside(step);
  return (
    <Button
      kind="quiet sw-num"
      asks
      aria-label={step < 0 ? "Previous feature" : "Next feature"}
      aria-disabled={to === null}
      onClick={() => to !== null && card.show(to)}
    >
      {to === null ? (step < 0 ? "‹" : "›") : step < 0 ? `‹ ${to}` : `${to} ›`}
    </Button>
  );
}
