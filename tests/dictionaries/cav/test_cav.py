"""CAVs: files in and out, refusals, search and labels."""

import os
import pickle

import pytest
import torch
from support.both import vector

import steerwidgets as sw

VECTORS = torch.stack([vector(i) for i in range(3)])
LABELS = ["ocean", "deep ocean", 'fire "x" ✓ \u2028']


def make(**settings):
    return sw.CAV(VECTORS, LABELS, **({"layer": 2, "stream": "mlp_out"} | settings))


def test_save_and_load(tmp_path):
    cavs = make(
        suggested=[("add", {"alpha": 40.0}), None, ("clip", {"hi": 2.0})],
        max_activations=[1.5, None, 3.0],
        max_activation_of="a corpus of 10 tokens",
        provenance={"made": "here", "note": "é\n"},
    )
    path = tmp_path / "cavs.safetensors"
    cavs.save(path)
    again = sw.CAV.load(path)
    assert torch.equal(again.vectors, cavs.vectors)
    assert (again.labels, again.site, again.provenance) == (cavs.labels, cavs.site, cavs.provenance)
    assert again.fingerprint == cavs.fingerprint
    for mine, theirs in zip(cavs, again, strict=True):
        assert mine.suggested == theirs.suggested
        assert (mine.max_activation, mine.max_activation_of) == (theirs.max_activation, theirs.max_activation_of)
    assert sw.CAV.load(str(path), layer=0).site == sw.Site(0, "mlp_out")
    assert sw.CAV.load(path, stream="resid_pre").site == sw.Site(2, "resid_pre")


@pytest.mark.parametrize("name", ["cavs", "cavs.pt", "cavs.cav"])
def test_whatever_a_file_is_called(tmp_path, name):
    """What save wrote under a name, load reads under that name; or save refuses the name."""
    path = tmp_path / name
    try:
        make().save(path)
    except ValueError as error:
        assert ".safetensors" in str(error)  # noqa: PT017
    else:
        assert sw.CAV.load(path).fingerprint == make().fingerprint


def test_pt_files(tmp_path):
    path = tmp_path / "cavs_layer_21.pt"
    torch.save({"cavs": VECTORS.bfloat16(), "labels": LABELS}, path)
    cavs = sw.CAV.load(path, layer=0)
    assert cavs.site == sw.Site(0)
    assert cavs.vectors.dtype == torch.float32
    assert cavs["ocean"].index == 0
    with pytest.raises(ValueError, match=r"cavs_layer_21.pt does not say which block .* pass layer="):
        sw.CAV.load(path)


@pytest.mark.parametrize("settings", [{"layer": 1}, {"layer": 1, "stream": "mlp_out"}])
def test_the_source_code_makes_it_again(tmp_path, settings):
    path = tmp_path / "cavs.pt"
    torch.save({"cavs": VECTORS, "labels": LABELS}, path)
    cavs = sw.CAV.load(path, **settings)
    again = eval(cavs.source_code, {"sw": sw})
    assert (again.site, again.fingerprint) == (cavs.site, cavs.fingerprint)


class Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("how", ["torch", "pickle", "inside"])
def test_code_in_a_file_is_never_run(tmp_path, how):
    target, path = tmp_path / "ran", tmp_path / "evil.pt"
    if how == "pickle":
        path.write_bytes(pickle.dumps({"cavs": Evil(str(target)), "labels": LABELS}))
    elif how == "torch":
        torch.save(Evil(str(target)), path)
    else:
        torch.save({"cavs": VECTORS, "labels": [Evil(str(target))] * 3}, path)
    with pytest.raises(ValueError, match=r"evil.pt holds more than plain tensors.*was not loaded; save it again as"):
        sw.CAV.load(path, layer=1)
    assert not target.exists()


def damage(path, how):
    if how == "cut in half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "cut early":
        path.write_bytes(path.read_bytes()[:20])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "a web page":
        path.write_text("<!doctype html><title>404 not found</title>")
    else:
        path.write_bytes(bytes(range(256)) * 9)


@pytest.mark.parametrize("how", ["cut in half", "cut early", "empty", "a web page", "noise"])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_damaged_files(tmp_path, how, suffix):
    path = tmp_path / f"broken.{suffix}"
    if suffix == "pt":
        torch.save({"cavs": VECTORS, "labels": LABELS}, path)
    else:
        make().save(path)
    damage(path, how)
    with pytest.raises(
        ValueError, match=r"broken\.(pt|safetensors) is not a whole .* file.*download or make it again"
    ) as caught:
        sw.CAV.load(path, layer=1)
    assert type(caught.value) is ValueError


def write_safetensors(path, tensors, metadata):
    from safetensors.torch import save_file

    save_file(tensors, path, metadata)


@pytest.mark.parametrize(
    ("tensors", "metadata", "says"),
    [
        ({"vectors": VECTORS}, None, "not one that CAV.save wrote"),
        ({"vectors": VECTORS}, {"cav": "{oh"}, "x.safetensors"),
        ({"vectors": VECTORS}, {"cav": "[]"}, "x.safetensors"),
        ({"vectors": VECTORS}, {"cav": '{"layer": 1}'}, "x.safetensors.*labels"),
        ({"other": VECTORS}, {"cav": '{"layer": 1, "labels": ["a", "b", "c"]}'}, "x.safetensors"),
        ({"vectors": VECTORS}, {"cav": '{"layer": 1, "labels": ["a", "b", "c"], "more": 3}'}, "x.safetensors.*more"),
        ({"vectors": VECTORS}, {"cav": '{"layer": 1, "labels": ["a"]}'}, "1 labels were given for the 3 features"),
    ],
)
def test_safetensors_of_something_else(tmp_path, tensors, metadata, says):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, tensors, metadata)
    with pytest.raises(ValueError, match=says) as caught:
        sw.CAV.load(path)
    assert type(caught.value) is ValueError


@pytest.mark.parametrize("content", [[1, 2], {"cavs": VECTORS}, {"weight": VECTORS, "bias": VECTORS}, VECTORS])
def test_pt_files_of_something_else(tmp_path, content):
    path = tmp_path / "x.pt"
    torch.save(content, path)
    with pytest.raises(ValueError, match=r'A CAV file holds {"cavs", "labels"}, but x.pt holds'):
        sw.CAV.load(path, layer=1)


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no CAV file at '.*nowhere.pt'"):
        sw.CAV.load(tmp_path / "nowhere.pt", layer=1)
    with pytest.raises(FileNotFoundError, match="There is no CAV file"):
        sw.CAV.load(tmp_path, layer=1)


@pytest.mark.parametrize(
    ("vectors", "labels", "settings", "says"),
    [
        (VECTORS, ["a"], {}, "1 labels were given for the 3 features"),
        (VECTORS[0], ["a"], {}, r"shape \[32\]"),
        (VECTORS * torch.tensor([[1.0], [float("inf")], [1.0]]), LABELS, {}, r"\(row 1\).*infinite"),
        (VECTORS, LABELS, {"layer": -1}, "layer=-1"),
        (VECTORS, LABELS, {"stream": "x"}, "stream is one of"),
        (VECTORS, LABELS, {"suggested": [None]}, "suggested has one entry for each of the 3 concepts, but 1"),
    ],
)
def test_wrong_arguments(vectors, labels, settings, says):
    with pytest.raises(ValueError, match=says):
        sw.CAV(vectors, labels, **({"layer": 1} | settings))


def test_features_by_index_and_label():
    cavs = make()
    assert [f.index for f in cavs] == [0, 1, 2]
    assert cavs[-1].index == cavs[2].index == 2
    assert cavs["deep ocean"].index == 1
    assert torch.equal(cavs[1].vector, VECTORS[1])
    with pytest.raises(IndexError, match="CAV dictionary has features 0 to 2, but 3 was asked for"):
        _ = cavs[3]
    with pytest.raises(KeyError, match="No feature is labelled 'ocaen'; close to it are 'ocean'"):
        _ = cavs["ocaen"]
    with pytest.raises(KeyError) as caught:
        _ = cavs["zzz"]
    assert caught.value.args[0].startswith("No feature is labelled 'zzz'; labels are 'ocean', 'deep ocean'")
    with pytest.raises(TypeError, match=r"by its index or its label, but 1.5"):
        _ = cavs[1.5]
    twice = sw.CAV(VECTORS, ["a", "a", "b"], layer=1)
    with pytest.raises(KeyError, match=r"2 features are labelled 'a': \[0, 1\]; choose one by its index"):
        _ = twice["a"]


def test_search():
    cavs = make()
    assert [f.index for f in cavs.search("OCEAN")] == [0, 1]
    assert [f.index for f in cavs.search("ocean deep")] == [1]
    assert [f.index for f in cavs.search("")] == [0, 1, 2]
    assert [f.index for f in cavs.search("ocean", limit=1)] == [0]
    assert cavs.search("nothing") == []


def test_fingerprints():
    assert make().fingerprint == make(provenance={"other": "words"}).fingerprint
    assert len({make().fingerprint, make(layer=3).fingerprint, make(stream="resid_post").fingerprint,
                sw.CAV(VECTORS * 2, LABELS, layer=2, stream="mlp_out").fingerprint}) == 4  # fmt: skip
