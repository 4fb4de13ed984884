"""Comparison: baseline and steered text of one prompt, and how far apart they are."""

from __future__ import annotations

import bisect
import copy
import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Unpack

from steerwidgets.generation.rows import Row, Step, generate_rows, whole_row
from steerwidgets.generation.sampling import Sampling
from steerwidgets.lens.generated_token import generated_lens
from steerwidgets.lens.layer_lens import LayerLens
from steerwidgets.lens.promoting import token_id_of
from steerwidgets.steering.divergence import Scores, teacher_forced, teacher_forced_together
from steerwidgets.steering.recipe import Recipe
from steerwidgets.steering.run_cache import RunCache
from steerwidgets.transformer.loaded import LoadedModel
from steerwidgets.transformer.model_state import model_state, refuse_changed
from steerwidgets.transformer.prompts import Prompt

if TYPE_CHECKING:
    import threading

    from steerwidgets.lens.logit_lens import BlockSettings
    from steerwidgets.steering.recipe import Direction
    from steerwidgets.transformer.prompts import Token


class Comparison:
    """Baseline and steered text of one prompt, generated as two rows of one batch with shared noise.

    Attributes:
        prompt: the prompt as the model got it.
        recipe: what steered the second row.
        sampling: the settings.
        baseline: the row without steering.
        steered: the row with it.
        beside: the other rows of the batch.

    Example:
        >>> out = lm.compare("Name a city.", cavs["music"].add(4), max_new_tokens=4)
        >>> len(out.steered.token_ids), len(out.kl), len(out.surprise)
        (4, 4, 4)
    """

    def __init__(
        self,
        engine: LoadedModel,
        prompt: Prompt,
        recipe: Recipe,
        sampling: Sampling,
        rows: Sequence[Row],
        cache: RunCache | None = None,
    ) -> None:
        self._lm = engine
        self._cache = cache
        self._state = model_state(engine.model)
        self.prompt = prompt
        self.recipe = recipe
        self.sampling = sampling
        self.baseline, self.steered, *others = rows
        self.beside = tuple(others)

    @property
    def divergence(self) -> int | None:
        """The first step at which the texts differ; None where they are the same.

        Example:
            >>> lm.compare("Name a city.", cavs["music"].add(0), max_new_tokens=4).divergence is None
            True
        """
        return first_difference(self.baseline.token_ids, self.steered.token_ids)

    @functools.cached_property
    def scores(self) -> Scores:
        """KL and surprise of the steered text, teacher-forced; computed when first asked for.

        Raises:
            ValueError: the model's adapters or weights have changed since the text was written.
        """
        refuse_changed(self._lm.name, self._state, self._lm.model)
        return teacher_forced(self._lm, self.prompt, self.steered.token_ids, self.recipe)

    @property
    def kl(self) -> tuple[float, ...]:
        """KL(steered ‖ unsteered) in nats at each token of the steered text.

        Example:
            >>> lm.compare("Name a city.", cavs["music"].add(0), max_new_tokens=4).kl
            (0.0, 0.0, 0.0, 0.0)
        """
        return self.scores.kl

    @property
    def surprise(self) -> tuple[float, ...]:
        """-log p in nats of each token of the steered text under the unsteered model."""
        return self.scores.surprise

    @functools.cached_property
    def kl_beside(self) -> tuple[tuple[float, ...], ...]:
        """For each row `beside`, KL(steered ‖ unsteered) in nats at each token; empty where nothing steers it."""
        steered = [row for row in self.beside if len(row.plan.recipe)]
        texts = [row.token_ids for row in steered]
        scores = teacher_forced_together(self._lm, self.prompt, texts, [row.plan.recipe for row in steered])
        found = iter(scores)
        return tuple(next(found).kl if len(row.plan.recipe) else () for row in self.beside)

    @property
    def keeps_cache(self) -> bool:
        """Whether the run's keys and values were kept, so that a token's lens needs no second read of the text."""
        return self._cache is not None and self._cache.is_kept

    def without_cache(self) -> Comparison:
        """The same run without the keys and values that it kept; who has this one still has them.

        Returns:
            The same texts and scores, whose lenses read the text again.

        Example:
            >>> run = lm.compare("Name a city.", None, max_new_tokens=2, keep_cache=True)
            >>> run.without_cache().keeps_cache
            False
        """
        bare = copy.copy(self)
        bare._cache = None  # noqa: SLF001 - its own
        return bare

    def lens(
        self,
        step: int,
        row: Literal["baseline", "steered"] | int = "steered",
        *,
        k: int = 10,
        track: Sequence[int | str] = (),
        drawn_from: bool = False,
        **settings: Unpack[BlockSettings],
    ) -> LayerLens:
        """The logit lens of one generated token, under what steered its row; one position.

        Where the run was asked to keep its cache (`keep_cache=True`), one token goes through the model and the text
        before it is not read again; otherwise the whole text is.

        Args:
            step: which generated token, from 0, or from the end with negative numbers.
            row: which text; a number for one of those `beside`, from 0.
            k: how many of the likeliest tokens are kept.
            track: tokens to follow.
            drawn_from: the position before the token instead, whose last layer is what the token was drawn from; else
                the token's own position, which speaks of the token after it.
            settings: `stream` and `layers`, as for `lm.logit_lens`; `BlockSettings` explains them.

        Returns:
            The lens, with one position.

        Raises:
            ValueError: there is no such row or step, a setting is out of range, or the model's adapters or weights have
                changed since the text was written.

        Example:
            >>> out = lm.compare("Name a city.", cavs["music"].add(4), max_new_tokens=4, keep_cache=True)
            >>> out.lens(step=2, k=3).token_ids.shape  # 4 blocks, 1 token
            torch.Size([4, 1, 3])
        """
        refuse_changed(self._lm.name, self._state, self._lm.model)
        index = self._index(row)
        text = (self.baseline, self.steered, *self.beside)[index]
        given: dict[str, Any] = {**settings, "k": k, "track": track, "drawn_from": drawn_from}
        return generated_lens(
            self._lm, text.plan.prompt, text.token_ids, text.plan.recipe, step, row=index, cache=self._cache, **given
        )

    def alternatives(
        self, step: int, row: Literal["baseline", "steered"] | int = "steered", k: int = 10
    ) -> tuple[tuple[Token, float], ...]:
        """The likeliest tokens at one step of a text, under what steered its row, each with its probability.

        Args:
            step: which generated token, from 0, or from the end with negative numbers.
            row: which text; a number for one of those `beside`, from 0.
            k: how many.

        Returns:
            Tokens with their probabilities at temperature 1, all tokens counted, the likeliest first.

        Raises:
            ValueError: there is no such row or step.

        Example:
            >>> out = lm.compare("Name a city.", cavs["music"].add(4), max_new_tokens=4, temperature=0)
            >>> out.alternatives(2, k=3)[0][0].id == out.steered.token_ids[2]  # the likeliest one was taken
            True
        """
        lens = self.lens(step, row, k=k, drawn_from=True, layers=[self._lm.architecture.layers - 1])
        tokens = self._lm.tokens(lens.token_ids[-1, 0].tolist())
        return tuple(zip(tokens, lens.log_probs[-1, 0].exp().tolist(), strict=True))

    def fork(
        self,
        step: int,
        token: int | str,
        row: Literal["baseline", "steered"] | int = "steered",
        *,
        watch: Sequence[Direction] = (),
        on_step: Callable[[Step], None] | None = None,
        stop: threading.Event | None = None,
    ) -> Comparison:
        """Put another token in the place of a generated one, and go on from there with the same noise.

        The other rows stay as they are.

        Args:
            step: which generated token, from 0, or from the end with negative numbers.
            token: what stands there instead: an id, or a text that the tokenizer makes one token of.
            row: in which text; a number for one of those `beside`, from 0.
            watch: features to read at every token that is generated anew.
            on_step: called with every step, in this thread; it is about this row alone.
            stop: set it to end the run within one token.

        Returns:
            Another comparison.

        Raises:
            ValueError: there is no such row, step or token.

        Example:
            >>> out = lm.compare("Name a city.", cavs["music"].add(4), max_new_tokens=6)
            >>> other = out.alternatives(2, k=2)[1][0]
            >>> forked = out.fork(2, other.id)
            >>> forked.steered.token_ids[:3] == (*out.steered.token_ids[:2], other.id)
            True
        """
        index = self._index(row)
        rows = [self.baseline, self.steered, *self.beside]
        before = rows[index]
        step = checked_step(step, before)
        token = token_id_of(self._lm, token)
        ends = token in self._lm.end_ids
        begun = before.token_ids[:step] + (() if ends else (token,))
        plan = replace(before.plan, begun=begun)
        if ends or len(begun) >= self.sampling.max_new_tokens:
            rows[index] = whole_row(self._lm, plan, "eos" if ends else "length", watched=bool(watch))
        else:
            [rows[index]] = generate_rows(self._lm, [plan], self.sampling, watch=watch, on_step=on_step, stop=stop)
        kept = before.watched[:step]
        rows[index] = replace(rows[index], watched=(*kept, *rows[index].watched[len(kept) :]) if watch else ())
        return Comparison(self._lm, self.prompt, self.recipe, self.sampling, rows)

    def _index(self, row: object) -> int:
        """Which row of the batch a name stands for."""
        named: dict[object, int] = {"baseline": 0, "steered": 1} | {i: i + 2 for i in range(len(self.beside))}
        if row not in named:
            others = f", and {len(self.beside)} beside them, from 0" if self.beside else ""
            raise ValueError(f"A comparison has the rows baseline and steered{others}; {row!r} was given.")
        return named[row]

    def __repr__(self) -> str:
        return f"Baseline: {self.baseline.text}\nSteered:  {self.steered.text}"


def checked_step(step: int, row: Row) -> int:
    """A step as a number from 0.

    Raises:
        ValueError: the text has no such token.
    """
    count = len(row.token_ids)
    if isinstance(step, bool) or not isinstance(step, int) or not -count <= step < count:
        raise ValueError(f"That text has {count} tokens, from 0 to {count - 1}; step {step!r} was asked for.")
    return step % count


def first_difference(first: Sequence[int], second: Sequence[int]) -> int | None:
    """The first index at which two texts differ, the end of the shorter one included; None where they are the same."""
    if tuple(first) == tuple(second):
        return None
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))


def shared_tokens(first: Sequence[int], second: Sequence[int]) -> list[tuple[int, int]]:
    """Where two texts have the same tokens in the same order: pairs of indices, as many as there can be.

    A longest common subsequence, found from the pairs of equal tokens (Hunt and Szymanski 1977).
    """
    places: dict[int, list[int]] = defaultdict(list)
    for index, token in enumerate(second):
        places[token].append(index)
    ends: list[int] = []
    chains: list[Any] = []
    for index, token in enumerate(first):
        for other in reversed(places.get(token, [])):
            length = bisect.bisect_left(ends, other)
            ends[length : length + 1] = [other]
            chains[length : length + 1] = [(index, other, chains[length - 1] if length else None)]
    pairs: list[tuple[int, int]] = []
    link = chains[-1] if chains else None
    while link is not None:
        *pair, link = link
        pairs.append((pair[0], pair[1]))
    return pairs[::-1]
