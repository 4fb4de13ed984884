"""A tiny sparse SAE with labels and a corpus index of ten bands, as label checks want it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

import steerwidgets as sw
from support import corpora, sae, toks

SHARE = 0.01
"""How many tokens each feature fires on."""

WORDS = ("ocean", "assistant", "city by the sea", "wormhole", "function and result", "travel through time")


def labels(size: int = sae.SIZE) -> list[str]:
    """A label for every feature but the last two, each of its own."""
    return [f"{WORDS[index % len(WORDS)]} {index}" for index in range(size - 2)] + ["", ""]


def sparse(lm: Any, texts: Any, seed: int = 0) -> Any:
    """An SAE whose features fire on about one token in a hundred."""
    site = sw.Site(1)
    rows = [lm.residuals(text, [site]).values[site][0, 1:] for text in texts[:60]]
    parts = sae.tensors(seed)
    activations = torch.cat(rows) @ parts["W_enc"] + parts["b_enc"]
    parts["b_enc"] = parts["b_enc"] - activations.quantile(1 - SHARE, dim=0)
    return sw.SAE(**parts, layer=1, labels=labels())


def indexed(lm: Any, dictionary: Any = None, *, texts: int = 240, **settings: Any) -> Any:
    """The same, or another dictionary, with evidence over some texts."""
    read = corpora.texts(texts)
    made = sparse(lm, read) if dictionary is None else dictionary
    folder = Path(tempfile.mkdtemp(prefix="steerwidgets-checked-"))
    settings = {"quantiles": 10, "per_quantile": 6, "random": 8, "context": (8, 6)} | settings
    sw.corpus.build(lm, made, read, folder / "index", on_progress=lambda _: None, **settings).attach(made)
    return made


def byte_level(lm_model: Any) -> Any:
    """A `LanguageModel` around a tiny model."""
    return sw.LanguageModel(lm_model, toks.byte_level())
