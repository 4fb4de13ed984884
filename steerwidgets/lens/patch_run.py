"""A grid of patches, measured block by block."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.files.shown import shown
from steerwidgets.lens.logit_lens import token_id
from steerwidgets.lens.patching import METRICS, STREAMS, Metric, PatchedStream, Patching, PatchSettings, of_head, steers
from steerwidgets.steering.divergence import next_token_logits
from steerwidgets.steering.recipe import Recipe
from steerwidgets.transformer.hookpoints import Hooks, read_stream
from steerwidgets.transformer.layout import in_this_thread
from steerwidgets.transformer.mistakes import indices, refuse_unknown
from steerwidgets.transformer.plain_text import quoted
from steerwidgets.transformer.prompts import Prompt, Token
from steerwidgets.transformer.sites import Site
from steerwidgets.transformer.unembed import Unembed

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.continuation import Continuation
    from steerwidgets.transformer.loaded import LoadedModel

_ROWS: Final = 32
"""Rows of one batch where a model does not go on from the middle of its blocks."""
_PACKED: Final = 2048
"""Tokens that go on together from the middle of the blocks: what each attends to is a mask of their number squared."""
_NEAR: Final = 1e-3
"""How far logits that are made in two ways may differ, as a share of their norm."""


def patch(lm: LoadedModel, source: Prompt, target: Prompt, settings: PatchSettings) -> Patching:
    """See `LanguageModel.patch`."""
    run = PatchRun(lm, source, target, settings)
    tell = settings.get("on_progress")
    for done in run.run(settings.get("stop")):
        if tell is not None:
            tell(done, len(run.layers))
    return run.result


def aligned(source: Sequence[int], target: Sequence[int]) -> list[tuple[int, int]]:
    """Which tokens of two texts belong together: by position where they are as long, else from both ends.

    Of different lengths, what both begin with and both end with is paired, and what lies between is paired from its
    end: the last token of a name is where a model gathers what it knows of it (Meng et al. 2022).

    Args:
        source: ids.
        target: ids.

    Returns:
        Pairs of positions, ascending.
    """
    if len(source) == len(target):
        return [(i, i) for i in range(len(target))]
    start = _shared(source, target)
    rest = min(len(source), len(target)) - start
    pairs = [(i, i) for i in range(start)]
    return pairs + [(len(source) - i, len(target) - i) for i in range(rest, 0, -1)]


class _Asked:
    """Settings that make sense."""

    def __init__(self, lm: LoadedModel, settings: PatchSettings) -> None:
        refuse_unknown("lm.patch", settings, PatchSettings.__annotations__)
        self.metric: Metric = settings.get("metric", "logit difference")
        self.stream: PatchedStream = settings.get("stream", "resid_post")
        if self.metric not in METRICS:
            raise ValueError(f"metric= is one of {', '.join(METRICS)}; {shown(self.metric)} was given.")
        if self.stream not in STREAMS:
            raise ValueError(f"Patching takes the streams {', '.join(STREAMS)}; {shown(self.stream)} was given.")
        parts = lm.architecture
        self.layers = indices(settings.get("layers"), parts.layers, "layers", f"{parts.name} has {parts.layers} blocks")
        for layer in self.layers:
            parts.hookpoint(Site(layer, self.stream))
        self.noise = bool(settings.get("noise", False))
        self.tokens = settings.get("tokens")
        self.align, self.positions = settings.get("align"), settings.get("positions")


class PatchRun:
    """A grid of patches that is measured block by block, the deepest first; it can be stopped, and gone on with.

    The deepest blocks are the quickest, since what is patched there goes through few further blocks.

    Args:
        lm: the model.
        source: the text whose residuals are taken.
        target: the text that they are put into.
        settings: those of `lm.patch` but `on_progress` and `stop`.

    Attributes:
        text: the text that is patched.
        other: the text that residuals come from.
        pairs: the positions in both that belong together and are patched.
        layers: the blocks.
        answers: the source's and the target's answer; None for `kl`.
        before: the metric of `text` as it is.
        after: the metric of `other`.

    Raises:
        ValueError: a setting is out of range.
        TypeError: there is no such setting.
    """

    def __init__(self, lm: LoadedModel, source: Prompt, target: Prompt, settings: PatchSettings) -> None:
        import torch

        lm.refuse_steering()
        self._lm, self._asked = lm, _Asked(lm, settings)
        asked = self._asked
        self.layers = asked.layers
        self.text, self.other = (source, target) if asked.noise else (target, source)
        pairs = [(s, t) if asked.noise else (t, s) for s, t in checked_pairs(asked.align, source, target)]
        wanted = None
        if asked.positions is not None:
            length = len(self.text)
            wanted = set(indices(asked.positions, length, "positions", f"the patched text has {length} tokens"))
        self.pairs = sorted(pair for pair in pairs if wanted is None or pair[0] in wanted)
        if not self.pairs:
            raise ValueError(
                "No position is left to patch: those that were asked for are aligned with none of the other."
            )
        # What stands before the first token that differs is the same in both, block by block.
        self._first = _shared(self.text.token_ids, self.other.token_ids)
        sites = [Site(layer, asked.stream) for layer in self.layers]
        positions, partners = ([pair[i] for pair in self.pairs] for i in (0, 1))
        with lm.lock:
            self._own, self._replaced = _read(lm, self.text, sites, positions)
            self._others, self._replacing = _read(lm, self.other, sites, partners)
        self._reference = (self._own if asked.noise else self._others).log_softmax(-1)
        self.answers: tuple[Token, Token] | None = None
        self.before = self.after = float("nan")
        self._columns = lm.architecture.heads(sites[0]) if asked.stream == "attn_z" else len(self.pairs)
        self._ranges: dict[Any, Any] = {}
        self._values = torch.full((len(self.layers), self._columns), torch.nan)
        self._todo = sorted(range(len(self.layers)), key=lambda i: self.layers[i])
        self._timed: list[tuple[int, float]] = []
        self._unembed = Unembed(lm.architecture)
        self._readers: tuple[Tensor, Tensor] | None = None
        self._goes_on: Continuation | None = None
        self._is_whole: bool | None = None

    def compare(self) -> None:
        """Find the answers, and how far apart the texts are in them; `run` does it by itself.

        Raises:
            ValueError: both texts are answered alike, or an answer is no token.
        """
        self.answers = self._checked_answers()
        self.before, self.after = float(self._measure(self._own)), float(self._measure(self._others))
        if abs(self.after - self.before) < 1e-6:
            raise ValueError(
                f"Both texts have the same {self._asked.metric} ({self.before:.3g}), so no share of a difference can "
                "be given; choose other answers as tokens=, or texts that the model answers differently."
            )

    def likeliest(self, k: int) -> tuple[list[tuple[Token, float]], list[tuple[Token, float]]]:
        """What the model says after the source and after the target: tokens with their probabilities."""
        source, target = self._of_source_and_target
        return self._likeliest(source, k), self._likeliest(target, k)

    @property
    def share(self) -> Tensor:
        """The share of every patch so far; see `Patching`."""
        return (self._values - self.before) / (self.after - self.before)

    @property
    def done(self) -> int:
        """How many blocks are measured."""
        return len(self.layers) - len(self._todo)

    @property
    def is_whole(self) -> bool:
        """Whether the model does not go on from the middle of its blocks, so that every patch is a run of its own."""
        return bool(self._is_whole)

    @property
    def cells(self) -> int:
        """How many patches there are."""
        return len(self.layers) * self._columns

    def run(self, stop: threading.Event | None = None) -> Iterator[int]:
        """Measure what is not measured yet; after every block, how many are."""
        with self._lm.lock:
            self._lm.refuse_steering()
            self.compare()
            while self._todo and not (stop is not None and stop.is_set()):
                row = self._todo[-1]
                self._values[row] = self._row(row)
                self._todo.pop()
                if not self._todo:
                    self._goes_on = None  # keys and values of every block, for which there is no more use
                yield self.done

    def probe(self) -> None:
        """Time two of the deepest blocks, which are the quickest, so that `seconds_left` is known before the run."""
        with self._lm.lock:
            self.compare()
            self._row(self._todo[-1])  # what is made once, is made here
            self._timed.clear()
            for row in dict.fromkeys((self._todo[-1], self._todo[-min(3, len(self._todo))])):
                self._row(row)

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes by what was timed so far; None before anything was.

        A batch takes so much, and so much more for each block that it goes through.
        """
        if not self._timed:
            return None
        each, every = _line(self._timed)
        return sum(each + every * self._passed(self.layers[row]) for row in self._todo)

    @property
    def result(self) -> Patching:
        """The grid as far as it is measured; the rest is NaN."""
        asked = self._asked
        return Patching(
            share=self.share,
            values=self._values.clone(),
            text=self.text,
            other=self.other,
            tokens=tuple(self._lm.tokens(self.text.token_ids)),
            layers=self.layers,
            positions=tuple(pair[0] for pair in self.pairs),
            partners=tuple(pair[1] for pair in self.pairs),
            answers=self.answers,
            metric=asked.metric,
            stream=asked.stream,
            noise=asked.noise,
            before=self.before,
            after=self.after,
            replaced=self._replaced,
            replacing=self._replacing,
            lm=self._lm,
            measure=self._measure,
            ranges=self._ranges,
        )

    def _row(self, row: int) -> Tensor:
        """The metric of every patch of a block."""
        if self._is_whole is None:
            self._goes_on = self._continuation()
            self._is_whole = self._goes_on is None
        begun = time.perf_counter()
        site = Site(self.layers[row], self._asked.stream)
        runs = self._runs(self._replacing[row], self._replaced[row])
        if self._goes_on is None:
            found = self._measure(self._plain(site, runs, self._replaced[row]).float().cpu())
        else:
            found = self._measure_ends(_branched(self._goes_on, site, runs))
        values = self._of_runs(found, runs)
        self._timed.append((self._passed(site.layer), time.perf_counter() - begun))
        return values

    def _passed(self, layer: int) -> int:
        """How many blocks the runs of a block go through."""
        count = self._lm.architecture.layers
        if self._is_whole:
            return count
        return count - layer - (self._asked.stream == "resid_post")

    def _runs(self, new: Tensor, old: Tensor) -> list[_Run]:
        """What every run of a block puts where; runs that would change nothing are left out."""
        late = [(i, own) for i, (own, other) in enumerate(self.pairs) if own >= self._first or own != other]
        if self._asked.stream != "attn_z":
            return [_Run(i, {position: new[i]}) for i, position in late]
        if not late:
            return []
        return [
            _Run(head, {p: old[i] + of_head(new[i] - old[i], head, self._columns) for i, p in late})
            for head in range(self._columns)
        ]

    def _of_runs(self, found: Tensor, runs: Sequence[_Run]) -> Tensor:
        import torch

        values = torch.full((self._columns,), self.before)
        if runs:
            values[[run.column for run in runs]] = found
        return values

    def _continuation(self) -> Continuation | None:
        """The text, where the model goes on from the middle of its blocks as it went; else None."""
        from steerwidgets.transformer.continuation import Continuation

        parts = self._lm.architecture
        if parts.virtual_tokens or hasattr(parts.base, "_hf_hook"):
            return None
        try:
            found = Continuation(parts, self.text.token_ids)
        except (AttributeError, TypeError, KeyError):
            # A model with states of its own in place of keys and values.
            return None
        end = found.into[-1][-1]
        self._unembed.fit(end, self._own)
        made = self._unembed.logits(end).cpu()
        is_own = bool((made - self._own).norm() <= _NEAR * self._own.norm().clamp(min=1e-20) * _slack(end))
        return found if is_own and found.is_exact() else None

    def _plain(self, site: Site, runs: Sequence[_Run], own: Tensor) -> Tensor:
        """The logits after every run [run, vocabulary], each a whole row of a batch."""
        import torch

        held = dict(zip((pair[0] for pair in self.pairs), own, strict=True))
        changes = [{p: new - held[p] for p, new in run.patches.items()} for run in runs]
        recipes = [Recipe(tuple(steers(site, each, {}))) for each in changes]
        parts = [
            next_token_logits(self._lm, self.text, recipes[start : start + _ROWS])
            for start in range(0, len(recipes), _ROWS)
        ]
        return torch.cat(parts) if parts else torch.empty(0, 1)

    def _measure(self, logits: Tensor) -> Tensor:
        """The metric of logits [..., vocabulary]."""
        if self.answers is not None:
            source, target = (answer.id for answer in self.answers)
            return logits[..., source] - logits[..., target]
        log_p = self._reference
        return (log_p.exp() * (log_p - logits.log_softmax(-1))).sum(-1)

    def _measure_ends(self, ends: Tensor) -> Tensor:
        """The metric of residuals after the last block [run, d_model]; of two answers only these are unembedded."""
        if self.answers is None:
            return self._measure(self._unembed.logits(ends).cpu())
        if self._readers is None:
            self._readers = self._unembed.readers([answer.id for answer in self.answers])
        both = self._unembed.logits_of(ends, self._readers).cpu()
        return both[:, 0] - both[:, 1]

    @property
    def _of_source_and_target(self) -> tuple[Tensor, Tensor]:
        return (self._own, self._others) if self._asked.noise else (self._others, self._own)

    def _likeliest(self, logits: Tensor, k: int) -> list[tuple[Token, float]]:
        top = logits.softmax(-1).topk(min(k, len(logits)))
        return list(zip(self._lm.tokens(top.indices.tolist()), top.values.tolist(), strict=True))

    def _checked_answers(self) -> tuple[Token, Token] | None:
        asked = self._asked
        if asked.metric == "kl":
            return None
        source, target = self._of_source_and_target
        if asked.tokens is None:
            ids = [int(source.argmax()), int(target.argmax())]
        else:
            given: Any = asked.tokens
            if isinstance(given, str | int) or len(given) != 2:
                raise ValueError(
                    f"tokens= are two answers, the source's and the target's, as (' Rome', ' Paris'); {shown(given)} "
                    "was given."
                )
            own = (source, target)
            ids = [
                int(logits.argmax()) if each is None else token_id(self._lm, each)
                for each, logits in zip(given, own, strict=True)
            ]
        if ids[0] == ids[1]:
            [token] = self._lm.tokens([ids[0]])
            raise ValueError(
                f"Both answers are {quoted(token)}, so there is no difference to bring over; give two answers as "
                "tokens=(of the source, of the target), or metric='kl'."
            )
        first, second = self._lm.tokens(ids)
        return first, second


@dataclass(frozen=True)
class _Run:
    """One patched run: the column of the grid that it fills, and what it puts at which positions."""

    column: int
    patches: dict[int, Tensor]


def _read(lm: LoadedModel, prompt: Prompt, sites: Sequence[Site], positions: list[int]) -> tuple[Tensor, Tensor]:
    """A text's next-token logits [vocabulary], and of its streams float32 [site, position, width], in one forward."""
    import torch

    found: dict[Site, Tensor] = {}
    thread = threading.get_ident()

    def kept(site: Site) -> Callable[[Tensor], Tensor | None]:
        return in_this_thread(thread, lambda stream: found.update({site: stream[0, positions].float().cpu()}))

    with Hooks() as hooks, hooks:
        hooks.extend(read_stream(lm.architecture.hookpoint(site), kept(site)) for site in sites)
        logits = next_token_logits(lm, prompt, [None])[0]
    return logits, torch.stack([found[site] for site in sites])


def _branched(text: Continuation, site: Site, runs: Sequence[_Run]) -> Tensor:
    """The residual at the end of every run [run, d_model]: all of a block in one pass, unless the text is long."""
    import torch

    length = len(text.into[0])
    starts = [min(run.patches) for run in runs]
    ends = [_together(text, site, runs[a:b], starts[a:b]) for a, b in _batches(length, starts)]
    return torch.cat(ends) if ends else text.into[-1][:0]


def _batches(length: int, starts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Which runs go on together, from one to before another."""
    begun, packed = 0, 0
    for i, start in enumerate(starts):
        if i > begun and packed + length - start > _PACKED:
            yield begun, i
            begun, packed = i, 0
        packed += length - start
    if starts:
        yield begun, len(starts)


def _together(text: Continuation, site: Site, runs: Sequence[_Run], starts: Sequence[int]) -> Tensor:
    from steerwidgets.transformer.continuation import Branches

    branches = Branches(len(text.into[0]), tuple(starts))

    def patched(packed: Tensor) -> Tensor:
        out = packed.clone()
        for i, run in enumerate(runs):
            for position, new in run.patches.items():
                out[0, branches.index(i, position)] = new.to(out)
        return out

    if site.stream in ("resid_post", "resid_pre"):
        return text.ends(site.layer + (site.stream == "resid_post"), branches, patched)
    return text.ends(site.layer, branches, lambda packed: packed, {site: patched})


def checked_pairs(given: Any, source: Prompt, target: Prompt) -> list[tuple[int, int]]:
    """Pairs of positions as a user gives them, or those of `aligned`.

    Raises:
        ValueError: something is no pair, or no position, or stands twice.
    """
    if given is None:
        return aligned(source.token_ids, target.token_ids)
    pairs = [tuple(pair) if isinstance(pair, Iterable) else (pair,) for pair in given]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise ValueError(
            "align= is a list of pairs of positions, the source's and the target's, as [(3, 4), (-1, -1)]; "
            f"{shown(given)} was given."
        )
    lengths = len(source), len(target)
    found = []
    for pair in pairs:
        both = []
        for position, length, name in zip(pair, lengths, ("source", "target"), strict=True):
            [at] = indices([position], length, "align", f"the {name} has {length} tokens")
            both.append(at)
        found.append((both[0], both[1]))
    for side, name in ((0, "source"), (1, "target")):
        if len({pair[side] for pair in found}) < len(found):
            raise ValueError(f"align= names a position of the {name} twice; each takes part in one pair at most.")
    return found


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _slack(residual: Tensor) -> float:
    import torch

    return 1.0 if residual.dtype == torch.float32 else 30.0


def _line(timed: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Seconds of a batch, and of each block that it goes through: least squares, neither below 0."""
    mean_n, mean_t = (sum(each[i] for each in timed) / len(timed) for i in (0, 1))
    spread = sum((n - mean_n) ** 2 for n, _ in timed)
    every = sum((n - mean_n) * (t - mean_t) for n, t in timed) / spread if spread else mean_t / (mean_n + 1)
    every = max(every, 0.0)
    return max(mean_t - every * mean_n, 0.0), every
