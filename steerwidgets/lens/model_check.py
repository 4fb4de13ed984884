"""Is the model with our hooks on the model that it was: the same text read plainly and read our way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.steering.hooks import Steering
from steerwidgets.steering.recipe import Direction, Recipe
from steerwidgets.transformer.plain_text import table
from steerwidgets.transformer.residuals import left_padded
from steerwidgets.transformer.sites import Site, Stream
from steerwidgets.transformer.unembed import Unembed

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import Prompt

_STREAMS: Final[tuple[Stream, ...]] = (
    *("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_acts", "attn_z"),
    *("mlp_in", "mlp_normalized"),
)
_ROUNDINGS: Final = 64
"""So many roundings of the model's dtype, at the size of its logits, are no difference."""


@dataclass(frozen=True)
class Verified:
    """One thing that was looked at.

    Attributes:
        what: what was compared.
        off: the largest difference of two logits; None where nothing was compared.
        holds: whether it is as it should be.
        said: what was found, in words.
    """

    what: str
    off: float | None
    holds: bool
    said: str


@dataclass(frozen=True, repr=False)
class Verification:
    """The model, read plainly and read with hooks on.

    Attributes:
        model: its name.
        rows: what was compared.
        tolerance: the difference of two logits that rounding alone makes in this dtype.
        notes: what one should know of its tokens: BOS and padding.
    """

    model: str
    rows: tuple[Verified, ...]
    tolerance: float
    notes: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether everything is as it should be."""
        return all(row.holds for row in self.rows)

    @property
    def said(self) -> str:
        """The verdict, in a sentence."""
        wrong = [row.what for row in self.rows if not row.holds]
        if not wrong:
            return f"{self.model} gives the same logits with hooks on as without, up to {self.tolerance:.1g}."
        return f"{self.model} does not give the same with hooks on: {', '.join(wrong)}."

    def __repr__(self) -> str:
        cells = [(row.what, "" if row.off is None else row.off, row.said) for row in self.rows]
        return "\n".join([self.said, table(["", "largest Δ logit", ""], cells), *self.notes])


def verify(lm: LoadedModel, prompt: Prompt) -> Verification:
    """See `LanguageModel.verify`."""
    lm.refuse_steering()
    lm.architecture.refuse_compiled()
    lm.architecture.check_readable([prompt.token_ids])
    with lm.lock:
        work = _Work(lm, prompt)
        return Verification(lm.name, tuple(work.rows()), work.tolerance, tuple(_notes(lm)))


class _Work:
    def __init__(self, lm: LoadedModel, prompt: Prompt) -> None:
        import torch

        self._lm, self._ids = lm, list(prompt.token_ids)
        self._plain = self._logits(self._ids)
        eps = 2**-8 if _rounds_to_8_bits(lm) else torch.finfo(next(lm.architecture.unembed.parameters()).dtype).eps
        self.tolerance = float(_ROUNDINGS * eps * self._plain.abs().max().clamp(min=1))

    def rows(self) -> Iterator[Verified]:
        """Every comparison."""
        yield self._of("read again, plainly", lambda: self._logits(self._ids), "the model's own repeatability")
        for stream in _STREAMS:
            yield self._of_stream(stream)
        yield self._of("with a key-value cache", self._cached, "token by token after half of the text, hooks on")
        yield self._of("in a padded batch", self._padded, "beside a longer text, padded on the left, hooks on")
        yield self._of("final norm and unembed", self._unembedded, "the lens' way from the last residual")

    def _of(self, what: str, logits: Callable[[], Tensor], said: str) -> Verified:
        try:
            off = float((logits() - self._plain).abs().max())
        except Exception as error:  # noqa: BLE001 - whatever a model of somebody else's raises is a finding
            return Verified(what, None, False, f"it raised {type(error).__name__}: {str(error).splitlines()[0][:80]}")
        return Verified(what, off, off <= self.tolerance, said)

    def _of_stream(self, stream: Stream) -> Verified:
        parts = self._lm.architecture
        layers = [layer for layer in range(parts.layers) if parts.has(Site(layer, stream))]
        where = f"hooks at {stream} of {len(layers)} of {parts.layers} blocks"
        if not layers:
            return Verified(stream, None, True, "not offered here: no module carries it, or its sums do not hold")
        if not parts.hookpoint(Site(layers[0], stream)).writable:
            read = self._of(stream, lambda: self._read(stream, layers), where)
            return Verified(stream, read.off, read.holds, f"{where}, read only")
        return self._of(stream, lambda: self._logits(self._ids, self._nothing(stream, layers)), where)

    def _nothing(self, stream: Stream, layers: list[int]) -> Recipe:
        """A recipe that goes through every hook and changes nothing."""
        import torch

        width = self._lm.architecture.width(Site(layers[0], stream))
        return Recipe(tuple(Direction(torch.ones(width), Site(layer, stream)).add(0.0) for layer in layers))

    def _read(self, stream: Stream, layers: list[int]) -> Tensor:
        sites = [Site(layer, stream) for layer in layers]
        watch = {site: lambda _stream, _layout: None for site in sites}
        import torch

        ids = torch.tensor([self._ids], device=self._lm.architecture.input_device)
        with torch.no_grad(), Steering(self._lm.architecture, Recipe(), watch=watch):
            return self._last(self._lm.model(input_ids=ids, use_cache=False))

    def _logits(self, ids: list[int], recipe: Recipe | None = None) -> Tensor:
        import torch

        given = torch.tensor([ids], device=self._lm.architecture.input_device)
        with torch.no_grad(), Steering(self._lm.architecture, recipe or Recipe()):
            return self._last(self._lm.model(input_ids=given, use_cache=False))

    def _cached(self) -> Tensor:
        import torch

        half = max(1, len(self._ids) // 2)
        ids = torch.tensor([self._ids], device=self._lm.architecture.input_device)
        name = "past_key_values"
        with torch.no_grad(), Steering(self._lm.architecture, self._everywhere()):
            out = self._lm.model(input_ids=ids[:, :half], use_cache=True)
            for at in range(half, len(self._ids)):
                past: Any = getattr(out, name, None)
                out = self._lm.model(input_ids=ids[:, at : at + 1], use_cache=True, **{name: past})
            return self._last(out)

    def _padded(self) -> Tensor:
        import torch

        ids, mask = left_padded([[*self._ids[:3], *self._ids], self._ids], padding=0)
        device = self._lm.architecture.input_device
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        with torch.no_grad(), Steering(self._lm.architecture, self._everywhere()):
            placed = {key: value.to(device) for key, value in inputs.items()}
            return self._last(self._lm.model(**placed, use_cache=False), row=1)

    def _unembedded(self) -> Tensor:
        last = Site(self._lm.architecture.layers - 1)
        unembed = Unembed(self._lm.architecture)
        residual = self._lm.residuals(self._ids, [last]).values[last][0, -1]
        end = self._lm.architecture.findings.end
        if end is not None:
            unembed.fit(*end)
            residual = residual.to(end[0].dtype)
        return unembed.logits(residual).float().cpu()

    def _everywhere(self) -> Recipe:
        return self._nothing("resid_post", list(range(self._lm.architecture.layers)))

    @staticmethod
    def _last(output: Any, row: int = 0) -> Tensor:
        logits: Tensor = output.logits[row, -1].float().cpu()
        return logits


def _rounds_to_8_bits(lm: LoadedModel) -> bool:
    """Whether activations are rounded to 8 bits by their largest, as LLM.int8 does, so that neighbours count."""
    import torch

    packed = not next(lm.architecture.unembed.parameters()).dtype.is_floating_point
    return packed or any(each.dtype == torch.int8 for each in lm.architecture.blocks[0].parameters())


def _notes(lm: LoadedModel) -> Iterator[str]:
    bos = getattr(lm.tokenizer, "bos_token_id", None)
    text = lm.encode("A", chat=False).token_ids
    begins = bos is not None and text[:1] == (bos,)
    yield f"BOS: {'a text begins with it' if begins else 'none is put before a text'}."
    if lm.has_chat_template:
        chat = lm.encode("A", chat=True).token_ids
        twice = bos is not None and chat[:2] == (bos, bos)
        yield f"Chat template: {'it begins with two BOS tokens' if twice else 'no token is doubled at its beginning'}."
    pad, ends = getattr(lm.tokenizer, "pad_token_id", None), lm.end_ids
    named = "none is named" if pad is None else f"id {pad}{', which ends a text too' if pad in ends else ''}"
    yield f"Padding: {named}; what is padding is told by the mask, never by an id."
