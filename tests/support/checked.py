"""A tiny sparse SAE with labels and a corpus index of ten bands, as label checks want it."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import torch

import steerwidgets as sw
from steerwidgets.label_checks.items import ItemMaker
from support import corpora, models, sae, toks

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
    kept: Any = {"quantiles": 10, "per_quantile": 6, "random": 8, "context": (8, 6)} | settings
    sw.corpus.build(lm, made, read, folder / "index", on_progress=lambda _: None, **kept).attach(made)
    return made


@functools.cache
def world() -> Any:
    """A tiny model and such an SAE, made once; nobody changes them."""
    lm = sw.LanguageModel(models.make("llama", max_position_embeddings=512), toks.byte_level())
    return lm, indexed(lm)


OF = ItemMaker.of


@functools.cache
def _made(seed: int, index: int) -> Any:
    return OF(_maker(seed), index)


@functools.cache
def _maker(seed: int) -> Any:
    lm, dictionary = world()
    return ItemMaker(lm, dictionary, seed)


def of(self: Any, index: int) -> Any:
    """Items of that SAE are made once for all tests: they are the same every time, as `test_items` shows."""
    return _made(self.seed, index) if self.dictionary is world()[1] and not self._labels else OF(self, index)
