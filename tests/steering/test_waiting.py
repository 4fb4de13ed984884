"""What a device is asked for while text is generated: a number asked for makes the host wait for a GPU."""

import pytest
import torch
from support import kinds
from torch.utils._python_dispatch import TorchDispatchMode

import steerwidgets as sw
from steerwidgets.generation.rows import Plan, generate_rows

ASKED = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)


class Counting(TorchDispatchMode):
    """Counts the numbers that Python asks of tensors."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func in ASKED
        return func(*args, **(kwargs or {}))


def per_token(lm, recipe):
    """Numbers that one more token asks for."""
    counts = []
    for tokens in (3, 3, 7):  # the first one makes what is made once
        with Counting() as counting:
            generate_rows(lm, [Plan(lm.encode([20, 30, 40]), sw.Recipe.of(recipe))], sw.Sampling(max_new_tokens=tokens))
        counts.append(counting.count)
    return (counts[2] - counts[1]) / 4


@pytest.fixture
def endless(fresh):
    lm = fresh("llama")
    with torch.no_grad():
        lm.model.get_output_embeddings().weight[sorted(lm.special_ids)] = 0
    return lm


def test_no_op_asks_for_a_number_at_each_token(endless):
    own = per_token(endless, None)
    assert own >= 1  # else nothing was counted
    cav, sae = kinds.make("CAV"), kinds.make("SAE")
    steers = {
        "add": cav[0].add(2),
        "add_relative": cav[0].add_relative(0.1),
        "ablate": cav[0].ablate(),
        "project": cav[0].project(0.5),
        "clip": cav[0].clip(-1, 1),
        "clamp": sae[3].clamp(2.0),
        "two that are solved together": cav[0].ablate() + cav[1].clip(-1, 1),
        "at other positions": cav[0].ablate().at("generated") + cav[1].clip(-1, 1),
        "while another fires": cav[0].add(2).when(cav[1] > 0),
        "a random direction": sw.Recipe.of(cav[0].add(2)).random_direction(0),
    }
    asked = {name: per_token(endless, steer) - own for name, steer in steers.items()}
    assert asked == dict.fromkeys(steers, 0)
