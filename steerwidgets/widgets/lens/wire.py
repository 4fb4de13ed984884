"""A lens as it travels: packed arrays of ids and log-probabilities, and each token's text once, by its id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from steerwidgets.widgets.arrays import as_numpy, exact, pack, unpack
from steerwidgets.widgets.tokens import FRAGMENT, SPECIAL, TEMPLATE

if TYPE_CHECKING:
    from steerwidgets.lens.attribution import Attribution
    from steerwidgets.lens.layer_lens import LayerLens, LensDifference, TokenChanges
    from steerwidgets.steering.recipe import Recipe
    from steerwidgets.transformer.prompts import Token


CHANGES: Final = 5
"""Tokens that rise and that fall most, for each cell; they travel beside two runs' candidates."""


def lens_traits(
    lens: LayerLens,
    recipe: Recipe | None,
    tokens_of: Callable[[Iterable[int]], list[Token]],
    following: Token | None = None,
) -> dict[str, Any]:
    """The traits of a widget that shows this lens.

    Args:
        lens: what was read; of both runs where it has a `baseline`, else of the one that the recipe steers or none.
        recipe: what steers.
        tokens_of: token ids as a person reads them.
        following: the token that really came after the last position, where the text of the lens ends before it.
    """
    difference = lens.difference
    steered = None if recipe is None else lens
    baseline = lens if recipe is None else lens.baseline
    return {
        "tokens": _text(lens, following),
        "baseline": {} if baseline is None else _grid(baseline),
        "steered": {} if steered is None else _grid(steered),
        "difference": {} if difference is None else _difference(difference),
        "steering": {} if recipe is None else _steering(difference, recipe),
        "tracked": list(lens.tracked),
        "vocabulary": _vocabulary(sorted(_ids(lens)), tokens_of),
    }


def empty_traits() -> dict[str, Any]:
    """The traits of a widget that has read nothing."""
    names = ("tokens", "baseline", "steered", "difference", "steering", "vocabulary")
    return {**{name: {} for name in names}, "tracked": []}


def _text(lens: LayerLens, following: Token | None) -> dict[str, Any]:
    prompt = lens.prompt
    after = [] if following is None else [following]
    tokens = [*(lens.tokens[at] for at in lens.positions), *after]
    columns = {
        FRAGMENT: [token.fragment for token in tokens],
        SPECIAL: [*(prompt.special[at] for at in lens.positions), *(False for _ in after)],
        TEMPLATE: [*(prompt.template[at] for at in lens.positions), *(False for _ in after)],
    }
    flags = sum(np.asarray(column, dtype=np.uint8) * np.uint8(bit) for bit, column in columns.items())
    return {
        "texts": [token.text for token in tokens],
        "ids": pack(np.array([token.id for token in tokens], dtype=np.int32)),
        "flags": pack(np.asarray(flags, dtype=np.uint8)),
    }


def _grid(lens: LayerLens) -> dict[str, Any]:
    """One run: 8 bytes for each candidate, 8 more for each cell."""
    return {
        "layers": list(lens.layers),
        "ids": _int32(lens.token_ids),
        "log_probs": _float32(lens.log_probs),
        "entropy": _float32(lens.entropy),
        "kl": _float32(lens.kl),
        "settled": _int32(lens.settled),
        "answers": _int32(lens.answers),
        "tracked_log_probs": _float32(lens.tracked_log_probs),
        "tracked_ranks": _int32(lens.tracked_ranks),
    }


def _difference(difference: LensDifference) -> dict[str, Any]:
    return {
        "top": _float32(difference.d_top),
        "rises": _changes(difference.rises, CHANGES),
        "falls": _changes(difference.falls, CHANGES),
    }


def _steering(difference: LensDifference | None, recipe: Recipe) -> dict[str, Any]:
    steering = {
        "layers": sorted({site.layer for site in recipe.sites}),
        "steers": [
            {"label": steer.feature.label, "what": _what(steer), "site": str(steer.feature.site)} for steer in recipe
        ],
    }
    if difference is None:
        return steering
    return steering | {
        "direct": [
            {
                "site": str(path.site),
                "layer": path.site.layer,
                "norms": _float32(path.norms),
                "promoted": _changes(path.promoted),
                "suppressed": _changes(path.suppressed),
            }
            for path in difference.direct
        ],
        # At the output only: what the recipe does to the logits of the next token, after each token of the text.
        "promoted": _last(difference.promoted),
        "suppressed": _last(difference.suppressed),
    }


def _what(steer: Any) -> str:
    """The op with its numbers and positions: the steer's own words, less its label."""
    return repr(steer).removeprefix(f"{steer.feature.label!r}.")


def _changes(changes: TokenChanges, most: int | None = None) -> dict[str, Any]:
    return {"ids": _int32(changes.token_ids[..., :most]), "values": _float32(changes.values[..., :most])}


def _last(changes: TokenChanges) -> dict[str, Any]:
    return {"ids": _int32(changes.token_ids[-1]), "values": _float32(changes.values[-1])}


def _ids(lens: LayerLens) -> set[int]:
    """Every token that can be shown."""
    arrays: list[Any] = [lens.token_ids, lens.answers]
    if lens.baseline is not None:
        arrays += [lens.baseline.token_ids, lens.baseline.answers]
    difference = lens.difference
    if difference is not None:
        arrays += [each.token_ids[..., :CHANGES] for each in (difference.rises, difference.falls)]
        arrays += [each.token_ids[-1] for each in (difference.promoted, difference.suppressed)]
        arrays += [each.token_ids for path in difference.direct for each in (path.promoted, path.suppressed)]
    found: set[int] = set(lens.tracked)
    for array in arrays:
        found.update(np.unique(as_numpy(array)).tolist())
    return found


def _vocabulary(ids: Sequence[int], tokens_of: Callable[[Iterable[int]], list[Token]]) -> dict[str, Any]:
    tokens = tokens_of(ids)
    return {
        "ids": pack(np.array(ids, dtype=np.int32)),
        "texts": [token.text for token in tokens],
        "fragments": [token.id for token in tokens if token.fragment],
    }


def _int32(values: Any) -> dict[str, Any]:
    return pack(np.ascontiguousarray(as_numpy(values), dtype=np.int32))


def _float32(values: Any) -> dict[str, Any]:
    array: NDArray[np.float32] = np.ascontiguousarray(as_numpy(values), dtype=np.float32)
    return pack(array)


def plain(value: Any) -> Any:
    """The same value with each packed array as nested lists; NaN and infinities as null."""
    if isinstance(value, Mapping):
        if set(value) == {"data", "dtype", "shape"}:
            return _listed(unpack(value))
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def plain_vocabulary(vocabulary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The tokens by their ids."""
    if not vocabulary:
        return {}
    fragments = set(vocabulary["fragments"])
    ids = unpack(vocabulary["ids"]).tolist()
    return {
        str(i): {"text": text, "fragment": i in fragments} for i, text in zip(ids, vocabulary["texts"], strict=True)
    }


def _listed(array: np.ndarray[Any, Any]) -> Any:
    if array.dtype != np.float32:
        return array.tolist()
    # The shortest number that float32 can't tell from it: 0.342, not 0.34200000762939453.
    texts = array.astype(str).ravel()
    numbers = [None if text in ("nan", "inf", "-inf") else float(text) for text in texts.tolist()]
    return np.array(numbers, dtype=object).reshape(array.shape).tolist()


_PARTS: Final = 10


def wrote_json(found: Attribution, position: int, token: int, minus: int | None, run: str) -> dict[str, Any]:
    """An attribution as it travels.

    Args:
        found: what `lm.attribution` gave.
        position: the column.
        token: the id of the token whose logit it is.
        minus: the id of the token whose logit is taken off it, or None.
        run: `baseline` or `steered`.
    """
    shown = found.top(_PARTS)
    total = sum(row.value for row in found.rows)
    return {
        "position": position,
        "id": token,
        "minus": minus,
        "run": run,
        "parts": [{"name": row.component, "value": exact(row.value)} for row in shown],
        "of": len(found.rows),
        "rest": exact(total - sum(row.value for row in shown)),
        "logit": exact(found.logit),
        "total": exact(total),
    }
