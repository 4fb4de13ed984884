"""How the embedded ReFT, MFA and CAV dictionaries are made: texts and their labels, the shorter training, measures."""

import json
from dataclasses import replace

import pytest
import torch
from embedded.concepts import concept_texts, reft_examples
from embedded.concepts.concept_texts import Text
from embedded.concepts.make_mfa import principal, spherical_nll
from embedded.concepts.reft_above import TrainerAbove, passed_over
from embedded.concepts.reft_examples import Concept, Material
from embedded.concepts.wordnet_cavs import write as write_cavs
from embedded.features import measured
from support.mfa import make_state

import steerwidgets as sw
from steerwidgets.dictionaries.mfa.file import Checkpoint
from steerwidgets.dictionaries.reft.fit import example_row
from steerwidgets.dictionaries.reft.trainer import Settings, Trainer

SITE = sw.Site(1)
SEA, CODE = ["the ocean by the sea", "an ocean city", "by the sea"], ["print result", "return the value", "def main()"]
QUICK = Settings(epochs=2, batch_size=2, top_k=2, learning_rate=0.02, l1=0.05)


def rows(lm):
    sides = ((SEA, True), (CODE, False))
    return [example_row(lm, text, 32, positive=positive) for texts, positive in sides for text in texts]


def test_training_above_is_the_whole_training(llama):
    found = rows(llama)
    residuals = {}
    for row in found:
        read = llama.residuals(list(row.prompt.token_ids), [SITE])
        residuals[row.prompt.token_ids] = read.values[SITE][0]
    whole = Trainer(llama, SITE, found, QUICK)
    above = TrainerAbove(llama, SITE, found, QUICK, residuals, fast=False)
    for expected, step in zip(whole.run(), above.run(), strict=True):
        assert step.lm_loss == pytest.approx(expected.lm_loss, abs=1e-4)
        assert step.l1_loss == pytest.approx(expected.l1_loss, abs=1e-3)
    assert torch.allclose(above.direction, whole.direction, atol=1e-4)


def test_blocks_that_were_passed_over_work_again(llama):
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        before = llama.model(ids).logits
        with passed_over(list(llama.architecture.blocks)[:2]):
            without = llama.model(ids).logits
        after = llama.model(ids).logits
    assert torch.equal(before, after)
    assert not torch.allclose(before, without)


def entry(text, label, *, heldout=False):
    return json.dumps({"text": text, "label": label, "source": "wordnet", "heldout": heldout}) + "\n"


def test_a_text_gets_the_lexicographer_file_of_its_synset(tmp_path):
    """Of large files only some texts are listed, so that most dogs stand under "dog.n.01" alone."""
    file = tmp_path / "labelled.jsonl"
    lines = [entry(f"dog {i}", "dog.n.01") for i in range(9)]
    lines += [entry(f"dog {i}", "noun.animal") for i in range(3)]
    lines += [entry(f"act {i}", "noun.act", heldout=i == 0) for i in range(4)]
    file.write_text("".join(lines), encoding="utf-8")
    texts = {text.text: text for text in concept_texts.load_texts(file) if text.source == concept_texts.WORDNET}
    assert len(texts) == 13
    assert all(texts[f"dog {i}"].labels == {"dog.n.01", "noun.animal"} for i in range(9))
    assert texts["act 0"].held_out
    assert concept_texts.wordnet_labels(texts.values(), least=5) == ["noun.animal", "dog.n.01"]


def material():
    """Two concepts that lie along two axes, in two sources that lie along a third."""
    draw = torch.Generator().manual_seed(0)
    texts, residuals = [], []
    for i in range(80):
        label, source = ("sea", "law")[i % 2], ("wordnet", "written")[i // 2 % 2]
        h = 0.3 * torch.randn(5, 4, generator=draw)
        h[:, i % 2] += 2
        h[:, 2] += 9 * (source == "written")
        texts.append(Text(f"{label} {label} words {i}", frozenset({label}), source, held_out=i % 5 == 0))
        residuals.append(h)
    own = [torch.tensor([False, True, True, True, True])] * len(texts)
    means = torch.stack([h[1:].mean(0) for h in residuals])
    reading = concept_texts.Reading(((1, 2, 3, 4, 5),) * len(texts), {15: means}, tuple(residuals), tuple(own))
    return Material(texts, reading)


def test_difference_in_means_is_within_sources():
    concept = Concept("sea", frozenset({"sea"}), frozenset(), frozenset())
    direction = reft_examples.difference_in_means(material(), concept)
    assert direction[0] > 0.6
    assert direction[1] < -0.6
    assert abs(direction[2]) < 0.1
    found = reft_examples.detect(material(), concept, direction)
    assert found.auroc == 1
    assert (found.positives, found.negatives) == (8, 8)
    swapped = reft_examples.detect(material(), concept, -direction)
    assert swapped.auroc < 0.2


def test_a_concepts_lexicon_is_of_words_that_others_lack():
    some = material()
    texts = [replace(text, text=f"{text.text} {'captain' if 'sea' in text.labels else 'judge'}") for text in some.texts]
    concept = Concept("sea", frozenset({"sea"}), frozenset(), frozenset())
    assert set(reft_examples.lexicon(Material(texts, some.reading), concept)) == {"sea", "captain"}


def test_turning_loadings_leaves_the_density():
    state, meta = make_state(5, 12, 3, seed=1)
    state.pop("_rot_T"), state.pop("_rot_inv_Tt")
    before = sw.MFA(state, meta, layer=0)
    turned = principal(Checkpoint(state, meta))
    after = sw.MFA(turned.state, turned.meta, layer=0)
    h = torch.randn(20, 12, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(before.log_likelihoods(h), after.log_likelihoods(h), atol=1e-3)
    for component in range(5):
        loadings = after.loadings(component)
        lengths = loadings.norm(dim=0)
        assert torch.allclose(loadings.T @ loadings, lengths.square().diag(), atol=1e-4)
        assert bool((lengths[:-1] >= lengths[1:]).all())


def test_spherical_clusters_against_scikit_learn(monkeypatch):
    from sklearn.mixture import GaussianMixture

    monkeypatch.setattr("embedded.concepts.make_mfa.COMPONENTS", 3)
    draw = torch.Generator().manual_seed(0)
    centres = 30 * torch.eye(4)[:3]
    points = centres.repeat(400, 1) + torch.randn(1200, 4, generator=draw)
    held_out = centres.repeat(100, 1) + torch.randn(300, 4, generator=draw)
    mixture = GaussianMixture(3, covariance_type="spherical", random_state=0).fit(points.numpy())
    assert spherical_nll(points, held_out) == pytest.approx(-mixture.score(held_out.numpy()), abs=0.05)


def test_statistics_of_features():
    cavs = sw.CAV(torch.eye(3), ["a", "b", "c"], layer=0)
    h = torch.tensor([[1.0, -1, 0], [2, -2, 0], [3, -3, 4], [-1, -1, 0]])
    found = measured.statistics_of(cavs, h)
    assert found.maximum.tolist() == [3, -1, 4]
    assert found.typical[0] == 2
    assert found.density.tolist() == [0.75, 0, 0.25]
    assert bool(found.typical[1].isnan())
    assert found.tokens == 4


def test_cavs_of_several_blocks_in_files_of_one_folder(tmp_path, monkeypatch):
    vectors = torch.nn.functional.normalize(torch.randn(2, 8, generator=torch.Generator().manual_seed(0)))
    made = []
    for layer in (9, 15):
        cavs = sw.CAV(vectors, ["a", "b"], layer=layer, suggested=[("add", {"alpha": 3.0}), None])
        cavs.statistics = measured.statistics_of(cavs, torch.randn(10, 8, generator=torch.Generator().manual_seed(1)))
        made.append(cavs)
    write_cavs(made, tmp_path / "cavs")
    monkeypatch.setattr("steerwidgets.dictionaries.cav.cav._DEMO", tmp_path / "cavs")
    monkeypatch.setattr("steerwidgets.dictionaries.cav.cav._DEMO_FEATURES", tmp_path / "none")
    assert torch.equal(sw.CAV.demo().vectors, vectors)
    assert torch.allclose(sw.CAV.demo(layer=9).vectors, vectors, atol=1e-3)
    assert sw.CAV.demo(layer=9)[0].suggested == ("add", {"alpha": 3.0})
    assert torch.equal(sw.CAV.demo().statistics.maximum, made[1].statistics.maximum)
    write_cavs(made[1:], tmp_path / "cavs")
    with pytest.raises(ValueError, match="shipped for the blocks 15, but 9"):
        sw.CAV.demo(layer=9)


def test_reft_files_keep_strengths(tmp_path, monkeypatch):
    weight = torch.nn.functional.normalize(torch.randn(2, 8, generator=torch.Generator().manual_seed(0)))
    reft = sw.ReFT(weight, layer=4, labels=["a", "b"], suggested=[("add", {"alpha": 3.0}), None])
    reft.save(tmp_path / "l4")
    loaded = sw.ReFT.load(tmp_path / "l4")
    assert [feature.suggested for feature in loaded] == [("add", {"alpha": 3.0}), None]
    reft.statistics = measured.statistics_of(reft, torch.randn(9, 8, generator=torch.Generator().manual_seed(1)))
    reft.save(tmp_path / "reft")
    monkeypatch.setattr("steerwidgets.dictionaries.reft.reft._DEMO", tmp_path / "reft")
    monkeypatch.setattr("steerwidgets.dictionaries.reft.reft._DEMO_FEATURES", tmp_path / "none")
    shipped = sw.ReFT.demo()
    assert torch.equal(shipped.weight, weight)
    assert shipped.site == sw.Site(4)
    assert [feature.suggested for feature in shipped] == [("add", {"alpha": 3.0}), None]
    assert shipped.site == sw.Site(4)
