"""Output scores: whether steering with a feature brings up the tokens that its direction promotes.

Arad, Mueller, Belinkov 2025, "SAEs Are Good for Steering – If You Select the Right Features" (arXiv 2505.20063), as in
their code: features that fire on a concept are often not the ones that steer towards it; those with a high output score
are.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypedDict

from steerwidgets.lens.top_logits import token_scores
from steerwidgets.steering.divergence import next_token_logits
from steerwidgets.steering.hooks import check_feature
from steerwidgets.steering.positions import Positions
from steerwidgets.steering.recipe import Direction, Feature, Recipe, Steer, not_taken
from steerwidgets.transformer import prompts
from steerwidgets.transformer.model_state import model_state
from steerwidgets.transformer.residuals import read_residuals

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import Prompt

NEUTRAL: Final = "From my experience,"
"""The prompt of the paper's code."""

_AMPLIFY: Final = 10.0
_SHARE: Final = 2.5
_TOP: Final = 20
_ROWS: Final = 16
"""Features that are steered with at once, each in a row of one batch."""


@dataclass(frozen=True)
class ScoreSettings:
    """How output scores are measured.

    Args:
        prompts: neutral texts, read raw; the score is the mean over them. The paper uses one.
        amplify: an SAE's feature is raised by this many times the largest activation of any feature of its SAE at the
            prompt's last token.
        share: a direction of any other kind has no activations to go by: it is added with this share of ‖h‖ there.
        strength: add this many times the stored vector instead, whatever the kind.
        top: how many of the feature's own promoted tokens are looked for.

    Raises:
        ValueError: there is no prompt, or a number is not above 0.
    """

    prompts: tuple[str, ...] = (NEUTRAL,)
    amplify: float = _AMPLIFY
    share: float = _SHARE
    strength: float | None = None
    top: int = _TOP

    def __post_init__(self) -> None:
        said: Any = self.prompts
        given = (said,) if isinstance(said, str) else tuple(said)
        object.__setattr__(self, "prompts", given)
        if not given or not all(isinstance(each, str) and each for each in given):
            raise ValueError(f"Output scores need at least one neutral prompt, a text, but {self.prompts!r} was given.")
        if isinstance(self.top, bool) or not isinstance(self.top, int):
            raise ValueError(f"top of an output score is a whole number of tokens, but {self.top!r} was given.")
        for name in ("amplify", "share", "top"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ValueError(f"{name} of an output score is a number above 0, but {value!r} was given.")
        if self.strength is not None and not math.isfinite(self.strength):
            raise ValueError(f"strength of an output score is a finite number, but {self.strength!r} was given.")


class ScoreOptions(TypedDict, total=False):
    """The settings of `ScoreSettings`, as `lm.output_scores` takes them by name.

    Attributes:
        prompts: neutral texts, read raw, or one of them; the score is the mean. By default the paper's code's one.
        amplify: an SAE's feature is raised by this many times the largest activation of any feature of its SAE at the
            prompt's last token; 10 by default.
        share: a direction of any other kind is added with this share of ‖h‖ there; 2.5 by default.
        strength: add this many times the stored vector instead, whatever the kind.
        top: how many of the feature's own promoted tokens are looked for, 20 by default.
    """

    prompts: str | Sequence[str]
    amplify: float
    share: float
    strength: float | None
    top: int


class OutputScores:
    """Measures output scores of one model and keeps them. Threads may share one object.

    Args:
        lm: the model.
    """

    def __init__(self, lm: LoadedModel) -> None:
        self._lm = lm
        self._kept: dict[tuple[str, ScoreSettings], float] = {}
        self._state = model_state(lm.model)
        self._guard = threading.Lock()

    def known(self, key: str, settings: ScoreSettings | None = None) -> float | None:
        """The score of a feature, where it was measured."""
        with self._guard:
            return self._kept.get((key, settings or ScoreSettings()))

    def measured(self, settings: ScoreSettings | None = None) -> dict[str, float]:
        """Every score that was measured, by the feature's key."""
        wanted = settings or ScoreSettings()
        self._forget_others()
        with self._guard:
            return {key: score for (key, how), score in self._kept.items() if how == wanted}

    def measure(
        self,
        features: Sequence[Direction],
        settings: ScoreSettings,
        on_progress: Callable[[int, int], None] | None = None,
        stop: threading.Event | None = None,
    ) -> list[float]:
        """See `LanguageModel.output_scores`."""
        self._forget_others()
        for feature in features:
            check_feature(self._lm.architecture, feature)
            if "add" not in feature.ops:
                raise ValueError(not_taken(feature, "add"))
        missing = {f.key: f for f in features if self.known(f.key, settings) is None}
        todo, done = list(missing.values()), len(features) - len(missing)
        tell = on_progress or (lambda _done, _of: None)
        tell(done, len(features))
        for start in range(0, len(todo), _ROWS):
            if stop is not None and stop.is_set():
                break
            batch = todo[start : start + _ROWS]
            scores = _scored(self._lm, batch, settings)
            with self._guard:
                self._kept |= {(f.key, settings): score for f, score in zip(batch, scores, strict=True)}
            done += len(batch)
            tell(done, len(features))
        return [math.nan if (score := self.known(f.key, settings)) is None else score for f in features]

    def _forget_others(self) -> None:
        """Forget what was measured with other adapters or weights."""
        now = model_state(self._lm.model)
        with self._guard:
            if now != self._state:
                self._kept, self._state = {}, now


def _scored(lm: LoadedModel, features: Sequence[Direction], settings: ScoreSettings) -> list[float]:
    """The scores of some features, all steered with in one batch for each prompt."""
    import torch

    own = token_scores(lm, features).topk(min(settings.top, len(lm.tokenizer))).indices.tolist()
    totals = torch.zeros(len(features), dtype=torch.float64)
    for text in settings.prompts:
        prompt = prompts.encode(lm.tokenizer, text, chat=False)
        logits = next_token_logits(lm, prompt, _steered(lm, features, prompt, settings))
        totals += torch.tensor([_score(row, tokens) for row, tokens in zip(logits, own, strict=True)])
    scores: list[float] = (totals / len(settings.prompts)).tolist()
    return scores


def _score(logits: Tensor, tokens: Sequence[int]) -> float:
    """`(1 − r/|V|) · p`: the best rank `r` (0 for the likeliest) and the largest probability `p` of some tokens.

    Args:
        logits: float32 [vocabulary], after the intervention.
        tokens: the ids that the feature promotes most.
    """
    probabilities = logits.softmax(-1)
    highest = probabilities[list(tokens)].max()
    rank = int((probabilities > highest).sum())
    return (1 - rank / len(probabilities)) * float(highest)


def _steered(lm: LoadedModel, features: Sequence[Direction], prompt: Prompt, settings: ScoreSettings) -> list[Recipe]:
    """One recipe for each feature: what it adds at the prompt's last token."""
    last = Positions.parse("last_prompt")
    if settings.strength is not None:
        return [Recipe((Steer(f, "add", {"alpha": settings.strength}, last),)) for f in features]
    sites = sorted({feature.site for feature in features})
    read = read_residuals(lm.architecture, [prompt.token_ids], sites)
    h = {site: values[0, -1] for site, values in read.values.items()}
    largest: dict[str, float] = {}
    return [Recipe((Steer(f, "add", {"alpha": _alpha(f, h, largest, settings)}, last),)) for f in features]


def _alpha(feature: Direction, h: dict[Any, Tensor], largest: dict[str, float], settings: ScoreSettings) -> float:
    """How many times its stored vector a feature adds."""
    residual = h[feature.site]
    codec: Any = getattr(feature, "codec", None)
    if codec is None:
        return settings.share * float(residual.norm()) / feature.norm
    assert isinstance(feature, Feature)
    if feature.dictionary not in largest:
        largest[feature.dictionary] = float(codec.encode(residual).max())
    scale = codec.scale(residual)
    step = codec.unit_step(feature.index).norm() * (1.0 if scale is None else float(scale))
    return settings.amplify * largest[feature.dictionary] * float(step) / feature.norm
