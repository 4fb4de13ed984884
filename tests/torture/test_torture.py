"""The seeded part of `make torture` that CI runs: a hundred interrupts, and sixty messages to every widget."""

import contextlib

import pytest
import torch
from support import pages
from torture import interrupts, messages

import steerwidgets as sw
from steerwidgets.files.atomic import write_text
from steerwidgets.transformer.hookpoints import Hooks, read_stream

INTERRUPTS, MESSAGES = 112, 60


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_interrupts_leave_nothing_and_the_next_run_is_right(tmp_path):
    siege = interrupts.Siege(0, tmp_path)
    assert [str(each) for each in siege.findings(INTERRUPTS)] == []
    # Nothing was attacked where nothing was raised.
    assert all(siege.raised[verb] for verb in siege.verbs)
    assert sum(siege.raised.values()) > 0.9 * INTERRUPTS


def leave_a_hook(target):
    target.lm.model.register_forward_hook(lambda *_: None)


def keep_the_lock(target):
    target.lm.lock.acquire()


def hide_a_method(target):
    target.lm.model.lm_head.forward = target.lm.model.lm_head.forward


def leave_half_a_file(target):
    (target.folder / ".c.safetensors.77").write_text("half")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (leave_a_hook, "hooks: 1"),
        (keep_the_lock, "the lock held"),
        (hide_a_method, "hidden"),
        (leave_half_a_file, "half-w"),
    ],
)
def test_what_is_left_behind_is_found(spoil, told, tmp_path, monkeypatch):
    """Else the test above would pass whatever happened."""
    monkeypatch.setattr(interrupts, "WITHIN", 0.2)
    siege = interrupts.Siege(0, tmp_path, ("read",))
    attack = interrupts.Attack("read", 0.5, interrupts.Injected, ours=True)
    assert [*siege.strike(attack)] == []
    read, target = siege.target.verbs["read"], siege.target

    def spoiled():
        try:
            return read()
        finally:
            spoil(target)

    target.verbs["read"] = spoiled
    [found] = siege.strike(attack)
    assert told in str(found)


def takes_the_lock(target):
    with target.lm.lock:
        pass


def puts_hooks_on(target):
    point = target.lm.architecture.hookpoint(sw.Site(1))
    with Hooks() as hooks, hooks:
        hooks.extend(read_stream(point, id) for _ in range(3))


def writes_a_file(target):
    write_text(target.folder / "a.txt", "whole")


@pytest.mark.parametrize("run", [takes_the_lock, puts_hooks_on, writes_a_file])
def test_every_line_of_what_cleans_up(run, tmp_path):
    """What all verbs rely on, struck at each of its lines and not at random ones."""
    target = interrupts.Target(tmp_path)
    with interrupts.Lines(ours=True) as counting:
        run(target)
    for line in range(1, counting.count + 1):
        before = interrupts._descriptors()
        with (
            contextlib.suppress(interrupts.Injected),
            interrupts.Lines(ours=True, at=line) as struck,
        ):
            run(target)
        at = struck.raised_at
        assert target.hooks() == 0, at
        assert target.lock_is_free(), at
        assert target.half_written() == [], at
        assert interrupts._descriptors() <= before, at


@pytest.mark.parametrize("name", list(pages.WIDGETS))
def test_every_message_is_answered_once_and_the_widget_lives(name, tmp_path, monkeypatch):
    monkeypatch.setenv("STEERWIDGETS_DATA", str(tmp_path))
    siege = messages.Siege(name, 0, messages.tiny())
    assert [*siege.findings(MESSAGES), *siege.close()] == []
    assert sum(siege.sent.values()) == MESSAGES
