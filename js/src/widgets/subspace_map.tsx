import "./subspace_map.css";
import { MapHeader } from "../subspace_map/header";
import { FeatureList } from "../subspace_map/list";
import { MapState } from "../subspace_map/map";
import { NearFeatures } from "../subspace_map/near";
import { Overview } from "../subspace_map/overview";
import { Pull } from "../subspace_map/pull";
import { TokenMap } from "../subspace_map/tokens";
import { Failure } from "../ui/failure";
import { type Mounted, mount } from "../ui/mount";
import { Provenance } from "../ui/provenance";

export default mount(MapState, View, "sw-map");

function View({ state: map, theme: themes, root }: Mounted<MapState>) {
  const facts = map.facts.value;
  const features = map.features.value;
  const theme = themes.value;
  if (!facts || !features)
    return (
      <div class="sw-frame">
        <p class="sw-empty">Waiting for the kernel…</p>
      </div>
    );
  const failure = map.failure.value;
  const regions = facts.rank > 0;
  const drawn = { map, facts, features, root, theme };
  return (
    <div class="sw-frame">
      <MapHeader map={map} facts={facts} />
      <div class="sw-left">
        {regions && <Overview {...drawn} whole={false} />}
        <FeatureList map={map} facts={facts} features={features} />
      </div>
      <div class="sw-main">
        {failure && (
          <Failure
            sentence={failure}
            onDismiss={() => {
              map.failure.value = "";
            }}
          />
        )}
        {facts.misfit && (
          <p class="sw-note sw-misfit" role="note">
            {facts.misfit}
          </p>
        )}
        {regions ? (
          <>
            <Lacking map={map} problem={facts.problem} />
            <TokenMap map={map} root={root} theme={theme} />
          </>
        ) : (
          <Overview {...drawn} whole />
        )}
        <Provenance facts={map.traits.provenance.value} />
      </div>
      <div class="sw-side">
        {regions ? <Pull map={map} facts={facts} /> : <NearFeatures map={map} facts={facts} />}
      </div>
    </div>
  );
}

/** Why there are no tokens among which the target stands, and what to do about it. */
function Lacking({ map, problem }: { map: MapState; problem: string }) {
  const tokens = map.tokens.value;
  if (tokens?.count) return null;
  const said = tokens
    ? "None of the tokens read belongs to this component: choose another one on the left, or give more texts."
    : problem ||
      (map.frozen
        ? "No texts were read before this copy was made."
        : "Press Read texts: the tokens that belong to this component then lie along its loadings. The target steers without them too.");
  return <p class="sw-empty sw--framed">{said}</p>;
}
