"""Every causal model class of transformers, tiny: right by plain code, or refused at load in one clear sentence.

CI takes a sample; `STEERWIDGETS_ALL_FAMILIES=1` takes all (`python tests/families/sweep.py` prints them as a table).
"""

import os

import pytest
import transformers
from families import sweep, tiny

SAMPLE = (
    "bigbird_pegasus",
    "biogpt",
    "bloom",
    "cohere",
    "deepseek_v3",
    "falcon",
    "falcon_h1",
    "gemma3n_text",
    "gptj",
    "granite",
    "granitemoe",
    "lfm2",
    "llama4_text",
    "mamba",
    "minimax",
    "mpt",
    "nemotron",
    "olmo",
    "opt",
    "phi",
    "xglm",
)
"""A family of each kind of fault that was found, and of each way to be built."""

ALL = [each for each in tiny.families() if each not in tiny.LEFT_OUT]
CHOSEN = ALL if os.environ.get("STEERWIDGETS_ALL_FAMILIES") == "1" else SAMPLE

NO_FINAL_NORM = {
    "bart": "post-norm decoder",
    "bert": "encoder",
    "bert-generation": "encoder",
    "big_bird": "encoder",
    "blenderbot-small": "post-norm decoder",
    "camembert": "encoder",
    "data2vec-text": "encoder",
    "electra": "encoder",
    "ernie": "encoder",
    "git": "captioner on an encoder",
    "marian": "post-norm decoder",
    "mvp": "post-norm decoder",
    "openai-gpt": "post-norm decoder",
    "plbart": "post-norm decoder",
    "prophetnet": "post-norm decoder",
    "rembert": "encoder",
    "roberta": "encoder",
    "roberta-prelayernorm": "encoder",
    "roc_bert": "encoder",
    "roformer": "encoder",
    "trocr": "post-norm decoder",
    "xlm": "post-norm decoder",
    "xlm-roberta": "encoder",
    "xlnet": "post-norm decoder",
    "xmod": "encoder",
}
"""Nothing stands between the last residual and the unembed that steerwidgets could call a final norm."""

SEVERAL_STREAMS = {"deepseek_v4", "gemma3n_text", "hy_v4", "qwen4_exp", "qwen4_exp_text"}
"""Their blocks carry several residual streams."""

OF_THEIR_OWN = {
    "cpmant": "a prompt of its own is put before the text",
    "ctrl": "post-embedding scale, no cache",
    "gemma4": "its audio tower is as deep as its decoder, here",
    "hrm_text": "its blocks run several times",
    "inkling2_text": "blocks are read again later",
    "inkling_text": "its logits are masked and scaled",
    "longcat_flash": "two sublayers of each kind in a block",
    "megatron-bert": "a head of its own before the unembed",
    "modernbert-decoder": "a head of its own before the unembed",
    "moss_transcribe_diarize": "its audio tower is as deep as its decoder, here",
    "musicgen": "several codebooks",
    "musicgen_melody": "several codebooks",
    "phi4_multimodal": "several lists as long as its blocks",
    "reformer": "reversible blocks",
    "rwkv": "a state, and no attention mask",
    "xlm-roberta-xl": "a head of its own before the unembed",
}
"""They compute in a way of their own."""

MAY_BE_REFUSED = {*NO_FINAL_NORM, *SEVERAL_STREAMS, *OF_THEIR_OWN}

SERVED = {
    "falcon": {"attn_out", "mlp_out", "mlp_acts"},
    "gptj": {"mlp_out", "mlp_acts"},
    "granite": {"attn_out", "mlp_out"},
    "granitemoe": {"attn_out", "mlp_out", "mlp_in"},
    "llama4_text": {"attn_out", "mlp_out"},
    "opt": {"attn_out", "mlp_out", "mlp_acts"},
    "phi": {"mlp_out", "mlp_acts"},
}
"""Streams that these have, under other names than Llama's."""


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity(before)


@pytest.mark.timeout(sweep.SECONDS + 20)
@pytest.mark.parametrize("model_type", CHOSEN)
def test_right_or_refused(model_type, one_thread):
    outcome = sweep.examine(model_type)
    if model_type in MAY_BE_REFUSED and outcome.kind in {"refused", "partly"}:
        return
    assert outcome.kind == "right", outcome.faults
    lacking = SERVED.get(model_type, set()) - {stream.rstrip("*") for stream in outcome.streams}
    assert not lacking, outcome.streams


@pytest.mark.parametrize("model_type", [each for each in CHOSEN if each in NO_FINAL_NORM] or ["bert", "openai-gpt"])
def test_what_cannot_help_is_not_advised(model_type, one_thread):
    """A model without a final norm is told what it is, not to pass one."""
    load = sweep.examine(model_type).said["load"]
    assert load[0] == "refused"
    assert "final_norm=" not in load[1]


def test_the_sweep_finds_what_is_wrong(one_thread, monkeypatch):
    """A reference that agrees with everything would prove nothing: a change that is off by a hundredth is found."""
    family_steer = sweep.Family.steer
    monkeypatch.setattr(sweep.Family, "steer", lambda self, where="all": _stronger(family_steer(self, where)))
    found = sweep.examine("llama")
    assert {"forward", "generate", "generate, cached"} <= set(found.faults)


def _stronger(steer):
    return steer.feature.add(1.01 * steer.parameters["alpha"]).at(steer.positions)


def test_every_family_is_in_the_table():
    """A new release of transformers brings families: each has to be built or named as left out."""
    named = {*MAY_BE_REFUSED, *SERVED, *SAMPLE, *tiny.LEFT_OUT}
    assert named <= set(tiny.families())
