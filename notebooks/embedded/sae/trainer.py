"""Trains sparse autoencoders on a CPU: BatchTopK with an auxiliary loss for dead features, exported as JumpReLU.

Bussmann et al. 2024 (BatchTopK), Gao et al. 2024 (auxiliary loss, unit decoder rows). Of a batch of B inputs the k·B
largest pre-activations are kept, so that an input may use more than k features and another fewer; afterwards one
threshold, the running mean of the smallest value that was kept, takes the batch's place (JumpReLU).

Only k of some thousand features act on an input, so only the encoder's product is computed whole, in bfloat16 where
asked; the decoder and every gradient are sums over what is active. sae_lens computes all of them densely. Inputs in a
second of one core, at 4,096 features of width 576 and k = 40: sae_lens 1,300 in float32 and 2,200 under autocast, here
11,000 to 14,000.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from steerwidgets.dictionaries.sae.sae import SAE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from steerwidgets.transformer.sites import Site

_CANDIDATES: Final = 0.7
"""Pre-activations below this share of the running threshold are no candidates for the k·B largest."""
_EMA: Final = 0.02


@dataclass(frozen=True)
class SAESettings:
    """How an SAE is trained.

    Attributes:
        features: how many features.
        k: how many are active for an input, on average.
        steps: how many batches there will be, for the schedule of the learning rate.
        lr: Adam's largest learning rate, for inputs of mean norm 1.
        warm_up: the share of the steps in which it rises; it falls linearly to 0 over the others.
        dead_after: a feature is dead after so many inputs without it.
        aux_coefficient: the weight of the auxiliary loss.
        seed: for the first weights.
        fast: whether the encoder's product runs in bfloat16.
    """

    features: int = 4096
    k: int = 32
    steps: int = 3000
    lr: float = 3e-3
    warm_up: float = 0.03
    dead_after: int = 100_000
    aux_coefficient: float = 1 / 32
    seed: int = 0
    fast: bool = True


@dataclass(frozen=True)
class Step:
    """What one batch gave.

    Attributes:
        fvu: the fraction of variance unexplained, about the batch's mean.
        active: how many features acted on an input, on average.
        dead: how many features are dead.
        threshold: the smallest activation that was kept, for inputs of mean norm 1.
    """

    fvu: float
    active: float
    dead: int
    threshold: float


class Active(NamedTuple):
    """The activations that were kept, ordered by input.

    Attributes:
        values: float32 [active].
        inputs: int [active], which input.
        features: int [active], which feature.
    """

    values: Tensor
    inputs: Tensor
    features: Tensor


class SAETrainer:
    """An SAE in training: unit decoder rows, inputs scaled so that their distance from the mean is 1 on average.

    Args:
        sample: float [input, d_model], inputs that mean and scale are taken from, and the first decoder rows.
        settings: how it is trained.

    Raises:
        ValueError: there is no spread in the sample.
    """

    def __init__(self, sample: Tensor, settings: SAESettings) -> None:
        import torch

        self.settings = settings
        mean = sample.float().mean(0)
        spread = float((sample.float() - mean).norm(dim=-1).mean())
        if not spread > 0:
            raise ValueError(f"An SAE is trained on inputs that differ, but all {len(sample)} given are the same.")
        self.scale = 1 / spread
        generator = torch.Generator().manual_seed(settings.seed)
        rows = torch.randn(settings.features, sample.shape[1], generator=generator)
        self.W_dec = torch.nn.Parameter(rows / rows.norm(dim=-1, keepdim=True))
        self.W_enc = torch.nn.Parameter(self.W_dec.detach().clone())
        self.b_enc = torch.nn.Parameter(torch.zeros(settings.features))
        self.b_dec = torch.nn.Parameter(mean * self.scale)
        self.optimizer = torch.optim.Adam(list(self._parameters().values()), lr=settings.lr, fused=True)
        self.threshold, self.done = 0.0, 0
        self.last_fired = torch.zeros(settings.features, dtype=torch.long)

    def step(self, batch: Tensor) -> Step:
        """Train on a batch [input, d_model] of residuals as they come."""
        import torch

        x = batch.float() * self.scale
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * self._schedule()
        with torch.no_grad():
            pre = self._pre_activations(x)
            active = self._active(pre)
        error = self.backward(x, active)
        self._note_fired(active, len(x))
        if (dead := (self.last_fired > self.settings.dead_after).nonzero()[:, 0]).numel():
            self._auxiliary(x, pre, -error, dead)
        self._clip_and_update()
        smallest = float(active.values.min()) if len(active.values) else 0.0
        self.threshold = smallest if self.done == 0 else (1 - _EMA) * self.threshold + _EMA * smallest
        self.done += 1
        variance = (x - x.mean(0)).square().sum()
        return Step(float(error.square().sum() / variance), len(active.values) / len(x), len(dead), smallest)

    def backward(self, x: Tensor, active: Active) -> Tensor:
        """Set the gradients of the mean squared error, and give the error `x̂ − x`, float32 [input, d_model].

        The gradient of what was selected flows through the values that were kept and through nothing else.
        """
        import torch

        centred = x - self.b_dec.detach()
        values = active.values.clone().requires_grad_()
        y = _bags(self.W_dec, active.features, active.inputs, len(x), values)
        error = y - centred
        self.optimizer.zero_grad()
        (error.square().sum() / len(x)).backward()  # type: ignore[no-untyped-call]
        error = error.detach()
        slope = _gradient(values)
        with torch.no_grad():
            order = active.features.argsort()
            of_features, of_inputs = active.features[order], active.inputs[order]
            size = self.settings.features
            self.W_enc.grad = _bags(centred, of_inputs, of_features, size, slope[order])
            self.b_enc.grad = torch.zeros(size).index_add_(0, active.features, slope)
            # b_dec is added to the output, and taken off what is encoded and compared.
            self.b_dec.grad = 2 / len(x) * error.sum(0) - self.b_enc.grad @ self.W_enc
        return error

    def to_sae(self, site: Site, *, provenance: Mapping[str, str] | None = None) -> SAE:
        """The SAE as JumpReLU, for residuals as they come: activations are in units of the residual's norm."""
        return SAE(
            self.W_enc.detach().T.contiguous(),
            self.b_enc.detach() / self.scale,
            self.W_dec.detach().clone(),
            self.b_dec.detach() / self.scale,
            "jumprelu",
            threshold=self.threshold / self.scale,
            site=site,
            provenance=provenance,
        )

    def state(self) -> dict[str, Any]:
        """All that is needed to go on, for `torch.save`."""
        return {
            "parameters": {name: parameter.detach() for name, parameter in self._parameters().items()},
            "optimizer": self.optimizer.state_dict(),
            "last_fired": self.last_fired,
            "numbers": {"scale": self.scale, "threshold": self.threshold, "done": self.done},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        import torch

        with torch.no_grad():
            for name, parameter in self._parameters().items():
                parameter.copy_(state["parameters"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.last_fired = state["last_fired"]
        self.scale, self.threshold, self.done = (state["numbers"][name] for name in ("scale", "threshold", "done"))

    def _parameters(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("W_enc", "b_enc", "W_dec", "b_dec")}

    def _schedule(self) -> float:
        warm_up = max(1.0, self.settings.warm_up * self.settings.steps)
        left = (self.settings.steps - self.done) / max(1.0, self.settings.steps - warm_up)
        return max(0.0, min((self.done + 1) / warm_up, left, 1.0))

    def _pre_activations(self, x: Tensor) -> Tensor:
        import torch

        centred = x - self.b_dec
        if not self.settings.fast:
            return centred @ self.W_enc.T + self.b_enc
        return (centred.to(torch.bfloat16) @ self.W_enc.to(torch.bfloat16).T).float().add_(self.b_enc)

    def _active(self, pre: Tensor) -> Active:
        """The k·B largest pre-activations above 0."""
        flat, wanted = pre.flatten(), self.settings.k * len(pre)
        floor = _CANDIDATES * self.threshold
        at = (flat > floor).nonzero()[:, 0]
        if len(at) < wanted and floor > 0:
            at = (flat > 0).nonzero()[:, 0]
        values = flat[at]
        if len(values) > wanted:
            kept = values >= values.kthvalue(len(values) - wanted + 1).values
            at, values = at[kept], values[kept]
        return Active(values, at // pre.shape[1], at % pre.shape[1])

    def _note_fired(self, active: Active, inputs: int) -> None:
        self.last_fired += inputs
        self.last_fired[active.features] = 0

    def _auxiliary(self, x: Tensor, pre: Tensor, residual: Tensor, dead: Tensor) -> None:
        """Add the gradient of dead features' own attempt at what the others leave (Gao et al. 2024, appendix A.2)."""
        import torch

        k_aux = min(x.shape[1] // 2, len(dead))
        W_enc, W_dec = (matrix.detach()[dead].requires_grad_() for matrix in (self.W_enc, self.W_dec))
        bias = self.b_enc.detach()[dead].requires_grad_()
        chosen = pre[:, dead].topk(k_aux, dim=-1, sorted=False).indices
        encoded = ((x - self.b_dec.detach()) @ W_enc.T + bias).relu()
        kept = torch.zeros_like(encoded).scatter(-1, chosen, encoded.gather(-1, chosen))
        share = min(1.0, len(dead) / (x.shape[1] // 2))
        error = (kept @ W_dec - residual).square().sum() / len(x)
        (self.settings.aux_coefficient * share * error).backward()  # type: ignore[no-untyped-call]
        for parameter, part in ((self.W_enc, W_enc), (self.W_dec, W_dec), (self.b_enc, bias)):
            _gradient(parameter)[dead] += _gradient(part)

    def _clip_and_update(self) -> None:
        import torch

        with torch.no_grad():
            # Only the part of the gradient along the sphere counts, since rows are put back to length 1.
            gradient = _gradient(self.W_dec)
            gradient -= (gradient * self.W_dec).sum(-1, keepdim=True) * self.W_dec
            torch.nn.utils.clip_grad_norm_(list(self._parameters().values()), 1.0)
            self.optimizer.step()
            self.W_dec.div_(self.W_dec.norm(dim=-1, keepdim=True))


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _bags(table: Tensor, rows: Tensor, bags: Tensor, count: int, weights: Tensor) -> Tensor:
    """For each bag the weighted sum of rows of a table; `bags` [n] is in ascending order. float32 [count, width]."""
    import torch

    sizes = torch.bincount(bags, minlength=count)
    starts = sizes.cumsum(0) - sizes
    summed: Tensor = torch.nn.functional.embedding_bag(rows, table, starts, mode="sum", per_sample_weights=weights)
    return summed
