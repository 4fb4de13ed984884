"""Places where nothing, or not everything, can be written: a full disk, a folder or home that can only be read, another
user's labels, and clocks that jump."""

import contextlib
import ctypes
import errno
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import torch
from files.test_atomic import files_of_at_most
from support import corpora, kinds, models, sae, toks

import steerwidgets as sw
from steerwidgets.lab.record import LabRecord
from steerwidgets.labels.own import UserLabels

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
NOBODY = 65_534


@pytest.fixture
def place():
    """A folder that other users may look into, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="steerwidgets-place-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def as_another_user(work):
    """What it gives or raises where root's rights over files are dropped; another user runs it as they are.

    For this thread alone, and those that it starts: a process that forks with torch in it may hang.
    """
    if not IS_ROOT:
        return work()
    libc = ctypes.CDLL(None)
    libc.setfsgid(NOBODY)
    libc.setfsuid(NOBODY)
    try:
        return work()
    finally:
        libc.setfsuid(0)
        libc.setfsgid(0)


def writers():
    """What else is written, beside what `test_atomic.py` saves; each as a way to write it into a folder."""
    lm = sw.LanguageModel(models.make("llama"), toks.byte_level())
    cav, latents = kinds.make("CAV"), sae.make()
    recipe = sw.Recipe.of(cav[0].add(1.0))
    return {
        "own labels": lambda at: UserLabels("sae:1", folder=at / "own").set(3, label="sea"),
        "a lab's answer": lambda at: sw.Lab("a", folder=at).ask("Why?", key="why").answer("So."),
        "a page": lambda at: sw.FeaturePicker(lm, cav).to_html(at / "page.html"),
        "a corpus index": lambda at: sw.corpus.build(
            lm, latents, corpora.texts(4), at / "index", on_progress=lambda _: None
        ),
        "a model with a recipe in it": lambda at: recipe.bake(lm, at / "baked"),
        "a control vector": lambda at: recipe.to_gguf(at / "v.gguf"),
    }


WRITERS = (
    "own labels",
    "a lab's answer",
    "a page",
    "a corpus index",
    "a model with a recipe in it",
    "a control vector",
)
ONE_SENTENCE = (
    r"(could not be|cannot be|can't be|can not be) .*(kept|written|put|made)|nothing can be written|may not write"
)


def refused(work):
    with pytest.raises(OSError) as told:
        work()
    said = str(told.value)
    assert "\n" not in said
    assert said.endswith("."), said
    assert "Errno" not in said, said
    return said


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_can_only_be_read(name, place):
    write = writers()[name]
    with tempfile.TemporaryDirectory() as warm:  # modules are imported while it is allowed
        write(Path(warm))
    place.chmod(0o555)
    refused(lambda: as_another_user(lambda: write(place)))
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("name", WRITERS)
def test_where_no_more_can_be_written(name, tmp_path):
    write = writers()[name]
    with files_of_at_most(60):
        refused(lambda: write(tmp_path))
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    write(tmp_path)


@pytest.fixture
def small_disk(place):
    """A disk of 64 KB; root alone may mount one, and not everywhere."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_full(small_disk):
    """Really full: each says so, none leaves anything, and there is room again for the next."""
    (small_disk / "fill").write_bytes(b"x" * 60_000)
    wide = sw.CAV(torch.randn(40, 256), layer=1)
    for write in (
        lambda: wide.save(small_disk / "c.safetensors"),
        lambda: UserLabels("sae:1", folder=small_disk / "own").set(3, label="sea" * 9000),
        lambda: sw.Lab("a", folder=small_disk).ask("Why?", key="why").answer("So. " * 4900),
    ):
        assert "the disk is full; make room there" in refused(write)
        assert not [path for path in small_disk.rglob("*") if path.suffix in {".safetensors", ".json"}]
    (small_disk / "fill").unlink()
    mine = UserLabels("sae:1", folder=small_disk / "own")
    mine.set(3, label="sea")
    assert mine[3].label == "sea"
    mine.close()


def test_a_home_that_can_only_be_read(place, monkeypatch):
    """Everything works that keeps nothing; what does says where else it can."""
    lm, cav = sw.LanguageModel(models.make("llama"), toks.byte_level()), kinds.make("CAV")
    for name in ("STEERWIDGETS_DATA", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(place))
    place.chmod(0o555)

    def work():
        panel = sw.SteeringPanel(lm, cav)
        panel.close()
        return [cav[0].label, cav.own_labels(), lm.compare("The sea", cav[0].add(1), max_new_tokens=2).steered.text]

    with contextlib.suppress(OSError):
        work()
    label, own, text = as_another_user(work)
    assert (label, own) == ("CAV 0", {})
    assert text == lm.compare("The sea", cav[0].add(1), max_new_tokens=2).steered.text
    assert "name another folder in $STEERWIDGETS_DATA" in refused(lambda: as_another_user(lambda: cav.user_labels))
    assert list(place.iterdir()) == []


# Two users, one file of labels


@pytest.mark.skipif(not IS_ROOT, reason="root alone can be two users")
def test_labels_that_another_user_may_only_read(place):
    """They are there to be read; to change one says why not, and the owner goes on."""
    mine = UserLabels("sae:1", folder=place)
    mine.set(3, label="sea")

    def read():
        theirs = UserLabels("sae:1", folder=place)
        return theirs[3].label, len(theirs), dict(theirs.labels)

    assert as_another_user(read) == ("sea", 1, {3: "sea"})
    mine.set(4, label="sky")
    mine.close()
    assert as_another_user(read) == ("sea", 2, {3: "sea", 4: "sky"}), "with nobody else at it"
    said = refused(lambda: as_another_user(lambda: UserLabels("sae:1", folder=place).set(3, label="ocean")))
    assert "can only be read" in said
    mine = UserLabels("sae:1", folder=place)
    mine.set(3, label="the sea")
    assert as_another_user(read)[0] == "the sea"


@pytest.mark.skipif(not IS_ROOT, reason="root alone can be two users")
def test_labels_that_two_users_write(place):
    place.chmod(0o777)
    before = os.umask(0)
    try:
        mine = UserLabels("sae:1", folder=place)
        mine.set(3, label="sea")
        as_another_user(lambda: UserLabels("sae:1", folder=place).set(3, note="blue").label)
        mine.set(4, label="sky")
        as_another_user(lambda: UserLabels("sae:1", folder=place).set(4, rating=5).label)
    finally:
        os.umask(before)
    assert [(each.label, each.note, each.rating) for each in mine] == [("sea", "blue", None), ("sky", "", 5)]


# Clocks


@pytest.fixture
def clock(monkeypatch):
    """`time.time` as the test sets it."""

    def set_to(seconds):
        monkeypatch.setattr(time, "time", lambda: seconds)

    return set_to


def test_what_is_said_later_is_newer_whatever_the_clock_says(clock, tmp_path):
    """A clock that was set ahead and back: the later words win in the other copy too."""
    mine, theirs = (UserLabels("sae:1", folder=tmp_path / name) for name in ("mine", "theirs"))
    clock(4e9)
    mine.set(3, label="from the future")
    mine.export_json(tmp_path / "a.json")
    assert theirs.import_json(tmp_path / "a.json") == 1
    clock(1.7e9)
    mine.set(3, label="said after it")
    mine.export_json(tmp_path / "b.json")
    assert theirs.import_json(tmp_path / "b.json") == 1
    assert theirs[3].label == mine[3].label == "said after it"


@pytest.mark.parametrize("jump", [(1.7e9, 0.0), (1.7e9, -5.0), (4e9, 1.7e9), (0.0, 4e9)])
def test_a_labs_answers_survive_any_jump(clock, jump, tmp_path):
    for number, now in enumerate(jump):
        clock(now)
        lab = sw.Lab("a", folder=tmp_path)
        lab.ask("Why?", key=f"why {number}").answer(f"So {number}.")
    again = sw.Lab("a", folder=tmp_path)
    assert again.answers == {"why 0": "So 0.", "why 1": "So 1."}
    assert LabRecord.load(again.file).saved == jump[-1]


def test_the_systems_words_are_known():
    """What a disk says most has a sentence of its own."""
    from steerwidgets.files.atomic import cannot_write

    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        assert "error" not in str(cannot_write(Path("a"), number))
