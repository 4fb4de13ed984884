import "./feature_card.css";
import { render } from "preact";
import { Card } from "../card/card";
import { CardExamples } from "../card/examples";
import { CardHeader } from "../card/header";
import { Loadings, Nearest, Promotes } from "../card/lists";
import { CardNumbers } from "../card/numbers";
import { CardOwn, Progress } from "../card/own";
import { CardSilent } from "../card/silent";
import { Tip, TipBox } from "../card/tip";
import { CardVerdict } from "../card/verdict";
import { type HostModel, lifetime } from "../host/host";
import type { ReadonlySignal } from "../host/signals";
import { Failure } from "../ui/failure";
import { useLayoutEffect, useMemo } from "../ui/hooks";
import { featureHues } from "../ui/hues";
import { Provenance } from "../ui/provenance";
import { createRoot } from "../ui/root";
import type { Theme } from "../ui/theme";

interface Props {
  model: HostModel;
  signal?: AbortSignal;
}

/** A factory: the host makes one of these per model, so the closure holds what its views share. */
export default function featureCard() {
  let card: Card | null = null;
  return {
    initialize({ model, signal }: Props) {
      const life = lifetime(signal);
      card = new Card(model, life.signal);
      return life.end;
    },
    render({ model, el, signal }: Props & { el: HTMLElement }) {
      const life = lifetime(signal);
      card ??= new Card(model, life.signal);
      const { element, theme } = createRoot(el, "sw-card", life.signal);
      render(<View card={card} theme={theme} root={element} />, element);
      life.signal.addEventListener("abort", () => render(null, element), { once: true });
      return life.end;
    },
  };
}

interface ViewProps {
  card: Card;
  theme: ReadonlySignal<Theme>;
  root: HTMLElement;
}

function View({ card, theme, root }: ViewProps) {
  const tip = useMemo(() => new Tip(), []);
  const { palette } = theme.value;
  const scale = card.scale.value;
  const content = card.content.value;
  const paint = useMemo(() => {
    const [hue] = featureHues(root, palette, 1);
    return hue && { scale, hue, palette, tip };
  }, [scale, palette]);
  // What was pointed at is gone.
  const tab = card.traits.tab.value;
  useLayoutEffect(() => {
    tip.hide();
    card.point(null);
  }, [content?.key, tab]);
  if (!content || !paint)
    return (
      <div class="sw-frame">
        <p class="sw-empty">Waiting for the feature…</p>
      </div>
    );
  const doing = card.doing.value;
  return (
    <>
      <div class="sw-frame">
        <CardHeader card={card} content={content} />
        <div class="sw-side">
          <CardNumbers card={card} content={content} />
          <Promotes content={content} />
          {content.mixture && <Loadings card={card} loadings={content.mixture.loadings} />}
          <Nearest card={card} content={content} />
          <CardVerdict card={card} />
        </div>
        <div class="sw-main">
          {card.failure.value && (
            <Failure
              sentence={card.failure.value}
              onDismiss={() => {
                card.failure.value = "";
              }}
            />
          )}
          {doing?.what === "show" && <Progress card={card} doing={doing} />}
          <CardExamples card={card} content={content} paint={paint} />
          <CardOwn card={card} paint={paint} />
          <CardSilent card={card} paint={paint} />
          <Provenance facts={card.traits.provenance.value} />
        </div>
      </div>
      <TipBox tip={tip} root={root} />
    </>
  );
}
