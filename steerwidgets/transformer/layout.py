"""Where each token of a forward pass stands: absolute positions, padding, special tokens, the prompt's end."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.transformer.hookpoints import Handle, Handles, hooked_after, hooked_before

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

SPEAKER: Final = "assistant"
"""The role of what a model generates."""

_CACHES: Final = ("past_key_values", "cache_params", "state", "mems", "past_key_value")
"""What models call the cache that they take and give."""


@dataclass(frozen=True)
class Layout:
    """The tokens of one forward pass.

    Attributes:
        absolute: int [batch, position], each token's absolute position in its row; -1 marks padding.
        special: bool [batch, position], special and template tokens.
        prompt_length: int [batch], the tokens of each row's prompt, or None where unknown.
        roles: bool [batch, position] for each role, the words of its messages; empty where nobody asked.
        readings: float32 [batch, position], what was read of features at these tokens so far, by the features' keys.
    """

    absolute: Tensor
    special: Tensor
    prompt_length: Tensor | None
    roles: Mapping[str, Tensor] = field(default_factory=dict)
    readings: Mapping[str, Tensor] = field(default_factory=dict)

    def rows(self, index: slice) -> Layout:
        """The layout of some rows."""
        return self._each(lambda of_rows: of_rows[index])

    def to(self, device: torch.device) -> Layout:
        """The layout on another device, for sharded models."""
        return self if self.absolute.device == device else self._each(lambda here: here.to(device))

    def with_readings(self, readings: Mapping[str, Tensor]) -> Layout:
        """The layout with what was read of features at its tokens."""
        return replace(self, readings={key: value.to(self.absolute.device) for key, value in readings.items()})

    def _each(self, change: Callable[[Tensor], Tensor]) -> Layout:
        return Layout(
            change(self.absolute),
            change(self.special),
            None if self.prompt_length is None else change(self.prompt_length),
            {role: change(of_role) for role, of_role in self.roles.items()},
            {key: change(reading) for key, reading in self.readings.items()},
        )


@dataclass(frozen=True)
class Known:
    """What the caller knows of the rows and a forward pass can't tell.

    Attributes:
        special_ids: ids of special tokens.
        prompt_length: the tokens of the prompt, one number for all rows or one for each.
        template: for each row, the absolute positions that come from the chat template.
        roles: for each row, the role whose words each token of the prompt is of; an empty row where nobody can tell.
    """

    special_ids: frozenset[int] = frozenset()
    prompt_length: int | tuple[int, ...] | None = None
    template: tuple[tuple[int, ...], ...] = ()
    roles: tuple[tuple[str, ...], ...] = ()


class UnknownPositionsError(ValueError):
    """Nothing says where the tokens of a forward pass stand."""


class LayoutTracker:
    """Works out the layout of each forward pass of a base model that `acts` says is ours, by hooks on it.

    Absolute positions count the 2-D attention mask (`cumsum - 1`), since `position_ids` give padding the position of
    the first token, and a forward without them counts padding. Where a cached pass has no such mask, as those of Mamba,
    they go on from the pass that made its cache: caches of states can't tell their length, or tell a wrong one.

    Args:
        base: the base model.
        known: what the caller knows of the rows.
        acts: whether a pass is ours.
        virtual: tokens that the model puts before every text by itself; they count as padding.
    """

    def __init__(self, base: nn.Module, known: Known, acts: Callable[[], bool], virtual: int = 0) -> None:
        self.layout: Layout | None = None
        self._base = base
        self._known = known
        self._virtual = virtual
        self._placed: dict[torch.device, tuple[Tensor, list[Tensor]]] = {}
        self._speakers: dict[torch.device, dict[str, Tensor]] = {}
        self._lengths: dict[torch.device, Tensor] = {}
        self._signature = inspect.signature(base.forward)
        self._acts = acts
        self._cache: Any = None

    def attach(self) -> Handle:
        """Put the hooks on."""
        before = hooked_before(self._base, self._before_forward)
        try:
            return Handles([before, hooked_after(self._base, self._after_forward)])
        except BaseException:
            before.remove()
            raise

    def at(self, stream: Tensor) -> Layout:
        """The layout of the pass that a stream [batch, position, d_model] belongs to."""
        if self.layout is None or self.layout.absolute.shape != stream.shape[:2]:
            # A block called by itself: its positions count from 0.
            absolute = _counted(0, stream.shape[1], stream)
            self.layout = self._laid_out(absolute.expand(stream.shape[:2]), None)
        return self.layout.to(stream.device)

    def _before_forward(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._acts():
            return
        given = self._signature.bind_partial(*args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        ids, embeds = given.get("input_ids"), given.get("inputs_embeds")
        source = ids if ids is not None else embeds
        if source is None:
            self.layout = None
            return
        absolute = self._absolute(given, source).to(source.device)
        if self._virtual:
            absolute = (absolute - self._virtual).clamp(min=-1)
        self.layout = self._laid_out(absolute, ids)

    def _after_forward(self, _module: nn.Module, _args: Any, output: Any) -> None:
        if self._acts():
            self._cache = next((found for name in _CACHES if (found := getattr(output, name, None)) is not None), None)

    def _absolute(self, given: dict[str, Any], source: Tensor) -> Tensor:
        """Each token's position, virtual tokens counted: int [batch, position], -1 for padding."""
        batch, length = source.shape[:2]
        mask, position_ids = _of_rows(given.get("attention_mask")), _of_rows(given.get("position_ids"))
        cache = next((given[name] for name in _CACHES if given.get(name) is not None), None)
        goes_on = cache is not None and cache is self._cache and self.layout is not None
        if mask is not None and not (goes_on and mask.shape[1] == length):
            return (mask.long().cumsum(-1) - 1).masked_fill(mask == 0, -1)[:, -length:]
        if position_ids is not None:
            # Static caches get a 4-D mask; padding then shares position 0, which no attention reads.
            return position_ids.expand(batch, length)
        if goes_on and self.layout is not None:
            start = self.layout.absolute[:, -1:] + 1 + self._virtual
            return start.to(source.device) + _counted(0, length, source)
        return _counted(_length_of(cache), length, source).expand(batch, length)

    def _laid_out(self, absolute: Tensor, ids: Tensor | None) -> Layout:
        import torch

        prompt: Tensor | None = None
        if self._known.prompt_length is not None:
            if absolute.device not in self._lengths:
                # Made once: to bring numbers to a GPU makes the host wait for it, in every forward pass.
                lengths = torch.as_tensor(self._known.prompt_length, device=absolute.device)
                self._lengths[absolute.device] = lengths
            prompt = _for_rows(self._lengths[absolute.device], len(absolute))
        return Layout(absolute, self._special(ids, absolute), prompt, self._roles(absolute))

    def _roles(self, absolute: Tensor) -> Mapping[str, Tensor]:
        if not self._known.roles:
            return {}
        if absolute.device not in self._speakers:
            self._speakers[absolute.device] = words_of_roles(self._known.roles, absolute.device)
        return roles_at(absolute, self._speakers[absolute.device])

    def _special(self, ids: Tensor | None, absolute: Tensor) -> Tensor:
        import torch

        special_ids, template = self._known_on(absolute.device)
        special = torch.zeros_like(absolute, dtype=torch.bool)
        if ids is not None and len(special_ids):
            special = torch.isin(ids, special_ids)
        each = max(1, len(special) // max(1, len(template)))
        for row, positions in enumerate(template):
            # Beams and several returned sequences of a prompt are rows next to each other.
            rows = slice(row * each, (row + 1) * each)
            if len(positions):
                special[rows] |= torch.isin(absolute[rows], positions)
        return special

    def _known_on(self, device: torch.device) -> tuple[Tensor, list[Tensor]]:
        """Special ids, and each row's template positions, on a device: made once, and not in every forward pass."""
        import torch

        if device not in self._placed:
            special_ids = torch.tensor(sorted(self._known.special_ids), dtype=torch.long, device=device)
            template = [torch.tensor(row, dtype=torch.long, device=device) for row in self._known.template]
            self._placed[device] = (special_ids, template)
        return self._placed[device]


def words_of_roles(rows: Sequence[Sequence[str]], device: torch.device) -> dict[str, Tensor]:
    """For each role, the positions of its words: bool [row, position]; the last column stands for all that follow.

    Args:
        rows: for each row, the role of each token of its prompt; an empty row where nobody can tell.
        device: where they are needed.
    """
    import torch

    longest = max(map(len, rows)) + 1
    filled = [[*row, *[SPEAKER if row else ""] * (longest - len(row))] for row in rows]
    names = sorted({role for row in filled for role in row} - {""})
    return {name: torch.tensor([[role == name for role in row] for row in filled], device=device) for name in names}


def roles_at(absolute: Tensor, words: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Which tokens of a forward pass are a role's words: bool [batch, position] for each role."""
    found = {}
    for role, of_prompts in words.items():
        # Beams and several returned sequences of a prompt are rows next to each other.
        of_rows = _for_rows(of_prompts, len(absolute))
        found[role] = of_rows.gather(1, absolute.clamp(0, of_rows.shape[1] - 1)) & (absolute >= 0)
    return found


def in_this_thread(thread: int, edit: Callable[[Tensor], Tensor | None]) -> Callable[[Tensor], Tensor | None]:
    """`edit`, but blind to forwards of other threads: hooks belong to one run, modules to everybody."""
    return lambda stream: edit(stream) if threading.get_ident() == thread else None


def _of_rows(given: Any) -> Tensor | None:
    """A mask or position ids [batch, position]; None where there is none, or it is of another form."""
    found: Tensor | None = given if getattr(given, "ndim", 0) == 2 else None
    return found


def _counted(start: int, length: int, like: Tensor) -> Tensor:
    import torch

    return torch.arange(start, start + length, device=like.device)[None]


def _for_rows(lengths: Tensor, rows: int) -> Tensor:
    """What is known of each row's prompt, where every prompt has as many rows, as beams and returned sequences make.

    Raises:
        ValueError: the rows are no multiple of the prompts.
    """
    if lengths.ndim == 0:
        return lengths.expand(rows)
    if rows % len(lengths):
        raise ValueError(
            f"prompt_length= was given for {len(lengths)} rows, but the batch has {rows}, which is no multiple of it; "
            "give one length for each row, or for each prompt whose beams or returned sequences are rows."
        )
    return lengths.repeat_interleave(rows // len(lengths), dim=0)


def _length_of(cache: Any) -> int:
    """The tokens in a cache that another run made: what its layers count, since that of the first may hold a state.

    Raises:
        UnknownPositionsError: it holds something and can't tell how much.
    """
    if cache is None:
        return 0
    layers = getattr(cache, "layers", None) or [cache]
    length = max((int(each.get_seq_length()) for each in layers if hasattr(each, "get_seq_length")), default=0)
    has_states = any(any(getattr(each, "has_previous_state", {}).values()) for each in layers)
    if length == 0 and (has_states or isinstance(cache, list | tuple)):
        raise UnknownPositionsError(
            f"Where the tokens of this forward pass stand can't be told: its {type(cache).__name__} was filled outside "
            "of this lm.steer(…) and doesn't count its tokens; begin the text inside, or pass position_ids=."
        )
    return length
