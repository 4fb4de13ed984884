"""Baseline and steered rows in one batch, streamed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from steerwidgets.generation.sampling import CoupledSampler, Sampling
from steerwidgets.steering.hooks import Steering, Watch, check_feature
from steerwidgets.steering.recipe import Recipe
from steerwidgets.steering.run_cache import RunCache
from steerwidgets.threads import sharing
from steerwidgets.transformer import prompts
from steerwidgets.transformer.few_rows import few_rows, usual_rows
from steerwidgets.transformer.layout import Layout
from steerwidgets.transformer.residuals import left_padded

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.steering.recipe import Direction
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import Prompt
    from steerwidgets.transformer.sites import Site

Ended = Literal["eos", "length", "stopped"]


@dataclass(frozen=True)
class Plan:
    """One row to generate.

    Attributes:
        prompt: the prompt.
        recipe: what steers it.
        begun: ids that its text begins with; it goes on from there, with the noise of the steps that follow them.
        seed: what its noise comes from; None for the run's.
    """

    prompt: Prompt
    recipe: Recipe
    begun: tuple[int, ...] = ()
    seed: int | None = None


@dataclass(frozen=True)
class Step:
    """What one step of a run brought.

    Attributes:
        index: the step, from 0.
        token_ids: each row's new token; None for a row that has ended.
        watched: for each row, the watched features' values at the token of the step before, before any change; empty
            at step 0 and where nothing is watched.
    """

    index: int
    token_ids: tuple[int | None, ...]
    watched: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class GeneratedText:
    """A generated text by itself.

    Attributes:
        token_ids: the generated ids, without the token that ended it.
        text: their text.
        tokens: the tokens as a person reads them.
        ended: `eos` (the model ended it), `length` (the limit) or `stopped`.
    """

    token_ids: tuple[int, ...]
    text: str
    tokens: tuple[prompts.Token, ...]
    ended: Ended

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r}, {len(self.tokens)} tokens, ended by {self.ended})"


@dataclass(frozen=True, repr=False)
class Row(GeneratedText):
    """One row of a run: its text, and what it came of.

    Attributes:
        watched: [token, feature] values at each token before any change; None where a stop came before the value.
        plan: the prompt that it goes on from and the recipe that steered it.
    """

    watched: tuple[tuple[float, ...] | None, ...]
    plan: Plan = field(compare=False)


class _Run:
    """The state of one run: the stopping criterion that `generate` calls once for each step.

    Attributes:
        steering: what steers it.
        make_room: looks whether others want the cores; see `threads.sharing`.
    """

    def __init__(
        self,
        lm: LoadedModel,
        plans: Sequence[Plan],
        sampling: Sampling,
        watch: Sequence[Direction],
        on_step: Callable[[Step], None] | None,
        stop: threading.Event | None,
    ) -> None:
        self._lm = lm
        self._plans = tuple(plans)
        self._sampling = sampling
        # What a transcoder's feature writes is watched as the feature, where it reads.
        self._watch = tuple(feature.read_as for feature in watch)
        self._on_step = on_step
        self._stop = stop
        self.make_room: Callable[[], None] = lambda: None
        self._end_ids = lm.end_ids
        known = lm.known(plan.prompt for plan in plans)
        self.steering = Steering(lm.architecture, [plan.recipe for plan in plans], known, self._watches())
        self._values: dict[Site, Tensor] = {}
        self._steps = 0
        self._ids: list[list[int]] = [list(plan.begun) for plan in plans]
        # Of a text that is begun, the pass over it reads the last token alone.
        self._watched: list[list[tuple[float, ...] | None]] = [[None] * (len(plan.begun) - 1) for plan in plans]
        self._ended: list[Ended | None] = [None] * len(plans)

    def _watches(self) -> dict[Site, Watch]:
        return {site: self._keep(site) for site in {feature.site for feature in self._watch}}

    def _keep(self, site: Site) -> Watch:
        def keep(stream: Tensor, _layout: Layout) -> None:
            self._values[site] = stream[:, -1]

        return keep

    def __call__(self, input_ids: Tensor, _scores: Any, **_: Any) -> Tensor:
        """Take in the newest token of every row; bool [batch], which rows are done."""
        import torch

        self.make_room()
        newest = input_ids[:, -1].tolist()
        watched = self._take_watched()
        new: tuple[int | None, ...] = tuple(self._take(row, token) for row, token in enumerate(newest))
        if self._on_step is not None:
            with self.steering.paused(), usual_rows():
                self._on_step(Step(self._steps, new, watched))
        self._steps += 1
        if self._stop is not None and self._stop.is_set():
            self._ended = [ended or "stopped" for ended in self._ended]
        done = [ended is not None and not self._wants_value(row) for row, ended in enumerate(self._ended)]
        return torch.tensor(done, device=input_ids.device)

    def take_token(self, row: int, token: int) -> bool:
        """Take in a row's next token, where rows come one after another; whether the row goes on."""
        new: list[int | None] = [None] * len(self._plans)
        done = len(self._ids[row]) - len(self._plans[row].begun)
        new[row] = self._take(row, token)
        if self._on_step is not None:
            with self.steering.paused(), usual_rows():
                self._on_step(Step(done, tuple(new), ()))
        if self._stop is not None and self._stop.is_set():
            self._ended = [ended or "stopped" for ended in self._ended]
        return self._ended[row] is None

    def take_streams(self, row: int, streams: Mapping[Site, Tensor]) -> None:
        """Take in what was read at every token of a row that has ended: for each site [token, width]."""
        columns = [feature.activation(streams[feature.site]).tolist() for feature in self._watch]
        self._watched[row] += [tuple(values) for values in zip(*columns, strict=True)]

    @property
    def watched_sites(self) -> frozenset[Site]:
        """Where the watched features are read."""
        return frozenset(feature.site for feature in self._watch)

    def generated(self, row: int) -> int:
        """How many tokens a row has got, those that it began with among them."""
        return len(self._ids[row])

    def refuse_endless(self, _input_ids: Tensor, logits: Tensor) -> Tensor:
        """Logits as they are; the logits processor that stands before the sampler, which can't choose among NaN.

        Raises:
            ValueError: those of a row that goes on are NaN or infinite, or all are left out.
        """
        largest = logits.amax(-1)
        if not bool(largest.isfinite().all()):
            for row in (~largest.isfinite()).nonzero()[:, 0].tolist():
                if self._ended[row] is None:
                    raise ValueError(self._why_endless(self._plans[row].recipe))
        return logits

    def _why_endless(self, recipe: Recipe) -> str:
        where = f"At generated token {self._steps} the logits of {self._lm.name} are NaN or infinite"
        if not recipe:
            return f"{where} without any steering: its weights hold such numbers, or its dtype overflows."
        return f"{where} under {recipe!r}: it is too strong for the model's dtype, or holds such numbers itself."

    def _take(self, row: int, token: int) -> int | None:
        if self._ended[row] is not None:
            return None
        if token in self._end_ids:
            self._ended[row] = "eos"
            return None
        self._ids[row].append(token)
        if len(self._ids[row]) == self._sampling.max_new_tokens:
            self._ended[row] = "length"
        return token

    def _take_watched(self) -> tuple[tuple[float, ...], ...]:
        """The values at the token before the newest: that is what this step's forward pass has read."""
        import torch

        if not self._watch or (self._steps == 0 and not any(self._ids)):
            return ()
        columns = [feature.activation(self._values[feature.site]) for feature in self._watch]
        values = tuple(tuple(row) for row in torch.stack(columns, dim=-1).tolist())
        for row, value in enumerate(values):
            if len(self._watched[row]) < len(self._ids[row]):
                self._watched[row].append(value)
        return values

    def _wants_value(self, row: int) -> bool:
        """A row that reached its limit goes one step on, so that its last token is read too."""
        return bool(self._watch) and self._ended[row] == "length" and len(self._watched[row]) < len(self._ids[row])

    def rows(self) -> list[Row]:
        """The rows as they stand."""
        tokenizer = self._lm.tokenizer
        made = []
        for ids, watched, ended, plan in zip(self._ids, self._watched, self._ended, self._plans, strict=True):
            text = str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))
            filled = (*watched, *([None] * (len(ids) - len(watched) if self._watch else 0)))
            tokens = tuple(prompts.tokens(tokenizer, ids))
            made.append(Row(tuple(ids), text, tokens, ended or "stopped", filled, plan))
        return made


def whole_row(lm: LoadedModel, plan: Plan, ended: Ended, *, watched: bool = False) -> Row:
    """The row of a text that is whole as it was begun."""
    ids = plan.begun
    text = str(lm.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))
    return Row(ids, text, tuple(lm.tokens(ids)), ended, (None,) * len(ids) if watched else (), plan)


def generate_rows(
    lm: LoadedModel,
    plans: Sequence[Plan],
    sampling: Sampling,
    *,
    watch: Sequence[Direction] = (),
    on_step: Callable[[Step], None] | None = None,
    stop: threading.Event | None = None,
    use_cache: bool = True,
    keep: RunCache | None = None,
) -> list[Row]:
    """Generate every row in one batch through `model.generate`: one read of the weights serves all.

    All rows share the noise of `(seed, step)` unless a plan has a seed of its own, so rows that differ only in their
    recipe differ by the steering alone.

    Args:
        lm: the model.
        plans: prompt and recipe of each row, and what its text begins with.
        sampling: the settings.
        watch: features whose values are read at every generated token of every row, before any change.
        on_step: called after every step, in this thread.
        stop: set it to end the run within one token; what was generated is returned.
        use_cache: whether the key-value cache is used; the tokens are the same but for near-ties.
        keep: what holds on to the key-value cache after the run, so that single tokens can be read again.

    Raises:
        ValueError: a recipe or a watched feature does not fit the model, or makes its logits NaN or infinite.
        CompiledModelError: the model is compiled.
    """
    import torch

    _check_runnable(lm, plans, sampling, watch)
    run = _Run(lm, plans, sampling, watch, on_step, stop)
    ids, mask = left_padded([(*plan.prompt.token_ids, *plan.begun) for plan in plans], padding=0)
    device = lm.architecture.input_device
    lengths, begun = (torch.tensor(each) for each in zip(*((len(p.prompt), len(p.begun)) for p in plans), strict=True))
    seeds = [plan.seed for plan in plans]
    sampler = CoupledSampler(sampling, lengths, ids.shape[1], begun=begun, seeds=seeds)
    past = {} if keep is None or keep.past is None else {"past_key_values": keep.past}
    with lm.lock, torch.no_grad(), few_rows(lm.architecture, len(plans)), run.steering, sharing() as run.make_room:
        lm.model.generate(
            ids.to(device),
            attention_mask=mask.to(device),
            generation_config=_own_generation_config(sampling.max_new_tokens + 1, use_cache=use_cache),
            logits_processor=[run.refuse_endless, sampler],
            stopping_criteria=[run],
            **past,
        )
    rows = run.rows()
    if keep is not None:
        keep.close(run.steering, ids, mask, [row.token_ids for row in rows])
    return rows


def _check_runnable(lm: LoadedModel, plans: Sequence[Plan], sampling: Sampling, watch: Sequence[Direction]) -> None:
    lm.refuse_steering()
    lm.architecture.check_readable([plan.prompt.token_ids for plan in plans])
    for feature in watch:
        check_feature(lm.architecture, feature)
    longest, limit = max(len(plan.prompt) for plan in plans), lm.architecture.context_limit
    if limit is not None and longest + sampling.max_new_tokens > limit:
        raise ValueError(
            f"The prompt's {longest} tokens and max_new_tokens={sampling.max_new_tokens} go beyond the {limit} "
            f"positions that {lm.architecture.name} has learned; shorten the prompt or lower max_new_tokens."
        )


def _own_generation_config(max_new_tokens: int, *, use_cache: bool) -> Any:
    """Generation settings that the model's own can't fill in.

    `generate` merges every field that is None from `model.generation_config`, so that a model's repetition penalty or
    suppressed tokens would act even here.
    """
    from transformers import GenerationConfig

    class OwnGenerationConfig(GenerationConfig):
        def update(self, defaults_only: bool = False, allow_custom_entries: bool = False, **values: Any) -> Any:
            if defaults_only and allow_custom_entries:
                return {}
            return super().update(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
                defaults_only=defaults_only, allow_custom_entries=allow_custom_entries, **values
            )

    settings: dict[str, Any] = {"max_new_tokens": max_new_tokens, "do_sample": False, "use_cache": use_cache}
    return OwnGenerationConfig(**settings)  # type: ignore[no-untyped-call]


def stream_rows(
    lm: LoadedModel, plans: Sequence[Plan], sampling: Sampling, *, watch: Sequence[Direction] = ()
) -> Iterator[Step]:
    """The steps of `generate_rows` one by one; leaving the loop stops the run within one token.

    Raises:
        ValueError: a recipe does not fit the model.
        RuntimeError: this thread holds the model.
    """
    lm.refuse_held_lock()
    steps: queue.SimpleQueue[Step | BaseException | None] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        try:
            generate_rows(lm, plans, sampling, watch=watch, on_step=steps.put, stop=stop)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the user iterates
            steps.put(error)
        else:
            steps.put(None)

    worker = threading.Thread(target=work, name="steerwidgets-stream", daemon=True)
    worker.start()
    try:
        while (step := steps.get()) is not None:
            if isinstance(step, BaseException):
                raise step
            yield step
    finally:
        stop.set()
        worker.join()
