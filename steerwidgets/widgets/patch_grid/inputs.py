"""What stands in a patch grid's boxes, checked, and what it makes: settings of `lm.patch`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, cast

from steerwidgets.files.shown import shown
from steerwidgets.lens.patching import METRICS, STREAMS, Metric, PatchedStream, PatchSettings

SPACE: Final = "␣"


@dataclass(frozen=True)
class Inputs:
    """What a patch grid is asked for.

    Attributes:
        source: the text whose residuals are taken; "" where it was given as messages or ids, or not yet.
        target: the text that they are put into, likewise.
        answers: the source's and the target's, by text or by id; "" for what the model says itself.
        metric: `logit difference` or `kl`.
        stream: what is patched.
        noise: whether the target goes into the source.
        pairs: positions of the source and of the target, or None for those that go by themselves.
        stride: a row for every so many blocks, from the deepest down.
    """

    source: str = ""
    target: str = ""
    answers: tuple[str | int, str | int] = ("", "")
    metric: Metric = "logit difference"
    stream: PatchedStream = "resid_post"
    noise: bool = False
    pairs: tuple[tuple[int, int], ...] | None = None
    stride: int = 1

    @classmethod
    def of(cls, given: Any) -> Inputs:
        """Those that a page sent.

        Raises:
            ValueError: they are none.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(given, Mapping) or set(given) != names:
            raise ValueError(f"The inputs of a patch grid are {', '.join(sorted(names))}, but {shown(given)} came.")
        pairs = given["pairs"]
        if pairs is not None:
            pairs = tuple(_pair(each) for each in pairs) if isinstance(pairs, list | tuple) else shown(pairs)
        made = cls(**{**given, "answers": _answers(given["answers"]), "pairs": cast("Any", pairs)})
        return made.checked()

    def checked(self) -> Inputs:
        """The same.

        Raises:
            ValueError: something is not what it has to be.
        """
        for name in ("source", "target"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"The {name} is a text, but {shown(getattr(self, name))} came.")
        if self.metric not in METRICS:
            raise ValueError(f"metric= is one of {', '.join(METRICS)}; {shown(self.metric)} was given.")
        if self.stream not in STREAMS:
            raise ValueError(f"Patching takes the streams {', '.join(STREAMS)}; {shown(self.stream)} was given.")
        if isinstance(self.stride, bool) or not isinstance(self.stride, int) or self.stride < 1:
            raise ValueError(f"stride= is a whole number from 1, a row for so many blocks; {shown(self.stride)} came.")
        if self.pairs is not None and not isinstance(self.pairs, tuple):
            raise ValueError(f"Pairs are a list of two positions each, but {self.pairs} came.")
        return replace(self, noise=bool(self.noise))

    def settings(self, tokens: tuple[str | int | None, str | int | None], layers: list[int]) -> PatchSettings:
        """As `lm.patch` takes them."""
        made: PatchSettings = {"metric": self.metric, "stream": self.stream, "noise": self.noise, "layers": layers}
        if self.metric == "logit difference":
            made["tokens"] = tokens
        if self.pairs is not None:
            made["align"] = self.pairs
        return made

    def to_json(self) -> dict[str, Any]:
        """As they travel."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found


def _answers(given: Any) -> tuple[str | int, str | int]:
    fits = isinstance(given, list | tuple) and len(given) == 2
    if not fits or not all(isinstance(each, str | int) and not isinstance(each, bool) for each in given):
        raise ValueError(f"The answers are two tokens, the source's and the target's, but {shown(given)} came.")
    return given[0], given[1]


def _pair(given: Any) -> tuple[int, int]:
    fits = isinstance(given, list | tuple) and len(given) == 2
    if not fits or not all(isinstance(each, int) and not isinstance(each, bool) for each in given):
        raise ValueError(f"A pair is two positions, the source's and the target's, but {shown(given)} came.")
    return given[0], given[1]
