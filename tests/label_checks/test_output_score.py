"""Output scores: the paper's formula, computed once more from the model's own probabilities."""

import math
import threading

import pytest
import torch
from support import kinds, sae

from steerwidgets.label_checks.output_score import NEUTRAL


def naive_score(lm, tensors, index, *, amplify=10.0, top=20):
    """The score as the paper's code has it: one hook, one forward, one feature."""
    ids = torch.tensor([lm.encode(NEUTRAL, chat=False).token_ids])
    weight, gain = lm.model.lm_head.weight, lm.model.model.norm.weight
    promoted = (weight @ (gain * tensors["W_dec"][index])).topk(top).indices

    def amplified(_module, _args, output):
        h = output[0] if isinstance(output, tuple) else output
        h = h.clone()
        acts = ((h[:, -1] - tensors["b_dec"]) @ tensors["W_enc"] + tensors["b_enc"]).relu()
        h[:, -1] += amplify * acts.max() * tensors["W_dec"][index]
        return (h, *output[1:]) if isinstance(output, tuple) else h

    handle = lm.model.model.layers[1].register_forward_hook(amplified)
    with torch.no_grad():
        probabilities = lm.model(ids).logits[0, -1].softmax(-1)
    handle.remove()
    order = probabilities.argsort(descending=True)
    ranks = [int((order == token).nonzero()) for token in promoted]
    return (1 - min(ranks) / len(probabilities)) * float(probabilities[promoted].max())


def test_scores_are_those_of_the_paper(llama, monkeypatch):
    monkeypatch.setattr("steerwidgets.label_checks.output_score._ROWS", 3)
    dictionary, tensors = sae.make(), sae.tensors()
    chosen = [1, 5, 9, 13, 30]
    scores = llama.output_scores([dictionary[i] for i in chosen])
    assert scores == pytest.approx([naive_score(llama, tensors, i) for i in chosen], rel=1e-3)
    few = llama.output_scores([dictionary[1]], amplify=3, top=2)
    assert few == pytest.approx([naive_score(llama, tensors, 1, amplify=3, top=2)], rel=1e-3)


def test_scores_are_kept(llama):
    dictionary = sae.make()
    features = [dictionary[i] for i in range(4)]
    first = llama.output_scores(features)
    runs = []
    handle = llama.architecture.base.register_forward_pre_hook(lambda *_: runs.append(1))
    assert llama.output_scores(features[::-1]) == first[::-1]
    assert not runs
    llama.output_scores(features, strength=2.0)
    handle.remove()
    assert runs, "other settings are another score"
    assert llama.measured_scores.known(features[0].key) == first[0]


def test_scores_of_every_kind_over_several_prompts(llama):
    features = [kinds.make(kind, llama)[1] for kind in kinds.DIRECTED]
    told = []
    both = llama.output_scores(features, prompts=("Hello there", NEUTRAL), on_progress=lambda *at: told.append(at))
    one, other = (llama.output_scores(features, prompts=(text,)) for text in ("Hello there", NEUTRAL))
    assert both == pytest.approx([(a + b) / 2 for a, b in zip(one, other, strict=True)], rel=1e-3)
    assert all(0 <= score <= 1 for score in both)
    assert (told[0], told[-1]) == ((0, len(features)), (len(features), len(features)))


def test_a_stop_leaves_what_was_measured(llama, monkeypatch):
    monkeypatch.setattr("steerwidgets.label_checks.output_score._ROWS", 2)
    stop = threading.Event()
    features = [sae.make(seed=3)[i] for i in range(6)]

    def after_two(done, _of):
        if done >= 2:
            stop.set()

    scores = llama.output_scores(features, on_progress=after_two, stop=stop)
    assert [math.isnan(score) for score in scores] == [False, False, True, True, True, True]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"prompts": ()}, "at least one neutral prompt"),
        ({"amplify": 0}, "amplify of an output score is a number above 0"),
        ({"top": 1.5}, "a whole number of tokens"),
        ({"strength": math.nan}, "strength of an output score is a finite number"),
    ],
)
def test_scores_of_wrong_settings(llama, settings, said):
    with pytest.raises(ValueError, match=said):
        llama.output_scores([sae.make()[0]], **settings)
