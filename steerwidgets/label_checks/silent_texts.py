"""Texts where a feature's label says it should fire and it stays silent, and what fires there instead.

Chanin et al. 2024, "A is for Absorption" (arXiv 2409.14507): a feature that seems to follow a concept skips some
tokens of it, where a more specific feature fires and carries the concept's direction along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypedDict

from steerwidgets.label_checks.where_it_should_fire import Candidate, Place, corpus_candidates, given_candidates, sought
from steerwidgets.steering.recipe import Feature
from steerwidgets.transformer.plain_text import table
from steerwidgets.transformer.residuals import read_residuals

if TYPE_CHECKING:
    import threading

    from torch import Tensor

    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import PromptLike, Token

_BATCH: Final = 16
"""Texts of one forward pass, of about the same length; Stop acts between two."""


@dataclass(frozen=True)
class Instead:
    """A feature that fires where another one is silent.

    Attributes:
        index: the feature.
        label: what it is called.
        value: its activation there.
        along: what it adds along the silent feature's direction, `a_j · (d_j · d_i) / ‖d_i‖`, in units of the
            residual: an absorbing feature carries it. None for dictionaries whose features do not add up to it.
    """

    index: int
    label: str
    value: float
    along: float | None


@dataclass(frozen=True)
class SilentText:
    """A text with a word at which the feature should fire and does not.

    Attributes:
        token_ids: the text.
        tokens: its tokens as a person reads them.
        values: the feature's activation at each; 0 at tokens that do not count.
        position: the last token of the word.
        word: the word.
        expected: the activation that is typical of the feature at that word.
        value: the one that it has there, the largest of the word's tokens.
        instead: the features that fire there, the strongest first.
        source: where the text is from.
    """

    token_ids: tuple[int, ...]
    tokens: tuple[Token, ...]
    values: tuple[float, ...]
    position: int
    word: str
    expected: float
    value: float
    instead: tuple[Instead, ...]
    source: str


@dataclass(frozen=True, repr=False)
class Silence:
    """What was found.

    Attributes:
        index: the feature.
        texts: where it is silent, the strongest expectation first.
        words: the words that were looked for.
        share: below this share of its typical value it counts as silent.
        silent: in how many of the texts that were read it is silent.
        read: how many texts with one of the words were read.
        stopped: whether somebody stopped the search.
    """

    index: int
    texts: tuple[SilentText, ...]
    words: tuple[str, ...]
    share: float
    silent: int
    read: int
    stopped: bool = False

    def __repr__(self) -> str:
        rows = [
            [each.word, each.value, each.expected, ", ".join(f"{f.label} {f.value:.3g}" for f in each.instead)]
            for each in self.texts
        ]
        said = f"silent in {self.silent} of {self.read} texts with {', '.join(self.words)}"
        return f"{said}\n{table(['word', 'value', 'typical', 'fires instead'], rows)}"


class SilentSettings(TypedDict, total=False):
    """The settings of `silent_texts`, each with its default.

    Attributes:
        words: what to look for; by default the content words of the label and those at which its examples peak.
        share: silent is below this share of what is typical, 0 to 1; 0.1 by default.
        k: how many texts to give, 10 by default.
        at_most: how many texts with one of the words to read, 48 by default.
        rivals: how many features that fire instead to name for each, 3 by default.
        on_progress: told how many texts were read, and of how many.
        stop: set it to end the search after the batch that runs.
    """

    words: Sequence[str] | None
    share: float
    k: int
    at_most: int
    rivals: int
    on_progress: Callable[[int, int], None] | None
    stop: threading.Event | None


def silent_texts(
    lm: LoadedModel,
    dictionary: Dictionary,
    feature: int | str | Feature,
    texts: Iterable[PromptLike] | None = None,
    *,
    words: Sequence[str] | None = None,
    share: float = 0.1,
    k: int = 10,
    at_most: int = 48,
    rivals: int = 3,
    on_progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> Silence:
    """Texts that hold a word at which a feature should fire, and where it does not.

    A text counts where the feature's activation at the word (the largest of its tokens) is below `share` of what is
    typical there: the median of the feature's own examples at that word, or else the median wherever it is active.

    Args:
        lm: the model.
        dictionary: the feature's dictionary.
        feature: an index, a label, or the feature itself.
        texts: where to look, strings (read raw) or token ids; by default the corpus examples of the dictionary's other
            features, each read on its own.
        words: what to look for; by default the content words of the feature's label (those in quotation marks, where
            it has some) and the words at which its own examples peak.
        share: 0 to 1.
        k: how many texts to give.
        at_most: how many texts with one of the words to read.
        rivals: how many features that fire instead to name for each.
        on_progress: told how many texts were read, and of how many.
        stop: set it to end the search after the batch that runs.

    Raises:
        ValueError: nothing is known of the feature's typical activation, there is nothing to look for or no text to
            look in, or a number is out of range.
    """
    _check(share, k, at_most)
    index = feature.index if isinstance(feature, Feature) else dictionary[feature].index
    wanted = sought(lm, dictionary, index, words)
    if texts is None:
        found = corpus_candidates(dictionary, index, wanted, at_most, stop)
    else:
        found = given_candidates(lm, wanted, texts, at_most, stop)
    silent: list[SilentText] = []
    read = 0
    # Rows of about one length waste no padding.
    found.sort(key=lambda each: len(each.token_ids))
    for start in range(0, len(found), _BATCH):
        if stop is not None and stop.is_set():
            break
        batch = found[start : start + _BATCH]
        outcomes = _read(lm, dictionary, index, batch, share, rivals)
        read += sum(outcome is not False for outcome in outcomes)
        silent += [outcome for outcome in outcomes if isinstance(outcome, SilentText)]
        if on_progress is not None:
            on_progress(start + len(batch), len(found))
    silent.sort(key=lambda each: (-each.expected, each.value))
    stopped = stop is not None and stop.is_set()
    return Silence(index, tuple(silent[:k]), tuple(sorted(wanted.words)), share, len(silent), read, stopped)


def _read(
    lm: LoadedModel, dictionary: Dictionary, index: int, batch: Sequence[Candidate], share: float, rivals: int
) -> list[SilentText | bool]:
    """For each text: where it is silent; True where it fires; False where no place of the words counts."""
    import torch

    with lm.lock:
        residuals = read_residuals(lm.architecture, [each.token_ids for each in batch], [dictionary.site])
    counted = residuals.counted(dictionary.site)
    outcomes: list[SilentText | bool] = []
    for row, candidate in enumerate(batch):
        length = len(candidate.token_ids)
        h = residuals.values[dictionary.site][row, -length:]
        own = torch.tensor([token not in lm.special_ids for token in candidate.token_ids])
        mask = counted[row, -length:] & own
        with torch.no_grad():
            values = dictionary.activations(h, [index])[:, 0].float().masked_fill(~mask, 0.0)
        places = [place for place in candidate.places if bool(mask[place.first : place.last + 1].all())]
        quiet = [place for place in places if _at(values, place) < share * place.expected]
        if not places or not quiet:
            outcomes.append(bool(places))
            continue
        place = max(quiet, key=lambda each: each.expected)
        outcomes.append(
            SilentText(
                candidate.token_ids,
                tuple(lm.tokens(candidate.token_ids)),
                tuple(values.tolist()),
                place.last,
                place.word,
                place.expected,
                _at(values, place),
                _instead(dictionary, index, h[place.last], rivals),
                candidate.source,
            )
        )
    return outcomes


def _at(values: Tensor, place: Place) -> float:
    return float(values[place.first : place.last + 1].max())


def _instead(dictionary: Dictionary, index: int, h: Tensor, rivals: int) -> tuple[Instead, ...]:
    """The strongest other features of one residual [d_model]."""
    import torch

    with torch.no_grad():
        values, indices = dictionary.top(h, rivals + 1)
    own = dictionary.vector(index).float().cpu()
    found = []
    for value, other in zip(values.tolist(), indices.tolist(), strict=True):
        if other == index or value <= 0:
            continue
        along = (
            float(value * (dictionary.vector(other).float().cpu() @ own) / own.norm()) if dictionary.adds_up else None
        )
        found.append(Instead(other, dictionary.label(other), value, along))
    return tuple(found[:rivals])


def _check(share: Any, k: Any, at_most: Any) -> None:
    if not 0 < share <= 1:
        raise ValueError(f"share is which part of its typical value counts as silent, 0 to 1, but {share!r} was given.")
    for name, value in (("k", k), ("at_most", at_most)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} counts texts, 1 or more, but {value!r} was given.")
