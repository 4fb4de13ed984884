"""What hypothesis draws: steers for both sides, ours and the reference's, with positions, conditions and fades.

`tests/conftest.py` makes every run draw the same; `STEERWIDGETS_EXAMPLES=20` takes twenty times as many.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

import steerwidgets as sw
from support.both import Pair, vector
from support.models import LAYERS
from support.naive import Change

Acts = Callable[[int, int], bool]

TEXTS = st.lists(st.sampled_from([0, 3, *range(5, 320)]), min_size=1, max_size=10)
"""Token ids; 0 and 3 are special."""

POOL = [vector(seed) for seed in range(1, 6)] + [-2 * vector(1)]
"""Directions, of which two are parallel: setters along both contradict each other."""


def examples(count: int) -> Any:
    """Settings of a test: so many examples."""
    return settings(max_examples=count * int(os.environ.get("STEERWIDGETS_EXAMPLES", "1")))


def tried(run: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """What it gave, or what it raised."""
    try:
        return run(), None
    except Exception as error:
        return None, error


@dataclass
class Margin:
    """How near a reading came to its threshold: nearer than rounding, either side may be right."""

    nearest: float = field(default=float("inf"))

    @property
    def is_clear(self) -> bool:
        return self.nearest > 1e-3


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers of few digits, which both sides read alike."""
    return st.integers(round(low * 16), round(high * 16)).map(lambda n: n / 16)


def _simple() -> st.SearchStrategy[tuple[sw.Positions, Acts]]:
    rules: dict[Any, Acts] = {
        "all": lambda _t, _n: True,
        "prompt": lambda t, n: t < n,
        "generated": lambda t, n: t >= n,
        "last_prompt": lambda t, n: t == n - 1,
    }
    words = st.builds(lambda where, special: (sw.Positions(where, special=special), rules[where]),
                      st.sampled_from(list(rules)), st.booleans())  # fmt: skip
    indices = st.lists(st.integers(0, 12), min_size=1, max_size=4).map(
        lambda given: (sw.Positions("indices", tuple(given)), lambda t, _n: t in given)
    )
    return st.one_of(words, indices, st.builds(_counted, st.integers(0, 8), st.booleans(), st.booleans()))


def _counted(count: int, first: bool, generated: bool) -> tuple[sw.Positions, Acts]:
    made = (sw.first if first else sw.after)(count, of="generated" if generated else "text")

    def acts(t: int, n: int) -> bool:
        at = t - n if generated else t
        return at >= 0 and (at < count if first else at >= count)

    return made, acts


def positions() -> st.SearchStrategy[tuple[sw.Positions, Acts]]:
    """Positions and the rule that says the same; of two the ones in common."""
    both = st.builds(lambda a, b: (a[0] & b[0], lambda t, n: a[1](t, n) and b[1](t, n)), _simple(), _simple())
    return st.one_of(_simple(), both)


def _condition(draw: Any, layer: int, margin: Margin) -> tuple[Any, Any, tuple[tuple[int, str], ...]]:
    """A condition on what was read up to a block, the rule that says the same, and the sites that it reads."""
    at, stream = draw(st.integers(0, layer)), draw(st.sampled_from(["resid_post", "attn_out"]))
    v, theta = vector(draw(st.integers(20, 23)), norm=1.0), draw(numbers(-2, 2))
    above, site = draw(st.booleans()), (at, stream)
    feature = sw.Direction(v, sw.Site(at, stream), f"read {at} {stream}")
    unit = v.double().numpy()

    def holds(rows: Any) -> bool:
        value = float(rows[site] @ unit)
        margin.nearest = min(margin.nearest, abs(value - theta))
        return value > theta if above else value < theta

    return (feature > theta if above else feature < theta), holds, (site,)


@st.composite
def steers(draw: Any, /, margin: Margin, *, relative: bool = True) -> tuple[sw.Steer, Change]:
    """One steer for both sides, of any op, anywhere, under up to two conditions, fading or not."""
    layer = draw(st.integers(0, LAYERS - 1))
    stream = draw(st.sampled_from(["resid_post", "resid_post", "resid_pre", "mlp_out", "attn_out"]))
    pair = Pair(draw(st.sampled_from(POOL)), layer, stream)
    op = draw(st.sampled_from(["add", "add_relative", "ablate", "project", "clip"] if relative else ["add", "project"]))
    given: dict[str, tuple[Any, ...]] = {"add": (numbers(-2, 2),), "add_relative": (numbers(-1, 1),), "ablate": ()}
    given |= {"project": (numbers(-2, 4),), "clip": (st.none() | numbers(-3, 0), st.none() | numbers(0, 3))}
    steer, change = pair.make(op, *(draw(each) for each in given[op]))
    where, acts = draw(positions())
    steer, change = steer.at(where), replace(change, acts=acts, special=where.special)
    if stream == "resid_post" and draw(st.booleans()):
        condition, holds, reads = _condition(draw, layer, margin)
        if draw(st.booleans()):
            second, its, more = _condition(draw, layer, margin)
            both, first = draw(st.booleans()), holds
            condition = condition & second if both else condition | second
            holds = lambda r: (first(r) & its(r)) if both else (first(r) | its(r))
            reads = (*reads, *more)
        steer, change = steer.when(condition), replace(change, when=holds, reads=reads)
    if draw(st.booleans()):
        to, over = draw(numbers(-1, 2)), draw(st.integers(1, 5))
        share = lambda t, n: 1 + (to - 1) * min(max(t - n, 0) / over, 1)
        steer, change = steer.fade(to, over), replace(change, share=share)
    return steer, change


@st.composite
def recipes(draw: Any, /, margin: Margin, **how: Any) -> tuple[sw.Recipe, list[Change]]:
    """A recipe of up to four steers; one that contradicts another (two values for one feature) is left out."""
    made, changes = sw.Recipe(), []
    for steer, change in draw(st.lists(steers(margin, **how), min_size=1, max_size=4)):
        try:
            made = made + steer
        except ValueError:
            continue
        changes.append(change)
    return made, changes
