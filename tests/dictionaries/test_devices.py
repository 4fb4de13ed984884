"""Where dictionaries live: they follow the model's block to its device, moved once, or stay where they are told to.

There is no GPU here: tensors of PyTorch's FakeTensorMode say that they are on one, hold no numbers, and refuse to be
computed with those of another device, as real ones do.
"""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support import kinds, models
from support import sae as saes
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import steerwidgets as sw

ELSEWHERE = torch.device("meta")
HOMES = ("SAE", "topk", "centred", "ReFT", "CAV", "MFA")


class Copies(TorchDispatchMode):
    """What goes from one device to another: how many numbers, and where to."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, _types, args=(), kwargs=None):
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if "_to_copy" in str(function) and device is not None and torch.device(device) != args[0].device:
            self.seen.append((args[0].numel(), torch.device(device).type))
        return function(*args, **kwargs)


@contextmanager
def on_a_gpu(shape=(2, 1, models.D_MODEL)):
    """A residual on a GPU, and what is copied meanwhile."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        h = torch.empty(shape, device=ELSEWHERE)
        with Copies() as copies:
            yield h, copies


def made(kind, lm=None):
    settings = {"apply_b_dec_to_input": True, "center_input": True, "rescale_acts_by_decoder_norm": True}
    ways = {"topk": lambda: saes.make("topk", k=5), "centred": lambda: saes.make("relu", **settings)}
    dictionary = ways.get(kind, lambda: kinds.make(kind, lm))()
    # Known once, from the numbers that there are no more of on a pretended device.
    assert dictionary.fingerprint
    return dictionary


OPS = {
    "SAE": lambda feature: feature.clamp(3),
    "topk": lambda feature: feature.clamp(3),
    "centred": lambda feature: feature.scale(2),
    "ReFT": lambda feature: feature.clamp(3),
    "CAV": lambda feature: feature.add_relative(0.5),
    "MFA": lambda feature: feature.pull(0.5, z={0: 2.0}),
    "mixture": lambda feature: feature.pull(0.5, z={0: 2.0}),
    "inline": lambda feature: feature.pull(a=0.5, z0=2.0, z1=0.0),
    "Neuron": lambda feature: feature.add(2),
    "Head": lambda feature: feature.mean(),
}


def feature_of(kind, llama):
    if kind == "mixture":
        return made("MFA").mixture
    if kind == "inline":
        recipe = sw.Recipe.from_json(sw.Recipe((made("MFA")[1].pull(0.5),)).to_json(inline=True))
        return next(iter(recipe)).feature
    if kind == "Head":
        return sw.Heads(llama, layer=1, mean_over=["The sea is wide and the city is by the sea."])[1]
    return made(kind, llama)[1]


@pytest.mark.parametrize("kind", OPS)
def test_what_steers_follows_the_block_and_is_moved_once(kind, llama):
    steer = OPS[kind](feature_of(kind, llama))
    with on_a_gpu() as (h, copies):
        first = steer.feature.change(steer.op, steer.parameters, h)
        assert first.device == ELSEWHERE
        moved = len(copies.seen)
        again = steer.feature.change(steer.op, steer.parameters, h + 1)
        assert again.device == ELSEWHERE
        # A TopK SAE stays where it is: the residual goes to it and one number a token comes back.
        beside = [h.numel(), h.numel() // models.D_MODEL] if kind == "topk" else []
        assert [count for count, _ in copies.seen[moved:]] == beside


@pytest.mark.parametrize("kind", ["ReFT", "CAV", "MFA"])
def test_what_reads_follows_the_block_and_is_moved_once(kind):
    dictionary = made(kind)
    with on_a_gpu() as (h, copies):
        for _ in range(2):
            assert dictionary.encode(h).device == dictionary.activations(h, [1, 3]).device == ELSEWHERE
            moved = len(copies.seen)
            copies.seen.clear()
        assert moved == 0


def test_of_a_wide_sae_one_column_and_one_row_travel():
    wide = sw.SAE(**saes.tensors(size=5000), activation="jumprelu", threshold=0.5, layer=1)
    steer = wide[17].clamp(3)
    with on_a_gpu() as (h, copies):
        assert steer.feature.change(steer.op, steer.parameters, h).device == ELSEWHERE
        assert steer.feature.activation(h).device == ELSEWHERE
        assert sum(count for count, _ in copies.seen) <= 3 * models.D_MODEL + 3
        assert {where for _, where in copies.seen} == {"meta"}


@pytest.mark.parametrize("kind", HOMES)
def test_told_to_stay_it_stays(kind):
    dictionary = made(kind).to("cpu")
    with on_a_gpu() as (h, copies):
        assert dictionary.encode(h).device == ELSEWHERE
        # The residual comes to it, and the activations go back; its own weights stay.
        counts = {count for count, where in copies.seen if where == "cpu"}
        back = [count for count, where in copies.seen if where == "meta"]
        assert counts == {h.numel()}
        assert h.numel() // models.D_MODEL * dictionary.size in back


@pytest.mark.parametrize("kind", HOMES)
def test_told_to_live_elsewhere_it_computes_there(kind):
    dictionary = made(kind)
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert dictionary.to(ELSEWHERE) is dictionary
        h = torch.empty(3, models.D_MODEL)
        assert dictionary.encode(h).device == h.device
        with Copies() as copies:
            dictionary.encode(h + 1)
        assert set(copies.seen) == {(h.numel(), "meta"), (3 * dictionary.size, "cpu")}
        assert dictionary.activations(h, [1, 3]).device == h.device


@pytest.mark.parametrize("kind", ["SAE", "topk", "centred", "ReFT", "CAV"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_kept_in_16_bits_it_computes_in_float32(kind, dtype):
    dictionary, rounded = made(kind), made(kind)
    was = rounded.fingerprint
    rounded.to(dtype=dtype)
    h = torch.randn(4, models.D_MODEL, generator=torch.Generator().manual_seed(2))
    assert rounded.encode(h).dtype == rounded.vector(1).dtype == torch.float32
    assert torch.equal(rounded.vector(1), dictionary.vector(1).to(dtype).float())
    torch.testing.assert_close(rounded.activations(h, [1]), rounded.encode(h)[:, [1]])
    torch.testing.assert_close(rounded[1].activation(h), rounded.encode(h)[:, 1])
    torch.testing.assert_close(rounded.encode(h), dictionary.encode(h), rtol=0.1, atol=0.2)
    assert rounded.fingerprint != was
    assert rounded.to("cpu", torch.float32).vector(1).dtype == torch.float32


def test_the_same_whether_it_was_told_or_not(lm):
    """On one device, telling changes nothing: neither what is read nor the tokens of a steered text."""
    for kind in HOMES:
        op = OPS[kind]
        plain, told = made(kind), made(kind).to("cpu")
        runs = [
            lm.compare("The sea is wide", op(each[1]), chat=False, max_new_tokens=4, temperature=0)
            for each in (plain, told)
        ]
        assert runs[0].steered.token_ids == runs[1].steered.token_ids
        assert torch.equal(lm.read("The sea is wide", plain).values, lm.read("The sea is wide", told).values)


def test_what_can_not_be_moved_is_told(llama):
    sae = made("SAE")
    with pytest.raises(ValueError, match="takes a device, a dtype or both"):
        sae.to()
    with pytest.raises(ValueError, match=r"float32, float16 or bfloat16, but torch\.int8 was given"):
        sae.to(dtype=torch.int8)
    with pytest.raises(ValueError, match=r"a device as torch names it, such as 'cpu' or 'cuda:0', but 'gpu'"):
        sae.to("gpu")
    with pytest.raises(ValueError, match=r"give it a device alone: mfa\.to"):
        made("MFA").to(dtype=torch.bfloat16)
    for own in (kinds.make("Neuron", llama), kinds.make("Head", llama)):
        with pytest.raises(ValueError, match="is the model's own and lives where the model does; load the model"):
            own.to("cpu")


MAPPED = """
import sys, torch
import steerwidgets as sw

def own():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))

h = torch.randn(4, 512)
small = sw.SAE(torch.eye(512), torch.zeros(512), torch.eye(512), torch.zeros(512), layer=1)
small[3].activation(h), small.encode(h)
before = own()
sae = sw.SAE.load(sys.argv[1])
feature = sae[17]
feature.activation(h), feature.change("clamp", {"c": 3.0}, h)
print(own() - before)
sae.encode(h), feature.vector
print(own() - before)
"""


@pytest.mark.parametrize("form", ["sae_lens", "sparsify"])
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's own memory")
def test_a_file_of_safetensors_is_mapped_and_not_read_into_memory(tmp_path, form):
    size, width = 16_384, 512
    big = sw.SAE(**saes.tensors(d=width, size=size), activation="topk", k=8, layer=1)
    folder = tmp_path / "layers.1"
    big.save(folder)
    if form == "sparsify":
        as_sparsify(big, folder)
    ran = subprocess.run([sys.executable, "-c", MAPPED, folder], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    kilobytes = [int(line) for line in ran.stdout.split()]
    file = size * width * 4 * 2 // 1024
    assert max(kilobytes) < file / 3, (kilobytes, file)


def as_sparsify(big, folder):
    held = big.tensors()
    for path in folder.iterdir():
        path.unlink()
    said = {"d_in": big.d_model, "num_latents": big.size, "k": 8, "activation": "topk"}
    (folder / "cfg.json").write_text(json.dumps(said))
    tensors = {"encoder.weight": held["W_enc"].T, "encoder.bias": held["b_enc"]}
    tensors |= {name: held[name] for name in ("W_dec", "b_dec")}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "sae.safetensors")
