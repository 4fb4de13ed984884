"""The dictionaries shipped for the embedded model: what is in the files, and what they do, computed again."""

import hashlib
import json
import re
import time
from pathlib import Path

import pytest
import torch
from embedded.concepts.steering_cavs import is_on_concept
from embedded.concepts.wordnet_cavs import NAMES, in_words

import steerwidgets as sw
from steerwidgets.dictionaries.cav.directions import auroc

DEMO = Path(sw.__file__).parent / "demo"
SITE = sw.Site(15)
HELD_OUT = json.loads((DEMO / "heldout.json").read_text(encoding="utf-8"))
REPORTS = {
    name: json.loads((DEMO / f"{name}_report.json").read_text(encoding="utf-8")) for name in ("reft", "mfa", "cavs")
}
MOST_BYTES = {"reft": 0.3e6, "mfa": 1.5e6, "cavs": 2e6}
STEERING = {
    "the sea and sailing": 36,
    "outer space": 36,
    "cooking and food": 44,
    "music": 36,
    "law and courts": 36,
    "money and business": 52,
    "medicine and health": 45,
    "religion and prayer": 28,
    "romantic love": 44,
}
CAV_FINGERPRINTS = {
    9: "cav:33cb05c55971af7e",
    12: "cav:7a7e4f827e03b1ca",
    15: "cav:9771f8f904330eae",
    18: "cav:3a3a8bfcb9f02d3c",
    21: "cav:dde109f01deecf96",
}
FIRST_VECTORS = "8976a00315b43b6b789faeb3abf82bad23c968ab0dec32af2469b0605c6cc544"


@pytest.mark.parametrize("kind", [sw.ReFT, sw.MFA, sw.CAV])
def test_it_loads_quickly_and_says_where_it_is_from(kind):
    began = time.perf_counter()
    dictionary = kind.demo()
    assert time.perf_counter() - began < 2
    assert dictionary.d_model == 576
    assert dictionary.site == SITE
    assert dictionary.source_code == f"sw.{kind.__name__}.demo()"
    assert dictionary.provenance["model"] == "SmolLM2-135M-Instruct"
    assert "steerwidgets.demo.make" in dictionary.provenance["made by"]


@pytest.mark.parametrize("kind", [sw.ReFT, sw.MFA, sw.CAV])
def test_statistics_and_evidence_of_every_feature(kind):
    dictionary = kind.demo()
    known = dictionary.statistics
    assert known.tokens > 10_000
    assert known.corpus
    assert bool((known.maximum > 0).all())
    assert bool(((known.density >= 0) & (known.density <= 1)).all())
    active = known.density > 0
    assert bool((known.p995 <= known.maximum + 1e-3)[active].all())
    assert len(dictionary.feature_data) == len(dictionary)
    for feature in dictionary:
        seen = dictionary.feature_data[feature.index]
        assert len(seen.promoted) == len(seen.suppressed) >= 5
        assert len(seen.nearest) >= 5


@pytest.mark.parametrize("name", ["reft", "mfa", "cavs"])
def test_the_file_is_the_one_that_the_report_is_about(name):
    said = REPORTS[name]["file"]
    content = (DEMO / said["name"]).read_bytes()
    assert len(content) == said["bytes"] <= MOST_BYTES[name]
    assert hashlib.sha256(content).hexdigest() == said["sha256"]


def test_small_together():
    files = ["heldout.json", *(f"{name}_features.safetensors" for name in REPORTS)]
    assert (DEMO / "heldout.json").stat().st_size < 100_000
    assert sum((DEMO / name).stat().st_size for name in files) < 1e6


def test_shapes():
    reft, mfa, cavs = sw.ReFT.demo(), sw.MFA.demo(), sw.CAV.demo()
    assert len(reft) == len({*reft.labels}) >= 32
    assert torch.allclose(reft.weight.norm(dim=-1), torch.ones(len(reft)), atol=1e-5)
    assert mfa.size == len(mfa.labels) >= 64
    assert 8 <= mfa.rank <= 10
    assert mfa.fingerprint == REPORTS["mfa"]["fingerprint"]
    assert sum(map(bool, mfa.labels)) >= mfa.size / 2
    assert len(cavs) >= len(STEERING) + 40
    assert torch.allclose(cavs.vectors.norm(dim=-1), torch.ones(len(cavs)), atol=1e-5)


def test_loadings_are_principal_directions():
    """Orthogonal, the longest first: z0 and z1 are the poles that the report names."""
    mfa = sw.MFA.demo()
    for component in range(0, mfa.size, 16):
        loadings = mfa.loadings(component)
        lengths = loadings.norm(dim=0)
        assert bool((lengths[:-1] >= lengths[1:] - 1e-4).all())
        assert torch.allclose(loadings.T @ loadings, lengths.square().diag(), atol=1e-2 * float(lengths[0]) ** 2)


def test_concepts_that_steer_come_first_and_are_those_of_before():
    cavs = sw.CAV.demo()
    assert list(cavs.labels[: len(STEERING)]) == list(STEERING)
    assert {feature.label: feature.suggested[1]["alpha"] for feature in list(cavs)[: len(STEERING)]} == STEERING
    assert hashlib.sha256(cavs.vectors[: len(STEERING)].numpy().tobytes()).hexdigest() == FIRST_VECTORS
    assert all(feature.suggested is None for feature in list(cavs)[len(STEERING) :])


def test_every_concept_is_called_in_words():
    labels = sw.CAV.demo().labels
    assert len({*labels}) == len(labels) == len(STEERING) + len(NAMES)
    assert labels[9] == "acts and actions"
    assert all(re.fullmatch(r"[a-z]+(,? [a-z]+)*", label) for label in labels), labels
    detection = REPORTS["cavs"]["detection"]
    assert {*labels} <= {*detection}
    assert detection["thoughts, knowledge and beliefs"]["wordnet"] == "noun.cognition"
    assert "wordnet" not in detection["the sea and sailing"]


@pytest.mark.parametrize("block", CAV_FINGERPRINTS)
def test_other_names_leave_the_vectors_as_they_were(block):
    """Recipes of before find their features."""
    assert sw.CAV.demo(layer=block).fingerprint == CAV_FINGERPRINTS[block]


def test_concepts_at_other_blocks():
    shipped = [int(block) for block, said in REPORTS["cavs"]["blocks"].items() if said["useful"]]
    assert 15 in shipped
    for block in shipped:
        cavs = sw.CAV.demo(layer=block)
        assert cavs.site == sw.Site(block)
        assert cavs.labels == sw.CAV.demo().labels
        assert torch.allclose(cavs.vectors.norm(dim=-1), torch.ones(len(cavs)), atol=2e-3)
    with pytest.raises(ValueError, match=r"shipped for the blocks .*, but 29 was asked for"):
        sw.CAV.demo(layer=29)


@pytest.fixture(scope="module")
def read(embedded):
    """The own words of each held-out text at block 15, float32 [token, d_model]."""
    found = []
    for text in HELD_OUT["texts"]:
        ids = embedded.encode(text["text"], chat=False).token_ids[:32]
        residuals = embedded.residuals(list(ids), [SITE])
        found.append(residuals.values[SITE][0][residuals.counted(SITE)[0]])
    return found


def sides(labels):
    """The held-out texts with one of these labels, and all others."""
    has = [bool({*labels} & {*text["labels"]}) for text in HELD_OUT["texts"]]
    return [i for i, each in enumerate(has) if each], [i for i, each in enumerate(has) if not each]


@pytest.mark.embedded
def test_reft_detects_texts_that_it_was_not_trained_on(read):
    reft = sw.ReFT.demo()
    said = {line["name"]: line for line in REPORTS["reft"]["concepts"]}
    assert sorted(line["auroc"] for line in said.values())[len(said) // 2] >= 0.9
    for name, labels in HELD_OUT["concepts"].items():
        largest = torch.stack([reft.encode(words)[:, reft[name].index].max() for words in read])
        positive, negative = sides(labels)
        assert len(positive) >= 15
        found = auroc(largest[positive], largest[negative])
        assert found == pytest.approx(said[name]["auroc_by_source"]["wordnet"], abs=0.06), name


@pytest.mark.embedded
def test_cavs_detect_texts_that_they_were_not_made_from(read):
    cavs = sw.CAV.demo()
    means = torch.stack([words.mean(0) for words in read])
    checked = 0
    for labels in HELD_OUT["concepts"].values():
        for label in labels:
            name = in_words(label)
            if name == label or name not in cavs.labels:
                continue
            projected = means @ cavs[name].vector
            positive, negative = sides([label])
            if len(positive) < 10:
                continue
            said, _ = REPORTS["cavs"]["detection"][name]["auroc_and_accuracy"]["15"]
            assert auroc(projected[positive], projected[negative]) == pytest.approx(said, abs=0.06), label
            checked += 1
    assert checked >= 4


@pytest.mark.embedded
def test_held_out_likelihood_of_the_mixture(embedded):
    """The negative log-likelihood of held-out rows, as reported, and below that of simpler densities."""
    mfa, said = sw.MFA.demo(), REPORTS["mfa"]["held_out_nll"]
    values = []
    for row in HELD_OUT["rows"]:
        residuals = embedded.residuals(row["ids"], [SITE])
        keep = residuals.counted(SITE)[0] & torch.tensor(row["counted"], dtype=torch.bool)
        keep &= ~torch.tensor([each in embedded.special_ids for each in row["ids"]])
        keep[0] = False
        values.append(-mfa.log_likelihood(residuals.values[SITE][0][keep]))
    assert float(torch.cat(values).mean()) == pytest.approx(said["small_set"], abs=0.5)
    assert said["mfa_as_stored"] == pytest.approx(said["mfa"], abs=0.5)
    assert said["mfa_as_stored"] < said["gaussian"]
    assert said["mfa_as_stored"] < said["spherical_clusters"]


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("name", "listed"), [("the sea and ships", "the sea and sailing"), ("outer space", "outer space")]
)
def test_reft_concepts_steer_at_the_suggested_strength(embedded, name, listed):
    """Prompts and seeds that played no part in choosing the strength, word lists that are older than the concepts."""
    words = json.loads((DEMO / "concepts" / "word_lists.json").read_text(encoding="utf-8"))[listed]
    feature = sw.ReFT.demo()[name]
    op, numbers = feature.suggested
    assert op == "add"
    on = {"baseline": 0, "steered": 0}
    prompts = ["What is on your mind today?", "Write a diary entry.", "Tell me what happened yesterday."]
    for seed, prompt in enumerate(prompts, start=100):
        rows = embedded.sweep(prompt, [None, feature.add(numbers["alpha"])], seed=seed, max_new_tokens=40)
        for kind, row in zip(on, rows, strict=True):
            on[kind] += is_on_concept(row.text, words)
    assert on["baseline"] == 0
    assert on["steered"] >= 2


def test_every_concept_has_a_zero_below_the_end_of_its_scale():
    for block in CAV_FINGERPRINTS:
        known = sw.CAV.demo(layer=block).statistics
        assert bool((known.zero < known.p995).all())
        assert known.zero_of == "95th percentile of tokens of held-out texts without it"


@pytest.mark.embedded
def test_a_text_with_nothing_of_the_sea_stays_nearly_uncoloured(embedded):
    """The quickstart's: "sleepy town of Ravenswood" and "phone" glowed."""
    sea = sw.CAV.demo()["the sea and sailing"]

    def shares(text):
        read = embedded.read(text, sw.CAV.demo(), [sea])
        values = read.values[read.mask, 0]
        return ((values - sea.zero_activation) / (sea.p995_activation - sea.zero_activation)).clamp(0, 1)

    nothing = shares("In the sleepy town of Ravenswood, a young woman named Emily picked up the phone.")
    sailing = shares("The captain steered the ship through the storm, and the sailors sang on the waves.")
    assert float((nothing > 0.02).float().mean()) <= 0.15
    assert float(nothing.max()) < 0.25
    assert float(sailing.max()) > 0.4
