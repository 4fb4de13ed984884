"""Adapters of PEFT that are switched after the model was loaded: nothing that was kept before goes on as if."""

import json

import peft
import pytest
import torch
from support import models, toks
from support.both import PROMPT, vector
from widgets.front_end import FrontEnd

import steerwidgets as sw

STEER = sw.Direction(vector(1), sw.Site(1), "x").add(6).at("generated")


def adapted(config, **more):
    """A tiny Llama with an adapter "one", and others by name."""
    model = peft.get_peft_model(models.make("llama"), config, adapter_name="one")
    for name, each in more.items():
        model.add_adapter(name, each)
    with torch.no_grad():
        for each in model.parameters():
            if each.requires_grad:
                each.normal_(std=0.5)
    return model.eval()


def prompt_tuning(count):
    return peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=count)


def lora():
    return peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "down_proj"], init_lora_weights=False)


def own_log_prob(model):
    ids = torch.tensor([PROMPT])
    with torch.no_grad():
        return float(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1].log_softmax(-1).max())


def check_is_as_loaded(lm, model, virtual):
    """Virtual tokens are counted, "generated" begins after the prompt, and the lens ends in the model's own output."""
    assert lm.architecture.virtual_tokens == virtual
    run = lm.compare(list(PROMPT), STEER, temperature=0, max_new_tokens=3)
    # The prompt's last token, which is left alone, predicts the first one.
    assert run.steered.token_ids[0] == run.baseline.token_ids[0]
    assert run.kl[0] == pytest.approx(0, abs=1e-5)
    lens = lm.logit_lens(list(PROMPT), k=1)
    assert float(lens.log_probs[-1, -1, 0]) == pytest.approx(own_log_prob(model), abs=1e-3)
    changed = lm.compare(list(PROMPT), STEER.feature.add(6).at("prompt"), temperature=0, max_new_tokens=1)
    assert changed.kl[0] > 1e-3


def test_prompt_tunings_are_switched_and_switched_off():
    model = adapted(prompt_tuning(4), two=prompt_tuning(7))
    lm = sw.LanguageModel(model, toks.byte_level())
    check_is_as_loaded(lm, model, 4)
    model.set_adapter("two")
    check_is_as_loaded(lm, model, 7)
    with model.disable_adapter():
        check_is_as_loaded(lm, model, 0)
    model.set_adapter("one")
    check_is_as_loaded(lm, model, 4)


def test_a_model_loaded_while_its_prompt_tuning_is_off_reads_with_it_later():
    model = adapted(prompt_tuning(4))
    with model.disable_adapter():
        lm = sw.LanguageModel(model, toks.byte_level())
        check_is_as_loaded(lm, model, 0)
    check_is_as_loaded(lm, model, 4)


@pytest.mark.parametrize("config", [lora(), peft.IA3Config(task_type="CAUSAL_LM", feedforward_modules=["down_proj"])])
def test_streams_under_an_adapter_add_up(config):
    lm = sw.LanguageModel(adapted(config), toks.byte_level())

    def read(stream):
        return lm.residuals(list(PROMPT), [sw.Site(1, stream)]).values[sw.Site(1, stream)]

    torch.testing.assert_close(read("resid_pre") + read("attn_out") + read("mlp_out"), read("resid_post"))
    check_is_as_loaded(lm, lm.model, 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.set_adapter("two"),
        lambda model: model.base_model.disable_adapter_layers(),
        lambda model: model.merge_adapter(["two"]),
        lambda model: next(model.parameters()).detach().add_(0.1),
    ],
    ids=["set", "disable", "merge", "train"],
)
def test_a_run_of_another_model_is_not_gone_on_with(change):
    """Its scores and lenses would be half of one model and half of the other, from keys and values of the first."""
    model = adapted(lora(), two=lora())
    lm = sw.LanguageModel(model, toks.byte_level())
    run = lm.compare(list(PROMPT), STEER, temperature=0, max_new_tokens=3, keep_cache=True)
    seen = lm.compare(list(PROMPT), STEER, temperature=0, max_new_tokens=3)
    kl = seen.kl
    change(model)
    for ask in (lambda: run.kl, lambda: run.lens(1)):
        with pytest.raises(ValueError, match="no longer the model that wrote this text: its adapters or weights have"):
            ask()
    assert seen.kl == kl  # what was computed in time stays


def test_a_run_is_gone_on_with_once_its_adapter_is_back():
    model = adapted(lora(), two=lora())
    lm = sw.LanguageModel(model, toks.byte_level())
    run = lm.compare(list(PROMPT), STEER, temperature=0, max_new_tokens=3)
    model.set_adapter("two")
    model.set_adapter("one")
    assert len(run.kl) == 3


def test_every_verb_and_a_picker_read_the_adapter_that_is_on():
    """By plain hooks on the blocks; a picker keeps its last text's residuals, but not those of another adapter."""
    model = adapted(lora(), two=lora())
    lm, site, text = sw.LanguageModel(model, toks.byte_level()), sw.Site(2), "The sea is calm."
    cav = sw.CAV(torch.stack([vector(1), -vector(1)]), ["x", "y"], layer=2)
    picker = sw.FeaturePicker(lm, cav)
    page, found, seen = FrontEnd(picker), {}, []
    hook = lm.architecture.blocks[2].register_forward_hook(lambda *given: seen.append(given[2].clone()))
    for name in ("one", "two", "one"):
        model.set_adapter(name)
        seen.clear()
        with torch.no_grad():
            model(input_ids=torch.tensor([lm.encode(text, chat=False).token_ids]))
        [want] = seen
        torch.testing.assert_close(lm.residuals(text, [site]).values[site], want)
        largest = json.dumps(page.call("find", mode="prompt", query=text, rank="maximum")["value"])
        found.setdefault(name, largest)
        assert found[name] == largest
    hook.remove()
    assert found["one"] != found["two"]
    picker.close()
