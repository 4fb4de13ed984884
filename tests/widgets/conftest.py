"""Panels around a tiny model, closed again after each test, and a stand-in for the page that shows one."""

from __future__ import annotations

import math
import threading

import pytest
import torch
from widgets.front_end import FrontEnd

import steerwidgets as sw

LABELS = ["the sea and sailing", "cooking and food", "<b>bold</b> claims"]
D_MODEL = 32


class Gate:
    """Holds a model before every forward pass until the test lets it go on."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.held = threading.Event()
        self._news = threading.Condition()
        self._left: float = 0
        self._handle = model.register_forward_pre_hook(self._hold)

    def _hold(self, _module: object, _args: object) -> None:
        with self._news:
            if not self._left:
                self.held.set()
            assert self._news.wait_for(lambda: self._left, timeout=60), "nobody let the model go on"
            self._left -= 1

    @property
    def is_used_up(self) -> bool:
        """Whether the model took every step that it was let."""
        return not self._left

    def let(self, steps: float) -> None:
        """Let some forward passes through."""
        with self._news:
            self._left += steps
            self._news.notify_all()

    def open(self) -> None:
        """Let everything through from now on."""
        self.let(math.inf)

    def remove(self) -> None:
        """Take the hook off, and let go whoever waits."""
        self.open()
        self._handle.remove()


def vectors(count: int = 3) -> torch.Tensor:
    return torch.randn(count, D_MODEL, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def lm(fresh):
    """A tiny Llama whose texts never end by themselves."""
    lm = fresh("llama", max_position_embeddings=4096)
    with torch.no_grad():
        # At logit 0 a token is never among the 50 likeliest of these 320.
        lm.model.get_output_embeddings().weight[sorted(lm.special_ids)] = 0
    return lm


@pytest.fixture
def runs(lm):
    """How often the model ran."""
    count = []
    handle = lm.architecture.base.register_forward_pre_hook(lambda *_: count.append(1))
    yield count
    handle.remove()


@pytest.fixture
def cavs():
    return sw.CAV(vectors(), LABELS, layer=1, max_activations=[9.0, None, None], max_activation_of="ten tokens")


@pytest.fixture
def make_panel(lm, cavs):
    made = []

    def make(features=cavs, model=lm, **settings):
        panel = sw.SteeringPanel(model, features, **{"max_new_tokens": 8, **settings})
        made.append(panel)
        return panel

    yield make
    for panel in made:
        panel.close()


@pytest.fixture
def panel(make_panel, cavs):
    return make_panel(recipe=cavs[0].add(4))


@pytest.fixture
def page(panel):
    return FrontEnd(panel)


@pytest.fixture
def gate(lm):
    gate = Gate(lm.model)
    yield gate
    gate.remove()


@pytest.fixture
def hooks(lm):
    """Counts the hooks on the model and its parts."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return lambda: sum(len(getattr(module, kind)) for module in lm.model.modules() for kind in kinds)


@pytest.fixture
def lock_is_free(lm):
    """Whether another thread could take the model's lock at once."""

    def free() -> bool:
        took: list[bool] = []

        def take() -> None:
            took.append(lm.lock.acquire(blocking=False))
            if took[0]:
                lm.lock.release()

        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
        return took[0]

    return free
