"""One short forward pass that tells whether the parts of a model are what their names say."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from steerwidgets.transformer.hookpoints import Hookpoint, copied, first_tensor, hidden_states, on_stream, read_stream
from steerwidgets.transformer.model_state import ModelState, prefix_state
from steerwidgets.transformer.sites import Site, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor, nn

CHECKED: Final[tuple[Stream, ...]] = ("attn_out", "mlp_out", "resid_mid")
"""Streams that are a promise: what is added to the residual, and the residual in between."""

_IDS: Final = (5, 9, 3, 12, 7)
_SAID: Final = 120
"""Letters of an error of somebody else's model that are passed on."""
_ROUNDINGS: Final = 8
"""Sums of this many roundings may differ."""

_found: Final[weakref.WeakKeyDictionary[nn.Module, dict[ModelState, Findings]]] = weakref.WeakKeyDictionary()
"""What was found of a model, by the parts that were looked at: adapters share blocks and put tokens before a text, and
parts can be given."""


class Parts(Protocol):
    """The parts of a model, as far as they are looked at here.

    Attributes:
        model: the whole.
        config: of its text part.
        blocks: its transformer blocks.
        base: the module that runs them.
        final_norm: the norm before the unembed.
        unembed: the module that makes logits.
    """

    model: nn.Module
    config: Any
    blocks: nn.ModuleList
    base: nn.Module
    final_norm: nn.Module
    unembed: nn.Module

    @property
    def name(self) -> str:
        """What the model is called."""
        ...

    @property
    def layers(self) -> int:
        """How many blocks there are."""
        ...

    @property
    def d_model(self) -> int:
        """The width of the residual."""
        ...

    @property
    def input_device(self) -> torch.device:
        """Where token ids go."""
        ...

    @property
    def is_compiled(self) -> bool:
        """Whether it ignores hooks."""
        ...

    def named_hookpoint(self, site: Site) -> Hookpoint | None:
        """Where a stream would be by the names of modules."""
        ...


@dataclass(frozen=True)
class Findings:
    """What one short forward pass says of a model.

    Attributes:
        refusal: why the model can't be read or steered, in one sentence; empty where it can.
        streams: for each block, those of `CHECKED` that hold.
        flat: for each block, the streams that come with batch and positions in one dimension.
        factors: for each block, what some streams are multiplied with on their way to the residual.
        virtual: tokens that the model puts before every text by itself, as prompt and prefix tuning do.
        end: a last residual [d_model] and the logits that the model made of it, float32 [vocabulary]; None where it
            gave none.
    """

    refusal: str = ""
    streams: tuple[frozenset[Stream], ...] = ()
    flat: tuple[frozenset[Stream], ...] = ()
    factors: tuple[Mapping[Stream, float], ...] = ()
    virtual: int = 0
    end: tuple[Tensor, Tensor] | None = None


def findings(architecture: Parts) -> Findings:
    """What a short text says of a model: read once, and kept while the model lives."""
    of_model = _found.setdefault(architecture.model, {})
    looked_at = (architecture.blocks, architecture.final_norm, architecture.unembed)
    parts = (*map(id, looked_at), *prefix_state(architecture.model))
    if parts not in of_model:
        if architecture.is_compiled or architecture.input_device.type == "meta":
            return _unchecked(architecture)
        of_model[parts] = _examine(architecture)
    return of_model[parts]


def _unchecked(architecture: Parts) -> Findings:
    """Nothing can be read of the model now: a compiled one ignores hooks, one on `meta` holds no numbers."""
    layers = architecture.layers
    return Findings("", (frozenset(CHECKED),) * layers, (frozenset(),) * layers, ({},) * layers)


def _examine(architecture: Parts) -> Findings:
    model: Any = architecture.model
    for moves in (True, False):
        run = _Run(architecture, moves=moves)
        try:
            with run.attached(), _as_in_use(model):
                output = model(**run.inputs)
        except Exception as error:  # noqa: BLE001 - whatever a model of somebody else's raises
            said = " ".join(str(error).split())[:_SAID]
            return _refused(architecture, f"it does not run on token ids alone ({type(error).__name__}: {said})")
        if (layer := run.overflows) is None:
            return run.findings(getattr(output, "logits", None))
        # In float16 what is moved may be too large, and the model itself be fine.
    return _refused(
        architecture,
        f"what block {layer} gives is NaN or infinite: its weights hold such numbers, or its dtype overflows, so load "
        "it in float32 or bfloat16",
    )


def _refused(architecture: Parts, why: str) -> Findings:
    return Findings(f"This model ({architecture.name}) can't be read or steered: {why}.")


def _inputs(architecture: Parts) -> dict[str, Any]:
    import torch

    size = int(getattr(architecture.config, "vocab_size", 0) or max(_IDS) + 1)
    ids = torch.tensor([[i % size for i in _IDS]], device=architecture.input_device)
    takes = inspect.signature(architecture.model.forward).parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in takes.values())
    others = {"attention_mask": torch.ones_like(ids), "use_cache": False}
    return {"input_ids": ids} | {name: value for name, value in others.items() if takes_any or name in takes}


@contextmanager
def _as_in_use(model: nn.Module) -> Iterator[None]:
    """No gradients, no dropout, and neither the modules' modes nor the user's random numbers moved."""
    import torch

    training = [module for module in model.modules() if module.training]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            for module in training:
                module.training = False
            yield
        finally:
            for module in training:
                module.training = True


class _Run:
    """Hooks of the pass, and what they saw."""

    def __init__(self, architecture: Parts, *, moves: bool) -> None:
        self._parts = architecture
        self.inputs = _inputs(architecture)
        self._blocks = [_Block(architecture, layer, moves) for layer in range(architecture.layers)]
        self._given: list[Tensor] = []
        self._normed: list[tuple[Tensor, Tensor]] = []
        self._unembedded: list[Tensor] = []
        self._virtual = 0
        self._sees_padding = True

    @contextmanager
    def attached(self) -> Iterator[None]:
        with ExitStack() as stack:
            for handle in self._handles():
                stack.callback(handle.remove)
            yield

    def _handles(self) -> Iterator[Any]:
        parts = self._parts
        yield parts.base.register_forward_pre_hook(self._count, with_kwargs=True)
        for block in self._blocks:
            yield from block.handles()
        yield parts.final_norm.register_forward_hook(self._keep_norm, with_kwargs=True)
        yield parts.unembed.register_forward_pre_hook(self._keep_unembedded, with_kwargs=True)

    def _count(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = inspect.signature(self._parts.base.forward).bind_partial(*args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        mask = given.get("attention_mask")
        self._sees_padding = mask is not None or "attention_mask" not in self.inputs
        rows = [each for each in (mask, given.get("inputs_embeds")) if getattr(each, "ndim", 0) in (2, 3)]
        self._virtual = max([0, *(each.shape[1] - len(_IDS) for each in rows if each is not None)])

    def _keep_norm(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given = hidden_states(args, kwargs)
        if given is not None:
            self._normed.append((copied(given), copied(first_tensor(output))))

    def _keep_unembedded(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = hidden_states(args, kwargs)
        self._unembedded += [copied(given)] if given is not None else []

    def findings(self, logits: Tensor | None) -> Findings:
        refusal = self._of_blocks() or self._of_end()
        if not refusal and not self._sees_padding:
            refusal = "it gives its blocks no attention mask, so a batch's padding can't be told from its text"
        if refusal:
            return _refused(self._parts, refusal)
        return Findings(
            "",
            tuple(frozenset(block.holds) for block in self._blocks),
            tuple(frozenset(block.flat) for block in self._blocks),
            tuple(block.factors for block in self._blocks),
            self._virtual,
            self._end(logits),
        )

    @property
    def overflows(self) -> int | None:
        """The first block that gives NaN or infinite numbers; None where all are finite."""
        given = ((layer, block.after) for layer, block in enumerate(self._blocks))
        return next((layer for layer, after in given if after is not None and not bool(after.isfinite().all())), None)

    def _end(self, logits: Tensor | None) -> tuple[Tensor, Tensor] | None:
        after = self._blocks[-1].after
        if logits is None or after is None or logits.ndim != 3:
            return None
        # As the last residual [d_model] of some text, and a copy that lets go of the others.
        return after[0, -1].clone(), logits[0, -1].float().clone()

    def _of_blocks(self) -> str:
        width = self._parts.d_model
        before: Tensor | None = None
        for layer, block in enumerate(self._blocks):
            if block.calls > 1 or (block.calls == 0 and layer == len(self._blocks) - 1):
                return f"block {layer} ran {block.calls} times in one forward pass, and each has to run once"
            if block.pre is None or block.after is None:
                # Blocks that look at images are left out of a text.
                continue
            shape = list(block.after.shape)
            if len(shape) > 3:
                return f"its blocks carry several residual streams, as tensors {shape}, and one is read and steered"
            if len(shape) < 3 or shape[-1] != width or shape[1] < len(_IDS):
                return f"block {layer} gives {shape} for {len(_IDS)} tokens and a residual stream of {width}"
            if before is not None and not _equal(before, block.pre):
                return f"what block {layer - 1} gives is not what block {layer} takes"
            before = block.after
        return ""

    def _of_end(self) -> str:
        """Whether the last residual goes through the final norm and then into the unembed."""
        last, name = self._blocks[-1].after, type(self._parts.final_norm).__name__
        normed = next((out for given, out in self._normed if last is not None and _equal(given, last)), None)
        if normed is None:
            return (
                f"its final norm ({name}) does not take what the last block gives, as in post-norm decoders such as "
                "BART, where nothing does"
            )
        if not any(_multiple(given, normed) for given in self._unembedded):
            return f"a head of its own stands between its final norm ({name}) and the unembed"
        return ""


@dataclass
class _Block:
    """One block during the pass. Its sublayers' outputs are moved at random: a sum that still holds is no chance."""

    parts: Parts
    layer: int
    moves: bool
    calls: int = 0
    pre: Tensor | None = None
    after: Tensor | None = None
    holds: set[Stream] = field(default_factory=set)
    flat: set[Stream] = field(default_factory=set)
    factors: dict[Stream, float] = field(default_factory=dict)
    seen: dict[Stream, Tensor] = field(default_factory=dict)
    added: list[Tensor] = field(default_factory=list)

    def handles(self) -> Iterator[Any]:
        block = self.parts.blocks[self.layer]
        yield read_stream(Hookpoint(block, is_input=True), self._begin)
        points = self._points()
        for stream, point in points.items():
            moved = self.moves and stream in ("attn_out", "mlp_out")
            yield on_stream(point, self._move(stream) if moved else self._look(stream))
        for child in block.children():
            yield child.register_forward_hook(self._keep_child)
        # The sums are of what the block itself gives, the chain of what other people's hooks make of it.
        yield read_stream(Hookpoint(block, is_input=False), self._end, first=True)
        yield read_stream(Hookpoint(block, is_input=False), self._keep_after)

    def _points(self) -> Mapping[Stream, Hookpoint]:
        streams: tuple[Stream, ...] = (*CHECKED, "mlp_acts", "attn_z", "mlp_in", "mlp_normalized")
        found = {stream: self.parts.named_hookpoint(Site(self.layer, stream)) for stream in streams}
        return {stream: point for stream, point in found.items() if point is not None}

    def _begin(self, stream: Tensor) -> None:
        self.calls += 1
        self.pre = stream
        self.seen, self.added = {}, []

    def _keep_after(self, stream: Tensor) -> None:
        self.after = stream

    def _keep_child(self, _module: nn.Module, _args: Any, output: Any) -> None:
        import torch

        stream = first_tensor(output)
        if self.pre is not None and isinstance(stream, torch.Tensor) and stream.numel() == self.pre.numel():
            self.added.append(copied(stream).reshape(self.pre.shape))

    def _look(self, stream: Stream) -> Callable[[Tensor], None]:
        def look(h: Tensor) -> None:
            self._note(stream, h)

        return look

    def _move(self, stream: Stream) -> Callable[[Tensor], Tensor]:
        def move(h: Tensor) -> Tensor:
            moved = h + self._noise(stream, h)
            self._note(stream, moved)
            return moved

        return move

    def _note(self, stream: Stream, h: Tensor) -> None:
        if self.pre is not None and h.ndim == 2 and h.shape[0] == self.pre.shape[0] * self.pre.shape[1]:
            self.flat.add(stream)
            h = h.reshape(*self.pre.shape[:2], h.shape[-1])
        if stream in CHECKED:
            self.seen[stream] = copied(h)

    def _noise(self, stream: Stream, h: Tensor) -> Tensor:
        """As large as the residual at each position, so that it can't hide in rounding."""
        import torch

        seed = 2 * self.layer + (stream == "mlp_out")
        noise = torch.randn(h.shape, generator=torch.Generator().manual_seed(seed)).to(h.device)
        if self.pre is not None and self.pre.numel() == h.numel():
            size = self.pre.to(h.device).float().square().mean(-1, keepdim=True).sqrt()
            noise = (noise.reshape(self.pre.shape) * size).reshape(h.shape)
        return noise.to(h.dtype)

    def _end(self, post: Tensor) -> None:
        """Which of the streams hold, as they are or, as in Granite, times a number of the config."""
        pre, attention, mlp, mid = self.pre, *(self.seen.get(stream) for stream in CHECKED)
        if pre is None or any(each is not None and each.shape != pre.shape for each in (post, attention, mlp, mid)):
            return
        for factor in (1.0, *self._numbers):
            self._note_added(factor, pre, attention, mid, mlp, post)
        if mid is not None and self._lies_between(pre, mid, post):
            self.holds.add("resid_mid")
        self.seen, self.added = {}, []

    def _note_added(
        self, factor: float, pre: Tensor, attention: Tensor | None, mid: Tensor | None, mlp: Tensor | None, post: Tensor
    ) -> None:
        """Which of the streams hold with a factor: a sum of two neighbours, or the block's whole sum."""
        attention, mlp = (None if part is None else part * factor for part in (attention, mlp))
        to_mid = mid is not None and attention is not None and _sums(mid, pre, attention)
        from_mid = mid is not None and mlp is not None and _sums(post, mid, mlp)
        whole = attention is not None and mlp is not None and _sums(post, pre, attention, mlp)
        found: dict[Stream, bool] = {"attn_out": whole or to_mid, "mlp_out": whole or from_mid}
        for stream, holds in found.items():
            if holds and stream not in self.holds:
                self.holds.add(stream)
                self.factors |= {stream: factor} if factor != 1.0 else {}

    @property
    def _numbers(self) -> list[float]:
        """Those of the config: a factor that only fits the pass would be known up to rounding alone."""
        return sorted({n for n in vars(self.parts.config).values() if isinstance(n, float) and n})

    def _lies_between(self, pre: Tensor, mid: Tensor, post: Tensor) -> bool:
        """Whether some sublayer, or a multiple of its output as in Granite, leads to it or on from it."""
        return any(_steps(pre, mid, each) or _steps(mid, post, each) for each in self.added)


def _sums(whole: Tensor, *parts: Tensor) -> bool:
    """Whether parts sum to a whole, up to rounding in the coarsest of their dtypes."""
    import torch

    floats = [part.to(whole.device).float() for part in parts]
    off = (whole.float() - sum(floats)).abs()
    size = whole.float().abs() + sum(part.abs() for part in floats)
    eps = max(torch.finfo(each.dtype).eps for each in (whole, *parts))
    return bool((off <= _ROUNDINGS * eps * size).all())


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and _sums(first, second)


def _steps(start: Tensor, end: Tensor, part: Tensor) -> bool:
    """Whether a number times a part, not zero, leads from one residual to the other."""
    factor = _factor(end.float() - start.float(), part)
    return abs(factor) > 1e-3 and _sums(end, start, factor * part)


def _multiple(whole: Tensor, part: Tensor) -> bool:
    """Whether one tensor is a number times the other."""
    if whole.numel() != part.numel():
        return False
    factor = _factor(whole, part)
    return factor != 0 and _sums(whole.flatten(), (factor * part).flatten())


def _factor(whole: Tensor, part: Tensor) -> float:
    # On the CPU, since Apple's GPU knows no float64.
    a, b = whole.cpu().double().flatten(), part.cpu().double().flatten()
    return float((a @ b) / (b @ b).clamp(min=1e-30))
