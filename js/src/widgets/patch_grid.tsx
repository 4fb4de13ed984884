import "./patch_grid.css";
import { useComputed } from "@preact/signals";
import { PatchDetail } from "../patch_grid/detail";
import { PatchCells, PatchPainter } from "../patch_grid/grid";
import { PatchHeader } from "../patch_grid/header";
import { PatchLegend } from "../patch_grid/legend";
import { PatchPairs } from "../patch_grid/pairs";
import { Patch } from "../patch_grid/patch";
import { PatchTexts } from "../patch_grid/texts";
import { Failure } from "../ui/failure";
import { type Mounted, mount } from "../ui/mount";
import { Provenance } from "../ui/provenance";

export default mount(Patch, View, "sw-patch");

function View({ state: patch, theme }: Mounted<Patch>) {
  const { palette } = theme.value;
  const painter = useComputed(() => new PatchPainter(patch, theme.value.palette));
  const failure = patch.failure.value;
  const problem = patch.plan.value?.problem;
  const ready = patch.columns.value.length > 0 && !problem;
  return (
    <div class="sw-frame">
      <PatchHeader patch={patch} />
      <div class="sw-main">
        <PatchTexts patch={patch} />
        {failure && (
          <Failure
            sentence={failure}
            onDismiss={() => {
              patch.failure.value = "";
            }}
          />
        )}
        <p class="sw-patch-problem" role="status">
          {problem}
        </p>
        <PatchPairs patch={patch} />
        {ready ? (
          <>
            <PatchLegend patch={patch} palette={palette} />
            <PatchCells patch={patch} painter={painter.value} />
          </>
        ) : (
          <p class="sw-empty sw--framed">
            Give two texts that the model answers differently: each cell then says how much of the
            difference the residual of one block after one token carries.
          </p>
        )}
        <Provenance facts={patch.traits.provenance.value} />
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reachable by keys */}
      <section class="sw-side" aria-label="Details" tabIndex={0}>
        <PatchDetail patch={patch} />
      </section>
    </div>
  );
}
