"""What a search for features asks for, checked: every mistake is one sentence."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from steerwidgets.labels.own import VERDICTS

Mode = Literal["label", "prompt", "token", "similar"]
Ranking = Literal["maximum", "mean", "span"]
Sort = Literal["match", "density", "maximum", "index", "output_score"]

_MOST: Final = 1000
"""No search gives more rows than this at once."""

_LONG: Final = frozenset({"prompt", "token", "similar"})


@dataclass(frozen=True)
class FindQuery:
    """One page of a search.

    Attributes:
        mode: `label` (words, or a number), `prompt` (what fires on a text), `token` (what promotes or suppresses it),
            `similar` (what points the same way as a feature).
        query: the words, the text, or the token.
        rank: of a prompt, each feature's largest activation, its mean, or its largest within `span`.
        span: the first and the last position of it.
        normalise: whether activations are divided by the feature's own 99.5th percentile or maximum.
        promotes: of a token, whether features that promote it are looked for, or those that suppress it.
        key: the feature that others are compared with.
        sort: `match` is the search's own order, the best first, and without a query the labelled features first; the
            others are numbers of the features.
        descending: the largest first; of no matter to `match`.
        density: the lowest and the highest density, either one open; None for all, the unknown ones too.
        labelled: only features that have a label.
        dictionaries: fingerprints of those to look in; None for all.
        verdicts: only features with one of these verdicts of the user's; None for all.
        offset: how many rows to leave out first.
        limit: how many rows to give.
        compact: whether what all rows of a dictionary share is given once.
    """

    mode: Mode = "label"
    query: str = ""
    rank: Ranking = "maximum"
    span: tuple[int, int] | None = None
    normalise: bool = False
    promotes: bool = True
    key: str = ""
    sort: Sort = "match"
    descending: bool = True
    density: tuple[float, float] | None = None
    labelled: bool = False
    dictionaries: tuple[str, ...] | None = None
    verdicts: tuple[str, ...] | None = None
    offset: int = 0
    limit: int = 50
    compact: bool = False

    @classmethod
    def parse(cls, args: Mapping[str, Any]) -> FindQuery:
        """The query that the front-end sent; what it left out is as a search of labels has it.

        Raises:
            ValueError: something in it is not what it should be.
        """
        filters = _given(args, "filters", {})
        if not isinstance(filters, Mapping):
            raise _wrong("filters", filters, "an object of density, labelled, dictionaries and verdicts")
        sort = _word(args, "sort", get_args(Sort), "match")
        return cls(
            mode=_word(args, "mode", get_args(Mode), "label"),
            query=_text(args, "query"),
            rank=_word(args, "rank", get_args(Ranking), "maximum"),
            span=_span(_given(args, "span", None)),
            normalise=_flag(args, "normalise", default=False),
            promotes=_flag(args, "promotes", default=True),
            key=_text(args, "key"),
            sort=sort,
            descending=_flag(args, "descending", default=sort != "index"),
            density=_density(_given(filters, "density", None)),
            labelled=_flag(filters, "labelled", default=False),
            dictionaries=_names(_given(filters, "dictionaries", None), "dictionaries", "a list of fingerprints"),
            verdicts=_verdicts(_given(filters, "verdicts", None)),
            offset=_count(args, "offset", 0),
            limit=min(_count(args, "limit", 50), _MOST),
            compact=_flag(args, "compact", default=False),
        )

    @property
    def words(self) -> list[str]:
        """The words of the query, without case."""
        return self.query.casefold().split()

    @property
    def is_filtered(self) -> bool:
        """Whether features are left out by what they are."""
        return self.density is not None or self.labelled or self.verdicts is not None


def takes_long(args: Mapping[str, Any]) -> bool:
    """Whether a search runs the model or goes through all directions, and so belongs in the worker."""
    mode = args.get("mode")
    return isinstance(mode, str) and mode in _LONG


def _given(args: Mapping[str, Any], name: str, default: Any) -> Any:
    return args.get(name, default)


def _word(args: Mapping[str, Any], name: str, allowed: Collection[str], default: str) -> Any:
    value = args.get(name, default)
    if not isinstance(value, str) or value not in allowed:
        raise _wrong(name, value, f"one of {', '.join(allowed)}")
    return value


def _text(args: Mapping[str, Any], name: str) -> str:
    value = args.get(name, "")
    if not isinstance(value, str):
        raise _wrong(name, value, "a text")
    return value


def _flag(args: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = args.get(name, default)
    if not isinstance(value, bool):
        raise _wrong(name, value, "true or false")
    return value


def _count(args: Mapping[str, Any], name: str, default: int) -> int:
    value = args.get(name, default)
    if not _is_whole(value) or value < 0:
        raise _wrong(name, value, "a number of rows, 0 or more")
    return int(value)


def _span(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    if (
        not isinstance(value, list | tuple)
        or len(value) != 2
        or not all(_is_whole(each) and each >= 0 for each in value)
    ):
        raise _wrong("span", value, "the first and the last position of a span, such as [3, 7]")
    return min(value), max(value)


def _density(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    if (
        not isinstance(value, list | tuple)
        or len(value) != 2
        or not all(each is None or _is_number(each) for each in value)
    ):
        raise _wrong("density", value, "the lowest and the highest density, such as [0.0001, 0.05]")
    low, high = value
    return (0.0 if low is None else float(low)), (math.inf if high is None else float(high))


def _names(value: Any, name: str, expected: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise _wrong(name, value, expected)
    return tuple(value)


def _verdicts(value: Any) -> tuple[str, ...] | None:
    expected = f"a list of some of {', '.join(VERDICTS)}"
    found = _names(value, "verdicts", expected)
    if found is not None and not set(found) <= set(VERDICTS):
        raise _wrong("verdicts", value, expected)
    return found


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _wrong(name: str, value: Any, expected: str) -> ValueError:
    given = "nothing" if value is None else f"{value!r}"[:80]
    return ValueError(f"A search's {name} has to be {expected}, but {given} came.")
