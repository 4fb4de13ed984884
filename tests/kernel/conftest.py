"""Kernels of two vintages with a tiny model, and panels in them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kernel.kernels import COLAB, SETUP, Kernel, Page


def colab_packages(folder: Path) -> Path:
    """Install Colab's Jupyter packages, once."""
    done = folder / "done"
    if not done.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
        subprocess.run([*command, "--upgrade", "--target", str(folder), *COLAB], check=True, timeout=240)
        done.write_text("\n".join(COLAB))
    return folder


@pytest.fixture(scope="session", params=["installed", "colab"])
def vintage(request, tmp_path_factory):
    """The installed ipykernel and ipywidgets, or Colab's: a name, and what goes in front of the path."""
    if request.param == "installed":
        return request.param, []
    cache = getattr(request.config, "cache", None)
    folder = cache.mkdir("colab-jupyter") if cache else tmp_path_factory.mktemp("colab-jupyter")
    return request.param, [str(colab_packages(folder))]


@pytest.fixture(scope="session")
def shared_kernel(vintage, tmp_path_factory):
    name, path = vintage
    kernel = Kernel(name, path, tmp_path_factory.mktemp(f"kernel-{name}"))
    try:
        kernel.run(SETUP)
        yield kernel
    finally:
        kernel.stop()


@pytest.fixture
def kernel(shared_kernel):
    """A kernel with a tiny model, which has to be as usable after the test as before."""
    yield shared_kernel
    assert shared_kernel.run("6 * 7") == "42"
    assert shared_kernel.run("took = lm.lock.acquire(timeout=20)\nif took: lm.lock.release()\ntook") == "True"
    shared_kernel.heard.clear()


@pytest.fixture
def open_page(kernel):
    """Shows a panel in the kernel and gives its page."""
    pages = []

    def show(code: str = "sw.SteeringPanel(lm, cavs, recipe=cavs[0].add(4))", subshell: str | None = None) -> Page:
        name = f"panel{len(pages)}"
        cell = kernel.start_cell(f"{name} = {code}\n{name}")
        kernel.finish(cell)
        [shown] = kernel.of(cell, "display_data", "execute_result")
        model = shown["content"]["data"]["application/vnd.jupyter.widget-view+json"]["model_id"]
        pages.append(Page(kernel, model, subshell))
        return pages[-1]

    yield show
    kernel.run("".join(f"panel{i}.close()\n" for i in range(len(pages))) or "pass")


@pytest.fixture
def page(open_page):
    """The page of a panel, `panel0` in the kernel; its messages go to the main shell."""
    return open_page()


@pytest.fixture
def busy(kernel, tmp_path):
    """Keeps the main thread in a cell until it is let go."""
    flag = tmp_path / "go on"

    class Busy:
        cell = ""

        def start(self) -> None:
            code = f"import os, time\nprint('busy')\nwhile not os.path.exists({str(flag)!r}): time.sleep(0.005)\n"
            self.cell = kernel.start_cell(code)
            kernel.wait(lambda: "busy" in kernel.output(self.cell), "the busy cell to start")

        def let_go(self) -> None:
            flag.touch()
            kernel.finish(self.cell)

        @property
        def is_over(self) -> bool:
            return kernel.is_done(self.cell)

    yield Busy()
    flag.touch()
