"""A norm is what it does to probes: its class is never asked."""

import pytest
import torch
import transformers as hf
from support import models
from torch import nn
from transformers.models.cohere.modeling_cohere import CohereLayerNorm
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.nemotron.modeling_nemotron import NemotronLayerNorm1P
from transformers.models.olmo.modeling_olmo import OlmoLayerNorm

from steerwidgets.transformer.norms import LinearNorm, NotLinearError, gained

WIDTH = 33
MAKERS = {
    "LayerNorm": (lambda: nn.LayerNorm(WIDTH), True),
    "LayerNorm without weights": (lambda: nn.LayerNorm(WIDTH, elementwise_affine=False), True),
    "RMSNorm": (lambda: nn.RMSNorm(WIDTH), False),
    "Gemma's 1 + w": (lambda: Gemma2RMSNorm(WIDTH), False),
    "Nemotron's 1 + w": (lambda: NemotronLayerNorm1P(WIDTH), True),
    "Cohere's, no nn.LayerNorm": (lambda: CohereLayerNorm(WIDTH), True),
    "OLMo's, no weights": (lambda: OlmoLayerNorm(WIDTH), True),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parts_through_a_norm_sum_to_what_it_gives(name, dtype):
    make, centres = MAKERS[name]
    norm, noise = make(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=noise))
    h = 50 * torch.randn(WIDTH, generator=noise) + 20
    norm = norm.to(dtype)
    found = LinearNorm.of(norm, WIDTH)
    assert found.centres == centres
    tolerance = {"atol": 1e-4, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.1, "rtol": 0.05}
    with torch.no_grad():
        torch.testing.assert_close(found.through(h) + found.bias, norm(h.to(dtype)).float(), **tolerance)
        parts = torch.stack([0.3 * h - 5, 0.7 * h + 5])
        torch.testing.assert_close(found.gained(parts).sum(0), found.gained(h), atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(gained(norm, h), found.gained(h))


class Squashing(nn.Module):
    """The dynamic tanh that some put in a norm's place."""

    def forward(self, h):
        return torch.tanh(0.5 * h)


class Grouped(nn.Module):
    """Each half by its own size."""

    def forward(self, h):
        halves = h.unflatten(-1, (2, -1))
        return (halves / halves.square().mean(-1, keepdim=True).add(1e-6).sqrt()).flatten(-2)


@pytest.mark.parametrize("norm", [Squashing(), Grouped(), nn.Identity()])
def test_what_is_no_norm_is_refused(norm):
    with pytest.raises(NotLinearError, match=r"neither an RMSNorm nor a LayerNorm"):
        LinearNorm.of(norm, 32)


def test_no_class_decides():
    """A family's final norm, under another class with the same numbers, is read alike."""
    config = hf.LlamaConfig(**(models._ROTARY | models._IDS))
    norm = hf.LlamaForCausalLM(config).model.norm

    class Other(nn.Module):
        def forward(self, h):
            return norm(h)

    v = torch.randn(models.D_MODEL)
    torch.testing.assert_close(gained(Other(), v), gained(norm, v))
