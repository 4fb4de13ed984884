import os
import subprocess
import sys

import pytest
import torch
from support import models, toks

import steerwidgets as sw
from steerwidgets import threads


@pytest.fixture
def groups(tmp_path):
    """Makes control groups; the limits are those of the process that is in the given ones."""

    def make(lines: str, files: dict[str, str]) -> float | None:
        own = tmp_path / "own"
        own.write_text(lines)
        for name, content in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return threads.cpu_quota(own, tmp_path / "cgroup")

    return make


@pytest.mark.parametrize(
    ("lines", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        # The strictest of a group and those above it.
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "200000 100000\n", "cpu.max": "max 100000"}, 2.0),
        # In a container the group's own path is the host's.
        ("0::/kubepods/pod1\n", {"cpu.max": "50000 100000\n"}, 0.5),
        (
            "4:memory:/x\n3:cpu,cpuacct:/docker/1\n",
            {"cpu,cpuacct/docker/1/cpu.cfs_quota_us": "300000", "cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000"},
            3.0,
        ),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("3:cpuset:/\n", {"cpu.max": "100000 100000"}, None),
        ("0::/\n", {}, None),
        ("junk\n\n1:2", {}, None),
        ("0::/\n", {"cpu.max": "half of it"}, None),
        ("0::/\n", {"cpu.max": "100000 0"}, None),
    ],
)
def test_the_quota_of_a_container(groups, lines, files, expected):
    assert groups(lines, files) == expected


def test_where_there_are_no_groups_nothing_is_limited(tmp_path):
    assert threads.cpu_quota(tmp_path / "none", tmp_path) is None


@pytest.mark.parametrize(("quota", "had", "has"), [(0.5, 2, 1), (1.2, 4, 2), (8.0, 2, 2), (None, 2, 2)])
def test_a_model_on_the_cpu_has_no_more_threads_than_the_quota_lets_run(monkeypatch, quota, had, has):
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    torch.set_num_threads(had)
    try:
        sw.LanguageModel(models.make("llama"), toks.byte_level())
        assert torch.get_num_threads() == has
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("first", "said", "expected"),
    [
        ("", {}, threads.SPINS),
        ("import torch", {}, "None"),
        ("", {"GOMP_SPINCOUNT": "7"}, "7"),
        ("", {"OMP_WAIT_POLICY": "active"}, "None"),
    ],
)
def test_waiting_threads_sleep_where_nobody_has_said_otherwise(first, said, expected):
    code = f"{first}\nimport steerwidgets, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment | said, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == expected, done.stderr


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("said", "crowded"),
    [("0.1 0.1 0.1 3/200 9", False), ("0.1 0.1 0.1 4/200 9", True), ("99 99 99 1/200 9", False), ("junk", False)],
)
def test_a_machine_is_crowded_where_others_wait_for_every_core(tmp_path, monkeypatch, said, crowded):
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 2)
    (tmp_path / "loadavg").write_text(said)
    assert threads.is_crowded(tmp_path / "loadavg") is crowded
    assert threads.is_crowded(tmp_path / "none") is False


def test_room_is_made_for_others_while_they_are_there(monkeypatch, two_threads):
    crowded = [True]
    monkeypatch.setattr(threads, "LOOK", 0.0)
    monkeypatch.setattr(threads, "is_crowded", lambda: crowded[0])
    with threads.sharing() as look:
        assert torch.get_num_threads() == 1
        crowded[0] = False
        look()
        assert torch.get_num_threads() == 2
        crowded[0] = True
        look()
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(KeyboardInterrupt), threads.sharing():
        raise KeyboardInterrupt
    assert torch.get_num_threads() == 2


def test_one_thread_stays_one(monkeypatch):
    monkeypatch.setattr(threads, "is_crowded", lambda: pytest.fail("there is nothing to look for"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threads.sharing() as look:
        look()
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


def test_every_step_looks_for_others_and_the_texts_stay(monkeypatch, two_threads):
    lm, looks = sw.LanguageModel(models.make("llama"), toks.byte_level()), []
    torch.set_num_threads(2)  # a model that is loaded follows the quota of where the tests run
    alone = lm.compare("Name a city.", None, max_new_tokens=6, temperature=0)
    monkeypatch.setattr(threads, "LOOK", 0.0)
    monkeypatch.setattr(threads, "is_crowded", lambda: looks.append(torch.get_num_threads()) or len(looks) > 3)
    crowded = lm.compare("Name a city.", None, max_new_tokens=6, temperature=0)
    assert looks[:4] == [2, 2, 2, 2]
    assert looks[4:] == [1] * (len(looks) - 4)
    assert len(looks) > 6
    assert torch.get_num_threads() == 2
    assert crowded.baseline.token_ids == alone.baseline.token_ids
