"""GGUF control vectors both ways: as repeng and llama.cpp write and read them."""

import gguf
import numpy as np
import pytest
import torch
from support.both import PROMPT, vector
from support.models import D_MODEL, blocks_of

import steerwidgets as sw
from steerwidgets.steering.exports.gguf import export_control_vector, read_control_vector, write_control_vector


def repeng_export(path, directions, architecture="controlvector", hint="llama", names="direction.{}"):
    """repeng's `ControlVector.export_gguf`."""
    writer = gguf.GGUFWriter(path, architecture)
    if hint is not None:
        writer.add_string(f"{architecture}.model_hint", hint)
    writer.add_uint32(f"{architecture}.layer_count", len(directions))
    for layer, direction in directions.items():
        writer.add_tensor(names.format(layer), direction)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def repeng_import(path):
    """repeng's `ControlVector.import_gguf`."""
    reader = gguf.GGUFReader(path)
    assert str(bytes(reader.get_field("general.architecture").parts[-1]), "utf-8") == "controlvector"
    hint = str(bytes(reader.get_field("controlvector.model_hint").parts[-1]), "utf-8")
    return hint, {int(t.name.split(".")[1]): t.data for t in reader.tensors if t.name.startswith("direction.")}


def directions():
    return {layer: vector(layer).numpy() for layer in (3, 1, 2)}


@pytest.fixture
def happy(tmp_path):
    return repeng_export(tmp_path / "happy.gguf", directions())


def test_one_block_of_a_file_by_repeng(happy):
    cavs = sw.CAV.load(happy, layer=2)
    assert (list(cavs.labels), cavs.site) == (["happy"], sw.Site(2))
    assert torch.equal(cavs[0].vector, vector(2))
    assert cavs.provenance == {"format": "GGUF control vector", "model type": "llama"}
    assert cavs.source_code == f"sw.CAV.load({str(happy)!r}, layer=2)"


def test_all_blocks_steer_as_repeng_does(llama, happy):
    """repeng adds coeff · direction to the output of `layers[k]`, prompt included."""
    recipe = sum((cavs[0].add(0.8) for cavs in sw.CAV.load_layers(happy).values()), sw.Recipe())
    handles = [
        blocks_of(llama.model)[k].register_forward_hook(lambda _m, _a, out, d=d: out + 0.8 * torch.from_numpy(d))
        for k, d in directions().items()
    ]
    ids = torch.tensor([PROMPT])
    with torch.no_grad():
        expected = llama.model(input_ids=ids, use_cache=False).logits
        for handle in handles:
            handle.remove()
        with llama.steer(recipe):
            logits = llama.model(input_ids=ids, use_cache=False).logits
    torch.testing.assert_close(logits, expected, atol=3e-4, rtol=1e-4)


def test_a_concept_goes_out_as_repeng_reads_it(tmp_path):
    cavs = sw.CAV(torch.stack([vector(1), vector(2)]), ["calm", "happy"], layer=2)
    cavs.to_gguf(tmp_path / "calm.gguf", "calm", model_hint="gemma2")
    hint, found = repeng_import(tmp_path / "calm.gguf")
    assert hint == "gemma2"
    assert list(found) == [2]
    assert found[2].dtype == np.float32
    assert np.array_equal(found[2], vector(1).numpy())
    again = sw.CAV.load(tmp_path / "calm.gguf")
    assert torch.equal(again[0].vector, vector(1))
    assert again.site == cavs.site


def test_a_recipe_goes_out_summed_by_block(tmp_path):
    a, b, c = (sw.Direction(vector(i), sw.Site(layer)) for i, layer in ((1, 1), (2, 1), (3, 3)))
    export_control_vector(tmp_path / "mix.gguf", a.add(2) + b.add(-1) + c.add(0.5), model_hint="llama")
    _, found = repeng_import(tmp_path / "mix.gguf")
    np.testing.assert_allclose(found[1], (2 * vector(1) - vector(2)).numpy(), rtol=1e-6)
    np.testing.assert_allclose(found[3], 0.5 * vector(3).numpy(), rtol=1e-6)


def test_the_round_trip(tmp_path):
    written = {layer: vector(layer) for layer in range(1, 4)}
    write_control_vector(tmp_path / "x.gguf", written, "qwen2")
    found = read_control_vector(tmp_path / "x.gguf")
    assert found.model_hint == "qwen2"
    assert list(found.directions) == [1, 2, 3]
    assert all(torch.equal(found.directions[k], written[k]) for k in written)


def test_half_precision_is_read(tmp_path):
    path = repeng_export(tmp_path / "half.gguf", {1: vector(1).numpy().astype(np.float16)}, hint=None)
    cavs = sw.CAV.load(path)
    assert cavs.vectors.dtype == torch.float32
    torch.testing.assert_close(cavs[0].vector, vector(1), atol=1e-2, rtol=1e-3)
    assert "model type" not in cavs.provenance


def test_block_0_is_warned_of(tmp_path):
    cavs = sw.CAV(vector(1)[None], ["x"], layer=0)
    with pytest.warns(UserWarning, match="llama.cpp refuses a control vector that acts on block 0"):
        cavs.to_gguf(tmp_path / "x.gguf")
    assert sw.CAV.load(tmp_path / "x.gguf").site == sw.Site(0)


def test_the_block_has_to_be_said(happy):
    with pytest.raises(
        ValueError, match=r"happy.gguf holds directions for the blocks 1, 2, 3; pass one of them as lay"
    ):
        sw.CAV.load(happy)
    with pytest.raises(ValueError, match="blocks 1, 2, 3; layer=7 is not among them"):
        sw.CAV.load(happy, layer=7)


def test_files_that_are_wrong(tmp_path, happy):
    with pytest.raises(FileNotFoundError, match="There is no CAV file"):
        sw.CAV.load(tmp_path / "absent.gguf")
    with pytest.raises(FileNotFoundError, match="There is no CAV file"):
        sw.CAV.load_layers(tmp_path / "absent.gguf")
    repeng_export(tmp_path / "model.gguf", directions(), architecture="llama")
    with pytest.raises(ValueError, match="architecture 'llama', not a control vector"):
        sw.CAV.load(tmp_path / "model.gguf", layer=1)
    repeng_export(tmp_path / "empty.gguf", directions(), names="other.{}")
    with pytest.raises(ValueError, match="without any direction"):
        sw.CAV.load(tmp_path / "empty.gguf", layer=1)
    repeng_export(tmp_path / "odd.gguf", directions(), names="direction.x{}")
    with pytest.raises(ValueError, match=r"odd.gguf holds 'direction.x3' of shape \[32\]"):
        sw.CAV.load(tmp_path / "odd.gguf", layer=1)
    repeng_export(tmp_path / "nan.gguf", {1: np.full(D_MODEL, np.nan, dtype=np.float32)})
    with pytest.raises(ValueError, match=r"'nan' \(row 0\) holds NaN"):
        sw.CAV.load(tmp_path / "nan.gguf")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_file_that_was_cut_short(tmp_path, happy, share):
    whole = happy.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=r"cut.gguf is not a whole GGUF file"):
        sw.CAV.load(tmp_path / "cut.gguf", layer=1)


def test_what_the_format_has_no_place_for(tmp_path):
    inner = sw.CAV(vector(1)[None], ["x"], layer=1, stream="mlp_out")
    with pytest.raises(ValueError, match="acts on resid_post, but these CAVs live at block 1 mlp_out"):
        inner.to_gguf(tmp_path / "x.gguf")
    direction = sw.Direction(vector(1), sw.Site(1), "d")
    reasons = {
        "it changes each token by what stands there": direction.ablate(),
        'it acts on "prompt"': direction.add(1).at("prompt"),
        "it leaves special tokens out": direction.add(1).at("all", special=False),
        "the recipe adds at block 1 mlp_out": inner[0].add(1),
    }
    for reason, steer in reasons.items():
        with pytest.raises(ValueError, match=f"A GGUF control vector adds .*{reason}"):
            export_control_vector(tmp_path / "x.gguf", steer)
    with pytest.raises(ValueError, match="The recipe is empty"):
        export_control_vector(tmp_path / "x.gguf", sw.Recipe())
    assert not list(tmp_path.iterdir())
