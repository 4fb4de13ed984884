"""ReFT-r1 dictionaries: files, labels, what fires, strengths, and every way in which one can be wrong."""

import json
import pickle

import pytest
import torch
from support.both import PROMPT, vector
from support.models import D_MODEL

import steerwidgets as sw

CONCEPTS = ["words about time travel", "sums", "loops in code"]


def weight(rows=3, width=D_MODEL, seed=0):
    drawn = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm(dim=-1, keepdim=True)


def metadata(index):
    concept = CONCEPTS[index]
    return {
        "concept_id": index,
        "concept": concept,
        "ref": f"https://www.neuronpedia.org/gemma-2-2b/20-gemmascope-res-16k/{index}",
        "concept_genres_map": {concept: ["code"] if index == 2 else ["text", "math"]},
    }


def write(folder, rows=(0, 1, 2), tensor=None):
    folder.mkdir(parents=True, exist_ok=True)
    torch.save((weight() if tensor is None else tensor).to(torch.bfloat16), folder / "weight.pt")
    lines = "".join(json.dumps(metadata(row)) + "\n" for row in rows)
    (folder / "metadata.jsonl").write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture
def reft():
    return sw.ReFT(weight(), layer=1, labels=CONCEPTS, max_activations=[10.0, None, 4.0])


def test_a_published_folder(tmp_path):
    reft = sw.ReFT.load(write(tmp_path / "l2"))
    assert (reft.site, reft.size, reft.d_model) == (sw.Site(2), 3, D_MODEL)
    assert list(reft.labels) == CONCEPTS
    torch.testing.assert_close(reft.weight, weight().to(torch.bfloat16).float(), rtol=0, atol=0)
    found = reft["loops in code"]
    assert (found.index, found.genres, found.link) == (2, ("code",), metadata(2)["ref"])
    assert [each.index for each in reft.search("TIME trav")] == [0]


def test_rows_of_the_metadata_go_by_concept_id(tmp_path):
    reft = sw.ReFT.load(write(tmp_path / "folder", rows=(2, 0)), layer=3)
    assert list(reft.labels) == [CONCEPTS[0], "", CONCEPTS[2]]
    assert reft[1].label == "ReFT 1"
    assert reft.site == sw.Site(3)


def test_a_dictionary_without_metadata(tmp_path):
    torch.save(weight(), tmp_path / "LsReFT_weight.pt")
    reft = sw.ReFT.load(tmp_path, layer=1)
    assert reft[2].label == "ReFT 2"
    with pytest.raises(KeyError, match="no labels, so 'sums' is not found; use an index"):
        reft["sums"]


def test_save_and_load(tmp_path, reft):
    reft.save(tmp_path / "l1")
    again = sw.ReFT.load(tmp_path / "l1")
    assert again.fingerprint == reft.fingerprint
    assert list(again.labels) == CONCEPTS
    assert [again[i].max_activation for i in range(3)] == [10.0, None, 4.0]


def test_from_pretrained_asks_the_hub_for_two_files(tmp_path, monkeypatch):
    write(tmp_path / "l20")
    asked = []

    def download(repository, filename):
        asked.append((repository, filename))
        return str(tmp_path / filename)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    reft = sw.ReFT.from_pretrained("pyvene/gemma-reft-2b-it-res", "l20")
    assert asked == [("pyvene/gemma-reft-2b-it-res", f"l20/{name}") for name in ("weight.pt", "metadata.jsonl")]
    assert reft.site == sw.Site(20)
    assert reft.provenance == {"source": "pyvene/gemma-reft-2b-it-res/l20", "model": "google/gemma-2-2b-it"}
    assert reft.source_code == "sw.ReFT.from_pretrained('pyvene/gemma-reft-2b-it-res', 'l20')"
    named = sw.ReFT.from_pretrained("pyvene/gemma-reft-2b-it-res", "l20", labels={"mine": 2})
    assert (list(named.labels), named["mine"].index) == (["", "", "mine"], 2)
    assert named.source_code.endswith("'l20', labels={'mine': 2})")


def test_the_hub_says_no(monkeypatch):
    def download(*_):
        raise OSError("Cannot access gated repo.\nLong story.")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(OSError, match=r"^l20/weight.pt of a/b can't be fetched from Hugging Face: Cannot access gated"):
        sw.ReFT.from_pretrained("a/b", "l20")


def test_the_layer_has_to_be_known(tmp_path):
    with pytest.raises(ValueError, match=r"'concepts' does not say which block.*pass layer="):
        sw.ReFT.load(write(tmp_path / "concepts"))


def test_reading_through_the_front_door(llama, reft):
    acts = llama.read(list(PROMPT), reft)
    h = acts.residual
    expected = torch.stack([torch.relu(h.double() @ w.double()) for w in reft.weight], dim=-1)
    torch.testing.assert_close(acts.values.double(), expected, atol=1e-4, rtol=1e-5)
    one = llama.read(list(PROMPT), reft, ["sums"]).values[:, 0]
    torch.testing.assert_close(one, acts.values[:, 1])
    torch.testing.assert_close(reft[1].activation(h), one)
    fires = llama.search(list(PROMPT), reft, k=2)
    assert len(fires.features) == 2
    assert {f.kind for f in fires.features} == {"ReFT"}


def test_every_op_is_there_and_no_other(reft):
    feature = reft[0]
    assert set(feature.ops) == {"add", "add_relative", "ablate", "project", "clip", "clamp"}
    with pytest.raises(ValueError, match="ReFT feature 'words about time travel' does not take the op 'pull'"):
        sw.Steer(feature, "pull", {})
    with pytest.raises(ValueError, match="both set 'words about time travel'"):
        feature.clamp(3) + feature.ablate()
    with pytest.raises(ValueError, match="alpha has to be a finite number"):
        feature.clamp(float("nan"))


def test_a_recipe_comes_back(reft):
    recipe = reft[0].clamp(40) + reft["sums"].add(-3)
    assert sw.Recipe.from_json(recipe.to_json(), [reft]) == recipe


def test_clamp_by_its_formula(reft):
    h = torch.stack([vector(1), -vector(1), vector(2)])
    v = reft.weight[0]
    change = reft[0].change("clamp", {"alpha": 7.0}, h)
    for row, moved in zip(h.double(), change.double(), strict=True):
        fires = max(float(row @ v.double()), 0.0)
        torch.testing.assert_close(moved, (7.0 - fires) * v.double(), atol=1e-5, rtol=1e-5)


def test_a_clamp_says_what_it_asks_and_reaches(llama, reft):
    clamp, add = llama.measure(list(PROMPT), reft[0].clamp(9.0) + reft["sums"].add(1.0).at([3]))
    assert (clamp.asked, add.asked) == (9.0, None)
    residuals = llama.residuals(list(PROMPT), [reft.site])
    h = residuals.values[reft.site][0]
    after = h + (9.0 - (h @ reft.weight[0]).relu())[:, None] * reft.weight[0]
    after[3] += reft.weight[1]
    reached = (after @ reft.weight[0]).relu()[residuals.counted(reft.site)[0]].median()
    assert clamp.achieved == pytest.approx(float(reached), abs=1e-4)


def test_strength_by_the_largest_activation(reft):
    assert reft[0].times_max(1.5) == 15.0
    assert reft[0].add(reft[0].times_max(0.4)) == reft[0].add(4.0)
    with pytest.raises(ValueError, match=r"No largest activation of 'sums' is known.*max_activations="):
        reft["sums"].times_max(2)


def test_which_concepts_fire_at_each_token():
    reft = sw.ReFT(weight(50), layer=1)
    h = 5 * torch.randn(300, D_MODEL, generator=torch.Generator().manual_seed(3))
    firing = reft.firing(h, threshold=1.0)
    acts = torch.relu(h @ reft.weight.T)
    values, inds = acts.max(-1)
    assert torch.equal(firing.strongest, inds)
    assert torch.equal(firing.counts, (acts > 1).sum(-1))
    torch.testing.assert_close(firing.values, values)


def test_the_callers_tensor_stays_the_callers():
    given = weight()
    reft = sw.ReFT(given, layer=1)
    before = reft.weight.clone()
    given += 1
    assert torch.equal(reft.weight, before)


@pytest.mark.parametrize(
    ("tensor", "settings", "message"),
    [
        (weight()[0], {}, r"\[concept, d_model\], but one of shape \[32\]"),
        (torch.zeros(0, 4), {}, r"shape \[0, 4\]"),
        (weight(), {"labels": ["a"]}, "1 labels were given for the 3 features of this ReFT dictionary"),
        (weight(), {"max_activations": [1.0]}, "3 concepts, but 1 maxima"),
        (torch.full((2, 4), torch.nan), {}, "Row 0 of the ReFT weight holds NaN"),
    ],
)
def test_wrong_weights(tensor, settings, message):
    with pytest.raises(ValueError, match=message):
        sw.ReFT(tensor, layer=1, **settings)


def test_another_width_than_the_models(llama):
    other = sw.ReFT(weight(width=16), layer=1)
    with pytest.raises(ValueError, match=r"ReFT dictionary at block 1 resid_post reads 16 numbers.*have 32"):
        llama.read(list(PROMPT), other)
    with pytest.raises(ValueError, match="reads 16 numbers"):
        llama.read(list(PROMPT), other, [0])
    with pytest.raises(ValueError, match="16 numbers"):
        llama.compare(list(PROMPT), other[0].add(1))


def test_another_block_than_the_models(llama):
    far = sw.ReFT(weight(), layer=9)
    with pytest.raises(ValueError, match="4 blocks, counted from 0 to 3"):
        llama.read(list(PROMPT), far)
    with pytest.raises(IndexError, match="features 0 to 2, but 3"):
        far[3]


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_weight_with_code_in_it(tmp_path, capsys):
    (tmp_path / "weight.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match=r"weight.pt holds more than plain tensors.*was not loaded"):
        sw.ReFT.load(tmp_path, layer=1)
    assert "code ran" not in capsys.readouterr().out


def test_a_weight_that_was_cut_short(tmp_path):
    folder = write(tmp_path / "l1")
    (folder / "weight.pt").write_bytes((folder / "weight.pt").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"weight.pt is not a whole PyTorch file"):
        sw.ReFT.load(folder)


def test_a_weight_that_is_something_else(tmp_path):
    torch.save({"cavs": weight()}, tmp_path / "weight.pt")
    with pytest.raises(ValueError, match=r"one tensor \[concept, d_model\], but weight.pt holds \{'cavs'"):
        sw.ReFT.load(tmp_path, layer=1)
    torch.save(weight()[0], tmp_path / "weight.pt")
    with pytest.raises(ValueError, match=r"but one of shape \[32\] was given"):
        sw.ReFT.load(tmp_path, layer=1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"concept_id": 1, "conc', r"Line 1 of metadata.jsonl is not whole JSON.*cut short"),
        ('{"concept": "x"}', "concept_id has the index null"),
        ("[1, 2]", "not a concept"),
        ('{"concept_id": 7, "concept": "x"}', "names concept 7, but the weight has rows 0 to 2"),
    ],
)
def test_metadata_that_is_wrong(tmp_path, line, message):
    folder = write(tmp_path / "l1")
    (folder / "metadata.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        sw.ReFT.load(folder)


def test_a_folder_without_a_weight(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds one weight.pt, but .* holds no weight.pt"):
        sw.ReFT.load(tmp_path, layer=1)
    for name in ("A_weight.pt", "B_weight.pt"):
        torch.save(weight(), tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"2 weights \(A_weight.pt, B_weight.pt\)"):
        sw.ReFT.load(tmp_path, layer=1)
