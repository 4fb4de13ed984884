"""A widget that nobody has any more is gone, with its model and its run; what it leaves behind is nothing."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import ipywidgets
import pytest
import traitlets
from support import checked

import steerwidgets as sw
from steerwidgets.widgets import lifetime
from steerwidgets.widgets.bundles import LIVE
from steerwidgets.widgets.protocol import Worker

TEXT = "The ship sailed."
MAKE = {
    "panel": lambda lm, cavs: sw.SteeringPanel(lm, cavs, recipe=cavs[0].add(4), max_new_tokens=3),
    "lens": lambda lm, cavs: sw.LogitLens(lm, TEXT, cavs[0].add(4)),
    "heatmap": lambda lm, cavs: sw.TokenHeatmap(lm, cavs, TEXT, features=[0]),
    "picker": lambda lm, cavs: sw.FeaturePicker(lm, cavs, prompt=TEXT),
    "card": lambda lm, cavs: sw.FeatureCard(lm, cavs, 0),
    "patching": lambda lm, _cavs: sw.PatchGrid(lm, TEXT, "The ship sank.", metric="kl"),
    "map": lambda lm, cavs: sw.SubspaceMap(lm, cavs, 0),
    "trainer": lambda lm, cavs: sw.ConceptTrainer(lm, [TEXT, "A ship."], ["No.", "It rains."], dictionaries=cavs),
    "check": lambda _lm, _cavs: sw.LabelCheck(*checked.world(), features=[3, 4]),
}


@pytest.fixture(autouse=True)
def only_what_a_test_makes_is_collected():
    """What a test process has loaded is 10⁶ objects, and a collection that goes through them takes a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def collected() -> None:
    for _ in range(3):
        gc.collect()


@pytest.mark.parametrize("kind", MAKE)
def test_a_closed_widget_is_gone_with_its_layout(kind, lm, cavs):
    widget = MAKE[kind](lm, cavs)
    refs = [weakref.ref(widget), weakref.ref(widget.layout)]
    widget.close()
    del widget
    collected()
    assert [ref() for ref in refs] == [None, None]


def test_a_closed_panel_is_gone_with_its_run_and_its_model(fresh, cavs):
    lm = fresh("llama")
    panel = MAKE["panel"](lm, cavs)
    panel.generate()
    refs = [weakref.ref(each) for each in (panel, panel.comparison, panel.comparison._cache, lm.model)]
    panel.close()
    del panel, lm
    collected()
    assert [ref() for ref in refs] == [None] * 4


def test_a_closed_panel_that_somebody_has_keeps_its_texts_and_not_the_keys_and_values(make_panel, cavs):
    panel = make_panel(recipe=cavs[0].add(4), max_new_tokens=3)
    run = panel.generate()
    panel.close()
    assert run.keeps_cache
    assert not panel.comparison.keeps_cache
    assert panel.comparison.steered == run.steered
    assert panel.comparison.scores is run.scores


def test_a_layout_that_other_widgets_have_stays_theirs(lm, cavs):
    layout = ipywidgets.Layout(width="400px")
    other = ipywidgets.IntSlider(layout=layout)
    panel = sw.SteeringPanel(lm, cavs)
    panel.layout = layout
    panel.close()
    collected()
    assert other.layout is layout
    assert layout.comm is not None


def test_a_widget_without_an_output_lives_as_long_as_somebody_has_it(lm, cavs):
    panel = MAKE["panel"](lm, cavs)
    ref, model = weakref.ref(panel), panel.model_id
    panel.let_go()
    collected()
    assert model in lifetime._kept()  # a page that is reloaded still gets it
    panel.publish(prompt="Still here")
    assert lifetime._kept()[model].prompt == "Still here"
    del panel
    collected()
    assert ref() is None
    assert model not in lifetime._kept()


def test_neither_a_lens_nor_the_panel_that_it_follows_keeps_the_other(lm, cavs):
    panel = MAKE["panel"](lm, cavs)
    first, second = MAKE["lens"](lm, cavs), MAKE["lens"](lm, cavs)
    first.follow(panel)
    end = second.follow(panel)
    ref = weakref.ref(first)
    first.let_go()
    del first
    collected()
    assert ref() is None
    ref = weakref.ref(panel)
    panel.let_go()
    del panel
    collected()
    assert ref() is None
    end()
    second.close()


@pytest.mark.parametrize("join", [traitlets.link, traitlets.dlink, ipywidgets.jslink, ipywidgets.jsdlink])
@pytest.mark.parametrize("is_target", [False, True])
def test_what_a_widget_is_joined_with_does_not_keep_it(join, is_target, lm, cavs):
    """ipywidgets keeps the text box for ever; while somebody has the panel, the link goes on."""
    panel, box = MAKE["panel"](lm, cavs), ipywidgets.Text()
    ends = [(panel, "prompt"), (box, "value")]
    join(*(reversed(ends) if is_target else ends))
    panel.let_go()
    if join in (traitlets.link, traitlets.dlink):
        widget, name = ends[is_target]
        setattr(widget, name, "Still linked")
        assert (panel.prompt, box.value) == ("Still linked", "Still linked")
    ref = weakref.ref(panel)
    del panel, ends
    widget = None
    collected()
    assert ref() is None
    box.value = "Nobody is linked any more"
    box.close()


def test_the_live_widgets_are_those_that_there_are(lm, cavs):
    before = {id(each) for each in LIVE}
    card = MAKE["card"](lm, cavs)
    assert card in list(LIVE)
    card.close()
    del card
    collected()
    assert not [each for each in LIVE if id(each) not in before]


# Threads


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "some-worker"]


def test_an_idle_worker_has_no_thread_and_the_next_job_gets_one():
    worker = Worker("some-worker", lambda _error: None, idle=0.05)
    for _ in range(3):
        done = threading.Event()
        worker.submit(done.set)
        assert done.wait(10)
        assert threads()
        until = time.monotonic() + 10
        while threads() and time.monotonic() < until:
            time.sleep(0.01)
        assert not threads()


def test_a_waiting_worker_keeps_nothing_of_its_last_job():
    class Job:
        def __call__(self) -> None:
            done.set()

    done, job = threading.Event(), Job()
    worker, ref = Worker("some-worker", lambda _error: None), weakref.ref(job)
    worker.submit(job)
    del job
    assert done.wait(10)
    until = time.monotonic() + 5
    while ref() is not None and time.monotonic() < until:
        time.sleep(0.01)
    assert ref() is None
    worker.close()


# Hot reload

HOT = """
import pathlib, sys, time
import steerwidgets as sw
from steerwidgets.widgets.base import Widget

folder = pathlib.Path(sys.argv[1])
class Own(Widget):
    _esm, _css, bundle, title = folder / "own.js", folder / "own.css", "own", "own"
one, other = Own(), sw.TokenHeatmap.from_arrays(["a"], [1.0])
before = other._program
for name, trait in (("own.js", "_program"), ("own.css", "_css")):
    module = one._esm
    (folder / name).write_text("/* edited */")
    until = time.monotonic() + float(sys.argv[2])
    while time.monotonic() < until and getattr(one, trait) != "/* edited */":
        time.sleep(0.05)
    print(getattr(one, trait), trait != "_program" or one._esm != module, Own()._program)
assert other._program == before
import threading
print(threading.active_count())
"""

# What anywidget needs of the package of that name, which only those who develop the front-end have.
WATCHFILES = """
import enum, pathlib, time
class Change(enum.Enum):
    added, modified, deleted = 1, 2, 3
def watch(path, stop_event):
    text = pathlib.Path(path).read_text()
    while not stop_event.is_set():
        time.sleep(0.05)
        if (now := pathlib.Path(path).read_text()) != text:
            text = now
            yield {(Change.modified, str(path))}
"""


@pytest.mark.parametrize(("hot", "within", "found"), [("1", 20, "/* edited */ True /* edited */"), ("", 0.5, "old")])
def test_an_edited_bundle_reaches_live_widgets_where_that_is_wanted(hot, within, found, tmp_path):
    for name in ("own.js", "own.css"):
        (tmp_path / name).write_text("old")
    (tmp_path / "watchfiles.py").write_text(WATCHFILES)
    path = f"{tmp_path}{os.pathsep}{Path(sw.__file__).parents[1]}"
    environment = os.environ | {"PYTHONPATH": path, "ANYWIDGET_HMR": hot}
    command = [sys.executable, "-c", HOT, str(tmp_path), str(within)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    *edits, watching = done.stdout.splitlines()
    assert [line.startswith(found) for line in edits] == [True, True]
    assert (int(watching) > 1) == bool(hot)  # otherwise nothing is watched
