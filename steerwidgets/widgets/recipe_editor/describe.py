"""Features, ops, tokens and runs as the plain values that the front-end reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.steering.ops import Op
from steerwidgets.steering.recipe import Feature

if TYPE_CHECKING:
    from steerwidgets.generation.rows import Row
    from steerwidgets.model import LanguageModel
    from steerwidgets.steering.recipe import Direction
    from steerwidgets.steering.strength import Readout
    from steerwidgets.transformer.prompts import Prompt, Token


def model_json(lm: LanguageModel) -> dict[str, Any]:
    """What the header says of the model."""
    found = lm.provenance
    return {
        "name": lm.name,
        "blocks": lm.architecture.layers,
        "d_model": lm.architecture.d_model,
        "device": found["device"],
        "dtype": found["dtype"],
        "has_chat_template": lm.has_chat_template,
        "lacks": lm.abilities.lacking,
    }


def feature_json(feature: Direction, median_norm: float | None = None) -> dict[str, Any]:
    """One row of the feature list; `median_norm` is the median ‖h‖ at its site, where it was read."""
    value: dict[str, Any] = {
        "key": feature.key,
        "kind": feature.kind,
        "layer": feature.site.layer,
        "stream": feature.site.stream,
        "label": feature.label,
        "norm": feature.norm,
        "signed": feature.signed,
        "reads": feature.reads,
        "reads_projection": feature.reads_projection,
        "ops": list(feature.ops),
        "index": None,
        "max_activation": None,
        "max_activation_of": None,
        "p995_activation": None,
        "zero_activation": None,
        "zero_of": "",
        "label_source": "",
        "full": feature.full_strength,
        "reach": finite(slider_reach(feature, median_norm)),
        "suggested": None,
    }
    if isinstance(feature, Feature):
        suggested = feature.suggested
        value |= {
            "index": feature.index,
            "max_activation": feature.max_activation,
            "max_activation_of": feature.max_activation_of,
            "p995_activation": feature.p995_activation,
            "zero_activation": feature.zero_activation,
            "zero_of": feature.zero_of,
            "label_source": feature.label_source,
            "suggested": suggested and {"op": suggested[0], "params": dict(suggested[1])},
        }
    return value


def op_json(op: Op, refused: str = "") -> dict[str, Any]:
    """An op with its formula and numbers; `refused` says why the model can't carry it out."""
    parameters = [
        {
            "name": p.name,
            "symbol": p.symbol,
            "unit": p.unit,
            "default": p.default,
            "min": p.low,
            "max": p.high,
            "step": p.step,
            "optional": p.optional,
            "raw": p.raw,
        }
        for p in op.parameters
    ]
    identity = dict(op.identity) if op.identity is not None else None
    return {
        "name": op.name,
        "formula": op.formula,
        "summary": op.summary,
        "parameters": parameters,
        "refused": refused,
        "identity": identity,
    }


def tokens_json(tokens: Iterable[Token]) -> list[dict[str, Any]]:
    """Tokens with exact text."""
    return [asdict(token) for token in tokens]


def prompt_json(tokens: Sequence[Token], prompt: Prompt, sinks: Sequence[bool]) -> list[dict[str, Any]]:
    """The tokens of a prompt with what they are; position 0 is a sink even where nothing was read yet."""
    flags = zip(tokens, prompt.special, prompt.template, sinks, strict=True)
    return [
        {**asdict(token), "special": special, "template": template, "sink": sink}
        for token, special, template, sink in flags
    ]


def row_json(name: str, row: Row) -> dict[str, Any]:
    """One generated text; the first watched feature's values go with it."""
    watched = [None if values is None else finite(values[0]) for values in row.watched]
    return {
        "name": name,
        "tokens": tokens_json(row.tokens),
        "text": row.text,
        "ended": row.ended,
        "watched": watched,
    }


def readout_json(readout: Readout, note: str = "") -> dict[str, Any]:
    """The strength of one steer, with a note beside its own."""
    numbers = {name: finite(getattr(readout, name)) for name in ("ratio", "asked", "achieved")}
    return {**numbers, "note": " · ".join(filter(None, (readout.note, note)))}


def finite(value: float | None) -> float | None:
    """A number as JSON can hold it."""
    return value if value is not None and math.isfinite(value) else None


_TIMES_SUGGESTED: Final = 3.0
_TIMES_MAXIMUM: Final = 4.0
_TIMES_RESIDUAL: Final = 3.0
"""A change of three times the residual's own length leaves little of the residual: nobody wants more."""

_ROUND: Final = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)


def slider_reach(feature: Direction, median_norm: float | None = None) -> float | None:
    """The strength at which a slider shall end; None where nothing is known. Larger values can always be typed.

    Three times what was seen to work; else four times the strength that gives the feature its largest activation; else
    the strength whose change is three times as long as the residual.

    Args:
        feature: the feature.
        median_norm: the median ‖h‖ at its site, where it was read.
    """
    if isinstance(feature, Feature) and feature.suggested is not None:
        op, numbers = feature.suggested
        own = [numbers[p.name] for p in feature.ops[op].parameters if p.raw and numbers.get(p.name)]
        if own:
            return _TIMES_SUGGESTED * abs(own[0])
    if feature.full_strength is not None:
        return _round(_TIMES_MAXIMUM * feature.full_strength)
    return _round(_TIMES_RESIDUAL * median_norm / feature.norm) if median_norm and feature.norm else None


def _round(number: float) -> float:
    """The nearest round number: a slider shall not change its end with every prompt."""
    power = 10.0 ** math.floor(math.log10(number))
    return min((step * power for step in _ROUND), key=lambda each: abs(each - number))
