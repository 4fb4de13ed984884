"""Front-ends that cannot be installed: VS Code and Colab by what is known of them, and a host's own shadow root.

The models, views and styles are those of the real anywidget and ipywidgets, in their AMD builds, as these hosts take
them. Behind the page are real widgets of this process, and every message takes its time, both ways.
"""

from __future__ import annotations

import json
import queue
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anywidget
import comm
import pytest
from comm.base_comm import BaseComm
from e2e.lab import PATIENCE
from hosts import checks
from hosts.cache import npm
from hosts.shown import SEA, Widgets
from ipywidgets.widgets import widget
from playwright.sync_api import Page, expect
from support import models, sae, toks
from torch import Generator, no_grad, randn

import steerwidgets as sw

ORIGIN = "https://front-end.test/"
# Nothing is evaluated, and nothing comes from elsewhere. (Inline scripts are the page's, blobs are anywidget's own.)
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' blob:; style-src 'unsafe-inline'; img-src data:; "
    "connect-src 'none'; font-src 'none'"
)
# What ipywidgets says of every page that it is in, whatever the page looks like.
LIGHT_VARIABLES = ":root { --jp-layout-color0: white; --jp-layout-color1: white; --jp-ui-font-color0: black; }"


@dataclass(frozen=True)
class FrontEnd:
    """What is known of a front-end.

    Attributes:
        name: what it is called.
        html: attributes of the root element.
        body: attributes of the body.
        css: a sheet of its own.
        dark: whether its theme is dark.
        idle_after_sending: it says that the kernel is idle as soon as a message has been sent.
        shadow: outputs are in a shadow root, sheets are not.
    """

    name: str
    html: str = ""
    body: str = ""
    css: str = ""
    dark: bool = False
    idle_after_sending: bool = False
    shadow: bool = False


VSCODE_CSS = f"{LIGHT_VARIABLES} body {{ background: #1f1f1f; color: #ccc; }} #output > div {{ background: white; }}"
FRONT_ENDS = (
    FrontEnd("vscode-dark", body='class="vscode-dark" data-vscode-theme-kind="vscode-dark"', css=VSCODE_CSS, dark=True),
    FrontEnd("vscode-light", body='class="vscode-light"', css=f"{LIGHT_VARIABLES} body {{ background: white; }}"),
    FrontEnd(
        "colab-dark",
        html='theme="dark"',
        css=f"{LIGHT_VARIABLES} body {{ background: #383838; color: #d5d5d5; }}",
        dark=True,
        idle_after_sending=True,
    ),
    FrontEnd("colab-light", css=LIGHT_VARIABLES, idle_after_sending=True),
    FrontEnd("shadow-root", css="body { background: white; }", shadow=True),
)


class Bridge:
    """The comms of this process, and a page at their other end."""

    def __init__(self) -> None:
        self._sent: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self._comms: dict[str, BaseComm] = {}
        self.busy: list[tuple[str, str]] | None = None
        bridge = self

        class Comm(BaseComm):
            def publish_msg(self, msg_type: str, data: Any = None, **_: Any) -> None:
                bridge._comms[self.comm_id] = self
                if msg_type == "comm_msg":
                    bridge._sent.put((self.comm_id, data))

        self.make = Comm

    def from_kernel(self) -> str:
        found = []
        while not self._sent.empty():
            found.append(self._sent.get())
        return json.dumps(found)

    def to_kernel(self, comm_id: str, data: str) -> None:
        """Serve a message, or keep it while a cell runs."""
        if self.busy is not None:
            self.busy.append((comm_id, data))
            return
        self._comms[comm_id].handle_msg({"content": {"data": json.loads(data)}, "buffers": []})

    def idle(self) -> None:
        """The cell has ended."""
        kept, self.busy = self.busy or [], None
        for each in kept:
            self.to_kernel(*each)


@pytest.fixture
def bridge(monkeypatch):
    found = Bridge()
    monkeypatch.setattr(comm, "create_comm", found.make)
    # Echoes are sorted out by the numbers of messages, which the page here does not give; Colab has none.
    monkeypatch.setattr(widget, "JUPYTER_WIDGETS_ECHO", False)
    return found


@pytest.fixture(scope="module", autouse=True)
def _patience():
    expect.set_options(timeout=30_000)
    yield
    expect.set_options(timeout=PATIENCE)


@pytest.fixture
def widgets(bridge):
    """The widgets of `hosts.shown`, in this process."""
    lm = sw.LanguageModel(models.make("llama", max_position_embeddings=8192), toks.byte_level())
    with no_grad():
        lm.model.get_output_embeddings().weight[sorted(lm.special_ids)] = 0
    cavs = sw.CAV(randn(3, 32, generator=Generator().manual_seed(1)), [SEA, "cooking and food", "<b>"], layer=1)
    dictionary = sae.make(labels=["a label of a feature", *(f"label {i}" for i in range(1, 40))])
    text = "Name a city by the sea, please."
    made = [
        sw.SteeringPanel(lm, [cavs, dictionary], prompt="Hello there", recipe=cavs[0].add(4), max_new_tokens=12),
        sw.TokenHeatmap(lm, dictionary, text, features=[1, 3]),
        sw.FeaturePicker(lm, [dictionary, cavs], recipe=cavs[0].add(4)),
        sw.FeatureCard(lm, dictionary, 3, own_text="The wide sea"),
        sw.LogitLens(lm, "Name a city by the sea."),
    ]
    yield made
    for each in made:
        each.close()


class There:
    """As much of a host as the checks of all hosts ask for."""

    can = frozenset({"run"})

    def __init__(self, page: Page) -> None:
        self.page = page


@pytest.fixture
def show(new_page, bridge, widgets):
    """Shows the widgets in a page of a front-end; afterwards nothing of it may have been refused there."""
    opened = []

    def open_(kind: FrontEnd, latency: int = 0) -> tuple[There, Widgets]:
        page, record = new_page(kind.name, viewport={"width": 1400, "height": 3800}, reduced_motion="reduce")
        settings = {"latency": latency, "idleAfterSending": kind.idle_after_sending, "shadow": kind.shadow}
        settings |= {"policy": POLICY}
        html = (Path(__file__).parent / "front_end.html").read_text("utf-8")
        for name, value in (("html", kind.html), ("body", kind.body), ("css", kind.css)):
            html = html.replace(f"{{{{{name}}}}}", value)
        html = html.replace("{{settings}}", json.dumps(settings))
        files = {
            "": html,
            "require.js": npm("requirejs@2.3.8", "require.js"),
            "embed-amd.js": npm("@jupyter-widgets/html-manager@1.0.15", "dist/embed-amd.js"),
            "anywidget.js": (Path(anywidget.__file__).parent / "nbextension" / "index.js").read_text("utf-8"),
        }

        def answer(route) -> None:
            name = route.request.url.removeprefix(ORIGIN)
            if name not in files:
                route.abort()
                return
            kind_of = "text/javascript" if name else "text/html"
            route.fulfill(body=files[name], content_type=kind_of)

        page.route(re.compile("^https?:"), answer)
        page.expose_function("toKernel", bridge.to_kernel)
        page.expose_function("fromKernel", bridge.from_kernel)
        page.goto(ORIGIN)
        layouts = [each.layout for each in widgets]
        bridge.from_kernel()  # what was said before there was a page is in the states
        page.evaluate(
            "([models, shown]) => show(models, shown)",
            [[_model(each) for each in (*layouts, *widgets)], [each.model_id for each in widgets]],
        )
        shown = Widgets(page)
        shown.wait()
        opened.append((page, record))
        return There(page), shown

    yield open_
    for page, record in opened:
        assert page.evaluate("() => window.said") == []
        assert record.errors == []
        assert [address for address in record.requests if not address.startswith((ORIGIN, "blob:", "data:"))] == []


def _model(of: Any) -> dict[str, Any]:
    state = of.get_state()
    state = {
        name: f"IPY_MODEL_{value.model_id}" if hasattr(value, "model_id") else value for name, value in state.items()
    }
    return {
        "id": of.model_id,
        "module": state["_model_module"],
        "version": state["_model_module_version"],
        "name": state["_model_name"],
        "state": state,
    }


@pytest.mark.parametrize("kind", FRONT_ENDS, ids=lambda kind: kind.name)
def test_everything_works(show, kind, picture):
    there, shown = show(kind)
    picture(there.page, f"front-end-{kind.name}")
    checks.renders(there, shown)
    checks.nothing_is_printed_over(there, shown)
    grounds = [root.evaluate(checks.GROUNDS)[0] for root in shown.roots.values()]
    assert [ground < 0.4 for ground in grounds] == [kind.dark] * len(grounds), grounds
    assert {name: found for name, root in shown.roots.items() if (found := root.evaluate(checks.FAINT))} == {}
    checks.generates(there, shown)
    checks.every_widget_reaches_the_kernel(there, shown)
    checks.tokens_take_arrows(there, shown)
    checks.sliders_take_arrows(there, shown)
    checks.stops(there, shown)


VSCODE, COLAB = FRONT_ENDS[1], FRONT_ENDS[3]


@pytest.mark.parametrize("kind", [VSCODE, COLAB], ids=lambda kind: kind.name)
def test_seconds_of_latency(show, kind):
    """What a hand does stays as it was done, however late the kernel's answers to earlier states of it are."""
    there, shown = show(kind, latency=1500)
    panel, page = shown.panel, there.page
    slider, box = panel.slider(SEA), panel.number(f"{SEA} strength")
    for value in (5, 6, 7):
        box.fill(str(value))
        box.press("Enter")
        page.wait_for_timeout(1200)
    panel.prompt.fill("")
    panel.prompt.press_sequentially("A slow line to a far kernel", delay=120)
    seen = []
    for _ in range(50):
        seen.append((slider.input_value(), panel.prompt.input_value()))
        page.wait_for_timeout(150)
    assert set(seen) == {("7", "A slow line to a far kernel")}
    panel.generate.click()
    expect(panel.status).to_contain_text(re.compile("Starting|Waiting"))
    panel.expect_done()
    expect(panel.status).to_contain_text("12 tokens")


def test_a_busy_kernel_is_not_one_that_was_restarted(show, bridge):
    """Where idle comes before reading; where it comes after, tests/e2e/test_restart.py says it."""
    there, shown = show(COLAB, latency=200)
    bridge.busy = []
    shown.panel.generate.click()
    expect(shown.panel.status).to_contain_text("Waiting for the kernel")
    there.page.wait_for_timeout(5000)
    expect(shown.panel.root.get_by_text("restarted")).to_have_count(0)
    bridge.idle()
    shown.panel.expect_done()
    expect(shown.panel.status).to_contain_text("12 tokens")
