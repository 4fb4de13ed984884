"""How the next token is chosen: one noise for all rows, so that rows differ by the steering alone."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypedDict

from steerwidgets.calls import tells_calls

if TYPE_CHECKING:
    from torch import Tensor


@tells_calls("sw.Sampling", "sampling")
@dataclass(frozen=True)
class Sampling:
    """Sampling settings; the defaults are those of `generate(do_sample=True)` but for the temperature.

    Tokens are drawn by the Gumbel-max trick with one noise for all rows; temperature, penalty, top-k and top-p are
    applied in the order of TransformerLens' `sample_logits`.

    Args:
        temperature: divides the logits; 0 takes the most likely token.
        top_p: keeps the smallest set of tokens that holds this much probability; 1 keeps all.
        top_k: keeps this many tokens; 0 keeps all.
        frequency_penalty: taken from `logits / temperature` for each time that a token occurred, before top-k.
        penalise_prompt: whether the prompt's tokens count for the penalty.
        max_new_tokens: where a row ends at the latest.
        seed: with the step, decides the noise.

    Raises:
        ValueError: a setting is out of its range.

    Example:
        >>> sw.Sampling(temperature=0, max_new_tokens=8).to_json()["max_new_tokens"]
        8
    """

    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = 50
    frequency_penalty: float = 0.0
    penalise_prompt: bool = False
    max_new_tokens: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        self._check("temperature", 0, math.inf, "a number, 0 or more (0 takes the most likely token)")
        self._check("top_p", math.ulp(0.0), 1, "a number above 0 and at most 1 (1 keeps every token)")
        self._check("top_k", 0, math.inf, "a whole number, 0 or more (0 keeps every token)", whole=True)
        self._check("frequency_penalty", -math.inf, math.inf, "a finite number")
        self._check("max_new_tokens", 1, math.inf, "a whole number, 1 or more", whole=True)
        self._check("seed", -math.inf, math.inf, "a whole number", whole=True)
        object.__setattr__(self, "penalise_prompt", bool(self.penalise_prompt))

    def _check(self, name: str, low: float, high: float, expected: str, *, whole: bool = False) -> None:
        value: Any = getattr(self, name)
        if not _is_number(value, whole=whole) or not math.isfinite(value) or not low <= value <= high:
            raise ValueError(f"{name} has to be {expected}, but {value!r} was given.")
        # NumPy's numbers are welcome, but JSON wants plain ones.
        object.__setattr__(self, name, int(value) if whole else float(value))

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Sampling:
        """Settings by name, the others at their defaults.

        Args:
            settings: by name.

        Returns:
            The settings, checked.

        Raises:
            ValueError: a name is not known.

        Example:
            >>> sw.Sampling.of({"temperature": 1}).temperature
            1.0
        """
        known = [f.name for f in fields(cls)]
        unknown = [name for name in settings if name not in known]
        if unknown:
            raise ValueError(f"There is no sampling setting {unknown[0]!r}; there are {', '.join(known)}.")
        return cls(**settings)

    def to_json(self) -> dict[str, Any]:
        """The settings as a JSON value.

        Returns:
            A dict of plain values.

        Example:
            >>> sw.Sampling().to_json()["top_k"]
            50
        """
        return asdict(self)


class SamplingSettings(TypedDict, total=False):
    """The settings of `Sampling`, as the verbs take them by name.

    Attributes:
        temperature: divides the logits; 0 takes the most likely token. 0.7 by default.
        top_p: keeps the smallest set of tokens that holds this much probability; 1, the default, keeps all.
        top_k: keeps this many tokens, 50 by default; 0 keeps all.
        frequency_penalty: taken from `logits / temperature` for each time that a token occurred; 0 by default.
        penalise_prompt: whether the prompt's tokens count for the penalty; by default they do not.
        max_new_tokens: where a row ends at the latest, 64 by default.
        seed: with the step, decides the noise; 0 by default.
    """

    temperature: float
    top_p: float
    top_k: int
    frequency_penalty: float
    penalise_prompt: bool
    max_new_tokens: int
    seed: int


def gumbel_noise(seed: int, step: int, vocabulary: int) -> Tensor:
    """One draw of standard Gumbel noise for `(seed, step)`, the same on every device.

    Adding it to log-probabilities and taking the argmax samples from them (the Gumbel-max trick), and rows that share
    it are coupled: equal logits choose equal tokens.

    Returns:
        float32 [vocabulary].
    """
    import torch

    generator = torch.Generator().manual_seed(_mix(seed, step))
    # The smallest positive float keeps log(0) away.
    uniform = torch.rand(vocabulary, generator=generator).clamp_(min=torch.finfo(torch.float32).tiny)
    return uniform.log_().neg_().clamp_(min=torch.finfo(torch.float32).tiny).log_().neg_()


def processed_logits(logits: Tensor, counts: Tensor | None, sampling: Sampling) -> Tensor:
    """Temperature, the frequency penalty, then top-k and top-p of what that gives.

    As TransformerLens' `sample_logits` (by which Neuronpedia samples) and vLLM have it: a penalty that came after top-p
    would do nothing where one token holds that much probability.

    Args:
        logits: float32 [batch, vocabulary].
        counts: float32 [batch, vocabulary], how often each token occurred, or None without a penalty.
        sampling: the settings.

    Returns:
        float32 [batch, vocabulary]; tokens that are left out are -inf.
    """
    # A tensor of its own, which is written over: with a large vocabulary each further one would cost as much again.
    scores = logits / sampling.temperature if sampling.temperature > 0 else logits.clone()
    if counts is not None:
        scores -= sampling.frequency_penalty * counts
    if 0 < sampling.top_k < scores.shape[-1]:
        smallest_kept = scores.topk(sampling.top_k, dim=-1).values[..., -1:]
        scores.masked_fill_(scores < smallest_kept, -math.inf)
    if sampling.top_p < 1:
        scores.masked_fill_(_outside_nucleus(scores, sampling.top_p), -math.inf)
    return scores


class CoupledSampler:
    """The logits processor of a run: the argmax of what it returns is the sampled token.

    It is called once for each step; rows use the noise of `(seed, step)`, with the run's seed unless they have another.

    Args:
        sampling: the settings.
        prompt_lengths: int [batch], tokens of each prompt.
        prompt_width: columns before the first token that is drawn, padding included.
        begun: int [batch], how many of them each text has already; by default none.
        seeds: for each row its own seed, or None; by default none has.
    """

    def __init__(
        self,
        sampling: Sampling,
        prompt_lengths: Tensor,
        prompt_width: int,
        *,
        begun: Tensor | None = None,
        seeds: Sequence[int | None] | None = None,
    ) -> None:
        import torch

        self._sampling = sampling
        self._prompt_lengths = prompt_lengths
        self._prompt_width = prompt_width
        self._begun = torch.zeros_like(prompt_lengths) if begun is None else begun
        given = [None] * len(prompt_lengths) if seeds is None else seeds
        self._seeds = [sampling.seed if seed is None else seed for seed in given]

    @property
    def sampling(self) -> Sampling:
        """The settings."""
        return self._sampling

    @property
    def begun(self) -> list[int]:
        """How many tokens each text had already."""
        return [int(count) for count in self._begun]

    @property
    def seeds(self) -> list[int]:
        """What each row's noise comes from."""
        return self._seeds

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores whose argmax is the next token, float32 [batch, vocabulary]."""
        step = input_ids.shape[1] - self._prompt_width
        penalised = self._sampling.frequency_penalty != 0
        counts = self._counts(input_ids, scores) if penalised else None
        processed = processed_logits(scores, counts, self._sampling)
        if self._sampling.temperature == 0:
            return processed
        return processed.add_(self._noise(step, scores.shape[-1]).to(processed.device))

    def _noise(self, step: int, vocabulary: int) -> Tensor:
        """float32 [1, vocabulary] where all rows share it, else [batch, vocabulary]."""
        import torch

        keys = [(seed, step + done) for seed, done in zip(self._seeds, self._begun.tolist(), strict=True)]
        drawn = {key: gumbel_noise(*key, vocabulary) for key in set(keys)}
        return torch.stack([drawn[key] for key in (keys if len(drawn) > 1 else keys[:1])])

    def _counts(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        import torch

        width = self._prompt_width
        column = torch.arange(input_ids.shape[1], device=input_ids.device)
        first = width - self._begun
        if self._sampling.penalise_prompt:
            # Padding is known by where it stands, never by its id: that may be the end-of-turn token's.
            first = first - self._prompt_lengths
        counted = column >= first.to(input_ids.device)[:, None]
        return torch.zeros_like(scores).scatter_add_(1, input_ids, counted.to(scores.dtype))


def _outside_nucleus(scores: Tensor, top_p: float) -> Tensor:
    import torch

    ordered, order = scores.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(dim=-1)
    outside = probabilities.cumsum(dim=-1) - probabilities >= top_p
    return torch.zeros_like(outside).scatter(-1, order, outside)


def _mix(seed: int, step: int) -> int:
    """SplitMix64 of seed and step, so that neighbouring pairs share no noise."""
    mask = (1 << 64) - 1
    z = (seed * 0x9E3779B97F4A7C15 + step * 0xD1B54A32D192ED03 + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) >> 1


def _is_number(value: object, *, whole: bool) -> bool:
    return isinstance(value, numbers.Integral if whole else numbers.Real) and not isinstance(value, bool)
