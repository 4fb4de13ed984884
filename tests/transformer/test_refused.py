"""What would be read wrongly is refused in a sentence, by every verb alike."""

import pytest
import torch

import steerwidgets as sw

IDS = [20, 30, 40, 50]
TEXTS = ["Hello there", "Name it", "hi you", "go on"]
D_MODEL = 32


@pytest.fixture
def cavs():
    return sw.CAV(torch.randn(2, D_MODEL, generator=torch.Generator().manual_seed(1)), ["a", "b"], layer=1)


def fit_reft(lm, _cavs, _folder):
    sw.ReFT.fit(lm, TEXTS[:2], TEXTS[2:], label="it", layer=1)


VERBS = {
    "compare": lambda lm, cavs, _: lm.compare(IDS, cavs[0].add(1), max_new_tokens=1),
    "sweep": lambda lm, cavs, _: lm.sweep(IDS, [cavs[0].add(1)], max_new_tokens=1),
    "stream": lambda lm, cavs, _: list(lm.stream(IDS, cavs[0].add(1), max_new_tokens=1)),
    "read": lambda lm, cavs, _: lm.read(IDS, cavs),
    "search": lambda lm, cavs, _: lm.search(IDS, cavs),
    "points": lambda lm, _cavs, _: lm.points(TEXTS, layer=1),
    "logit_lens": lambda lm, _cavs, _: lm.logit_lens(IDS),
    "attribution": lambda lm, _cavs, _: lm.attribution(IDS, 7),
    "measure": lambda lm, cavs, _: lm.measure(IDS, cavs[0].add(1)),
    "logit_difference": lambda lm, cavs, _: lm.logit_difference(IDS, cavs[0].add(1)),
    "output_scores": lambda lm, cavs, _: lm.output_scores([cavs[0]]),
    "CAV.fit": lambda lm, _cavs, _: sw.CAV.fit(lm, TEXTS, list("abab"), layer=2, method="mean_difference"),
    "ReFT.fit": fit_reft,
    "corpus": lambda lm, cavs, folder: sw.corpus.build(lm, [cavs], TEXTS, folder, on_progress=lambda _: None),
    "heatmap": lambda lm, cavs, _: sw.TokenHeatmap(lm, cavs, TEXTS[0]),
    "lens": lambda lm, _cavs, _: sw.LogitLens(lm, TEXTS[0]),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_model_in_training_mode_is_not_read(verb, fresh, cavs, tmp_path):
    lm = fresh("llama")
    lm.model.train()
    with pytest.raises(ValueError, match=r"is in training mode, .* call model.eval\(\) first"):
        VERBS[verb](lm, cavs, tmp_path / "index")
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("verb", ["compare", "read", "logit_lens", "measure", "logit_difference", "attribution"])
def test_an_id_that_the_tokenizer_has_and_the_model_has_not_is_named(verb, fresh, cavs, tmp_path, monkeypatch):
    lm = fresh("llama", vocab_size=300)
    monkeypatch.setitem(globals(), "IDS", [20, 310])
    with pytest.raises(ValueError, match="token id 310, but LlamaForCausalLM knows the ids 0 to 299; is the tokenizer"):
        VERBS[verb](lm, cavs, tmp_path)


def test_a_panel_says_it_too(fresh, cavs):
    lm = fresh("llama")
    lm.model.train()
    panel = sw.SteeringPanel(lm, cavs, recipe=cavs[0].add(1), prompt="Hello")
    assert "training mode" in next(iter(panel.readouts.values()))["note"]
    with pytest.raises(ValueError, match="training mode"):
        panel.generate()
    panel.close()


@pytest.mark.parametrize(
    "verb",
    {
        "compare": VERBS["compare"],
        "sweep": VERBS["sweep"],
        "logit_difference": VERBS["logit_difference"],
        "output_scores": VERBS["output_scores"],
        "lens": lambda lm, cavs, _: lm.logit_lens(IDS, cavs[0].add(1)),
    }.items(),
    ids=lambda each: each[0],
)
def test_there_is_no_baseline_inside_a_steered_block(verb, fresh, cavs):
    lm = fresh("llama")
    out = lm.compare(IDS, cavs[1].add(1), max_new_tokens=2, temperature=0)
    with lm.steer(cavs[0].add(8)):
        with pytest.raises(RuntimeError, match="the baseline would be steered as well"):
            verb[1](lm, cavs, None)
        with pytest.raises(RuntimeError, match="the baseline would be steered as well"):
            out.kl  # noqa: B018 - it is measured here
        steered = lm.read(IDS, cavs).values
    assert out.kl
    assert not torch.equal(steered, lm.read(IDS, cavs).values)
    verb[1](lm, cavs, None)
