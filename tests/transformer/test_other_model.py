"""A dictionary that says it was made for another model: one warning that names both, and the panel says so."""

import importlib
import warnings

import pytest
import torch
from support.both import PROMPT
from support.mfa import make_state
from support.models import D_MODEL

import steerwidgets as sw
from steerwidgets.transformer.model_names import is_other_model

ROWS = torch.randn(3, D_MODEL, generator=torch.Generator().manual_seed(0))
MADE_FOR = {"model": "gemma-2-2b"}


@pytest.fixture
def named(fresh):
    """Makes a tiny model with a name of its own."""

    def make(name, **changes):
        lm = fresh(**changes)
        lm.model.config._name_or_path = name
        return lm

    return make


def cavs(**settings):
    return sw.CAV(ROWS, ["sea", "sky", "sun"], layer=1, **settings)


def warned(work):
    """The warnings of ours that some code gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work()
    return [each for each in caught if issubclass(each.category, sw.OtherModelWarning)]


@pytest.mark.parametrize(
    ("made_for", "used"),
    [
        ("google/gemma-2-2b", "google/gemma-2-2b-it"),
        ("gemma-2-2b", "google/gemma-2-2b-it"),
        ("gemma-2-2b", "/content/drive/gemma-2-2b"),
        ("gemma-2-2b", "C:\\models\\Gemma-2-2B"),
        ("gemma-2-2b", "/root/.cache/huggingface/hub/models--google--gemma-2-2b/snapshots/c5ebcd40d208330abc697524"),
        ("gemma-2-2b", "runs/gemma-2-2b-mine/checkpoint-500"),
        ("google/gemma-3-1b-pt", "google/gemma-3-1b-it"),
        ("gpt2-small", "gpt2"),
        ("gpt2-small", "openai-community/gpt2"),
        ("mistral-7b", "mistralai/Mistral-7B-v0.1"),
        ("mistral-7b", "mistralai/Mistral-7B-Instruct-v0.2"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "meta-llama/Meta-Llama-3-8B"),
        ("meta-llama/Llama-3.1-8B", "meta-llama/Meta-Llama-3.1-8B-Instruct"),
        ("meta-llama/Llama-3.1-8B", "unsloth/Llama-3.1-8B-bnb-4bit"),
        ("Qwen/Qwen3-8B-Base", "Qwen/Qwen3-8B"),
        ("pythia-70m-deduped", "EleutherAI/pythia-70m-deduped"),
        ("SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M"),
        ("LlamaForCausalLM", "google/gemma-2-2b"),  # the class of a model without a name tells nothing
        ("gemma-2-2b", "GPT2LMHeadModel"),
        (None, "gpt2"),
        ("", "gpt2"),
    ],
)
def test_names_that_may_be_of_one_model(made_for, used):
    assert not is_other_model(made_for, used)
    assert not is_other_model(used, made_for or "")


@pytest.mark.parametrize(
    ("made_for", "used"),
    [
        ("gemma-2-2b", "google/gemma-2-9b"),
        ("gemma-2-2b", "google/gemma-2b"),
        ("gemma-2-2b", "google/gemma-3-1b-it"),
        ("gpt2-small", "gpt2-medium"),
        ("gpt2", "openai-community/gpt2-xl"),
        ("pythia-70m-deduped", "EleutherAI/pythia-70m"),
        ("meta-llama/Llama-3.1-8B", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B"),
        ("meta-llama/Llama-3.1-8B", "mistralai/Mistral-7B-v0.1"),
        ("qwen3-1.7b", "Qwen/Qwen2.5-1.5B"),
        ("google/gemma-2-2b-it", "meta-llama/Llama-3.2-1B"),
    ],
)
def test_names_of_different_models(made_for, used):
    assert is_other_model(made_for, used)
    assert is_other_model(used, made_for)


def test_every_name_of_sae_lens_registry_is_that_of_its_model():
    """What sae_lens calls a model and what Hugging Face calls it, as TransformerLens pairs the two."""
    directory = importlib.import_module("sae_lens.loading.pretrained_saes_directory")
    pairs = importlib.import_module("transformer_lens.supported_models").MODEL_ALIASES
    official = {alias.lower(): name for name, aliases in pairs.items() for alias in aliases}
    used = {entry.model for entry in directory.get_pretrained_saes_directory().values()}
    assert {"gpt2-small", "gemma-2-2b"} <= used
    for name in used:
        assert not is_other_model(name, official.get(name.lower(), name)), name


VERBS = {
    "read": lambda lm, d: lm.read(PROMPT, d),
    "read some": lambda lm, d: lm.read(PROMPT, d, [0]),
    "search": lambda lm, d: lm.search(PROMPT, [d]),
    "steer": lambda lm, d: lm.steer(d[0].add(1)).__enter__().__exit__(None, None, None),
    "compare": lambda lm, d: lm.compare(PROMPT, d[0].add(1), max_new_tokens=1),
    "watch": lambda lm, d: lm.compare(PROMPT, None, watch=[d[0]], max_new_tokens=1),
    "stream": lambda lm, d: list(lm.stream(PROMPT, d[0].add(1), max_new_tokens=1)),
    "sweep": lambda lm, d: lm.sweep(PROMPT, [None, d[0].add(1)], max_new_tokens=1),
    "measure": lambda lm, d: lm.measure(PROMPT, d[0].add(1)),
    "logit_difference": lambda lm, d: lm.logit_difference(PROMPT, d[0].add(1)),
    "top_logits": lambda lm, d: lm.top_logits(d[0]),
    "panel": sw.SteeringPanel,
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_warns_once_and_names_both(named, verb):
    lm, made = named("meta-llama/Llama-3.2-1B"), cavs(provenance=MADE_FOR)
    (warning,) = warned(lambda: [VERBS[verb](lm, made) for _ in range(2)])
    assert str(warning.message) == (
        "This CAV dictionary at block 1 resid_post was made for gemma-2-2b, but the model is meta-llama/Llama-3.2-1B: "
        "its features may mean nothing here."
    )
    assert warning.filename == __file__


def test_once_for_each_dictionary_and_model(named):
    lm, other = named("meta-llama/Llama-3.2-1B"), named("Qwen/Qwen2.5-1.5B")
    first, second = cavs(provenance=MADE_FOR), sw.CAV(2 * ROWS, ["a", "b", "c"], layer=1, provenance=MADE_FOR)
    work = lambda: [VERBS[verb](each, d) for verb in VERBS for each in (lm, other) for d in (first, second)]
    assert len(warned(work)) == 4


@pytest.mark.parametrize(
    "make",
    [
        lambda p: sw.SAE(ROWS.T, torch.zeros(3), ROWS, torch.zeros(D_MODEL), layer=1, provenance=p),
        lambda p: sw.ReFT(ROWS, layer=1, provenance=p),
        lambda p: sw.MFA(*make_state(3, D_MODEL, 2), layer=1, provenance=p),
    ],
    ids=["SAE", "ReFT", "MFA"],
)
def test_every_kind(named, make):
    lm = named("meta-llama/Llama-3.2-1B")
    assert len(warned(lambda: lm.read(PROMPT, make(MADE_FOR), [0]))) == 1
    assert warned(lambda: lm.read(PROMPT, make({"model": "Llama-3.2-1B"}), [0])) == []
    assert warned(lambda: lm.read(PROMPT, make({}), [0])) == []


def test_neurons_of_another_model(named):
    neurons = sw.Neurons(named("Qwen/Qwen2.5-1.5B"), layer=1)
    assert len(warned(lambda: named("meta-llama/Llama-3.2-1B").read(PROMPT, neurons, [0]))) == 1


def test_the_panel_says_so(named):
    lm = named("meta-llama/Llama-3.2-1B")
    made = cavs(provenance=MADE_FOR)
    with pytest.warns(sw.OtherModelWarning):
        panel = sw.SteeringPanel(lm, [made, sw.CAV(ROWS, ["a", "b", "c"], layer=2)], recipe=made["sea"].add(2))
    sentence = "made for gemma-2-2b, but the model is meta-llama/Llama-3.2-1B"
    assert sentence in panel.status["message"]
    (readout,) = panel.readouts.values()
    assert sentence in readout["note"]
    assert readout["ratio"] > 0
    plain = sw.SteeringPanel(lm, cavs(), recipe=cavs()["sea"].add(2))
    assert plain.status == {"state": "idle", "message": ""}
    assert [readout["note"] for readout in plain.readouts.values()] == [""]
