"""A dose–response as JSON: what a file keeps of it, and how it is read back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final, get_args

from steerwidgets.dose.judges import MARKS, Verdict
from steerwidgets.dose.rows import ASKED, BASELINE, BaselineRange, DoseRow, random_key, steered_key
from steerwidgets.dose.statistics import Count
from steerwidgets.dose.trials import Answer
from steerwidgets.files.fields import Fields, is_finite, is_text, is_whole
from steerwidgets.files.json_text import parse_json
from steerwidgets.files.shown import shown
from steerwidgets.generation.rows import Ended, GeneratedText
from steerwidgets.transformer.prompts import Token

FORMAT: Final = "steerwidgets.dose/2"
_FAMILY: Final = FORMAT.partition("/")[0]
_AGAIN: Final = "save it again from lm.dose"
_KINDS: Final = ("baseline", "asked", "steered", "random")
_DERIVED: Final = ("rows", "baseline", "prompted", "useful", "breaks", "breaks_below")
"""Written for other readers; computed anew from the answers here."""

_SAID: Final = ("label", "unit", "strengths", "origin", "prompts", "held_back", "seeds", "judge", "asked", "stopped")
_REST: Final = ("format", "settings", "provenance", "iso_kl", "answers")


def answer_json(answer: Answer) -> dict[str, Any]:
    """An answer, its tokens by columns."""
    kind, *strength = answer.key if isinstance(answer.key, tuple) else (answer.key,)
    verdict = answer.verdict
    return {
        "kind": kind,
        "strength": strength[0] if strength else None,
        "prompt": answer.prompt,
        "seed": answer.seed,
        "text": answer.text,
        "token_ids": list(answer.row.token_ids),
        "tokens": [token.text for token in answer.row.tokens],
        "fragments": [i for i, token in enumerate(answer.row.tokens) if token.fragment],
        "ended": answer.row.ended,
        "score": None if verdict is None else verdict.score,
        "on_topic": None if verdict is None else verdict.on_topic,
        "marks": None if verdict is None or verdict.marks is None else list(verdict.marks),
        "surprise": answer.surprise,
        "distinct_2": answer.distinct_2,
        "kl": list(answer.kl),
        "ratio": answer.ratio,
    }


def row_json(row: DoseRow) -> dict[str, Any]:
    """A strength's row."""
    return asdict(row) | {"on_topic": count_json(row.on_topic), "random": count_json(row.random)}


def baseline_json(baseline: BaselineRange) -> dict[str, Any]:
    """What the baseline does."""
    return asdict(baseline) | {"on_topic": count_json(baseline.on_topic)}


def count_json(count: Count) -> dict[str, Any]:
    """A count with its interval."""
    return {"k": count.k, "n": count.n, "interval": list(count.interval)}


def read(text: str | bytes, what: str) -> tuple[dict[str, Any], dict[float, float | None]]:
    """What a saved dose–response says: the attributes of the result, and the iso-KL doses that were measured.

    Args:
        text: JSON.
        what: what it is called in messages.

    Raises:
        ValueError: it is no dose–response, or damaged, or of another version.
    """
    said = Fields(parse_json(text, what, todo=_AGAIN), f"In {what}", todo=_AGAIN)
    found = said.value("format")
    if isinstance(found, str) and found != FORMAT and found.partition("/")[0] == _FAMILY:
        raise ValueError(
            f"The format of {what} is {shown(found)}, a dose–response of another version, and this one reads "
            f"{FORMAT!r}; update steerwidgets, or {_AGAIN}."
        )
    if found != FORMAT:
        raise ValueError(
            f"The format of {what} should be {FORMAT!r}, which is a dose–response's, but it is {shown(found)}; give "
            "what its save() wrote."
        )
    said.only(*_SAID, *_REST, *_DERIVED)
    strengths = [float(each) for each in said.items("strengths", of="finite numbers", each=is_finite)]
    prompts = said.items("prompts", of="texts", each=is_text)
    if not strengths or not prompts or sorted(set(strengths)) != strengths:
        name = "prompts" if strengths and not prompts else "strengths"
        raise said.wrong(name, "some, from the lowest up and each once" if name == "strengths" else "some")
    listed = said.items("answers", of="answers")
    answers = [_answer(each, f"In answer {i} of {what}", strengths, len(prompts)) for i, each in enumerate(listed, 1)]
    attributes = {
        "label": said.text("label"),
        "unit": said.text("unit"),
        "strengths": tuple(strengths),
        "origin": said.number("origin"),
        "prompts": tuple(prompts),
        "held_back": tuple(said.items("held_back", of="texts", each=is_text)),
        "seeds": tuple(said.items("seeds", of="whole numbers", each=is_whole)),
        "judge": said.text("judge"),
        "asked": said.text("asked"),
        "stopped": said.flag("stopped"),
        "answers": tuple(answers),
        "settings": dict(said.inner("settings").table),
        "provenance": said.texts("provenance"),
    }
    return attributes, _doses(said.inner("iso_kl"))


def _doses(said: Fields) -> dict[float, float | None]:
    found: dict[float, float | None] = {}
    for name in said.table:
        try:
            nats = float(name)
        except ValueError:
            nats = math.nan
        if not 0 < nats < math.inf:
            raise said.wrong(name, "under a number of nats above 0")
        found[nats] = said.number(name, None)
    return found


def _answer(value: Any, where: str, strengths: Sequence[float], prompts: int) -> Answer:
    said = Fields(value, where, todo=_AGAIN)
    kind = said.text("kind", choices=_KINDS)
    key: tuple[Any, ...] = BASELINE if kind == "baseline" else ASKED
    if kind in ("steered", "random"):
        strength = said.number("strength")
        if strength not in strengths:
            raise said.wrong("strength", "one of the strengths that were tried")
        key = steered_key(strength) if kind == "steered" else random_key(strength)
    return Answer(
        key,
        said.whole("prompt", low=0, high=prompts - 1),
        said.whole("seed"),
        row := _text(said),
        said.number("distinct_2", low=0, high=1),
        said.number("surprise", math.nan),
        _kl(said, len(row.token_ids)),
        said.number("ratio", low=0),
        _verdict(said),
    )


def _text(said: Fields) -> GeneratedText:
    ids, texts = (
        said.items("token_ids", of="whole numbers", each=is_whole),
        said.items("tokens", of="texts", each=is_text),
    )
    parts = set(said.items("fragments", of="whole numbers", each=is_whole))
    if len(texts) != len(ids):
        raise said.wrong("tokens", f"{len(ids)} texts, one for each of token_ids")
    if not parts <= set(range(len(ids))):
        raise said.wrong("fragments", "places of tokens")
    tokens = tuple(Token(each, text, i in parts) for i, (each, text) in enumerate(zip(ids, texts, strict=True)))
    ended: Any = said.text("ended", choices=get_args(Ended))
    return GeneratedText(tuple(ids), said.text("text"), tokens, ended)


def _kl(said: Fields, tokens: int) -> tuple[float, ...]:
    """Of each token, or of none where the answer was not scored; null is what JSON has for NaN."""
    values = said.items("kl", of="numbers")
    if len(values) not in (0, tokens) or not all(each is None or is_finite(each) for each in values):
        raise said.wrong("kl", f"{tokens} numbers, one for each token, or none")
    return tuple(math.nan if each is None else float(each) for each in values)


def _verdict(said: Fields) -> Verdict | None:
    if "score" not in said:
        return None
    marks = said.items("marks", None, of="marks")
    if marks is not None and (len(marks) != len(MARKS) or any(each not in (0, 1, 2) for each in marks)):
        raise said.wrong("marks", f"{', '.join(MARKS)}, each 0, 1 or 2")
    three = None if marks is None else (float(marks[0]), float(marks[1]), float(marks[2]))
    return Verdict(said.number("score", low=0, high=1), said.flag("on_topic"), three)
