"""Models whose weights lie elsewhere between forwards (`device_map` with offload): steered and read like any other."""

import torch
from accelerate import cpu_offload, disk_offload
from support import models, toks

import steerwidgets as sw

SITE = sw.Site(1)


def wrapped(model) -> sw.LanguageModel:
    return sw.LanguageModel(model, toks.byte_level())


def results(lm: sw.LanguageModel) -> tuple[object, ...]:
    generator = torch.Generator().manual_seed(3)
    feature = sw.Direction(torch.randn(lm.architecture.d_model, generator=generator), SITE, "x")
    recipe = (
        feature.add(2) + sw.Direction(torch.randn(lm.architecture.d_model, generator=generator), SITE, "y").ablate()
    )
    out = lm.compare("The sea is wide", recipe, chat=False, max_new_tokens=6, temperature=0.7, watch=[feature])
    read = lm.residuals("The sea is wide", [SITE]).values[SITE]
    return out.baseline.token_ids, out.steered.token_ids, out.kl, out.steered.watched, read


def assert_same(found: tuple[object, ...], expected: tuple[object, ...]) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=1e-5, atol=1e-5)


def test_weights_on_the_cpu_or_on_disk(tmp_path):
    expected = results(wrapped(models.make("llama")))
    on_cpu = models.make("llama")
    cpu_offload(on_cpu, execution_device=torch.device("cpu"))
    assert next(on_cpu.parameters()).device.type == "meta"
    assert_same(results(wrapped(on_cpu)), expected)
    assert wrapped(on_cpu).provenance["device"] == "cpu"

    on_disk = models.make("llama")
    disk_offload(on_disk, str(tmp_path), execution_device=torch.device("cpu"))
    assert_same(results(wrapped(on_disk)), expected)
