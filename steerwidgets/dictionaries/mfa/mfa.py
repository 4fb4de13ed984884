"""Mixtures of factor analysers: regions of activation space, each with a centroid and a few loadings."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, overload

from steerwidgets import demo
from steerwidgets.dictionaries.base import Dictionary, call
from steerwidgets.dictionaries.evidence import FeatureData
from steerwidgets.dictionaries.mfa import file as mfa_file
from steerwidgets.dictionaries.mfa import points as mfa_points
from steerwidgets.dictionaries.mfa.features import MFAFeature, MFAMixture, or_loading
from steerwidgets.dictionaries.mfa.file import Checkpoint
from steerwidgets.dictionaries.mfa.plot import ComponentPoints, component_points
from steerwidgets.dictionaries.mfa.points import Context, Points, Score
from steerwidgets.dictionaries.mfa.reading import MixtureReading
from steerwidgets.dictionaries.names import LabelsLike, labels_in
from steerwidgets.dictionaries.reports import MFAReport
from steerwidgets.dictionaries.statistics import FeatureStatistics
from steerwidgets.files.fields import Fields, naming
from steerwidgets.steering.recipe import Feature
from steerwidgets.transformer.sites import STREAMS, Site, Stream

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from steerwidgets.dictionaries.mfa.reading import Terms
    from steerwidgets.transformer.loaded import LoadedModel


_DEMO: Final = Path(demo.__file__).parent / "mfa.pt"
"""In the reference's format; the loadings' directions are float16 there."""

_DEMO_FEATURES: Final = Path(demo.__file__).parent / "mfa_features.safetensors"


class MFA(MixtureReading, Dictionary):
    """A mixture of factor analysers (arXiv 2602.02464), read as responsibilities and steered by `pull`.

    Args:
        state_dict: as the reference's `MFA` has it.
        meta: as the reference's file has it: `eps_floor`, `rotation_on`, …
        layer: the block, counted from 0.
        stream: the stream of that block.
        centred: whether it describes residuals without their mean over d_model, as TransformerLens has them for models
            with LayerNorm (GPT-2). The mean of what the model has is then taken off before anything else.
        labels: of the components, in any form of `LabelsLike`, or none.
        provenance: where it comes from.

    Attributes:
        report: how its fit went; None where nothing is known.

    Raises:
        ValueError: a tensor is missing or has a wrong shape, or holds NaN or infinite values.
    """

    kind: ClassVar[str] = "MFA"
    active_above: ClassVar[float] = 1e-3  # a responsibility is never 0

    def __init__(
        self,
        state_dict: Mapping[str, Tensor],
        meta: Mapping[str, Any] | None = None,
        *,
        layer: int,
        stream: Stream = "resid_post",
        centred: bool = False,
        labels: LabelsLike | None = None,
        provenance: Mapping[str, str] | None = None,
    ) -> None:
        self.checkpoint = Checkpoint(state_dict, meta or {})
        self.site = Site(layer, stream)
        self.centred = bool(centred)
        self.labels = labels
        self.provenance = dict(provenance or {})
        self.centroids = self.checkpoint.mu()
        self.report: MFAReport | None = None
        self._placed: dict[torch.device, Terms] = {}

    def encode(self, h: Tensor) -> Tensor:
        """Every component's responsibility, float32 [..., size]."""
        return self.responsibilities(h)

    def activations(self, h: Tensor, features: Sequence[int]) -> Tensor:
        """Some components' responsibilities, for one look at the density."""
        if None in features:
            return super().activations(h, features)
        return self.responsibilities(h)[..., self.checked(features)]

    def vector(self, index: int) -> Tensor:
        """`μ_k` minus the mean of the mixture; `μ_k` itself where that is nothing, as in a mixture of one."""
        apart = self.centroids[index] - self.mean
        return apart if bool(apart.any()) else or_loading(self.centroids[index], self, index)

    def feature(self, index: int) -> MFAFeature:
        """The component at an index."""
        return MFAFeature(**self._entry(index), mfa=self)

    @functools.cached_property
    def mixture(self) -> MFAMixture:
        """All components at once, weighted by responsibility: `mfa.mixture.pull(0.6)` is the reference's `k=None`."""
        return self._mixture()

    def _mixture(self, components: Iterable[int] = ()) -> MFAMixture:
        whose = {"dictionary": self.fingerprint, "dictionary_kind": self.kind, "made_for": self.made_for}
        return MFAMixture.of(self, whose, components)

    @overload
    def __getitem__(self, name: int | str) -> MFAFeature: ...
    @overload
    def __getitem__(self, name: tuple[int, ...] | None) -> MFAMixture: ...
    def __getitem__(self, name: int | str | tuple[int, ...] | None) -> Feature:
        """A component by index or label; None gives the mixture, so that recipes find it again.

        Several indices, as in `mfa[3, 20]`, give the mixture whose `pull` has loadings of their own for those.
        """
        if isinstance(name, tuple):
            return self._mixture(name)
        return self.mixture if name is None else super().__getitem__(name)

    def weights(self) -> Iterable[Tensor]:
        """The tensors, and what else decides what it does."""
        import torch

        names = [
            name for name in sorted(self.checkpoint.state) if self.checkpoint.rotated or not name.startswith("_rot")
        ]
        yield from (self.checkpoint.state[name] for name in names)
        yield torch.tensor([self.checkpoint.eps, self.checkpoint.rotated, self.centred], dtype=torch.float64)

    def at(self, layer: int, stream: Stream | None = None) -> MFA:
        """The same mixture at another site; the reference steers several layers with one."""
        other = copy.copy(self)
        other.site = Site(layer, stream or self.site.stream)
        other.source_code = other.statistics = None
        for name in ("fingerprint", "mixture", "user_labels"):
            other.__dict__.pop(name, None)
        return other

    def points(self, lm: LoadedModel, texts: Iterable[Any], **settings: Any) -> Points:
        """Residuals of texts at its site, read as `dictionaries.mfa.collect` does."""
        from steerwidgets.dictionaries.mfa.collect import collect

        return collect(lm, texts, self.site, **settings)

    def contexts(
        self,
        points: Points,
        components: Sequence[int] | None = None,
        *,
        by: Score = "likelihood",
        sample: int = 10,
        pool: int = 5000,
        seed: int = 0,
        window: int = 16,
    ) -> dict[int, tuple[Context, ...]]:
        """What components are about: points sampled among those that score highest, so that they don't all look alike.

        As in the reference's tutorial, one random generator goes over the components in turn. (Its code keeps 50 for
        each component by default, whatever the tutorial's 5,000 says: `pool=50` gives that.)

        Args:
            points: residuals with their texts.
            components: which, all by default.
            by: `likelihood`, `ln p(x|k)`, or `responsibility`.
            sample: how many of each component.
            pool: how many of the highest they are drawn from.
            seed: of the draw.
            window: how many tokens before the point are shown.
        """
        return mfa_points.contexts(self, points, components, by=by, sample=sample, pool=pool, seed=seed, window=window)

    def component_points(
        self, points: Points, component: int, *, min_responsibility: float | None = None, most: int = 100_000
    ) -> ComponentPoints:
        """The first `most` points of a component, in the coordinates of its loadings.

        Its points are those that no other component explains better, or those with a responsibility given.
        """
        return component_points(self, points, component, min_responsibility, most)

    def save(self, path: str | Path) -> None:
        """Write a file that `MFA.load` and the reference's `load_mfa` read; layer and the like stand in its `extra`."""
        extra: dict[str, Any] = {
            "layer": self.site.layer,
            "stream": self.site.stream,
            "centred": self.centred,
            "labels": list(self.labels),
            "provenance": dict(self.provenance),
        }
        if self.statistics is not None:
            extra["statistics"], extra["statistics_of"] = self.statistics.entries()
        if self.report is not None:
            extra["report"] = asdict(self.report)
        mfa_file.write(Path(path), self.checkpoint, extra)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        layer: int | None = None,
        stream: Stream | None = None,
        centred: bool | None = None,
        labels: LabelsLike | None = None,
    ) -> MFA:
        """Read a file of the reference: `{"state_dict", "meta"}`, or a bare state_dict. No code in it is run.

        Args:
            path: the file.
            layer: the block; needed for files that `MFA.save` did not write, which do not say.
            stream: the stream, `resid_post` where neither this nor the file says.
            centred: whether its residuals had no mean, as those of TransformerLens for GPT-2; False where nothing says.
            labels: as for `MFA`; by default those in the file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, holds code, is not of an MFA, or does not say the layer.
        """
        path = Path(path)
        with naming(path):
            checkpoint = mfa_file.read(path)
            said = Fields(checkpoint.meta, "In the meta of this MFA").inner("extra")
            layer = said.whole("layer", None, low=0) if layer is None else layer
            if layer is None:
                raise ValueError(f"{path.name} does not say which block its MFA belongs to; pass layer=.")
            loaded = cls(
                checkpoint.state,
                checkpoint.meta,
                layer=layer,
                stream=stream or _stream(said),
                centred=said.flag("centred", default=False) if centred is None else centred,
                labels=labels_in(said, "labels") if labels is None else labels,
                provenance=said.texts("provenance"),
            )
            if "statistics" in said:
                tensors, header = said.inner("statistics").table, said.text("statistics_of")
                loaded.statistics = FeatureStatistics.from_entries(tensors, header)
            loaded.report = MFAReport.of(said.value("report")) if "report" in said else None
        loaded.source_code = call(
            f"sw.MFA.load({str(path)!r}", layer=layer, stream=stream, centred=centred, labels=labels
        )
        return loaded

    @classmethod
    def demo(cls) -> MFA:
        """The mixture shipped for the embedded model."""
        mfa = cls.load(_DEMO)
        if _DEMO_FEATURES.exists():
            mfa.feature_data = FeatureData.load(_DEMO_FEATURES)
        mfa.source_code = "sw.MFA.demo()"
        return mfa

    @classmethod
    def fit(
        cls,
        lm: LoadedModel,
        texts: Iterable[Any] | Points,
        *,
        layer: int,
        components: int,
        rank: int,
        stream: Stream = "resid_post",
        seed: int = 0,
        **settings: Any,
    ) -> MFA:
        """Fit one to the residuals of texts; settings as for `dictionaries.mfa.fit`."""
        from steerwidgets.dictionaries.mfa.fit import fit

        fitted = fit(lm, texts, Site(layer, stream), components, rank, seed=seed, **settings)
        of = fitted.checkpoint
        made = cls(of.state, of.meta, layer=layer, stream=stream, centred=fitted.centred, provenance=fitted.provenance)
        made.report = fitted.report
        return made


def _stream(said: Fields) -> Stream:
    named: Any = said.text("stream", "resid_post", choices=STREAMS)
    stream: Stream = named
    return stream
