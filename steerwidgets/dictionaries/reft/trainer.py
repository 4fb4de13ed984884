"""ReFT-r1's training (AxBench, Wu et al. 2025): one direction, learned step by step.

With `a_t = relu(h_t·v)` at each position, the forward pass is steered by `h_t + mean(top-k of a)·v`, one number for
each text. The loss is that of the language model on the steered pass, plus `l1` times what the positions outside the
top k hold on average (summed over the texts of a batch), whose weight grows linearly from 0. The gradient's part along
`v` is taken out and `v` is kept at unit norm. AdamW, its learning rate falling linearly to 0. (AxBench
`models/lsreft.py`, `TopKReLUIntervention`, `utils/model_utils.py`.) The bias that AxBench allocates is never used there
and not allocated here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import einops

from steerwidgets.dictionaries.pooling import mean_difference
from steerwidgets.files.atomic import atomically
from steerwidgets.files.containers import read_safetensors
from steerwidgets.transformer import sinks
from steerwidgets.transformer.hookpoints import on_stream
from steerwidgets.transformer.prompts import Prompt
from steerwidgets.transformer.residuals import left_padded, read_residuals

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.sites import Site

_IGNORED: Final = -100


@dataclass(frozen=True)
class Settings:
    """AxBench's settings for Gemma 2 2B, but for `start`.

    Attributes:
        start: the first direction: `difference` in means of the examples, which a handful of steps improve; or
            `random`, as AxBench's, which needs many more, and may lie where nothing fires and nothing is learned.
        epochs: how often every example is seen.
        batch_size: examples in a step.
        learning_rate: at the first step.
        top_k: positions that the steering strength is averaged over.
        l1: the weight of what is outside the top k, at the last step.
        clip: the largest norm of a gradient.
        max_tokens: longer examples are cut.
        seed: of the first direction and the order of the examples.
    """

    epochs: int = 3
    batch_size: int = 6
    learning_rate: float = 0.01
    top_k: int = 8
    l1: float = 0.005
    clip: float = 1.0
    max_tokens: int = 256
    seed: int = 0
    start: Literal["difference", "random"] = "difference"

    def __post_init__(self) -> None:
        if self.start not in ("difference", "random"):
            raise ValueError(f"start is 'difference' or 'random', but {self.start!r} was given.")
        for name in ("epochs", "batch_size", "learning_rate", "top_k", "clip", "max_tokens"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} has to be above 0, but {getattr(self, name)!r} was given.")


@dataclass(frozen=True)
class Progress:
    """One step of training.

    Attributes:
        step: steps done.
        steps: steps in all.
        lm_loss: the language model's loss on the steered pass, in nats for each token.
        l1_loss: what is outside the top k, before its weight.
    """

    step: int
    steps: int
    lm_loss: float
    l1_loss: float


@dataclass(frozen=True)
class Row:
    """An example as the model gets it.

    Attributes:
        prompt: its ids.
        learned: for which tokens the model's loss counts.
        positive: whether it has the concept.
    """

    prompt: Prompt
    learned: tuple[bool, ...]
    positive: bool


class Trainer:
    """Trains one direction, step by step.

    Args:
        lm: the model.
        site: where the direction lives.
        rows: the examples, with the concept and without.
        settings: as AxBench's.
        state: the file that the training is kept in and resumed from, or None.

    Raises:
        ValueError: the state in the file is damaged, or of another training.
    """

    def __init__(
        self, lm: LoadedModel, site: Site, rows: Sequence[Row], settings: Settings, state: Path | None = None
    ) -> None:
        import torch

        self.site = site
        self.settings = settings
        self.step = 0
        self._lm = lm
        self._rows = rows
        self._state = state
        first = self._first()
        width = len(first)
        self._v: Tensor = (first / first.norm()).requires_grad_()
        self._mean = torch.zeros(width)
        self._square = torch.zeros(width)
        if state is not None and state.exists():
            self._resume(state)

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.settings.epochs * math.ceil(len(self._rows) / self.settings.batch_size)

    @property
    def done(self) -> bool:
        """Whether every step was taken."""
        return self.step >= self.steps

    @property
    def direction(self) -> Tensor:
        """The direction so far, of unit norm: float32 [d_model]."""
        v = self._v.detach()
        unit: Tensor = v / v.norm()
        return unit

    def run(
        self, on_step: Callable[[Progress], None] | None = None, stop: threading.Event | None = None
    ) -> Iterator[Progress]:
        """Take the steps that are left, one by one; leaving the loop or setting `stop` ends it."""
        while not self.done and not (stop is not None and stop.is_set()):
            progress = self._take_step()
            if self._state is not None:
                self._keep(self._state)
            if on_step is not None:
                on_step(progress)
            yield progress

    def _first(self) -> Tensor:
        import torch

        positive, negative = ([row.prompt for row in self._rows if row.positive is side] for side in (True, False))
        if self.settings.start == "difference" and positive and negative:
            return mean_difference(self._lm, positive, negative, self.site)
        width = _width(self._lm, self.site, self._rows[0].prompt)
        return torch.randn(width, generator=torch.Generator().manual_seed(self.settings.seed))

    def _take_step(self) -> Progress:
        import torch

        settings, share = self.settings, self.step / self.steps
        with self._lm.lock, _frozen(self._lm.model):
            lm_loss, l1_loss = self._losses(self._batch())
            (gradient,) = torch.autograd.grad(lm_loss + share * settings.l1 * l1_loss.to(lm_loss.device), self._v)
        with torch.no_grad():
            self._v /= self._v.norm() + torch.finfo(self._v.dtype).eps
            gradient = gradient - (gradient @ self._v) * self._v
            gradient = gradient * (settings.clip / (gradient.norm() + 1e-6)).clamp(max=1.0)
            self._adam(gradient, settings.learning_rate * (1 - share))
        self.step += 1
        return Progress(self.step, self.steps, float(lm_loss.detach()), float(l1_loss.detach()))

    def _adam(self, gradient: Tensor, rate: float) -> None:
        """Adam as `torch.optim.AdamW` takes it without weight decay; its state is two vectors, which we keep."""
        first, second, tiny = 0.9, 0.999, 1e-8
        count = self.step + 1
        self._mean = first * self._mean + (1 - first) * gradient
        self._square = second * self._square + (1 - second) * gradient.square()
        denominator = (self._square / (1 - second**count)).sqrt() + tiny
        self._v -= rate * (self._mean / (1 - first**count)) / denominator

    def _batch(self) -> list[Row]:
        """The examples of the next step: every epoch has its own order, which seed and epoch decide."""
        import torch

        per_epoch = math.ceil(len(self._rows) / self.settings.batch_size)
        epoch, place = divmod(self.step, per_epoch)
        generator = torch.Generator().manual_seed(self.settings.seed + 1 + epoch)
        order = torch.randperm(len(self._rows), generator=generator).tolist()
        start = place * self.settings.batch_size
        return [self._rows[i] for i in order[start : start + self.settings.batch_size]]

    def _losses(self, batch: Sequence[Row]) -> tuple[Tensor, Tensor]:
        """The language model's loss on the steered pass, and what is outside the top k."""
        from torch.nn import functional

        ids, mask = left_padded([row.prompt.token_ids for row in batch], padding=0)
        absolute = (mask.cumsum(-1) - 1).masked_fill(mask == 0, -1)
        labels = _labels(ids, batch)
        outside: list[Tensor] = []
        logits = self._logits(batch, ids, mask, absolute, self._edit(_own(ids, batch), absolute, outside))
        targets = einops.rearrange(labels[:, 1:], "row token -> (row token)").to(logits.device)
        predicted = einops.rearrange(logits[:, :-1].float(), "row token vocabulary -> (row token) vocabulary")
        lm_loss = functional.cross_entropy(predicted, targets, ignore_index=_IGNORED)
        return lm_loss, outside[0]

    def _logits(
        self,
        batch: Sequence[Row],  # noqa: ARG002 - a subclass may know more of these rows than their ids
        ids: Tensor,
        mask: Tensor,
        absolute: Tensor,
        edit: Callable[[Tensor], Tensor | None],
    ) -> Tensor:
        """The logits of a batch, [text, position, vocabulary], while `edit` changes the stream at the site."""
        device = self._lm.architecture.input_device
        handle = on_stream(self._lm.architecture.hookpoint(self.site), edit)
        try:
            logits: Tensor = self._lm.model(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                position_ids=absolute.clamp(min=0).to(device),
                use_cache=False,
            ).logits
        finally:
            handle.remove()
        return logits

    def _edit(self, own: Tensor, absolute: Tensor, outside: list[Tensor]) -> Callable[[Tensor], Tensor | None]:
        thread = threading.get_ident()

        def edit(stream: Tensor) -> Tensor | None:
            if threading.get_ident() != thread:
                return None
            h = stream.float()
            norms = h.detach().norm(dim=-1)
            places = absolute.to(h.device)
            threshold = sinks.sink_threshold(norms, places > 0)
            steered = own.to(h.device) & ~sinks.attention_sinks(norms, places, threshold)
            strength, rest = strength_and_rest(h @ self._v.to(h.device), steered, self.settings.top_k)
            outside.append(rest)
            change = (strength[:, None] * steered)[..., None] * self._v.to(h.device)
            steered_stream: Tensor = (h + change).to(stream.dtype)
            return steered_stream

        return edit

    def _identity(self) -> str:
        """What a resumed training has to share with the one that was kept."""
        digest = hashlib.sha256(json.dumps([str(self.site), dataclasses.asdict(self.settings)]).encode())
        digest.update(self._lm.architecture.name.encode())
        for row in self._rows:
            digest.update(json.dumps([row.prompt.token_ids, row.learned]).encode())
        return digest.hexdigest()

    def _keep(self, path: Path) -> None:
        from safetensors.torch import save_file

        tensors = {"v": self._v.detach().clone(), "mean": self._mean, "square": self._square}
        with atomically(path) as fresh:
            save_file(tensors, fresh, {"training": self._identity(), "step": str(self.step)})

    def _resume(self, path: Path) -> None:
        try:
            kept, metadata = read_safetensors(path, "a training")
        except ValueError:
            raise ValueError(f"The training kept in {path.name} is damaged; delete it to start afresh.") from None
        if metadata.get("training") != self._identity():
            raise ValueError(
                f"The training kept in {path.name} is another one (model, site, examples or settings differ); give "
                "another state=, or delete it to start afresh."
            )
        self.step = int(metadata["step"])
        self._v = kept["v"].requires_grad_()
        self._mean, self._square = kept["mean"], kept["square"]


def strength_and_rest(projection: Tensor, counted: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The steering strength of each text, and what its positions outside the top k hold.

    Args:
        projection: float32 [text, position], `h·v`.
        counted: bool [text, position], the positions that are steered; a text with fewer than `k` takes all of them.
        k: how many.

    Returns:
        float32 [text], the mean of the `k` largest `relu(h·v)`; and the others' mean over all counted positions, summed
        over the texts.
    """
    import torch

    latent = projection.relu() * counted
    counts = counted.sum(-1)
    largest = latent.topk(min(k, latent.shape[-1]), dim=-1)
    strength = largest.values.sum(-1) / counts.clamp(1, k)
    rest = latent.scatter(-1, largest.indices, 0.0).sum(-1) / (counts + torch.finfo(latent.dtype).eps)
    return strength, rest.sum()


@contextmanager
def _frozen(model: Any) -> Iterator[None]:
    """No gradient for the model's own weights, so that the pass below the site costs no memory; then as before."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


def _width(lm: LoadedModel, site: Site, prompt: Prompt) -> int:
    with lm.lock:
        return int(read_residuals(lm.architecture, [prompt.token_ids[:1]], [site]).values[site].shape[-1])


def _labels(ids: Tensor, batch: Sequence[Row]) -> Tensor:
    """Int [text, position]: the tokens that are learned; never a text's first, which only padding stands before."""
    import torch

    labels = torch.full_like(ids, _IGNORED)
    for i, row in enumerate(batch):
        n = len(row.prompt)
        labels[i, -n:] = torch.where(torch.tensor(row.learned), ids[i, -n:], _IGNORED)
        labels[i, -n] = _IGNORED
    return labels


def _own(ids: Tensor, batch: Sequence[Row]) -> Tensor:
    """Bool [text, position], the texts' own words: no padding, no special and template tokens."""
    import torch

    own = torch.zeros_like(ids, dtype=torch.bool)
    for i, row in enumerate(batch):
        own[i, -len(row.prompt) :] = torch.tensor(row.prompt.own)
    return own
