"""Files are written whole or not at all, and one sentence says why not."""

import contextlib
import errno
import os
import resource
import stat

import pytest
import torch
from support import kinds, mfa, sae

import steerwidgets as sw
from steerwidgets.files import atomic
from steerwidgets.files.atomic import atomically, cannot_write, write_text
from steerwidgets.steering.exports.gguf import write_control_vector


def saves():
    """Everything that is saved, each as a way to save it into a folder."""
    cav = sw.CAV(torch.eye(4, 32), list("abcd"), layer=1, max_activations=[1.0, 2.0, 3.0, 4.0])
    state, meta = mfa.make_state(4, 32, 2)
    return {
        "CAV": lambda folder: cav.save(folder / "c.safetensors"),
        "GGUF": lambda folder: write_control_vector(folder / "c.gguf", {1: torch.ones(8)}),
        "SAE": lambda folder: sae.make(max_activations={1: 2.0}).save(folder / "sae"),
        "ReFT": lambda folder: sw.ReFT(torch.eye(4, 32), layer=1, labels=list("abcd")).save(folder / "reft"),
        "MFA": lambda folder: sw.MFA(state, meta, layer=1).save(folder / "m.pt"),
        "statistics": lambda folder: cav.statistics.save(folder / "s.safetensors"),
        "labels": lambda folder: sw.Labels(["sea", "sky"], file=folder / "l.db"),
        "user labels": lambda folder: cav.user_labels.export_json(folder / "own.json"),
    }


def held(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", list(saves()))
def test_a_save_that_fails_changes_nothing(kind, tmp_path, monkeypatch):
    save = saves()[kind]
    save(tmp_path)
    before = held(tmp_path)
    assert before
    if kind == "labels":  # it never writes over a file
        (tmp_path / "l.db").unlink()
        before = {}

    def full(_path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, "to_disk", full)
    with pytest.raises(OSError, match=r"could not be written into .*: the disk is full; make room there") as caught:
        save(tmp_path)
    assert "\n" not in str(caught.value)
    assert held(tmp_path) == before


@contextlib.contextmanager
def files_of_at_most(size):
    """The system itself writes no file further than that, whoever asks; no root is needed, as a small disk needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 100], ids=["no byte", "half of it"])
@pytest.mark.parametrize("kind", list(saves()))
def test_where_the_system_refuses_to_write(kind, size, tmp_path):
    """Each library that writes says something of its own then; ours is one sentence, and nothing is changed."""
    save = saves()[kind]
    with (
        files_of_at_most(size),
        pytest.raises(OSError, match=r"could not be (written into|kept in) .*; name another folder") as told,
    ):
        save(tmp_path)
    assert "\n" not in str(told.value)
    assert held(tmp_path) == {}
    save(tmp_path)
    if kind != "labels":  # it never writes over a file
        before = held(tmp_path)
        with files_of_at_most(size), pytest.raises(OSError, match=r"could not be (written|kept)"):
            save(tmp_path)
        assert held(tmp_path) == before


class FullError(Exception):
    """What sqlite3 raises, with the name that it gives."""

    sqlite_errorname = "SQLITE_FULL"


FullError.__module__ = "sqlite3"


def test_sqlite_that_took_back_what_filled_the_disk_is_believed(tmp_path):
    with pytest.raises(OSError, match="the disk is full; make room there"), atomically(tmp_path / "a"):
        raise FullError


@pytest.mark.parametrize("kind", ["SAE", "ReFT"])
def test_a_folder_keeps_nothing_of_what_was_saved_there_before(kind, tmp_path):
    """Labels and statistics of another dictionary would be read as this one's."""
    made = kinds.make(kind, labels={1: "an older label"}, max_activations={1: 8.0} if kind == "SAE" else [8.0] * 5)
    folder = kinds.save(made, tmp_path)
    assert type(made).load(folder).maximum(1) == 8
    kinds.save(kinds.make(kind), tmp_path)
    again = type(made).load(folder)
    assert again.statistics is None
    assert again.label(1) == f"{kind} 1"
    if kind == "SAE":
        made.save(folder)
        kinds.make(kind).export(folder)
        assert sorted(held(folder)) == ["cfg.json", "sae_weights.safetensors"]


def test_ctrl_c_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        _write_half(path)
    assert held(tmp_path) == {"a.txt": b"old"}


def _write_half(path):
    with atomically(path) as fresh:
        fresh.write_text("half of the n")
        raise KeyboardInterrupt


def test_permissions_and_links_stay(tmp_path):
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    write_text(real, "old")
    assert stat.S_IMODE(real.stat().st_mode) == 0o666 & ~_umask()
    real.chmod(0o640)
    link.symlink_to(real)
    write_text(link, "new")
    assert link.is_symlink()
    assert (real.read_text(), stat.S_IMODE(real.stat().st_mode)) == ("new", 0o640)


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_what_is_no_fault_of_the_disk_is_told_as_it_is(tmp_path):
    with pytest.raises(RuntimeError, match="mine"), atomically(tmp_path / "a"):
        raise RuntimeError("mine")
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        write_text(tmp_path / "none" / "a.txt", "x")
    assert isinstance(cannot_write(tmp_path / "a", errno.EACCES), PermissionError)
