"""The attention heads of a block as a dictionary: each one's output before the attention's last matrix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from steerwidgets.dictionaries.base import Dictionary, call, refuse_other_width
from steerwidgets.dictionaries.names import LabelsLike
from steerwidgets.dictionaries.neurons import first_weights
from steerwidgets.files.fields import Fields
from steerwidgets.files.shown import shown
from steerwidgets.steering import ops
from steerwidgets.steering.inline import FORMS, tensor_from_json, tensor_json
from steerwidgets.steering.ops import Op
from steerwidgets.steering.plain import Plain, length_of_part
from steerwidgets.steering.recipe import Feature, Steer
from steerwidgets.transformer.architecture import Architecture
from steerwidgets.transformer.prompts import PromptLike, several_prompts
from steerwidgets.transformer.residuals import counted_tokens
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.prompts import Prompt
    from steerwidgets.transformer.residuals import Residuals

_WIDEST: Final = 2**20
"""No attention is wider."""


class ReadsTexts(Protocol):
    """A `LanguageModel`, as far as heads need it."""

    @property
    def architecture(self) -> Architecture:
        """The model's parts."""
        ...

    def encode(self, prompt: PromptLike, *, chat: bool | None = None) -> Prompt:
        """A text as token ids."""
        ...

    def residuals(self, prompt: PromptLike | Prompt, sites: Sequence[Site]) -> Residuals:
        """The streams of a text."""
        ...


@dataclass(frozen=True, eq=False, repr=False)
class Head(Feature):
    """One attention head: `z`, its part of what enters the attention's last matrix, and `‖z‖` as its activation.

    It writes in as many directions as it has numbers, so it has no direction of its own: its vector is all zeros.

    Args:
        heads: how many heads the block has.
        mean_output: float32 [d_head], its mean output over some texts, where one was taken.

    Example:
        >>> head = sw.Heads(lm, layer=1)[2]
        >>> head.scale(0.5), head.part
        ('Head 1.2'.scale(0.5), slice(16, 24, None))
    """

    signed: ClassVar[bool] = False
    reads: ClassVar[str] = "‖z‖"
    reads_projection: ClassVar[bool] = False

    heads: int = field(kw_only=True)
    mean_output: Tensor | None = field(default=None, kw_only=True)

    @property
    def read_only(self) -> str:
        """Empty: it is steered by its part of the site, and not along a vector."""
        return ""

    @property
    def _ops(self) -> Mapping[str, Op]:
        """`ablate` and `scale`, and `mean` where a mean was taken."""
        return ops.HEAD_OPS if self.mean_output is None else ops.HEAD_OPS_WITH_MEAN

    @property
    def part(self) -> slice:
        """Which numbers of its site are its own."""
        width = len(self.vector) // self.heads
        return slice(self.index * width, (self.index + 1) * width)

    @property
    def full_strength(self) -> float | None:
        """None: nothing is added to a head."""
        return None

    def activation(self, h: Tensor) -> Tensor:
        """`‖z‖`, how long the head's output is.

        Args:
            h: [..., heads × d_head], what enters the attention's last matrix.

        Returns:
            float32 [...].

        Raises:
            ValueError: the site has another width than the model's.

        Example:
            >>> h = torch.randn(4, 32)  # the tiny model has 4 heads of 8 numbers
            >>> torch.allclose(sw.Heads(lm, layer=1)[2].activation(h), h[:, 16:24].norm(dim=-1))
            True
        """
        self._refuse_other_width(h)
        norm: Tensor = h[..., self.part].float().norm(dim=-1)
        return norm

    not_inline = ""

    def inline(self) -> dict[str, Any]:
        """How many heads of which width there are, and the mean where one was taken; its index says the rest.

        Returns:
            A JSON value.

        Example:
            >>> sw.Heads(lm, layer=1)[2].inline()
            {'form': 'head', 'heads': 4, 'width': 32}
        """
        mean = {} if self.mean_output is None else {"mean": tensor_json(self.mean_output)}
        return {"form": "head", "heads": self.heads, "width": len(self.vector)} | mean

    def _plain(self, read: bool) -> Plain:  # noqa: ARG002 - its part of the site is all that it is
        """The head without its dictionary."""
        length = partial(length_of_part, self.part)
        return Plain(self.vector, length, part=self.part, mean_output=self.mean_output)

    def ablate(self) -> Steer:
        """Put the head's output at zero.

        Returns:
            The steer.

        Example:
            >>> sw.Heads(lm, layer=1)[2].ablate()
            'Head 1.2'.ablate()
        """
        return Steer(self, "ablate")

    def scale(self, m: float) -> Steer:
        """Multiply the head's output by `m`: 1 keeps it, 0 removes it.

        Args:
            m: the factor.

        Returns:
            The steer.

        Example:
            >>> sw.Heads(lm, layer=1)[2].scale(0)
            'Head 1.2'.scale(0)
        """
        return Steer(self, "scale", {"m": m})

    def mean(self) -> Steer:
        """Put the head's output at its mean over the texts that its dictionary was given: mean ablation.

        Zero is a value that a head may never take, and removing it also removes what the rest of the model counts on;
        the mean keeps that and removes what the head says about this text (Wang et al. 2022, "Interpretability in the
        Wild", arXiv 2211.00593).

        Returns:
            The steer.

        Raises:
            ValueError: no mean was taken.

        Example:
            >>> heads = sw.Heads(lm, layer=1, mean_over=["The user asks the assistant.", "Name a city by the sea."])
            >>> heads[2].mean()
            'Head 1.2'.mean()
        """
        if self.mean_output is None:
            raise ValueError(
                f"The mean output of {shown(self.label)} is not known; give texts that it is taken over: "
                f"sw.Heads(lm, layer={self.site.layer}, mean_over=texts)[{self.index}].mean()."
            )
        return Steer(self, "mean")


def _head(parts: Fields, entry: Mapping[str, Any]) -> Head:
    import torch

    heads, width = (parts.whole(name, low=1, high=_WIDEST) for name in ("heads", "width"))
    if not 0 <= entry["index"] < heads or width % heads:
        raise ValueError(
            f"This recipe is damaged: there is no head of index {entry['index']} among {heads} of {width} numbers."
        )
    mean = tensor_from_json(parts, "mean") if "mean" in parts else None
    if mean is not None and len(mean) != width // heads:
        raise ValueError(
            f"This recipe is damaged: the mean output of {shown(entry['label'])} has {len(mean)} numbers, and the head "
            f"{width // heads}."
        )
    return Head(torch.zeros(width), **entry, heads=heads, mean_output=mean)


FORMS["head"] = _head


class Heads(Dictionary):
    """The attention heads of one block, on whatever keeps them apart before the attention's last matrix.

    Heads are those of the queries, which models with grouped queries have more of than of keys and values.

    Args:
        lm: a `LanguageModel`; only its architecture is kept.
        layer: the block, counted from 0.
        mean_over: texts (read raw), messages or token ids, whose mean output the op `mean` gives; over the tokens of
            their own words, attention sinks left out. Without them heads take `ablate` and `scale`.
        labels: of the heads, in any form of `LabelsLike`, or none.

    Raises:
        ValueError: there is no such block, its heads are not to be told apart, the texts hold no token that counts, or
            the labels do not fit.

    Example:
        >>> heads = sw.Heads(lm, layer=1)
        >>> heads
        <Head of 4 features at block 1 attn_z>
        >>> lm.read("The answer", heads).values.shape  # 2 tokens, 4 heads
        torch.Size([2, 4])
        >>> out = lm.compare("Name a city.", heads[2].ablate(), max_new_tokens=4)
    """

    kind: ClassVar[str] = "Head"
    are_axes: ClassVar[bool] = True

    def __init__(
        self,
        lm: ReadsTexts,
        layer: int,
        *,
        mean_over: PromptLike | Sequence[PromptLike] | None = None,
        labels: LabelsLike | None = None,
    ) -> None:
        self.site = Site(layer, "attn_z")
        architecture = lm.architecture
        self._last = architecture.hookpoint(self.site).module
        self._width = architecture.width(self.site)
        self._heads = architecture.heads(self.site)
        self._means = None if mean_over is None else _means(lm, self.site, several_prompts(mean_over))
        self.labels = labels
        self.provenance = {"model": architecture.name}
        self.source_code = call("sw.Heads(lm", layer=layer, mean_over=mean_over, labels=labels)

    @property
    def size(self) -> int:
        """How many heads there are."""
        return self._heads

    @property
    def d_model(self) -> int:
        """The width of the site: heads × d_head."""
        return self._width

    def vector(self, index: int) -> Tensor:  # noqa: ARG002 - all heads are alike in this
        """All zeros: a head has no one direction.

        Args:
            index: the head.

        Returns:
            float32 [heads × d_head].

        Example:
            >>> bool(sw.Heads(lm, layer=1).vector(2).any())
            False
        """
        import torch

        return torch.zeros(self._width)

    def weights(self) -> Iterable[Tensor]:
        """The first numbers of the attention's last matrix, enough to tell models apart, and the means.

        Returns:
            At most two tensors; the first is left out where the weights are not in memory.

        Example:
            >>> len(list(sw.Heads(lm, layer=1).weights()))
            1
        """
        yield from first_weights(self._last)
        if self._means is not None:
            yield self._means

    def unlabelled(self, index: int) -> str:
        """A head without a label: its block and index.

        Args:
            index: the head.

        Returns:
            Its name.

        Example:
            >>> sw.Heads(lm, layer=1).unlabelled(2)
            'Head 1.2'
        """
        return f"Head {self.site.layer}.{index}"

    def feature(self, index: int) -> Head:
        """The head at an index.

        Args:
            index: the head, which is known to exist; `heads[…]` checks, and takes labels too.

        Returns:
            The head.

        Example:
            >>> sw.Heads(lm, layer=1).feature(2)
            <Head 'Head 1.2' at block 1 attn_z>
        """
        mean = None if self._means is None else self._means[index]
        return Head(**self._entry(index), heads=self._heads, mean_output=mean)

    def __getitem__(self, name: int | str) -> Head:
        """A head by index or label."""
        found = super().__getitem__(name)
        assert isinstance(found, Head)
        return found

    def encode(self, h: Tensor) -> Tensor:
        """`‖z‖` of every head.

        Args:
            h: [..., heads × d_head], what enters the attention's last matrix.

        Returns:
            float32 [..., size].

        Raises:
            ValueError: the site has another width than the model's.

        Example:
            >>> sw.Heads(lm, layer=1).encode(torch.randn(5, 32)).shape
            torch.Size([5, 4])
        """
        refuse_other_width(self, h)
        norms: Tensor = h.float().reshape(*h.shape[:-1], self._heads, -1).norm(dim=-1)
        return norms


def _means(lm: ReadsTexts, site: Site, texts: Sequence[PromptLike]) -> Tensor:
    """The mean output of every head over the tokens of some texts that count, float32 [head, d_head]."""
    import torch

    total, count = torch.zeros(()).double(), 0
    for text in texts:
        prompt = lm.encode(text, chat=False)
        residuals = lm.residuals(prompt, [site])
        counted = residuals.values[site][0][counted_tokens(residuals, site, prompt)]
        total, count = total + counted.double().sum(0), count + len(counted)
    if not count:
        raise ValueError(
            f"The {len(texts)} texts of mean_over have no token that counts: attention sinks, special and template "
            "tokens are left out; give longer ones."
        )
    means: Tensor = (total / count).float().reshape(lm.architecture.heads(site), -1)
    return means
