"""Models whose weights lie elsewhere between forwards (`device_map` with offload): steered and read like any other."""

import pytest
import torch
from accelerate import cpu_offload, disk_offload
from support import kinds, models, toks
from transformers import AutoModelForCausalLM

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


def blocks_in(family):
    return "transformer.h" if family == "gpt2" else "model.layers"


@pytest.fixture(scope="module", params=["llama", "gemma2", "gpt2"])
def saved(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    models.make(request.param).save_pretrained(folder)
    return request.param, folder


def maps(family):
    """Everything on the CPU, every other block on the disk, all of it there."""
    base, inner = ("transformer", "wte wpe ln_f") if family == "gpt2" else ("model", "embed_tokens norm rotary_emb")
    outer = [*(f"{base}.{name}" for name in inner.split()), "lm_head"]
    blocks = [f"{blocks_in(family)}.{layer}" for layer in range(models.LAYERS)]
    on_cpu = dict.fromkeys(outer + blocks, "cpu")
    mixed = on_cpu | dict.fromkeys(blocks[1::2], "disk") | {"lm_head": "disk"}
    return {"one device": {"": "cpu"}, "auto": "auto", "mixed": mixed, "on disk": dict.fromkeys(on_cpu, "disk")}


def everything(lm):
    """What the verbs give with a dictionary of every kind: numbers and tokens."""
    text, found = "The sea is wide", []
    for kind in kinds.KINDS:
        dictionary = kinds.make(kind, lm)
        feature = dictionary[1]
        steer = {"SAE": lambda f: f.clamp(3), "MFA": lambda f: f.pull(0.5), "Head": lambda f: f.scale(0)}
        recipe = steer.get(kind, lambda f: f.add(2))(feature)
        pair = lm.compare(text, recipe, chat=False, max_new_tokens=3, temperature=0)
        found += [pair.steered.token_ids, pair.kl, lm.read(text, dictionary).values]
        if kind != "Head":
            found.append([value for _, value in lm.top_logits(feature, k=5).promoted])
    grid = lm.patch(text, "The sky is wide", tokens=(5, 9))
    return [*found, lm.logit_lens(text, k=3).probs, grid.share, [float(lm.verify(text).holds)]]


@pytest.mark.parametrize("how", ["one device", "auto", "mixed", "on disk"])
def test_loaded_with_a_device_map(saved, how, tmp_path):
    family, folder = saved
    expected = everything(wrapped(models.make(family)))
    offloaded = {} if how in ("one device", "auto") else {"offload_folder": tmp_path}
    model = AutoModelForCausalLM.from_pretrained(folder, device_map=maps(family)[how], **offloaded).eval()
    is_meta = any(parameter.is_meta for parameter in model.parameters())
    assert is_meta == (how in ("mixed", "on disk"))
    assert_same(everything(wrapped(model)), expected)
