"""Mixtures of factor analysers: regions of activation space, each with a centroid and a few loadings."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Unpack, overload

from steerwidgets import demo
from steerwidgets.dictionaries.base import Dictionary, call, refuse_path
from steerwidgets.dictionaries.evidence import FeatureData
from steerwidgets.dictionaries.mfa import file as mfa_file
from steerwidgets.dictionaries.mfa import points as mfa_points
from steerwidgets.dictionaries.mfa.component import Belonging, ComponentPoints, belonging, component_points
from steerwidgets.dictionaries.mfa.features import MFAFeature, MFAMixture, or_loading
from steerwidgets.dictionaries.mfa.file import Checkpoint
from steerwidgets.dictionaries.mfa.points import Context, Points, Score
from steerwidgets.dictionaries.mfa.reading import MixtureReading
from steerwidgets.dictionaries.names import LabelsLike, labels_in
from steerwidgets.dictionaries.reports import MFAReport
from steerwidgets.dictionaries.statistics import FeatureStatistics
from steerwidgets.files.fields import Fields, naming
from steerwidgets.steering.hooks import check_feature
from steerwidgets.steering.recipe import Feature
from steerwidgets.transformer.mistakes import refuse_no_model, refuse_unknown
from steerwidgets.transformer.sites import STREAMS, Site, Stream

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from steerwidgets.dictionaries.mfa.collect import CollectSettings
    from steerwidgets.dictionaries.mfa.fit import FitSettings
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

    Example:
        >>> width, components, rank = 32, 3, 2
        >>> state = {
        ...     "mu": torch.randn(components, width),
        ...     "dir_raw": torch.randn(components, width, rank),
        ...     "scale_rho": torch.zeros(components, rank),
        ...     "psi_rho": torch.zeros(width),
        ...     "pi_logits": torch.zeros(components),
        ... }
        >>> mfa = sw.MFA(state, layer=1)
        >>> mfa.encode(torch.randn(4, width)).shape  # responsibilities
        torch.Size([4, 3])
        >>> mfa[0].pull(0.5, z={1: 2.0})
        'MFA 0'.pull(a=0.5, z1=2)
    """

    kind: ClassVar[str] = "MFA"
    active_above: ClassVar[float] = 1e-3  # a responsibility is never 0
    are_regions: ClassVar[bool] = True

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
        refuse_path(state_dict, "sw.MFA")
        self.checkpoint = Checkpoint(state_dict, meta or {})
        self.site = Site(layer, stream)
        self.centred = bool(centred)
        self.labels = labels
        self.provenance = dict(provenance or {})
        self.centroids = self.checkpoint.mu()
        self.report: MFAReport | None = None
        self._home: torch.device | None = None
        self._placed: dict[torch.device, Terms] = {}
        self._others_on: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def _move(self, device: torch.device | None, dtype: torch.dtype | None) -> None:
        if dtype is not None:
            raise ValueError(
                "A mixture is computed in float32, since its densities are differences of large numbers; give it a "
                'device alone: mfa.to("cuda").'
            )
        self._home, self._placed, self._others_on = device, {}, {}

    def encode(self, h: Tensor) -> Tensor:
        """Every component's responsibility; see `responsibilities`.

        Args:
            h: [..., d_model].

        Returns:
            float32 [..., size], 0 to 1.

        Raises:
            ValueError: the residual has another width than the mixture.

        Example:
            >>> mfa.encode(torch.randn(4, 32)).shape
            torch.Size([4, 5])
        """
        return self.responsibilities(h)

    def activations(self, h: Tensor, features: Sequence[int]) -> Tensor:
        """Some components' responsibilities, for one look at the density.

        Args:
            h: [..., d_model].
            features: indices of components; None among them stands for the mixture.

        Returns:
            float32 [..., feature], 0 to 1; `ln p(h)` for the mixture.

        Raises:
            IndexError: there is no such component.
            ValueError: the residual has another width than the mixture.

        Example:
            >>> mfa.activations(torch.randn(4, 32), [0, 3]).shape
            torch.Size([4, 2])
        """
        if None in features:
            return super().activations(h, features)
        return self.responsibilities(h)[..., self.checked(features)]

    def vector(self, index: int) -> Tensor:
        """`μ_k` minus the mean of the mixture; `μ_k` itself where that is nothing, as in a mixture of one.

        Args:
            index: the component.

        Returns:
            float32 [d_model], in units of the residual.

        Example:
            >>> torch.allclose(mfa.vector(0), mfa.centroids[0] - mfa.mean)
            True
        """
        apart = self.centroids[index] - self.mean
        return apart if bool(apart.any()) else or_loading(self.centroids[index], self, index)

    @property
    def feature_weights(self) -> Tensor:
        """`π`, how much of what it was fitted to each component has; float32 [component]."""
        return self.mixing

    def feature(self, index: int) -> MFAFeature:
        """The component at an index.

        Args:
            index: the component, which is known to exist; `mfa[…]` checks, and takes labels too.

        Returns:
            The component.

        Example:
            >>> mfa.feature(3)
            <MFA 'MFA 3' at block 1 resid_post>
        """
        return MFAFeature(**self._entry(index), mfa=self)

    @functools.cached_property
    def mixture(self) -> MFAMixture:
        """All components at once, weighted by responsibility: `mfa.mixture.pull(0.6)` is the reference's `k=None`.

        Example:
            >>> mfa.mixture.pull(0.6)
            'mixture'.pull(a=0.6)
        """
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
        """The tensors, and what else decides what it does.

        Returns:
            Tensors of any shapes.

        Example:
            >>> all(isinstance(each, torch.Tensor) for each in mfa.weights())
            True
        """
        import torch

        names = [
            name for name in sorted(self.checkpoint.state) if self.checkpoint.rotated or not name.startswith("_rot")
        ]
        yield from (self.checkpoint.state[name] for name in names)
        yield torch.tensor([self.checkpoint.eps, self.checkpoint.rotated, self.centred], dtype=torch.float64)

    def at(self, layer: int, stream: Stream | None = None) -> MFA:
        """The same mixture at another site; the reference steers several layers with one.

        Args:
            layer: the block, counted from 0.
            stream: its stream; by default the mixture's own.

        Returns:
            A mixture that shares the tensors of this one.

        Raises:
            ValueError: the layer or the stream is none.

        Example:
            >>> mfa.at(2).site
            Site(layer=2, stream='resid_post')
        """
        other = copy.copy(self)
        other.site = Site(layer, stream or self.site.stream)
        other.source_code = other.statistics = None
        for name in ("fingerprint", "mixture", "user_labels"):
            other.__dict__.pop(name, None)
        return other

    def points(self, lm: LoadedModel, texts: Iterable[Any], **settings: Unpack[CollectSettings]) -> Points:
        """Residuals of texts at its site, read as `dictionaries.mfa.collect` does.

        Args:
            lm: the model.
            texts: strings (read raw), messages or token ids; an iterator is read no further than needed.
            settings: `bos`, `keep_sinks`, `max_tokens`, `max_length`, `cache`, `on_progress`, `stop`, as
                `CollectSettings` explains them.

        Returns:
            `.residuals`, float32 [n, d_model], with their texts and positions.

        Raises:
            TypeError: one text was given in place of several, or there is no such setting.
            ValueError: no text has a token of its own words, a setting is out of range, or it is of another model.

        Example:
            >>> points = mfa.points(lm, ["The user asks the assistant about the ocean."])
            >>> len(points) == len(points.residuals)
            True
        """
        from steerwidgets.dictionaries.mfa.collect import CollectSettings, collect

        refuse_no_model(lm, "mfa.points", "texts")
        refuse_unknown("mfa.points", settings, CollectSettings.__annotations__)
        check_feature(lm.architecture, self[0])
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

        Returns:
            For each component its contexts, in the order in which they were drawn.

        Raises:
            IndexError: there is no such component.
            ValueError: there is no such score, or the points are of another width.

        Example:
            >>> points = mfa.points(lm, ["The user asks the assistant about the ocean."])
            >>> found = mfa.contexts(points, [0, 1], sample=3)
            >>> list(found), len(found[0])
            ([0, 1], 3)
        """
        return mfa_points.contexts(self, points, components, by=by, sample=sample, pool=pool, seed=seed, window=window)

    def component_points(
        self,
        points: Points,
        component: int,
        *,
        min_responsibility: float | None = None,
        most: int = 100_000,
        where: Belonging | None = None,
    ) -> ComponentPoints:
        """The first `most` points of a component, in the coordinates of its loadings.

        Its points are those that no other component explains better, or those with a responsibility given.

        Args:
            points: residuals with their texts.
            component: which.
            min_responsibility: those with this responsibility or more; by default those that no other component
                explains better.
            most: how many at most.
            where: what `belonging` found of the same points, so that they need not be looked at again.

        Returns:
            `.coordinates` and `.z`, float32 [n, rank], with tokens, and what draws them.

        Raises:
            IndexError: there is no such component.
            ValueError: the points are of another width.

        Example:
            >>> points = mfa.points(lm, ["The user asks the assistant about the ocean."])
            >>> found = mfa.component_points(points, 0, min_responsibility=0.0)  # all of them
            >>> found.coordinates.shape == (len(points), mfa.rank)
            True
        """
        return component_points(self, points, component, min_responsibility, most, where)

    def belonging(self, points: Points) -> Belonging:
        """Which component explains each point best: looked at once, it serves all of them.

        Args:
            points: residuals with their texts.

        Returns:
            `.component`, int [n], and `.responsibility`, float32 [n].

        Raises:
            ValueError: the points are of another width.

        Example:
            >>> points = mfa.points(lm, ["The user asks the assistant about the ocean."])
            >>> where = mfa.belonging(points)
            >>> k = int(where.component[0])
            >>> 0 in mfa.component_points(points, k, where=where).rows
            True
        """
        return belonging(self, points)

    def save(self, path: str | Path) -> None:
        """Write a file that `MFA.load` and the reference's `load_mfa` read; layer and the like stand in its `extra`.

        Args:
            path: the file.

        Example:
            >>> mfa.save(folder / "mfa.pt")
            >>> sw.MFA.load(folder / "mfa.pt").fingerprint == mfa.fingerprint
            True
        """
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

        Returns:
            The mixture, its tensors as the file has them.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, holds code, is not of an MFA, or does not say the layer.

        Example:
            >>> mfa.save(folder / "mfa.pt")
            >>> sw.MFA.load(folder / "mfa.pt", layer=2)
            <MFA of 5 features at block 2 resid_post>
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
        """The mixture shipped for the embedded model.

        Returns:
            The mixture, with evidence of its components.

        Example:
            >>> sw.MFA.demo().kind
            'MFA'
        """
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
        **settings: Unpack[FitSettings],
    ) -> MFA:
        """Fit one to the residuals of texts; settings as for `dictionaries.mfa.fit`.

        Clusters first, then Adam on the mean negative log-likelihood, as the reference's `modeling/train.py` does
        (arXiv 2602.02464).

        Args:
            lm: the model that reads the texts.
            texts: strings (read raw), messages or token ids; or points that were collected already.
            layer: the block, counted from 0.
            components: how many.
            rank: the loadings of each component.
            stream: the stream of that block.
            seed: of the clusters, the first loadings and the order of the points.
            settings: `epochs`, `learning_rate`, `held_out`, `max_tokens` and the others that `FitSettings` explains.

        Returns:
            The mixture; `.report` says how the fit went, in nats for each point.

        Raises:
            ValueError: a setting is out of range, `centred` with a model that has no LayerNorm, or no text has a token
                of its own words.
            RuntimeError: it was stopped before anything was learned, or the likelihood was lost.
            ModuleNotFoundError: k-means needs scikit-learn.

        Example:
            >>> texts = ["The user asks the assistant about the ocean.", "Name a city by the sea, please."]
            >>> made = sw.MFA.fit(lm, texts, layer=1, components=2, rank=1, epochs=1, initialisation="points")
            >>> made.size, made.rank, len(made.report.nll)
            (2, 1, 1)
        """
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
