"""lm.concept against plain loops, scipy and scikit-learn; its control, its held-out texts, its clean texts."""

import threading

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.svm import LinearSVC
from support.concepts import corpus

import steerwidgets as sw
from steerwidgets.dictionaries.reft.trainer import Settings


def sides(count=8, **lengths):
    texts, labels = corpus(count, kinds=("sea", "code"), **lengths)
    return [[text for text, label in zip(texts, labels, strict=True) if label == kind] for kind in ("sea", "code")]


def pooled_plainly(lm, text, layer):
    """The mean over a text's own words, alone in its pass: no padding, no first token, no massive activation."""
    kept = {}
    block = lm.architecture.blocks[layer]
    handle = block.register_forward_hook(
        lambda _m, _i, out: kept.update(h=(out if torch.is_tensor(out) else out[0])[0].double())
    )
    with torch.no_grad():
        lm.model(input_ids=torch.tensor([text]))
    handle.remove()
    norms = kept["h"].norm(dim=-1)
    limit = 10 * norms[1:].median()
    own = [i > 0 and float(norms[i]) <= float(limit) and text[i] not in lm.special_ids for i in range(len(text))]
    return kept["h"][torch.tensor(own)].mean(0)


def rows_of(lm, concept, given, layer):
    """Every text's plain vector; the training texts' sides; and those of the held-out ones."""
    held = {tuple(text.split()) for text in (each.text for each in concept.tests)}
    x, y, test = [], [], []
    for positive, side in zip((True, False), given, strict=True):
        for text in side:
            x.append(pooled_plainly(lm, text, layer).numpy())
            y.append(positive)
            own = [token for token in text if token not in lm.special_ids]
            test.append(tuple(lm.tokenizer.decode(own, clean_up_tokenization_spaces=False).split()) in held)
    return np.array(x), np.array(y), np.array(test)


def direction(method, x, y):
    if method == "mean_difference":
        return x[y].mean(0) - x[~y].mean(0)
    solver = (
        LogisticRegression(fit_intercept=False, max_iter=1000)
        if method == "logistic"
        else LinearSVC(fit_intercept=False, random_state=0)
    )
    return solver.fit(x, y).coef_[0]


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "qwen3", "neox_parallel"])
@pytest.mark.parametrize("method", ["mean_difference", "logistic", "svm"])
def test_each_block_is_what_a_plain_loop_gives(lm, method):
    given = sides()
    concept = lm.concept(*given, name="sea", method=method, batch_size=5)
    assert [each.layer for each in concept.layers] == list(range(lm.architecture.layers))
    for each in concept.layers:
        x, y, test = rows_of(lm, concept, given, each.layer)
        assert test.sum() == len(concept.tests) == 4
        expected = direction(method, x[~test], y[~test])
        expected = expected / np.linalg.norm(expected)
        assert float(each.dictionary.vectors[0].double().numpy() @ expected) > 0.999
        assert each.dictionary.labels == ("sea",)
        projections = np.array(each.projections)
        assert np.allclose(sorted(projections), sorted(x[test] @ expected), atol=2e-2, rtol=2e-2)
        truth = [text.positive for text in concept.tests]
        assert each.held_out.auroc == pytest.approx(roc_auc_score(truth, projections))
        assert each.held_out.accuracy == pytest.approx(accuracy_score(truth, projections > each.threshold))
        assert each.right == round(each.held_out.accuracy * each.tested)


def test_auroc_is_mann_whitneys_u(llama):
    concept = llama.concept(*sides(12), held_out=0.5)
    for each in concept.layers:
        values = np.array(each.projections)
        truth = np.array([text.positive for text in concept.tests])
        u = mannwhitneyu(values[truth], values[~truth]).statistic
        assert each.held_out.auroc == pytest.approx(u / (truth.sum() * (~truth).sum()))


def test_shuffled_labels_tell_nothing_and_selectivity_is_the_difference(llama):
    concept = llama.concept(*sides(24, shortest=60, longest=90), held_out=0.5, shuffles=40)
    for each in concept.layers:
        assert each.shuffled.auroc == pytest.approx(0.5, abs=0.12)
        assert each.selectivity.accuracy == pytest.approx(each.held_out.accuracy - each.shuffled.accuracy)
        assert each.selectivity.auroc == pytest.approx(each.held_out.auroc - each.shuffled.auroc)
    assert concept.best.selectivity.auroc > 0.2
    assert llama.concept(*sides(), shuffles=0).best.selectivity is None


def test_a_label_that_is_nowhere_in_the_texts_has_no_selectivity(llama):
    texts, _ = corpus(48, kinds=("sea",))
    concept = llama.concept(texts[::2], texts[1::2], held_out=0.5, shuffles=20)
    selectivity = [each.selectivity.accuracy for each in concept.layers]
    assert abs(sum(selectivity) / len(selectivity)) < 0.2


def test_every_text_is_read_once_for_all_blocks(llama):
    runs = []
    handle = llama.architecture.base.register_forward_pre_hook(lambda *_: runs.append(1))
    steps = []
    llama.concept(*sides(), batch_size=8, on_progress=lambda *step: steps.append(step))
    handle.remove()
    assert len(runs) == 2
    assert steps == [(8, 16, "reading"), (16, 16, "reading"), *[(n, 4, "fitting") for n in (1, 2, 3, 4)]]


def test_reft_r1_trains_in_each_block_and_scores_by_its_largest_activation(llama):
    given = sides()
    settings = Settings(epochs=2, batch_size=4)
    concept = llama.concept(*given, method="reft_r1", layers=[1, 2], reft=settings, name="sea")
    assert [type(each.dictionary) for each in concept.layers] == [sw.ReFT, sw.ReFT]
    assert concept.pooling == "largest relu(h·v) over tokens"
    for each in concept.layers:
        v, site = each.dictionary.weight[0], sw.Site(each.layer)
        expected = []
        for text in concept.tests:
            ids = next(ids for side in given for ids in side if plain(llama, ids) == text.text)
            h = llama.residuals(ids, [site])
            kept = h.counted(site)[0] & torch.tensor(llama.encode(ids).own)
            expected.append(float((h.values[site][0][kept] @ v).relu().max()))
        assert each.projections == pytest.approx(expected, abs=1e-3)
        assert each.shuffled is not None


def plain(lm, ids):
    own = [token for token in ids if token not in lm.special_ids]
    return lm.tokenizer.decode(own, clean_up_tokenization_spaces=False)


def test_the_confused_are_named(llama):
    texts, _ = corpus(40, kinds=("sea",))
    concept = llama.concept(texts[::2], texts[1::2], held_out=0.5)
    for each in concept.layers:
        named = {text.text for text in concept.confused(each.layer)}
        both = zip(concept.tests, each.projections, strict=True)
        assert named == {text.text for text, value in both if (value > each.threshold) != text.positive}
        assert len(concept.confused(each.layer)) == each.tested - each.right


def test_stop_keeps_the_blocks_that_are_fitted(llama):
    stop = threading.Event()
    halt = lambda done, _total, what: stop.set() if (what, done) == ("fitting", 2) else None
    concept = llama.concept(*sides(), on_progress=halt, stop=stop)
    assert (len(concept.layers), concept.stopped) == (2, True)
    stop.set()
    with pytest.raises(RuntimeError, match="stopped after 0 of 16 texts"):
        llama.concept(*sides(), stop=stop)


def test_what_stands_twice_or_in_both_lists_is_left_out_and_told(llama):
    with_it = ["grateful for it", "grateful  for it", "so thankful", "thanks a lot", "", "in both"]
    without = ["a train left", "a red car", "the shop", "in both ", "x"]
    concept = llama.concept(with_it, without, held_out=0.4)
    assert concept.told == (
        "1 empty text with it: left out.",
        "1 text with it stands there twice: read once.",
        "1 text stands in both lists: left out of both.",
        "1 text without a word to read: left out.",
    )
    assert sum(concept.fitted) + len(concept.tests) == 6


def test_long_and_many_texts_are_cut_and_told(llama):
    long = [f"text {i} " * 60 for i in range(60)]
    concept = llama.concept(long, [f"other {i}" for i in range(20)], max_texts=10, max_tokens=16)
    assert concept.told == (
        "60 texts with it were given; 10 of them, drawn by seed 0, are read, and max_texts= reads more.",
        "20 texts without were given; 10 of them, drawn by seed 0, are read, and max_texts= reads more.",
        "10 texts are read up to token 16 (max_tokens=).",
    )


@pytest.mark.parametrize(
    ("given", "settings", "sentence"),
    [
        ((["one text"], ["a", "b c"]), {}, "There is only 1 text with it; give 2 or more"),
        ((["same one", "same two"], ["same one", "same two"]), {}, "no text with it after those in both lists"),
        ((["a b", "c d"],), {}, "A concept needs texts without it as well"),
        (("one text", ["a b"]), {}, "lm.concept takes two lists of texts, but the text 'one text' was given"),
        ((["a b", 3], ["c d"]), {}, "takes texts, but the number 3 was given"),
        ((["a b", "c d"], ["e f", "g h"]), {"method": "pca"}, "method= is one of mean_difference"),
        ((["a b", "c d"], ["e f", "g h"]), {"layers": [9]}, "layers= takes whole numbers from -4 to 3"),
        ((["a b", "c d"], ["e f", "g h"]), {"layers": []}, "layers= is empty"),
        ((["a b", "c d"], ["e f", "g h"]), {"layers": "some"}, "layers= takes whole numbers from -4 to 3"),
        ((["a b", "c d"], ["e f", "g h"]), {"layer": 2}, "lm.concept knows no setting layer; it takes text, label"),
        ((["a b", "c d"], ["e f", "g h"]), {"max_tokens": -5}, "max_tokens= is a whole number from 1, or None"),
        ((["a b", "c d"], ["e f", "g h"]), {"max_tokens": 0}, "max_tokens= is a whole number from 1, or None"),
        ((["a b", "c d"], ["e f", "g h"]), {"max_texts": 1.5}, "max_texts= is a whole number from 1, but"),
        ((["a b", "c d"], ["e f", "g h"]), {"batch_size": 0}, "batch_size= is a whole number from 1, but the number 0"),
        ((["a b", "c d"], ["e f", "g h"]), {"seed": "a"}, "seed= is a whole number from 0, but the text 'a'"),
        ((["a b", "c d"], ["e f", "g h"]), {"held_out": 1}, "held_out= is a share"),
        ((["a b", "c d"], ["e f", "g h"]), {"shuffles": -1}, "shuffles= is a whole number"),
        ((["a b", "c d"], ["e f", "g h"]), {"pool": "sum"}, "pool= is one of mean, last, max"),
        ((["a b", "c d"], ["e f", "g h"]), {"stream": "x"}, "stream= is one of"),
        ((["a \ud800", "c d"], ["e f", "g h"]), {}, "A text with it can't be read"),
    ],
)
def test_bad_input_is_one_sentence(llama, given, settings, sentence):
    with pytest.raises((ValueError, TypeError)) as raised:
        llama.concept(*given, **settings)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not llama.architecture.base._forward_hooks


def test_blocks_are_counted_from_either_end(llama):
    alone, last = (llama.concept(*sides(), layers=layers) for layers in (3, [-1]))
    assert [each.layer for each in alone.layers] == [each.layer for each in last.layers] == [3]


def test_rows_without_a_label_are_told(llama):
    with_it, without = sides()
    rows = [{"text": text, "label": "sea"} for text in with_it] + [{"text": text, "label": "no"} for text in without]
    rows[0]["label"], rows[1]["label"] = None, float("nan")
    told = llama.concept(rows, name="sea").told
    assert f"With it are the {len(with_it) - 2} rows labelled 'sea'." in told
    assert "2 rows without a label stand in no list." in told


def test_nothing_held_out(llama):
    concept = llama.concept(*sides(), held_out=0)
    assert concept.tests == ()
    assert concept.best.layer == 2
    assert "nothing held out" in repr(concept)
    assert concept.cav.size == 1


def test_best_prefers_what_lies_further_apart(llama):
    concept = llama.concept(*sides(12))
    best = max(each.held_out.auroc for each in concept.layers)
    assert concept.best.held_out.auroc == best
    assert concept.cav is concept.best.dictionary
    assert concept.at(1).layer == 1
    with pytest.raises(ValueError, match="was fitted at the blocks 0, 1, 2, 3, but 7 was asked for"):
        concept.at(7)
