"""Who says whether a finished text is on topic: word lists, probes of another block, or a callable of the user's."""

from __future__ import annotations

import functools
import inspect
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from steerwidgets.calls import tells_calls
from steerwidgets.dictionaries.pooling import pooled
from steerwidgets.dose.statistics import harmonic
from steerwidgets.files.containers import read_safetensors
from steerwidgets.files.shown import shown
from steerwidgets.files.tensors import dense
from steerwidgets.transformer.mistakes import refuse_no_model, wrong
from steerwidgets.transformer.model_names import is_other_model
from steerwidgets.transformer.prompts import Prompt, encode
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import PromptLike

Judge = Callable[[str, str], "float | Mapping[str, float]"]
"""`judge(prompt, text)`: 0 to 1, on topic from one half; or AxBench's three marks, each 0, 1 or 2."""

ON_TOPIC: Final = 0.5
MARKS: Final = ("concept", "instruct", "fluency")
"""AxBench's (Wu et al. 2025): is it about the concept, does it follow the instruction, is it fluent."""

_DEMO: Final = Path(__file__).parent.parent / "demo"
_PROBES: Final = _DEMO / "concept_probes.safetensors"
_TAKES: Final = "a number from 0 to 1 (on topic from 0.5), or the marks concept, instruct and fluency, each 0, 1 or 2"
_SAYS_NOTHING: Final = re.compile(
    "an|and|about|are|as|at|by|for|from|in|into|is|it|its|of|on|or|other|that|the|their|these|this|to|with"
)
"""Words of a label that no answer is about."""


@dataclass(frozen=True)
class Verdict:
    """What a judge said of one text.

    Attributes:
        score: 0 to 1; of marks, their harmonic mean over 2.
        on_topic: whether it is on topic: from one half on, or concept 1 or 2.
        marks: concept, instruct and fluency, where the judge gives them.
    """

    score: float
    on_topic: bool
    marks: tuple[float, float, float] | None = None

    @property
    def overall(self) -> float | None:
        """AxBench's score, 0 to 2: the harmonic mean of the marks, 0 if any is 0; None without marks."""
        return None if self.marks is None else harmonic(self.marks)


@tells_calls("sw.Words", "words")
class Words:
    """A judge that looks for words: on topic where enough distinct ones of a list occur.

    Whole words, whatever their case; an entry may be several words. Write the list before you look at any answer.

    Args:
        words: the list.
        least: how many distinct ones make a text on topic; by default two, or one of a list of one.
        name: what the judge is called.

    Raises:
        TypeError: it is no list of words.
        ValueError: the list is empty, or shorter than `least`.

    Example:
        >>> judge = sw.Words(["sea", "sail", "ship"])
        >>> judge("Tell me a story.", "The ship was at sea."), judge("Tell me a story.", "A ship in the desert.")
        (1.0, 0.0)
    """

    def __init__(self, words: Iterable[str], *, least: int | None = None, name: str = "") -> None:
        given: Any = words
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise wrong("sw.Words", "a list of words", given, 'give several: sw.Words(["sea", "sail"])')
        listed = list(given)
        if strange := [each for each in listed if not isinstance(each, str) or not each.strip()]:
            raise wrong("sw.Words", "words", strange[0], 'give texts: sw.Words(["sea", "sail"])')
        self.words = tuple(dict.fromkeys(" ".join(each.casefold().split()) for each in listed))
        self.least = min(2, len(self.words)) if least is None else least
        if isinstance(self.least, bool) or not isinstance(self.least, int) or not 1 <= self.least <= len(self.words):
            said = "no word was given" if not self.words else f"least={shown(least)} of {len(self.words)} was asked"
            raise ValueError(f"sw.Words needs at least one word, and least between 1 and their number, but {said}.")
        few = ", ".join(self.words[:3]) + ("…" if len(self.words) > 3 else "")
        self.name = name or f"{self.least} of {len(self.words)} words ({few})"
        longest_first = sorted(self.words, key=len, reverse=True)
        alternatives = "|".join(r"\s+".join(map(re.escape, each.split())) for each in longest_first)
        self._pattern = re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)")

    @classmethod
    def demo(cls, concept: str) -> Words:
        """The list of one of the embedded concepts, written before any model was run on it.

        Args:
            concept: its label.

        Returns:
            The judge, with two words as the least.

        Raises:
            KeyError: there is no such concept.

        Example:
            >>> "sailor" in sw.Words.demo("the sea and sailing").words
            True
        """
        lists = _word_lists()
        if concept not in lists:
            raise KeyError(f"There is no word list of {concept!r}; there are {', '.join(map(repr, lists))}.")
        return cls(lists[concept], name=f"word list of {concept}")

    def __call__(self, prompt: str, text: str) -> float:  # noqa: ARG002 - as every judge has it
        """1 where the text is on topic, else 0."""
        found = {" ".join(each.split()) for each in self._pattern.findall(text.casefold())}
        return float(len(found) >= self.least)

    def __repr__(self) -> str:
        return f"Words({self.name})"


@tells_calls("sw.Probe", "probe")
class Probe:
    """A judge that reads the finished text once more, unsteered: a logistic regression on its mean residual.

    `σ(w·h̄ + b)` with `h̄` the mean over the text's own words, the prompt left out. It has to come of another block and
    of other texts than the direction that it judges: a probe on what was just pushed is circular.

    Args:
        lm: the model that reads.
        weight: float32 [d_model].
        bias: a number.
        site: where it reads.
        label: what it judges.

    Raises:
        ValueError: the weight is not as wide as the site.
        TypeError: it is no model.

    Example:
        >>> probe = sw.Probe(lm, torch.randn(32), 0.0, sw.Site(2), "the sea")
        >>> 0 <= probe("Tell me a story.", "The ship was at sea.") <= 1
        True
    """

    def __init__(self, lm: LoadedModel, weight: Tensor, bias: float, site: Site, label: str) -> None:
        refuse_no_model(lm, "sw.Probe", "weight, bias, site, label")
        self._lm = lm
        self.site = Site(cast("Any", site)) if isinstance(site, int) else site
        self.label = label
        self.weight = dense(weight, f"The probe {shown(label)}").float().cpu()
        self.bias = float(bias)
        width = lm.architecture.width(self.site)
        if tuple(self.weight.shape) != (width,):
            raise ValueError(
                f"A probe at {self.site} of {lm.name} has {width} weights, but shape {list(self.weight.shape)} was "
                "given; it was made for another model."
            )
        self.name = f"probe of block {self.site.layer}"

    @classmethod
    def demo(cls, lm: LoadedModel, concept: str) -> Probe:
        """The probe of one of the embedded concepts, at block 20, made of answers that the unsteered model wrote.

        One half is where one in twenty of its everyday answers is above.

        Args:
            lm: the embedded model.
            concept: the concept's label.

        Returns:
            The judge.

        Raises:
            KeyError: there is no probe of it.
            ValueError: the model is another.

        Example:
            >>> sw.Probe.demo(sw.LanguageModel.demo(), "music").name  # doctest: +SKIP
            'probe of block 20'
        """
        refuse_no_model(lm, "sw.Probe.demo", repr(concept))
        tensors, header = _demo_probes()
        labels = header["labels"]
        if not _are_of(lm):
            raise ValueError(
                f"The shipped probes read {header['model']}, but the model is {lm.name}; give a probe of your own "
                "(sw.Probe), or sw.Words."
            )
        if concept not in labels:
            raise KeyError(f"There is no probe of {concept!r}; there are {', '.join(map(repr, labels))}.")
        row = labels.index(concept)
        site = Site(header["layer"], header["stream"])
        return cls(lm, tensors["weight"][row], float(tensors["bias"][row]), site, concept)

    @classmethod
    def fit(
        cls,
        lm: LoadedModel,
        positives: Sequence[PromptLike | Prompt],
        negatives: Sequence[PromptLike | Prompt],
        *,
        layer: int,
        label: str,
    ) -> Probe:
        """A probe from texts on topic and others: linear discriminant analysis along the difference of their means.

        With `d = mean⁺ − mean⁻` and the pooled variance `s²` of `h̄·d`, `w = d · ‖d‖² / s²`, and one half lies in the
        middle between the means (Fisher 1936, with one variance).

        Args:
            lm: the model that reads.
            positives: texts on topic, 2 or more; none that the direction was made from.
            negatives: others, 2 or more.
            layer: the block, another one than the direction's.
            label: what it judges.

        Returns:
            The judge.

        Raises:
            TypeError: a text was given in place of several.
            ValueError: there are too few texts, or both kinds are the same to it.

        Example:
            >>> probe = sw.Probe.fit(lm, ["the sea", "a ship"], ["the user", "a system"], layer=2, label="the sea")
            >>> probe.site
            Site(layer=2, stream='resid_post')
        """
        refuse_no_model(lm, "sw.Probe.fit", "positives, negatives, layer=20, label='the sea'")
        for side in (positives, negatives):
            if isinstance(side, str) or not isinstance(side, Collection):
                meant = "sw.Probe.fit(lm, ['the sea', 'a ship'], ['the user', 'a system'], layer=20, label='the sea')"
                raise wrong("sw.Probe.fit", "two lists of texts", side, f"give several of either: {meant}")
        if min(len(positives), len(negatives)) < 2:
            raise ValueError(
                f"A probe needs 2 texts or more of either kind, but {len(positives)} and {len(negatives)} were given."
            )
        site = Site(layer)
        encoded = [
            [text if isinstance(text, Prompt) else encode(lm.tokenizer, text, chat=False) for text in side]
            for side in (positives, negatives)
        ]
        sides = [pooled(lm, side, site, lambda words: words.mean(0)) for side in encoded]
        d = sides[0].mean(0) - sides[1].mean(0)
        along = [side @ d for side in sides]
        variance = sum(float(each.var()) * (len(each) - 1) for each in along) / (sum(map(len, along)) - 2)
        if not float(d.norm()) or not variance:
            raise ValueError(f"The texts of either kind are all the same at {site}, so no probe tells them apart.")
        weight = d * (float(d @ d) / variance)
        middle = (sides[0].mean(0) + sides[1].mean(0)) / 2
        return cls(lm, weight, -float(middle @ weight), site, label)

    def __call__(self, prompt: str, text: str) -> float:
        """The probability that the text is on topic."""
        return self.scores(prompt, [text])[0]

    def scores(self, prompt: str, texts: Sequence[str]) -> list[float]:  # noqa: ARG002 - as every judge has it
        """The probabilities of several texts, read in batches; 0 of a text without words.

        Args:
            prompt: what they answered; not read.
            texts: the texts.

        Returns:
            0 to 1 for each.

        Example:
            >>> probe = sw.Probe(lm, torch.randn(32), 0.0, sw.Site(2), "the sea")
            >>> probe.scores("Tell me a story.", ["", "The ship."])[0]
            0.0
        """
        limit = self._lm.architecture.context_limit
        encoded = {
            i: self._lm.encode(text, chat=False).cut(limit) for i, text in enumerate(texts) if len(text.split()) > 0
        }
        long = {i: prompt for i, prompt in encoded.items() if len(prompt) > 1}
        found = [0.0] * len(texts)
        if long:
            means = pooled(self._lm, list(long.values()), self.site, lambda words: words.mean(0))
            for i, value in zip(long, (means @ self.weight + self.bias).sigmoid().tolist(), strict=True):
                found[i] = value
        return found

    def __repr__(self) -> str:
        return f"Probe({self.label!r}, {self.name})"


@functools.cache
def _word_lists() -> Mapping[str, list[str]]:
    lists: dict[str, list[str]] = json.loads((_DEMO / "concepts" / "word_lists.json").read_text(encoding="utf-8"))
    return lists


@functools.cache
def _demo_probes() -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    if not _PROBES.exists():  # `make dictionaries` makes it
        return {}, {"labels": [], "model": "no model, since they were not made yet"}
    tensors, metadata = read_safetensors(_PROBES, "concept probes")
    return tensors, json.loads(metadata["probes"])


def _are_of(lm: LoadedModel) -> bool:
    """Whether the shipped probes read this model."""
    tensors, header = _demo_probes()
    if not tensors:
        return False
    parts = lm.architecture
    fits = parts.layers > header["layer"] and parts.d_model == tensors["weight"].shape[1]
    return fits and not is_other_model(header["model"], lm.name)


def own_judges(lm: LoadedModel, label: str) -> list[Words | Probe]:
    """The judges that come with the package for a label, the best first: a probe, a word list, the label's own words.

    Args:
        lm: the model.
        label: what the direction is called.
    """
    found: list[Words | Probe] = []
    _, header = _demo_probes()
    if label in header["labels"] and _are_of(lm):
        found.append(Probe.demo(lm, label))
    if label in _word_lists():
        found.append(Words.demo(label))
    words = [word for word in re.findall(r"\w\w+", label.casefold()) if not _SAYS_NOTHING.fullmatch(word)]
    if words:
        found.append(Words(words, least=1, name="words of the label"))
    return found


def checked_judge(judge: Any, call: str) -> Judge:
    """A judge that can be called with a prompt and a text.

    Raises:
        TypeError: it is none.
    """
    meant = 'give judge(prompt, text) -> 0 to 1, sw.Words(["sea", "sail"]) or a sw.Probe'
    if isinstance(judge, str) or (isinstance(judge, list | tuple | set) and all(isinstance(w, str) for w in judge)):
        words = [judge] if isinstance(judge, str) else list(judge)
        raise wrong(call, "a judge", judge, f"say how words judge: sw.Words({words[:2]!r})")
    if not callable(judge) or isinstance(judge, type):
        raise wrong(call, "a judge", judge, meant)
    try:
        inspect.signature(judge).bind("prompt", "text")
    except TypeError:
        raise wrong(call, "a judge that takes a prompt and a text", judge, meant) from None
    except ValueError:
        pass  # a builtin that does not say what it takes
    found: Judge = judge
    return found


def judge_name(judge: Judge) -> str:
    """What a judge is called in tables and charts."""
    said = getattr(judge, "name", None) or getattr(judge, "__name__", None) or type(judge).__name__
    return str(said).replace("<lambda>", "your judge")


def judged(judge: Judge, prompt: str, texts: Sequence[str]) -> list[Verdict]:
    """What a judge says of several answers to one prompt.

    Raises:
        ValueError: it says something else than a judge does.
    """
    together = getattr(judge, "scores", None)
    said = together(prompt, texts) if together is not None else [judge(prompt, text) for text in texts]
    return [_verdict(each) for each in said]


def _verdict(said: Any) -> Verdict:
    if isinstance(said, Mapping):
        return _of_marks(said)
    if hasattr(said, "item") and getattr(said, "ndim", None) == 0:
        said = said.item()
    if not isinstance(said, Real) or not 0 <= float(said) <= 1:
        raise ValueError(f"A judge gives {_TAKES}, but {_said(said)} came from it; change what it returns.")
    return Verdict(float(said), float(said) >= ON_TOPIC)


def _of_marks(said: Mapping[Any, Any]) -> Verdict:
    marks = [said.get(name) for name in MARKS]
    if set(said) != set(MARKS) or any(isinstance(m, bool) or m not in (0, 1, 2) for m in marks):
        raise ValueError(f"A judge gives {_TAKES}, but {shown(dict(said))} came from it; change what it returns.")
    concept, instruct, fluency = (float(mark) for mark in cast("list[float]", marks))
    found = (concept, instruct, fluency)
    return Verdict(harmonic(found) / 2, concept >= 1, found)


def _said(value: Any) -> str:
    return "NaN" if isinstance(value, float) and math.isnan(value) else shown(value)
