import "./feature_card.css";
import { useLayoutEffect, useMemo } from "preact/hooks";
import { Card } from "../card/card";
import { CardExamples } from "../card/examples";
import { CardHeader } from "../card/header";
import { Loadings, Nearest, Promotes } from "../card/lists";
import { CardNumbers } from "../card/numbers";
import { CardOwn, Progress } from "../card/own";
import { CardSilent } from "../card/silent";
import { Tip, TipBox } from "../card/tip";
import { CardVerdict } from "../card/verdict";
import { Failure } from "../ui/failure";
import { featureHues } from "../ui/hues";
import { type Mounted, mount } from "../ui/mount";
import { Provenance } from "../ui/provenance";

export default mount(Card, View, "sw-card");

function View({ state: card, theme, root }: Mounted<Card>) {
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
          <Promotes card={card} content={content} />
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
