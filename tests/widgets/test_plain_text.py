"""What widgets and results say where they can't be seen."""

import types

import pytest
import torch
from support import sae

import steerwidgets as sw
from steerwidgets.transformer.loaded import _quantisation

TEXT = "The sea was calm."


@pytest.fixture
def dictionary():
    made = sae.make(labels={3: "the sea"})
    made.statistics = sw.FeatureStatistics(torch.full((sae.SIZE,), 4.0), density=torch.full((sae.SIZE,), 0.25))
    return made


@pytest.fixture
def widgets(llama, dictionary):
    panel = sw.SteeringPanel(
        llama, dictionary, prompt=TEXT, recipe=dictionary[3].clamp(2), max_new_tokens=3, temperature=0
    )
    panel.generate()
    made = {
        "panel": panel,
        "heatmap": sw.TokenHeatmap(llama, dictionary, TEXT, [3, 5]),
        "picker": sw.FeaturePicker(llama, dictionary),
        "card": sw.FeatureCard(llama, dictionary, 3),
        "lens": sw.LogitLens(llama, TEXT),
    }
    yield made
    for each in made.values():
        each.close()


SAYS = {
    "panel": [
        "Steering panel: ",
        "'the sea'.clamp(2)",
        "1 of 40 labelled",
        f"Prompt: {TEXT}",
        "Baseline: ",
        "Steered: ",
    ],
    "heatmap": ["Token heatmap: ", "tokens by the sea, ", f"Text: {TEXT}", "the sea: "],
    "picker": ["Feature picker: ", "no recipe yet", "1 of 40 labelled"],
    "card": ["Feature card: SAE 3, 'the sea'", "density 0.25, maximum 4", "Promotes (direct path): '"],
    "lens": ["Logit lens: LlamaForCausalLM", repr(TEXT)],
}


@pytest.mark.parametrize("name", SAYS)
def test_where_no_widget_is_rendered_a_summary_is(name, widgets):
    widget = widgets[name]
    bundle = widget._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    for said in SAYS[name]:
        assert said in data["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in data
    first = data["text/plain"].splitlines()[0].partition(": ")[2]
    assert repr(widget) == f"<{type(widget).__name__}: {first}>"


def test_a_closed_widget_still_has_one(widgets):
    for widget in widgets.values():
        widget.close()
        assert type(widget).__name__ in repr(widget)
        assert widget.summary()


def test_results_say_something(llama, dictionary):
    fits = sw.CAV.fit(
        llama, [[40 + i, 41, 42] for i in range(12)], ["a", "b"] * 6, layers=[0, 1], method="mean_difference"
    )
    assert repr(fits).startswith("<CAVs of one set of texts at the blocks 0, 1; best held-out AUROC")
    assert repr(llama.residuals(TEXT, [1])).startswith("<Residuals of 1 text, ")
    assert repr(llama.architecture) == "<Architecture of LlamaForCausalLM: 4 blocks of 32>"


def test_only_public_names_are_listed():
    assert dir(sw) == sorted(sw.__all__)


class Method:
    value = "gptq"

    def __str__(self):
        return "QuantizationMethod.GPTQ"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "none"),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "quant_method": "bitsandbytes"}, "nf4"),
        ({"load_in_4bit": True}, "4-bit"),
        ({"load_in_8bit": True, "quant_method": "bitsandbytes"}, "8-bit"),
        (types.SimpleNamespace(load_in_4bit=True, load_in_8bit=False, bnb_4bit_quant_type="fp4"), "fp4"),
        (types.SimpleNamespace(load_in_4bit=False, load_in_8bit=True, quant_method="x"), "8-bit"),
        (types.SimpleNamespace(quant_method=Method(), bits=4), "gptq, 4-bit"),
        ({"quant_method": "fp8"}, "fp8"),
    ],
)
def test_quantisation_in_words(config, words):
    assert _quantisation(config) == words


def test_bitsandbytes_own_settings_in_words():
    from transformers import BitsAndBytesConfig

    assert _quantisation(BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")) == "nf4"
    assert _quantisation(BitsAndBytesConfig(load_in_8bit=True)) == "8-bit"
