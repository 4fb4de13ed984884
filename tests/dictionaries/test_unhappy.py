"""Everything that can go wrong with a dictionary, for every kind: one clear sentence, and no code is run."""

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import save_file
from support import kinds, sae
from support.both import PROMPT
from support.kinds import FILED, KINDS, SIZE, WIDE, make, save, wide
from support.mfa import make_state
from support.models import D_MODEL

import steerwidgets as sw

ALL = pytest.mark.parametrize("kind", KINDS)
IN_FILES = pytest.mark.parametrize("kind", FILED)


def says(error, pattern, work):
    """Check that some code gives an error of one line that holds the pattern."""
    with pytest.raises(error, match=pattern) as caught:
        work()
    assert "\n" not in str(caught.value)
    assert type(caught.value) in (error, *error.__subclasses__())


def steer(feature):
    if feature.kind == "Head":
        return feature.scale(2)
    return feature.pull(0.5) if feature.kind == "MFA" else feature.add(2)


# Another model


@ALL
def test_wrong_d_model(kind, llama, fresh):
    made = wide(kind, fresh)
    theirs, ours = {"Neuron": (40, 48), "Head": (40, 32)}.get(kind, (WIDE, D_MODEL))
    both = rf"{theirs} numbers.* {ours}"
    for read in (
        lambda: llama.read(PROMPT, made),
        lambda: llama.read(PROMPT, made, [0]),
        lambda: llama.search(PROMPT, [made]),
        lambda: llama.compare(PROMPT, steer(made[0]), max_new_tokens=1),
        lambda: llama.compare(PROMPT, None, watch=[made[0]], max_new_tokens=1),
        lambda: llama.measure(PROMPT, steer(made[0])),
        lambda: llama.steer(steer(made[0])).__enter__(),
        lambda: made[0].activation(torch.zeros(3, ours)),
        lambda: made.encode(torch.zeros(3, ours)),
        lambda: made.activations(torch.zeros(3, ours), [0]),
    ):
        says(ValueError, both, read)
    panel = sw.SteeringPanel(llama, made, recipe=steer(made[0]))
    (readout,) = panel.readouts.values()
    assert "it was made for another model" in readout["note"]
    says(ValueError, both, panel.generate)


@IN_FILES
def test_wrong_layer(kind, llama):
    far = make(kind, layer=9)
    for work in (
        lambda: llama.read(PROMPT, far, [0]),
        lambda: llama.search(PROMPT, [far]),
        lambda: llama.compare(PROMPT, steer(far[0]), max_new_tokens=1),
        lambda: llama.compare(PROMPT, None, watch=[far[0]], max_new_tokens=1),
    ):
        says(ValueError, "block 9 resid_post was asked for, but .* has 4 blocks, counted from 0 to 3", work)


def test_neurons_of_a_block_that_there_is_not(llama):
    says(ValueError, "block 9 mlp_acts was asked for, but .* has 4 blocks", lambda: sw.Neurons(llama, layer=9))


@ALL
@pytest.mark.parametrize("layer", [-1, True, 1.5, "3"])
def test_what_is_no_layer(kind, llama, layer):
    says(ValueError, f"block number counted from 0, but layer={layer!r}", lambda: make(kind, llama, layer=layer))


@IN_FILES
def test_made_for_another_model(kind, fresh):
    lm = fresh()
    lm.model.config._name_or_path = "meta-llama/Llama-3.2-1B"
    made = make(kind, provenance={"model": "google/gemma-2-2b"})
    with pytest.warns(sw.OtherModelWarning, match=r"made for google/gemma-2-2b, but the model is meta-llama/Llama-3.2"):
        lm.read(PROMPT, made, [0])


# Features


@ALL
def test_a_feature_out_of_range(kind, llama):
    made = make(kind, llama)
    h = torch.zeros(2, made.d_model)
    for index in (made.size, -made.size - 1):
        pattern = f"This {kind} dictionary has features 0 to {made.size - 1}, but {index} was asked for"
        says(IndexError, pattern, lambda index=index: made[index])
        says(IndexError, pattern, lambda index=index: llama.read(PROMPT, made, [0, index]))
        says(IndexError, pattern, lambda index=index: made.activations(h, [index]))
    for index in (1.5, [1], b"sea"):
        says(TypeError, "found by its index or its label, but", lambda index=index: made[index])


@ALL
def test_an_op_that_the_kind_does_not_take(kind, llama):
    feature = make(kind, llama)[0]
    ops = {"clamp", "scale", "ablate", "add", "add_relative", "project", "clip", "pull", "set"}
    numbers = {"clip": (0, 1), "add_relative": (0.5,), "ablate": ()}
    refused = ops - set(feature.ops)
    assert refused
    for op in refused:
        pattern = f"The {kind} feature {feature.label!r} does not take the op {op!r}; it takes {', '.join(feature.ops)}"
        says(ValueError, pattern, lambda op=op: sw.Steer(feature, op, {}))
        both = (ValueError, AttributeError)
        with pytest.raises(both, match=pattern):
            getattr(feature, op)(*numbers.get(op, (1.0,)))
    says(AttributeError, "has no attribute 'stear'", lambda: feature.stear)


@ALL
def test_an_unlabelled_dictionary(kind, llama):
    made = make(kind, llama)
    nothing = f"This {kind} dictionary has no labels, so 'sea' is not found; use an index"
    says(KeyError, nothing, lambda: made["sea"])
    says(KeyError, nothing, lambda: llama.read(PROMPT, made, ["sea"]))
    assert made.search("sea") == []
    assert made.search(made[3].label)[0].index == 3
    panel = sw.SteeringPanel(llama, made)
    assert panel.catalogue["features"][3]["label"] == made[3].label


@ALL
def test_a_label_that_there_is_not(kind, llama):
    made = make(kind, llama, {"sea waves": 1})
    says(KeyError, "No feature is labelled 'sea wave'; close to it are 'sea waves'", lambda: made["sea wave"])


# Weights


def with_nan(kind, bad):
    rows = kinds.ROWS.clone()
    rows[2, 3] = bad
    state, meta = make_state(SIZE, D_MODEL, 2)
    state["mu"] = rows
    tensors = sae.tensors()
    tensors["W_dec"][2, 3] = bad
    return {
        "SAE": lambda: sw.SAE(**tensors, layer=1),
        "ReFT": lambda: sw.ReFT(rows, layer=1),
        "CAV": lambda: sw.CAV(rows, layer=1),
        "MFA": lambda: sw.MFA(state, meta, layer=1),
    }[kind]


@IN_FILES
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers(kind, bad):
    says(ValueError, "holds NaN or infinite values", with_nan(kind, bad))


@IN_FILES
def test_no_file(kind, tmp_path):
    says(FileNotFoundError, "no (SAE|MFA file|CAV file|weight.pt)", lambda: load(kind, tmp_path / "none"))


@IN_FILES
def test_a_truncated_file(kind, tmp_path):
    path = save(make(kind), tmp_path)
    weights = path if path.is_file() else max(path.iterdir(), key=lambda each: each.stat().st_size)
    whole = weights.read_bytes()
    for kept in (0, 1, 7, 64, len(whole) // 2, len(whole) - 8):
        weights.write_bytes(whole[:kept])
        says(ValueError, rf"{weights.name} is not a whole .*(again|make it again)", lambda: load(kind, path))


@pytest.mark.parametrize("kind", ["SAE", "ReFT"])
def test_a_truncated_file_beside_the_weights(kind, tmp_path):
    path = save(make(kind, labels={"sea": 1}), tmp_path)
    name = "cfg.json" if kind == "SAE" else "metadata.jsonl"
    text = (path / name).read_bytes()
    (path / name).write_bytes(text[: len(text) // 2])
    says(ValueError, f"{name}.*again", lambda: load(kind, path))
    (path / name).write_bytes(b"\xff\xfe\xff")
    says(ValueError, f"{name}.*again", lambda: load(kind, path))


class Touch:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@IN_FILES
@pytest.mark.parametrize("how", ["torch", "bare pickle"])
def test_a_file_with_code_in_its_pickle(kind, how, tmp_path):
    mark = tmp_path / "ran"
    value = {
        "SAE": {"W_enc": Touch(mark)},
        "ReFT": Touch(mark),
        "CAV": {"cavs": kinds.ROWS, "labels": [Touch(mark)]},
        "MFA": {"state_dict": make_state(SIZE, D_MODEL, 2)[0], "meta": {"extra": Touch(mark)}},
    }[kind]
    folder = tmp_path / "l1"
    folder.mkdir()
    path = folder / "weight.pt"
    if how == "torch":
        torch.save(value, path)
    else:
        path.write_bytes(pickle.dumps(value, protocol=2))
    says(ValueError, r"weight\.pt.* (could|can) run code", lambda: load(kind, folder if kind == "ReFT" else path))
    assert not mark.exists()


def load(kind, path):
    return {"SAE": sw.SAE, "ReFT": sw.ReFT, "CAV": sw.CAV, "MFA": sw.MFA}[kind].load(path, layer=1)


# Another format


def unknown_sae(folder):
    return sae.write(folder, {"architecture": "crosscoder"})


def reft_of_something_else(folder):
    torch.save({"proj": kinds.ROWS}, folder / "weight.pt")
    return folder


def cav_of_something_else(folder):
    save_file({"W_enc": kinds.ROWS}, folder / "x.safetensors")
    return folder / "x.safetensors"


def mfa_of_something_else(folder):
    state, meta = make_state(SIZE, D_MODEL, 2)
    torch.save({"state_dict": state | {"gates": kinds.ROWS}, "meta": meta}, folder / "x.pt")
    return folder / "x.pt"


@pytest.mark.parametrize(
    ("kind", "write", "sentence"),
    [
        ("SAE", unknown_sae, "The SAE architecture 'crosscoder' is unknown; standard, jumprelu, topk, transcoder"),
        ("ReFT", reft_of_something_else, r"A ReFT weight is one tensor \[concept, d_model\], but weight.pt holds {"),
        ("CAV", cav_of_something_else, "x.safetensors is a safetensors file, but not one that CAV.save wrote"),
        ("MFA", mfa_of_something_else, "'gates' is none that it may have"),
    ],
)
def test_an_unknown_architecture(kind, write, sentence, tmp_path):
    says(ValueError, sentence, lambda: load(kind, write(tmp_path)))


def test_neurons_of_an_unknown_architecture(fresh):
    lm = fresh()
    block = lm.model.model.layers[1]
    block.mlp.out, block.mlp.down_proj = block.mlp.down_proj, None
    del block.mlp.down_proj
    says(
        ValueError,
        r"block 1 mlp_acts was asked for, but block 1 .* has no such stream; it has",
        lambda: sw.Neurons(lm, 1),
    )


@pytest.mark.parametrize("kind", FILED)
@pytest.mark.parametrize("other", FILED)
def test_the_file_of_another_kind(kind, other, tmp_path):
    if kind == other:
        assert load(kind, save(make(kind), tmp_path)).kind == kind
        return
    path = save(make(other), tmp_path)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load(kind, path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_statistics_and_labels_beside_it_that_are_damaged(tmp_path):
    made = make("SAE", labels={"sea": 1}, max_activations={1: 3.0})
    path = save(made, tmp_path)
    for name, pattern in {
        "labels.json": "labels.json is not whole JSON",
        "statistics.safetensors": "not a whole",
    }.items():
        other = tmp_path / "other"
        shutil.copytree(path, other)
        (other / name).write_bytes((other / name).read_bytes()[:-20])
        says(ValueError, pattern, lambda other=other: sw.SAE.load(other))
        shutil.rmtree(other)
    (path / "labels.json").write_text(json.dumps({"sea": 99}))
    says(
        ValueError,
        "'sea' belongs to feature 99, but this SAE dictionary has features 0 to 39",
        lambda: sw.SAE.load(path),
    )
