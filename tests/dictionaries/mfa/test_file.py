"""Files of MFAs: the reference's format both ways, rotation and floor included, and nothing in them is ever run."""

import collections
import pickle

import pytest
import torch
from support.mfa import make_state

import steerwidgets as sw
from steerwidgets.dictionaries.mfa.file import Checkpoint

K, D, Q = 4, 10, 2


class _Runs:
    def __reduce__(self):
        return (eval, ("open('ran', 'w').close()",))


@pytest.fixture
def file(tmp_path):
    """Writes what is given, as the reference does."""
    path = tmp_path / "mfa.pt"
    return lambda value, **settings: torch.save(value, path, **settings) or path


def reference_module(rank, width):
    """A module with the reference's parameters and buffers, so that its state_dict is what `nn.Module` makes."""
    state, _ = make_state(K, width, rank)
    module = torch.nn.Module()
    for name, value in state.items():
        if name.startswith("_rot"):
            module.register_buffer(name, value)
        else:
            module.register_parameter(name, torch.nn.Parameter(value))
    return module


@pytest.mark.parametrize("rotation", [None, "varimax", "oblimin"])
@pytest.mark.parametrize("per_component", [False, True])
def test_a_file_of_the_reference_and_back(file, tmp_path, rotation, per_component):
    state, meta = make_state(K, D, Q, rotation=rotation, per_component=per_component)
    mfa = sw.MFA.load(file({"state_dict": state, "meta": meta}), layer=4, stream="mlp_out")
    assert mfa.site == sw.Site(4, "mlp_out")
    assert mfa.fingerprint == sw.MFA(state, meta, layer=4, stream="mlp_out").fingerprint
    mfa.save(tmp_path / "again.pt")
    again = torch.load(tmp_path / "again.pt", weights_only=True)
    assert set(again["state_dict"]) == set(state)
    assert all(torch.equal(again["state_dict"][name], value) for name, value in state.items())
    assert {name: again["meta"][name] for name in meta} == meta
    loaded = sw.MFA.load(tmp_path / "again.pt")
    assert loaded.fingerprint == mfa.fingerprint
    assert {each.name for each in tmp_path.iterdir()} == {"again.pt", "mfa.pt"}


def test_a_state_dict_of_a_module(file):
    module = reference_module(Q, D)
    mfa = sw.MFA.load(file({"state_dict": module.state_dict(), "meta": {"eps_floor": 1e-5}}), layer=0)
    assert not mfa.centroids.requires_grad
    assert torch.equal(mfa.centroids, module.mu)


def test_a_bare_state_dict(file):
    state, _ = make_state(K, D, Q)
    mfa = sw.MFA.load(file(collections.OrderedDict(state)), layer=2)
    assert mfa.size == K
    assert mfa.checkpoint.eps == 1e-8


def test_without_its_rotation_buffers(file, tmp_path):
    state, meta = make_state(K, D, Q)
    bare = {name: value for name, value in state.items() if not name.startswith("_rot")}
    mfa = sw.MFA.load(file({"state_dict": bare, "meta": meta}), layer=2)
    mfa.save(tmp_path / "again.pt")
    written = torch.load(tmp_path / "again.pt", weights_only=True)["state_dict"]
    assert torch.equal(written["_rot_T"], torch.eye(Q).repeat(K, 1, 1)), "the reference loads strictly"


@pytest.mark.parametrize(
    ("meta", "eps"),
    [({"eps_floor": 1e-3}, 1e-3), ({}, 1e-8), ({"K": K, "q": Q}, 1e-8), ({"cls": "MFA", "rank": Q}, 1e-5)],
)
def test_the_floor_where_a_file_does_not_say(file, meta, eps):
    """The reference's `load_mfa` takes 1e-8, and that of its published files, which say `rank`, takes 1e-5."""
    state, _ = make_state(K, D, Q)
    mfa = sw.MFA.load(file({"state_dict": state, "meta": meta}), layer=2)
    assert mfa.checkpoint.eps == eps
    noise = torch.nn.functional.softplus(state["psi_rho"].double()) + eps
    torch.testing.assert_close(mfa.checkpoint.noise()[0], noise, rtol=0, atol=1e-15)


def test_what_the_format_has_no_place_for_stands_in_extra(tmp_path, file):
    state, meta = make_state(K, D, Q)
    meta |= {"extra": {"corpus": "the pile"}}
    path = file({"state_dict": state, "meta": meta})
    mfa = sw.MFA.load(path, layer=3, centred=True, labels=["a", "b", "", "d"])
    mfa.provenance["model"] = "gpt2"
    mfa.save(tmp_path / "again.pt")
    again = sw.MFA.load(tmp_path / "again.pt")
    assert (again.site, again.centred, again.labels) == (sw.Site(3), True, ("a", "b", "", "d"))
    assert again.provenance == {"model": "gpt2"}
    assert again.checkpoint.extra["corpus"] == "the pile"
    assert again.source_code == f"sw.MFA.load({str(tmp_path / 'again.pt')!r}, layer=3)"
    assert mfa.source_code == f"sw.MFA.load({str(path)!r}, layer=3, centred=True, labels=['a', 'b', '', 'd'])"
    again = eval(mfa.source_code, {"sw": sw})
    assert (again.fingerprint, again.labels) == (mfa.fingerprint, mfa.labels)
    assert sw.MFA.load(tmp_path / "again.pt", layer=1, centred=False).site == sw.Site(1)


def test_saving_replaces_a_file_whole(tmp_path, monkeypatch):
    mfa = sw.MFA(*make_state(K, D, Q), layer=3)
    mfa.save(tmp_path / "mfa.pt")
    before = (tmp_path / "mfa.pt").read_bytes()

    def breaks(_value, path):
        path.write_bytes(b"half")
        raise OSError

    monkeypatch.setattr(torch, "save", breaks)
    with pytest.raises(OSError):
        mfa.save(tmp_path / "mfa.pt")
    assert (tmp_path / "mfa.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["mfa.pt"]


def test_from_what_the_numbers_mean():
    draw = torch.Generator().manual_seed(0)
    mu, loadings = torch.randn(K, D, generator=draw), 5 * torch.randn(K, D, Q, generator=draw)
    noise = 40 * torch.rand(D, generator=draw) + 0.01
    made = Checkpoint.of(mu, loadings, noise, torch.zeros(K))
    torch.testing.assert_close(made.mu(), mu)
    torch.testing.assert_close(made.loadings(slice(None), rotated=True).float(), loadings, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(made.noise()[0].float(), noise, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="above its floor"):
        Checkpoint.of(mu, loadings, 0 * noise, torch.zeros(K))


def test_code_in_the_pickle_is_not_run(tmp_path, file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state, meta = make_state(K, D, Q)
    for value in (
        {"state_dict": state, "meta": meta | {"extra": _Runs()}},
        {"state_dict": state | {"mu": _Runs()}, "meta": meta},
    ):
        for settings in ({}, {"_use_new_zipfile_serialization": False}):
            with pytest.raises(ValueError, match="more than plain tensors, and loading it could run code"):
                sw.MFA.load(file(value, **settings), layer=1)
    plain = tmp_path / "plain.pkl"
    plain.write_bytes(pickle.dumps(_Runs(), protocol=2))
    with pytest.raises(ValueError, match="plain\\.pkl"):
        sw.MFA.load(plain, layer=1)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file(file, share):
    path = file({"state_dict": make_state(K, D, Q)[0], "meta": {}})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match="not a whole PyTorch file") as caught:
        sw.MFA.load(path, layer=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (torch.zeros(3), r"holds float32 \[3\]"),
        ({"cavs": torch.zeros(3), "labels": ["a"]}, "'labels' of this MFA should be rows of numbers"),
        ({"cavs": torch.zeros(3)}, "'mu' is missing from cavs"),
        ({"state_dict": [1, 2]}, r"the state_dict is \[1, 2\]"),
        ({}, "the state_dict is {}"),
    ],
)
def test_files_of_something_else(file, value, says):
    with pytest.raises(ValueError, match=says):
        sw.MFA.load(file(value), layer=1)


def test_text_and_missing_files(tmp_path):
    (tmp_path / "mfa.pt").write_text("this is no tensor at all")
    with pytest.raises(ValueError, match="not a whole PyTorch file"):
        sw.MFA.load(tmp_path / "mfa.pt", layer=1)
    with pytest.raises(FileNotFoundError, match="no MFA file"):
        sw.MFA.load(tmp_path / "nothing.pt", layer=1)


def test_the_layer_is_needed(file):
    state, meta = make_state(K, D, Q)
    with pytest.raises(ValueError, match="does not say which block"):
        sw.MFA.load(file({"state_dict": state, "meta": meta}))
