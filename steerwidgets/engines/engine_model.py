"""EngineModel: a language model that a server of interp-engine's runs."""

from __future__ import annotations

from steerwidgets.calls import tells_calls
from steerwidgets.engines.elsewhere import ModelElsewhere, skeleton_of
from steerwidgets.engines.interp import InterpEngine


@tells_calls("sw.EngineModel", "lm")
class EngineModel(ModelElsewhere):
    """A language model that an interp-engine server runs, with the verbs of `sw.LanguageModel`.

    Such a server is started by `python -m interp_engine.server --model NAME`, on a GPU (vLLM) or a CPU. It carries out
    `add`, `add_relative`, `ablate`, `project` and `clip` of directions, at all tokens or the prompt's; other steers are
    refused with the reason. Tokens come as they are drawn, rows one after another.

    Args:
        address: of the server, as `http://127.0.0.1:8000`.
        token: its bearer token, where it has one; by default that of the variable `INTERP_ENGINE_SERVER_TOKEN`.
        name: the repository or folder of the model's config and tokenizer, where it is not what the server says.

    Raises:
        EngineError: nobody answers there, the token is missing or wrong, or the model is not ready.
        ValueError: the address is none.

    Example:
        >>> lm = sw.EngineModel("http://127.0.0.1:8000")  # doctest: +SKIP
        >>> out = lm.compare("Name a city.", cavs["ocean"].add(4))  # doctest: +SKIP
    """

    def __init__(self, address: str, *, token: str | None = None, name: str | None = None) -> None:
        import torch
        from transformers import AutoTokenizer

        engine = InterpEngine(address, token)
        named = name or engine.model_name
        # Streams cross the wire in float32, whatever the weights are kept in.
        skeleton = skeleton_of(named, torch.float32)
        super().__init__(skeleton, AutoTokenizer.from_pretrained(named), engine)
        engine.attach(self.architecture)
        self.source_code = f"sw.EngineModel({address!r})"
