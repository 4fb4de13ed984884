"""A language model that runs elsewhere, with all verbs that need no weights here."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NoReturn

from steerwidgets.engines.stand_in import SkeletonArchitecture, StandIn
from steerwidgets.model import LanguageModel
from steerwidgets.transformer import prompts
from steerwidgets.transformer.model_lock import model_lock

if TYPE_CHECKING:
    import torch
    from torch import nn

    from steerwidgets.engines.engine import Engine
    from steerwidgets.transformer.abilities import Abilities


class ModelElsewhere(LanguageModel):
    """The verbs of a language model, of one that an engine runs.

    Args:
        skeleton: the model without weights.
        tokenizer: its tokenizer.
        runs: who runs it.

    Attributes:
        runs: who runs it.
    """

    def __init__(self, skeleton: nn.Module, tokenizer: Any, runs: Engine) -> None:
        self.model = skeleton
        self.tokenizer = tokenizer
        self.runs = runs
        self.architecture = SkeletonArchitecture(skeleton, runs.where)
        self.special_ids = prompts.special_ids(tokenizer)
        self.lock = model_lock(skeleton)
        self.source_code = None
        self.stand_in = StandIn(self.architecture, runs, lambda: self.end_ids)

    @property
    def abilities(self) -> Abilities:
        """What it can do, and why not where it can't."""
        return self.runs.abilities

    @property
    def provenance(self) -> dict[str, str]:
        """Model, revision, dtype, who runs it and versions: what a result has to say of itself."""
        found = super().provenance | {"device": self.runs.where}
        return found | {name: str(value) for name, value in self.runs.describe().items()}

    @classmethod
    def from_pretrained(cls, *_given: Any) -> NoReturn:  # type: ignore[override]  # it takes nothing in earnest
        """Refuse: a model that runs elsewhere is named, not loaded.

        Raises:
            TypeError: always; the message says how it is named.

        Example:
            >>> sw.RemoteModel.from_pretrained("name")
            Traceback (most recent call last):
            TypeError: sw.RemoteModel loads no model, it names one that runs elsewhere: sw.RemoteModel(…).
        """
        raise TypeError(f"sw.{cls.__name__} loads no model, it names one that runs elsewhere: sw.{cls.__name__}(…).")

    @classmethod
    def demo(cls) -> NoReturn:
        """Refuse: the embedded model runs here.

        Raises:
            TypeError: always.

        Example:
            >>> sw.EngineModel.demo()
            Traceback (most recent call last):
            TypeError: The embedded model runs here: sw.LanguageModel.demo(); sw.EngineModel is for others.
        """
        raise TypeError(f"The embedded model runs here: sw.LanguageModel.demo(); sw.{cls.__name__} is for others.")

    def __repr__(self) -> str:
        parts = self.architecture
        return f"<{type(self).__name__} {self.name}: {parts.layers} blocks of {parts.d_model} {self.runs.where}>"


def skeleton_of(name: str, dtype: torch.dtype, **settings: Any) -> nn.Module:
    """A model without weights, made of its config.

    Args:
        name: of a repository, or a folder.
        dtype: of the weights that it has elsewhere.
        settings: `revision`, `token` and the like.

    Raises:
        OSError: there is no such config, or it can't be fetched.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    shared = {key: settings[key] for key in ("revision", "token", "cache_dir", "trust_remote_code") if key in settings}
    config = AutoConfig.from_pretrained(name, **shared)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    # Many have none: then the config says what ends a text.
    with contextlib.suppress(OSError):
        model.generation_config = GenerationConfig.from_pretrained(name, **shared)
    made: nn.Module = model
    return made
