"""What every dictionary offers: features by index and label, search, directions, provenance."""

from __future__ import annotations

import functools
import hashlib
import itertools
import operator
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NoReturn, Self

from steerwidgets.calls import tell_calls, tells_calls
from steerwidgets.dictionaries.geometry import FeatureMap, MapMethod, feature_map
from steerwidgets.dictionaries.names import FeatureNames, LabelsLike, holds
from steerwidgets.dictionaries.nearest import Nearest, nearest
from steerwidgets.files.shown import shown
from steerwidgets.labels.files import Label
from steerwidgets.labels.labels import Count
from steerwidgets.labels.own import UserLabels
from steerwidgets.steering.recipe import YOUR_LABEL
from steerwidgets.transformer.mistakes import is_text, one_or_several, what, wrong

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from steerwidgets.dictionaries.effects import KnownEffect
    from steerwidgets.dictionaries.evidence import Evidence, FeatureEvidence
    from steerwidgets.dictionaries.statistics import FeatureStatistics
    from steerwidgets.steering.recipe import Direction, Feature
    from steerwidgets.transformer.sites import Site


@tells_calls("sw.Dictionary", "dictionary")
class Dictionary(ABC):
    """A set of features at one site. A new kind says where its features live, how they read, and how they steer.

    Attributes:
        kind: what it is called on screen: `CAV`, `SAE`, `ReFT`, …
        active_above: the activation above which a feature counts as active: 0, but for kinds that are never 0.
        adds_up: whether activations times directions add up to the residual, so that a feature has a share in another's
            direction.
        are_axes: whether its directions are the axes of their space, whose cosines say nothing.
        are_regions: whether its features are places in the space of residuals with loadings of their own, so that how
            far they lie from one another counts, and not the angle alone.
        site: where its features are read and steered.
        labels: the imported labels, the first one of each feature, "" for a feature without one; or empty, where there
            are none at all. They may be set, in every form that `LabelsLike` names.
        provenance: where it comes from, name by name.
        source_code: the Python expression that makes it again, for snippets; None where there is none.
        statistics: what its features did on a corpus; None where nothing is known. It may be set.
        feature_data: examples, histograms, tokens and neighbours of its features, likewise.
        label_scores: how well a feature's first imported label did in a test, where it was tested: numbers by name,
            such as `detection`, the AUROC of the label's texts against others.
        effects: what steering with some features does to the next token through the model, where that was measured
            before; for others `lm.effect` measures it.
    """

    kind: ClassVar[str]
    active_above: ClassVar[float] = 0.0
    adds_up: ClassVar[bool] = False
    are_axes: ClassVar[bool] = False
    are_regions: ClassVar[bool] = False
    site: Site
    provenance: Mapping[str, str] = MappingProxyType({})
    source_code: str | None = None
    label_scores: Mapping[int, Mapping[str, float]] = MappingProxyType({})
    effects: Mapping[int, KnownEffect] = MappingProxyType({})
    _names: FeatureNames | None = None
    _statistics: FeatureStatistics | None = None
    _feature_data: FeatureEvidence | None = None

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        tell_calls(cls, f"sw.{cls.__name__}", "dictionary")

    @property
    @abstractmethod
    def size(self) -> int:
        """How many features there are."""

    @property
    @abstractmethod
    def d_model(self) -> int:
        """The width of the site."""

    @abstractmethod
    def vector(self, index: int) -> Tensor:
        """The stored direction of a feature, float32 [d_model]."""

    @property
    def writes_at(self) -> Site:
        """Where its features write: where they are read, but for a transcoder's."""
        return self.site

    def directions(self, start: int = 0, stop: int | None = None) -> Tensor:
        """The stored directions of the features from `start` to before `stop`, float32 [feature, width].

        Args:
            start: the first feature.
            stop: the one after the last; by default all the rest.

        Returns:
            float32 [feature, d_model], in units of the residual.

        Example:
            >>> mfa.directions(0, 2).shape
            torch.Size([2, 32])
        """
        import torch

        indices = range(start, self.size if stop is None else min(stop, self.size))
        return torch.stack([self.vector(index) for index in indices])

    @abstractmethod
    def feature(self, index: int) -> Feature:
        """The feature at an index that is known to exist."""

    @abstractmethod
    def encode(self, h: Tensor) -> Tensor:
        """Every feature's activation in a residual.

        Args:
            h: [..., d_model].

        Returns:
            float32 [..., size].
        """

    @abstractmethod
    def weights(self) -> Iterable[Tensor]:
        """The tensors that make it what it is, for its fingerprint."""

    def activations(self, h: Tensor, features: Sequence[int]) -> Tensor:
        """Some features' activations; a kind that can read one feature for the cost of one column does.

        Args:
            h: [..., d_model].
            features: indices.

        Returns:
            float32 [..., feature].

        Raises:
            IndexError: there is no such feature.
            ValueError: the residual has another width than the dictionary.

        Example:
            >>> h = torch.randn(4, 32)  # the residuals of four tokens
            >>> cavs.activations(h, [0, 2]).shape
            torch.Size([4, 2])
        """
        import torch

        return torch.stack([self[index].activation(h) for index in features], dim=-1)

    def top(self, h: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The `k` strongest features of a residual.

        Args:
            h: [..., d_model].
            k: how many; at most as many as there are.

        Returns:
            float32 [..., k] activations from the strongest down, and int [..., k] their indices.

        Example:
            >>> values, features = sae.top(torch.randn(4, 32), k=3)
            >>> values.shape, features.shape
            (torch.Size([4, 3]), torch.Size([4, 3]))
        """
        values, indices = self.encode(h).topk(min(k, self.size), dim=-1)
        return values, indices

    @property
    def labels(self) -> tuple[str, ...]:
        """The imported labels, the first one of each feature; empty where there are none."""
        return self._names.first if self._names is not None else ()

    @labels.setter
    def labels(self, labels: LabelsLike | None) -> None:
        self._names = FeatureNames(labels, self.size, self.kind, self.unlabelled)

    @functools.cached_property
    def user_labels(self) -> UserLabels:
        """The user's own labels, notes and ratings of these features, kept in the user's data folder.

        `dictionary.user_labels.set(123, label="sea", note="also tides", rating=4)`; they are never mixed with `labels`.
        """
        return UserLabels(self.fingerprint, size=self.size)

    def label(self, index: int) -> str:
        """A feature's label: the user's own, else the first imported one, else what it is without any.

        Args:
            index: the feature's.

        Returns:
            Its label, never empty.

        Example:
            >>> cavs.label(0)
            'the sea'
            >>> sae.label(0)
            'SAE 0'
        """
        imported = self.labels[index] if self.labels else ""
        return self.own_labels().get(index) or imported or self.unlabelled(index)

    def labels_of(self, index: int) -> list[Label]:
        """All labels of a feature with source and author: the user's own, then the imported ones.

        Args:
            index: the feature's.

        Returns:
            Labels with `.text`, `.source` and `.author`; none where it has none.

        Example:
            >>> [label.text for label in cavs.labels_of(1)]
            ['music']
        """
        own = self.own_labels().get(index)
        imported = self._names.of(index) if self._names is not None else []
        return [*([Label(index, own, YOUR_LABEL, "person")] if own else []), *imported]

    def unlabelled(self, index: int) -> str:
        """What a feature without a label is called.

        Args:
            index: the feature's.

        Returns:
            Its kind and index.

        Example:
            >>> cavs.unlabelled(7)
            'CAV 7'
        """
        return f"{self.kind} {index}"

    def find(self, label: str) -> list[int]:
        """The features with exactly this label, imported or the user's own.

        Args:
            label: the whole label, as it is written.

        Returns:
            Their indices in ascending order; none where there is no such label.

        Example:
            >>> cavs.find("music")
            [1]
        """
        imported = self._names.find(label) if self._names is not None else []
        own = [index for index, text in self.own_labels().items() if text == label]
        return sorted({*imported, *own})

    @property
    def statistics(self) -> FeatureStatistics | None:
        """What the features did on a corpus: maximum, typical value, 99.5th percentile, density."""
        return self._statistics

    @statistics.setter
    def statistics(self, statistics: FeatureStatistics | None) -> None:
        if statistics is not None and len(statistics) != self.size:
            raise ValueError(
                f"This {self.kind} dictionary has {self.size} features, but the statistics are of {len(statistics)}."
            )
        self._statistics = statistics

    @property
    def feature_data(self) -> FeatureEvidence | None:
        """What can be seen of the features: examples, histograms, promoted and suppressed tokens, neighbours."""
        return self._feature_data

    @feature_data.setter
    def feature_data(self, data: FeatureEvidence | None) -> None:
        if data is not None and len(data) != self.size:
            raise ValueError(
                f"This {self.kind} dictionary has {self.size} features, but the feature data is of {len(data)}."
            )
        self._feature_data = data

    def evidence(self, index: int) -> Evidence | None:
        """What can be seen of a feature; None where there is no `feature_data`.

        Args:
            index: the feature's.

        Returns:
            Examples, histogram, promoted tokens and neighbours; or None.

        Raises:
            IndexError: there is no such feature.

        Example:
            >>> cavs.evidence(0) is None  # nothing was gathered of these
            True
            >>> sw.CAV.demo().evidence(0).index
            0
        """
        return self._feature_data[self[index].index] if self._feature_data is not None else None

    @property
    def made_for(self) -> str | None:
        """The name of the model that it was made for, where its provenance says."""
        return self.provenance.get("model")

    @property
    def made_for_type(self) -> str | None:
        """The type of the model that it was made for, as its config calls it, where its provenance says that alone."""
        return self.provenance.get("model type")

    def maximum(self, index: int) -> float | None:
        """The largest activation of a feature over the corpus of `statistics`; None where it is not known.

        Args:
            index: the feature's.

        Returns:
            An activation, in the feature's own units; or None.

        Example:
            >>> cavs.maximum(0)
            8.0
        """
        return self._known_of("maximum", index)

    def typical(self, index: int) -> float | None:
        """The median activation of a feature where it is active, likewise.

        Args:
            index: the feature's.

        Returns:
            An activation, in the feature's own units; or None.

        Example:
            >>> cavs.typical(0) is None  # only the maxima are known
            True
        """
        return self._known_of("typical", index)

    def _known_of(self, name: str, index: int) -> float | None:
        return self._statistics.of(name, index) if self._statistics is not None else None

    def _entry(self, index: int) -> dict[str, Any]:
        """What a feature of any kind says of itself: the arguments of `Feature`."""
        return {
            "vector": self.vector(index).cpu(),
            "site": self.site,
            "label": self.label(index),
            "dictionary": self.fingerprint,
            "dictionary_kind": self.kind,
            "index": index,
            "max_activation": self.maximum(index),
            "typical_activation": self.typical(index),
            "p995_activation": self._known_of("p995", index),
            "zero_activation": self._known_of("zero", index),
            "zero_of": self._statistics.zero_of if self._statistics is not None else "",
            "max_activation_of": self._statistics.source if self._statistics is not None else None,
            "made_for": self.made_for,
            "made_for_type": self.made_for_type,
            "label_source": next((label.source for label in self.labels_of(index)), ""),
        }

    @functools.cached_property
    def fingerprint(self) -> str:
        """A short hash of kind, site and weights: what a recipe keeps, and what finds the dictionary again."""
        digest = hashlib.sha256(f"{self.kind} {self.site}".encode())
        for tensor in self.weights():
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().data)
        return f"{self.kind.lower()}:{digest.hexdigest()[:16]}"

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Say where its weights live, and in which numbers they are kept; arithmetic is float32 all the same.

        Without it, what steers and reads beside the model follows the model's block to its device, moved once: of a
        ReLU or JumpReLU SAE a feature's column and row alone, of others the matrices but for those of an SAE, which
        stay where they are. With a device, whole rows (TopK, search, heatmaps) are computed there, wherever the model
        is: `to("cpu")` for a matrix that a GPU has no room for, `to("cuda")` for speed.

        Args:
            device: as torch has it, such as `cpu` or `cuda:1`; by default it stays.
            dtype: float32, float16 or bfloat16; by default it stays. Rounded weights are another dictionary, of another
                fingerprint.

        Returns:
            The dictionary itself.

        Raises:
            ValueError: neither was given, it is no such dtype, or its weights are not its own to move.

        Example:
            >>> sae.to("cpu", torch.bfloat16) is sae
            True
        """
        import torch

        if device is None and dtype is None:
            raise ValueError('dictionary.to takes a device, a dtype or both: dictionary.to("cuda", torch.bfloat16).')
        if dtype not in (None, torch.float32, torch.float16, torch.bfloat16):
            raise ValueError(
                f"A dictionary is kept in float32, float16 or bfloat16, but {str(dtype)[:40]} was given; choose one "
                "of them."
            )
        try:
            place = None if device is None else torch.device(device)
        except (RuntimeError, TypeError):
            raise ValueError(
                f"device= is a device as torch names it, such as 'cpu' or 'cuda:0', but {shown(device)} was given."
            ) from None
        self._move(place, dtype)
        if dtype is not None:
            self.__dict__.pop("fingerprint", None)
        return self

    def _move(self, device: torch.device | None, dtype: torch.dtype | None) -> None:  # noqa: ARG002 - others take them
        """See `to`; None for what stays. Kinds whose weights are their own have a way."""
        raise ValueError(
            f"What this {self.kind} dictionary reads is the model's own and lives where the model does; load the model "
            "with device_map= and dtype= instead."
        )

    def __len__(self) -> int:
        return self.size

    def _refuse_comparing(self, _threshold: Any) -> NoReturn:
        told = "choose one of it: dictionary[123] > 3.0"
        raise wrong("A condition", "a feature that is compared with a number", self, told)

    __gt__ = __lt__ = __ge__ = __le__ = _refuse_comparing

    def __getitem__(self, name: int | str) -> Feature:
        """A feature by index or label.

        Raises:
            IndexError: there is no such index.
            KeyError: no feature, or more than one, has that label.
        """
        if isinstance(name, str):
            return self.feature(self._index_of(name))
        return self.feature(self._checked_index(name))

    def checked(self, features: Iterable[int]) -> list[int]:
        """Indices of features that exist; negative ones count from the end.

        Args:
            features: indices.

        Returns:
            The same, all of them from 0 up.

        Raises:
            IndexError: there is no such index.
            TypeError: something is no index.

        Example:
            >>> cavs.checked([0, -1])
            [0, 2]
        """
        return [self._checked_index(index) for index in features]

    def _checked_index(self, index: Any) -> int:
        try:
            found = operator.index(index)
        except TypeError:
            if isinstance(index, slice | Sequence):
                told = "go through several: [dictionary[i] for i in (3, 17)]"
                raise TypeError(
                    f"A feature is found by its index or its label, but {what(index)} was given; {told}."
                ) from None
            raise TypeError(f"A feature is found by its index or its label, but {index!r} was given.") from None
        if not -self.size <= found < self.size:
            last = self.size - 1
            raise IndexError(f"This {self.kind} dictionary has features 0 to {last}, but {found} was asked for.")
        return found % self.size

    def __iter__(self) -> Iterator[Feature]:
        return (self.feature(index) for index in range(len(self)))

    def matches(self, query: str) -> Iterator[int]:
        """The features with a label that holds every word of the query, whole or in part; the kind counts as a word.

        First the feature whose number the query is, then those that the user labelled so, then in the order of the
        dictionary; of more than 2,000 labelled features, as `Labels.features` finds them, the best first. Their index
        is made once, by the first query.

        Args:
            query: words, or a feature's number.

        Returns:
            Indices; they are found as they are asked for.

        Example:
            >>> list(cavs.matches("sea"))
            [0]
        """
        first = self._found_first(query)
        return itertools.chain(first, (index for index in self._named.matches(query) if index not in first))

    def count(self, query: str) -> Count:
        """How many features `matches` finds, up to 1,000 where there are many; beyond that, "more than 1,000".

        Args:
            query: words, or a feature's number.

        Returns:
            The number, `.number`, and whether there are `.more` that were not counted.

        Example:
            >>> int(cavs.count("sea"))
            1
        """
        words = query.casefold().split()
        found = self._named.count(query)
        own = sum(not self._named.holds(index, words) for index in self._found_first(query))
        return found if found.more else Count(found.number + own)

    def search(self, query: str, *, limit: int = 50) -> list[Feature]:
        """The first features that `matches` finds.

        Args:
            query: words, or a feature's number.
            limit: how many features at most.

        Returns:
            The features, in the order of `matches`.

        Example:
            >>> cavs.search("mus")
            [<CAV 'music' at block 1 resid_post>]
        """
        return [self.feature(index) for index in itertools.islice(self.matches(query), limit)]

    def nearest(self, direction: Direction, k: int = 10) -> Nearest:
        """The `k` features with the largest cosines with a direction: `sae.nearest(king - man + woman)`.

        Args:
            direction: a feature or direction at the same site.
            k: how many.

        Returns:
            `.features` and their `.cosines`, −1 to 1, from the largest down.

        Raises:
            ValueError: the direction lives at another site, or `k` is below 1.

        Example:
            >>> found = cavs.nearest(cavs["music"], k=2)
            >>> found.features[0].label, round(found.cosines[0], 3)
            ('music', 1.0)
        """
        indices, cosines = nearest(self, direction, k)
        return Nearest(tuple(self[index] for index in indices), cosines)

    @property
    def feature_weights(self) -> Tensor | None:
        """How much of a corpus each feature has, float32 [feature]: densities, where they are known."""
        return None if self.statistics is None else self.statistics.density

    def map(self, method: MapMethod = "pca", n: int = 2, *, seed: int = 0) -> FeatureMap:
        """The features as points on a map, by their directions, so that what lies together can be seen.

        Directions are taken at unit length, so that cosines decide; an MFA's centroids as they lie.

        Args:
            method: `pca`, the directions' own axes of largest variance, or `umap` by cosine, which needs umap-learn.
            n: how many axes.
            seed: of `umap`.

        Returns:
            `.coordinates`, float32 [feature, axis], with `.explained`, the share of the variance of each axis.

        Raises:
            ValueError: there is no such method or number of axes, or the directions are the axes of their space.
            ModuleNotFoundError: umap-learn is missing; the message says how to install it.

        Example:
            >>> mfa.map().coordinates.shape
            torch.Size([5, 2])
        """
        return feature_map(self, method, n, seed)

    @property
    def _named(self) -> FeatureNames:
        return self._names or FeatureNames(None, self.size, self.kind, self.unlabelled)

    def _found_first(self, query: str) -> list[int]:
        words = query.casefold().split()
        number = int(query) if query.strip().isdecimal() else self.size
        own = self.own_labels().items()
        labelled = [index for index, text in own if words and holds(f"{text} {self.kind}".casefold(), words)]
        return list(dict.fromkeys(([number] if number < self.size else []) + labelled))

    def own_labels(self) -> Mapping[int, str]:
        """The user's own labels; none where they can't be read, which is said.

        Returns:
            Labels by the feature's index.

        Example:
            >>> dict(cavs.own_labels())
            {}
        """
        return self._own("labels")

    def own_verdicts(self) -> Mapping[int, str]:
        """The user's verdicts on labels, from label checks and cards; none where they can't be read, which is said.

        Returns:
            `true`, `too wide`, `too narrow`, `mixed`, `wrong` or `unclear`, by the feature's index.

        Example:
            >>> dict(cavs.own_verdicts())
            {}
        """
        return self._own("verdicts")

    def _own(self, what: Literal["labels", "verdicts"]) -> Mapping[int, str]:
        if "user_labels" not in self.__dict__ and not UserLabels.are_kept():
            return {}
        try:
            return self.user_labels.labels if what == "labels" else self.user_labels.verdicts
        except (OSError, ValueError) as error:
            warnings.warn(f"Your own {what} are left out. {error}", stacklevel=3)
            return {}

    def _index_of(self, label: str) -> int:
        matches = self.find(label)
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise KeyError(f"{len(matches)} features are labelled {label!r}: {matches[:10]}; choose one by its index.")
        labels = (*self.own_labels().values(), *self.labels)
        if not any(labels):
            raise KeyError(f"This {self.kind} dictionary has no labels, so {label!r} is not found; use an index.")
        raise KeyError(f"No feature is labelled {label!r}{_hint(label, labels)}.")

    def __repr__(self) -> str:
        return f"<{self.kind} of {len(self)} features at {self.site}>"


def checked_dictionary(given: Any, call: str, before: str = "", after: str = "") -> Dictionary:
    """A dictionary.

    Args:
        given: what was given.
        call: the call, as `lm.read`.
        before: the call's arguments before the dictionary, as `prompt, `.
        after: those after it, likewise; of a feature, the whole end: `, features=[feature]`.

    Raises:
        TypeError: it is none; the sentence names the call that was meant.
    """
    if isinstance(given, Dictionary):
        return given
    takes = "a dictionary, such as sw.SAE.demo()"
    if hasattr(given, "dictionary") and hasattr(given, "vector"):
        raise wrong(call, takes, given, f"give the dictionary that it is of: {call}({before}dictionary{after})")
    if type(given).__module__.partition(".")[0] == "sae_lens":
        raise wrong(call, takes, given, f"take it over first: {call}({before}sw.SAE.from_sae_lens(sae){after})")
    if is_text(given):
        raise wrong(call, takes, given, f"the order is {call}({before}dictionary{after})")
    raise wrong(call, takes, given, f"give one: {call}({before}dictionary{after})")


def checked_dictionaries(given: Any, call: str, before: str = "", after: str = "") -> list[Dictionary]:
    """One dictionary or several, as a list; see `checked_dictionary`."""
    several = one_or_several(given, lambda each: isinstance(each, Dictionary | str | Mapping) or hasattr(each, "cfg"))
    return [checked_dictionary(each, call, before, after) for each in several]


def refuse_path(given: Any, made: str) -> None:
    """Refuse the path of a file where tensors are taken.

    Args:
        given: what was given in their place.
        made: the class, as `sw.CAV`.

    Raises:
        TypeError: it is a path; the sentence names the call that was meant.
    """
    if isinstance(given, str | Path):
        raise wrong(made, "tensors", str(given), f"read them from a file: {made}.load({str(given)[:80]!r}, layer=15)")


def refuse_other_width(dictionary: Dictionary, h: Tensor) -> None:
    """Refuse a residual that a dictionary was not made for.

    Raises:
        ValueError: its width is another.
    """
    if h.shape[-1] != dictionary.d_model:
        raise ValueError(
            f"The {dictionary.kind} dictionary at {dictionary.site} reads {dictionary.d_model} numbers, but the "
            f"activations have {h.shape[-1]}; it was made for another model or site."
        )


def _hint(label: str, labels: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(label, [known for known in labels if known], n=3, cutoff=0.4)
    if close:
        return "; close to it are " + ", ".join(map(repr, close))
    return "; labels are " + ", ".join(map(repr, labels[:5])) + (", …" if len(labels) > 5 else "")


_LONGEST: Final = 200
"""A longer argument is no longer something to read."""


def call(start: str, **arguments: Any) -> str | None:
    """A call with the arguments that are not None; None where one of them can't be written down.

    Args:
        start: the call up to its last positional argument, as `sw.SAE.load('folder'`.
        arguments: the others, by name.
    """
    written = {name: _literal(value) for name, value in arguments.items() if value is not None}
    if None in written.values():
        return None
    return start + "".join(f", {name}={text}" for name, text in written.items()) + ")"


def _literal(value: Any) -> str | None:
    if isinstance(value, Path):
        return repr(str(value))
    if type(value).__module__ == "torch":
        return str(value)
    if not isinstance(value, str | int | float | dict | list | tuple):
        return None
    text = repr(value)
    return text if len(text) < _LONGEST else None
