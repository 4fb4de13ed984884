"""Dictionaries from pyvene's interventions: live ones, state_dicts, and what pyvene saves; places, kinds, mistakes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import pyvene as pv
import torch
from support.both import PROMPT
from support.models import D_MODEL

import steerwidgets as sw

ROWS = 20
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Detector(pv.SourcelessIntervention, pv.TrainableIntervention):
    """As AxBench's: a projection whose weights pyvene saves, since it counts as trainable."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs, keep_last_dim=True)
        self.proj = torch.nn.Linear(self.embed_dim, kwargs["low_rank_dimension"], bias=True)
        with torch.no_grad():
            self.proj.weight.copy_(drawn(ROWS, D_MODEL, seed=5))

    def forward(self, base, source=None, subspaces=None):
        return base + self.proj.weight[0]


class Loreft(pv.SourcelessIntervention, pv.TrainableIntervention):
    """As pyreft's: a rotation and a learned source, saved under names of its own."""

    def __init__(self, own_names=False, **kwargs):
        super().__init__(**kwargs, keep_last_dim=True)
        self.rotate_layer = torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(D_MODEL, 1, bias=False))
        self.learned_source = torch.nn.Linear(D_MODEL, 1)
        self.own_names = own_names

    def state_dict(self, *args, **kwargs):
        if not self.own_names:
            return super().state_dict(*args, **kwargs)
        return self.learned_source.state_dict() | {"rotate_layer": self.rotate_layer.weight.data}


def mounted(lm, *representations):
    return pv.IntervenableModel(list(representations), model=lm.model)


def detector():
    return Detector(embed_dim=D_MODEL, low_rank_dimension=ROWS)


def rotation(rank=1, seed=0):
    """One that was trained: its axes are not those that it began with."""
    made = pv.LowRankRotatedSpaceIntervention(embed_dim=D_MODEL, low_rank_dimension=rank)
    with torch.no_grad():
        made.rotate_layer.parametrizations.weight.original.add_(0.3 * drawn(D_MODEL, rank, seed=seed))
    return made


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "saved"


def test_a_projection_live_saved_and_bare(fresh, folder, tmp_path):
    lm = fresh()
    made = detector()
    model = mounted(lm, {"component": "model.layers[2].output", "intervention": made})
    model.save(str(folder))
    model.save_intervention(str(tmp_path / "weights"))
    torch.save(made.state_dict(), tmp_path / "plain.pt")
    labels = [f"concept {i}" for i in range(ROWS)]
    sources = [model, folder, str(tmp_path / "weights"), next(folder.glob("*.bin"))]
    bare = [made, made.state_dict(), tmp_path / "plain.pt"]
    loaded = [sw.ReFT.from_pyvene(source, labels=labels) for source in sources]
    loaded += [sw.ReFT.from_pyvene(source, layer=2, labels=labels) for source in bare]
    for reft in loaded:
        assert reft.site == sw.Site(2)
        assert torch.equal(reft.weight, made.proj.weight.detach())
        assert reft["concept 3"].index == 3
    assert loaded[0].provenance == {"format": "pyvene intervention", "class": "Detector"}
    assert loaded[1].provenance == {"format": "pyvene intervention", "source": "saved", "class": "Detector"}
    h = drawn(4, D_MODEL, seed=9)
    torch.testing.assert_close(loaded[0].encode(h), torch.relu(h @ made.proj.weight.T).detach(), **CLOSE)
    cavs = sw.CAV.from_pyvene(folder)
    torch.testing.assert_close(cavs.encode(h), (h @ made.proj.weight.T).detach(), **CLOSE)
    assert cavs[3].label == "CAV 3"
    assert cavs[3].suggested is None
    for source in bare:
        with pytest.raises(ValueError, match=r"does not say which block it belongs to; pass layer="):
            sw.ReFT.from_pyvene(source)
    assert sw.ReFT.from_pyvene(made, layer=1, stream="mlp_out").site == sw.Site(1, "mlp_out")


def test_the_axis_of_a_rotation_and_a_choice_among_several(fresh, folder):
    lm = fresh()
    first, second = rotation(seed=1), rotation(seed=2)
    model = mounted(
        lm,
        {"layer": 1, "component": "block_output", "intervention": first},
        {"layer": 2, "component": "block_input", "intervention": second},
    )
    model.save(str(folder))
    h = drawn(4, D_MODEL, seed=9)
    for source in (model, folder):
        for layer, made, stream in ((1, first, "resid_post"), (2, second, "resid_pre")):
            cavs = sw.CAV.from_pyvene(source, layer=layer)
            assert cavs.site == sw.Site(layer, stream)
            torch.testing.assert_close(cavs.encode(h), made.rotate_layer(h).detach(), **CLOSE)
            assert abs(cavs[0].norm - 1) < 1e-5
        assert sw.CAV.from_pyvene(source, stream="resid_pre").site.layer == 2
        with pytest.raises(ValueError, match=r"at block 1 resid_post, block 2 resid_pre, and one has to be chosen;"):
            sw.CAV.from_pyvene(source)
        with pytest.raises(ValueError, match=r"none of them fit layer=1 stream='resid_pre'"):
            sw.CAV.from_pyvene(source, layer=1, stream="resid_pre")


@pytest.mark.parametrize("source", ["folder", "live"])
@pytest.mark.parametrize(("kind", "times"), [(pv.AdditionIntervention, 1.0), (pv.SubtractionIntervention, -1.0)])
@pytest.mark.parametrize("shape", [(D_MODEL,), (1, 1, D_MODEL)])
def test_a_constant_vector_steers_as_suggested(fresh, folder, source, kind, times, shape):
    lm = fresh()
    constant = 3 * drawn(*shape, seed=2)
    model = mounted(lm, {"layer": 1, "component": "block_output", "intervention_type": kind} | _constant(constant))
    model.save(str(folder))
    cavs = sw.CAV.from_pyvene(folder if source == "folder" else model, labels=["style"])
    assert torch.equal(cavs.vectors, constant.reshape(1, -1))
    op, numbers = cavs["style"].suggested
    assert (op, numbers) == ("add", {"alpha": times})
    ids = torch.tensor([PROMPT])
    _, expected = model({"input_ids": ids})
    with torch.no_grad(), lm.steer(cavs["style"].add(numbers["alpha"])):
        logits = lm.model(input_ids=ids).logits
    torch.testing.assert_close(logits, expected.logits, atol=1e-4, rtol=1e-4)


def _constant(tensor):
    return {"source_representation": tensor}


def test_a_constant_reaches_as_far_as_pyvene_lets_it(fresh):
    lm = fresh()
    made = pv.AdditionIntervention(embed_dim=20, source_representation=drawn(D_MODEL, seed=2))
    model = mounted(lm, {"component": "model.layers[1].output", "intervention": made})
    ids = torch.tensor([PROMPT])
    _, expected = model({"input_ids": ids})
    cavs = sw.CAV.from_pyvene(model)
    assert cavs.vectors[0, 19] != 0
    assert not cavs.vectors[0, 20:].any()
    with torch.no_grad(), lm.steer(cavs[0].add(1)):
        torch.testing.assert_close(lm.model(input_ids=ids).logits, expected.logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [pv.JumpReLUAutoencoderIntervention, pv.AutoencoderIntervention])
def test_autoencoders(fresh, folder, kind):
    lm = fresh()
    sizes = {"low_rank_dimension": 40, "latent_dim": 40}
    model = mounted(lm, {"layer": 1, "component": "block_output", "intervention_type": kind} | sizes)
    made = next(iter(model.interventions.values()))
    with torch.no_grad():
        for i, parameter in enumerate(made.parameters()):
            parameter.copy_(0.3 * drawn(*parameter.shape, seed=i))
    model.save(str(folder))
    inner = getattr(made, "autoencoder", made)
    h = 2 * drawn(4, D_MODEL, seed=9)
    for source in (model, folder):
        sae = sw.SAE.from_pyvene(source, labels={"sea": 3})
        a = inner.encode(h).detach()
        assert (a > 0).float().mean() > 0.1
        assert (sae.site, sae["sea"].index) == (sw.Site(1), 3)
        torch.testing.assert_close(sae.encode(h), a, **CLOSE)
        torch.testing.assert_close(sae.decode(a), inner.decode(a).detach(), **CLOSE)
    for wrong in (sw.ReFT, sw.CAV):
        with pytest.raises(ValueError, match=r"is a sparse autoencoder: take SAE\.from_pyvene"):
            wrong.from_pyvene(folder)


EXACT = {
    ("llama", "model.layers[1].output"): "resid_post",
    ("llama", "model.layers[1].input"): "resid_pre",
    ("llama", "model.layers[1].self_attn.o_proj.input"): "attn_z",
    ("llama", "model.layers[1].mlp.down_proj.input"): "mlp_acts",
    ("llama", "attention_value_output"): "attn_z",
    ("gemma2", "model.layers[1].post_feedforward_layernorm.output"): "mlp_out",
    ("gpt2", "transformer.h[1].output"): "resid_post",
    ("gpt2", "transformer.h[1].mlp.c_proj.input"): "mlp_acts",
    ("gpt2", "block_input"): "resid_pre",
    ("neox_parallel", "gpt_neox.layers[1].attention.dense.input"): "attn_z",
    ("neox_parallel", "gpt_neox.layers[1].mlp.dense_4h_to_h.input"): "mlp_acts",
}


@pytest.mark.parametrize(("family", "component"), EXACT)
def test_places_that_the_component_says(fresh, folder, family, component):
    model = mounted(fresh(family), {"layer": 1, "component": component, "intervention": detector()})
    model.save(str(folder))
    for source in (model, folder):
        assert sw.CAV.from_pyvene(source).site == sw.Site(1, EXACT[family, component])


@pytest.mark.parametrize(
    ("family", "component", "stream", "is_ours"),
    [
        ("llama", "mlp_output", "mlp_out", True),
        ("llama", "model.layers[1].self_attn.output", "attn_out", True),
        ("gpt2", "mlp_output", "mlp_out", True),
        ("gemma2", "model.layers[1].post_attention_layernorm.output", "attn_out", True),
        ("gemma2", "mlp_output", "mlp_out", False),
        ("gemma2", "attention_output", "attn_out", False),
        ("llama", "mlp_activation", "mlp_acts", False),
        ("gpt2", "mlp_activation", "mlp_acts", False),
        ("gpt2", "attention_output", "attn_out", False),
    ],
)
def test_places_that_depend_on_the_architecture(fresh, folder, family, component, stream, is_ours):
    """A file does not know the architecture; a live model does, by the module that is hooked."""
    model = mounted(fresh(family), {"layer": 1, "component": component, "intervention": detector()})
    model.save(str(folder))
    for source, known in ((model, is_ours), (folder, False)):
        assert sw.CAV.from_pyvene(source, stream=stream).site == sw.Site(1, stream)
        if known:
            assert sw.CAV.from_pyvene(source).site == sw.Site(1, stream)
            continue
        with pytest.raises(ValueError, match=rf"which is {stream} on some architectures .*pass stream='{stream}'"):
            sw.CAV.from_pyvene(source)
        with pytest.raises(ValueError, match="none of them fit stream='resid_post'"):
            sw.CAV.from_pyvene(source, stream="resid_post")


@pytest.mark.parametrize("component", ["query_output", "model.layers[1].self_attn.q_proj.output", "lm_head.input"])
def test_places_that_are_no_stream(fresh, folder, component):
    model = mounted(fresh(), {"layer": 1, "component": component, "intervention": detector()})
    model.save(str(folder))
    for source in (model, folder):
        with pytest.raises(ValueError, match="which is none of the streams of a block that steerwidgets reads"):
            sw.CAV.from_pyvene(source)


def test_a_base_model_without_its_head(fresh, folder):
    base = fresh().model.model
    model = pv.IntervenableModel({"component": "layers[1].output", "intervention": detector()}, model=base)
    assert sw.CAV.from_pyvene(model).site == sw.Site(1)


def test_two_at_one_place(fresh, folder):
    one = {"component": "model.layers[1].output"}
    model = mounted(fresh(), one | {"intervention": detector()}, one | {"intervention": rotation()})
    model.save(str(folder))
    for source in (model, folder):
        with pytest.raises(ValueError, match=r"block 1 resid_post, block 1 resid_post, and one has to be chosen.*file"):
            sw.CAV.from_pyvene(source)
    files = sorted(folder.glob("*.bin"))
    assert [sw.CAV.from_pyvene(path).size for path in files] == [ROWS, 1]
    assert sw.CAV.from_pyvene(model.interventions[model.sorted_keys[0]], layer=1).size == ROWS


def test_no_pyvene_is_needed_to_read_files(fresh, folder):
    mounted(fresh(), {"component": "model.layers[1].output", "intervention": detector()}).save(str(folder))
    code = (
        "import sys; sys.modules['pyvene'] = None; import steerwidgets as sw; "
        f"reft = sw.ReFT.from_pyvene({str(folder)!r}); print(reft.size, reft.fingerprint)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    again = sw.ReFT.from_pyvene(folder)
    assert out == [str(ROWS), again.fingerprint]
    assert eval(again.source_code, {"sw": sw}).fingerprint == again.fingerprint
    assert sw.ReFT.from_pyvene(folder, labels=["a"] * ROWS).source_code is None


def test_weights_that_pyvene_did_not_save(fresh, folder):
    """It keeps weights of trainable interventions and constant sources, so the tutorial's classes lose theirs."""

    class Steer(pv.SourcelessIntervention):
        def __init__(self, **kwargs):
            super().__init__(**kwargs, keep_last_dim=True)
            self.proj = torch.nn.Linear(D_MODEL, ROWS, bias=False)

    model = mounted(fresh(), {"component": "model.layers[1].output", "intervention": Steer()})
    model.save(str(folder))
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    with pytest.raises(ValueError, match=r"no weights of the Steer: pyvene saves those of trainable .*state_dict\(\)"):
        sw.ReFT.from_pyvene(folder)
    assert sw.ReFT.from_pyvene(model).size == ROWS


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (Loreft, "The Loreft writes what a learned source makes of the residual"),
        (lambda: Loreft(own_names=True), "The Loreft writes what a learned source makes of the residual"),
        (lambda: rotation(3), r"swaps a subspace of 3 axes as a whole.*sw\.CAV\(intervention\.rotate_layer\.weight\.T"),
        (lambda: pv.RotatedSpaceIntervention(embed_dim=D_MODEL), "swaps a subspace of 32 axes as a whole"),
        (lambda: pv.SigmoidMaskIntervention(embed_dim=D_MODEL), r"holds mask \[32\], .*but no proj\.weight"),
        (
            lambda: pv.VanillaIntervention(embed_dim=D_MODEL, **_constant(drawn(D_MODEL))),
            "puts a constant in the place of the stream",
        ),
        (
            lambda: pv.AdditionIntervention(embed_dim=D_MODEL, **_constant(drawn(3, D_MODEL))),
            r"has shape \[3, 32\]: another vector for each position",
        ),
        (pv.ZeroIntervention, "There are no weights of the ZeroIntervention"),
    ],
)
def test_what_is_no_dictionary(fresh, folder, make, sentence):
    model = mounted(fresh(), {"component": "model.layers[1].output", "intervention": make()})
    model.save(str(folder))
    for source in (model, folder):
        named = sentence if source is model else sentence.removeprefix("The Loreft ")
        with pytest.raises(ValueError, match=named):
            sw.CAV.from_pyvene(source)
        for other in (sw.ReFT, sw.SAE):
            with pytest.raises(ValueError, match=r"learned source|as a whole|proj\.weight|constant|no weights"):
                other.from_pyvene(source)


def test_which_kind_to_take(fresh):
    constant = pv.AdditionIntervention(embed_dim=D_MODEL, **_constant(drawn(D_MODEL)))
    for made in (constant, rotation()):
        with pytest.raises(ValueError, match=r"take CAV\.from_pyvene"):
            sw.ReFT.from_pyvene(made, layer=1)
    with pytest.raises(ValueError, match=r"take ReFT\.from_pyvene \(relu\(h·w\)\) or CAV\.from_pyvene"):
        sw.SAE.from_pyvene(detector(), layer=1)


class _Runs:
    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def test_damaged_and_foreign_sources(fresh, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"proj.weight": drawn(3, D_MODEL), "x": _Runs()}, "code.bin")
    with pytest.raises(ValueError, match="holds more than plain tensors, and loading it could run code"):
        sw.ReFT.from_pyvene("code.bin", layer=1)
    assert not Path("ran").exists()
    mounted(fresh(), {"component": "model.layers[1].output", "intervention": detector()}).save(str(folder))
    path = next(folder.glob("*.bin"))
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ValueError, match=r"intkey_.* is not a whole PyTorch file"):
        sw.ReFT.from_pyvene(folder)
    for config in ('{"representations": ', "[]", json.dumps({"representations": [[1]], "intervention_types": ["a"]})):
        (folder / "config.json").write_text(config)
        with pytest.raises(ValueError, match=r"[Tt]he config\.json of an IntervenableModel"):
            sw.ReFT.from_pyvene(folder)
    with pytest.raises(FileNotFoundError, match=r"There is no intervention of pyvene at .*nowhere"):
        sw.ReFT.from_pyvene(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no interventions of pyvene"):
        sw.ReFT.from_pyvene(tmp_path / "empty")
    with pytest.raises(TypeError, match="or the path of a saved one, but a int was given"):
        sw.ReFT.from_pyvene(3, layer=1)
    with pytest.raises(
        ValueError, match="should hold the tensors of an intervention's state_dict, but holds cavs, lab"
    ):
        sw.ReFT.from_pyvene({"cavs": drawn(2, 3), "labels": ["a", "b"]}, layer=1)
    with pytest.raises(ValueError, match=r"proj\.weight of the state_dict should be \[concept, d_model\].*\[32\]"):
        sw.ReFT.from_pyvene({"proj.weight": drawn(D_MODEL)}, layer=1)
