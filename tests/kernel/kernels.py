"""Kernels of two vintages, spoken to as JupyterLab does: shell messages with and without a subshell, iopub back."""

from __future__ import annotations

import os
import queue
import sys
import time
from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

TESTS = Path(__file__).parent.parent
PATIENCE = 60.0

# What Colab has, on top of which this project's own dependencies run. pip gets every package by name: asked for their
# dependencies, these would bring a whole JupyterLab.
COLAB = (
    "ipykernel==6.17.1",
    "ipywidgets==7.7.1",
    "traitlets==5.7.1",
    "ipython==7.34.0",
    "jupyter_client==7.4.9",
    "backcall",
    "decorator",
    "entrypoints",
    "ipython_genutils",
    "nest_asyncio",
    "pickleshare",
)

SETUP = """
import threading, time, torch
torch.set_num_threads(1)
from support import models, toks
import steerwidgets as sw
lm = sw.LanguageModel(models.make("llama", max_position_embeddings=8192), toks.byte_level())
with torch.no_grad():
    lm.model.get_output_embeddings().weight[sorted(lm.special_ids)] = 0  # texts never end by themselves
cavs = sw.CAV(torch.randn(2, 32, generator=torch.Generator().manual_seed(1)), ["the sea", "food"], layer=1)
pace = lm.model.register_forward_pre_hook(lambda *_: time.sleep(0.01))  # a model of at most 100 tokens a second
"""


class Kernel:
    """A running kernel and everything that it has said on iopub."""

    def __init__(self, name: str, python_path: list[str], folder: Path) -> None:
        self.name = name
        self.heard: list[dict] = []
        self.manager = KernelManager(connection_file=str(folder / "kernel.json"))
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        self.manager._kernel_spec = KernelSpec(argv=argv, display_name=name, language="python")
        folders = {key: str(folder) for key in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
        path = os.pathsep.join([*python_path, str(TESTS), str(TESTS.parent)])
        environment = os.environ | folders | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self.manager.start_kernel(env=environment, cwd=str(folder))
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)

    def stop(self) -> None:
        """End it, whatever it does."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    # What it says

    def wait(self, condition, what: str, within: float = PATIENCE):
        """Listen until something is true of what was heard."""
        deadline = time.monotonic() + within
        while not (value := condition()):
            if time.monotonic() > deadline:
                tail = "\n".join(f"{m['msg_type']} {str(m['content'])[:300]}" for m in self.heard[-10:])
                alive = "alive" if self.manager.is_alive() else "dead"
                pytest.fail(f"{self.name}: waited {within:g} s for {what}; the kernel is {alive}. Last heard:\n{tail}")
            self.listen(0.1)
        return value

    def listen(self, seconds: float) -> None:
        """Take in what comes within some time."""
        try:
            self.heard.append(self.client.get_iopub_msg(timeout=seconds))
        except queue.Empty:
            return

    def of(self, request: str, *types: str) -> list[dict]:
        """What was said because of one shell message."""
        return [m for m in self.heard if m["parent_header"].get("msg_id") == request and m["msg_type"] in types]

    # Cells

    def start_cell(self, code: str, cell_id: str | None = None) -> str:
        """Send a cell, with the id that JupyterLab gives cells or without; the id of this run of it."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,  # an error must not make the kernel drop the next cell
        }
        return self.send("execute_request", content, metadata={} if cell_id is None else {"cellId": cell_id})

    def is_done(self, cell: str) -> bool:
        return any(m["content"]["execution_state"] == "idle" for m in self.of(cell, "status"))

    def output(self, cell: str) -> str:
        """What a cell printed and showed so far."""
        streams = [m["content"]["text"] for m in self.of(cell, "stream")]
        values = [m["content"]["data"].get("text/plain", "") for m in self.of(cell, "execute_result", "display_data")]
        return "".join(streams + values)

    def finish(self, cell: str) -> str:
        """Wait for a cell that has to succeed."""
        self.wait(lambda: self.is_done(cell), "the end of a cell")
        errors = self.of(cell, "error")
        assert not errors, "\n".join(errors[0]["content"]["traceback"])
        return self.output(cell)

    def run(self, code: str) -> str:
        return self.finish(self.start_cell(code))

    # Subshells, as JupyterLab makes them

    @property
    def has_subshells(self) -> bool:
        asked = self.client.kernel_info()
        while (reply := self.client.get_shell_msg(timeout=PATIENCE))["parent_header"]["msg_id"] != asked:
            continue
        return "kernel subshells" in reply["content"].get("supported_features", [])

    def new_subshell(self) -> str:
        message = self.client.session.msg("create_subshell_request", {})
        self.client.control_channel.send(message)
        return self.client.get_control_msg(timeout=PATIENCE)["content"]["subshell_id"]

    def send(self, kind: str, content: dict, subshell: str | None = None, metadata: dict | None = None) -> str:
        """Any shell message."""
        message = self.client.session.msg(kind, content, metadata=metadata)
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def interrupt(self) -> None:
        self.manager.interrupt_kernel()


class Page:
    """What JupyterLab is to one panel: the far end of its comm."""

    ENDS = ("result", "error", "cancelled")

    def __init__(self, kernel: Kernel, comm: str, subshell: str | None = None) -> None:
        self.kernel = kernel
        self.comm = comm
        self.subshell = subshell
        self._counter = 0

    def send(self, content, subshell: str | None = "own") -> None:
        """A custom message; `subshell=None` puts it on the main shell."""
        self.deliver({"method": "custom", "content": content}, subshell)

    def update(self, **state) -> None:
        self.deliver({"method": "update", "state": state, "buffer_paths": []})

    def deliver(self, data, subshell: str | None = "own") -> None:
        chosen = self.subshell if subshell == "own" else subshell
        self.kernel.send("comm_msg", {"comm_id": self.comm, "data": data}, chosen)

    def ask(self, name: str, subshell: str | None = "own", **args) -> str:
        self._counter += 1
        request = f"{self.comm}-{self._counter}"
        self.send({"type": "request", "id": request, "name": name, "args": args}, subshell)
        return request

    def generate(self, tokens: int = 20, subshell: str | None = "own", **args) -> str:
        settings = {"max_new_tokens": tokens, "seed": 1}
        return self.ask("generate", subshell, **{"prompt": "Hello", "settings": settings} | args)

    def cancel(self, request: str, subshell: str | None = "own") -> None:
        self.send({"type": "cancel", "id": request}, subshell)

    # What came back

    def _data(self) -> list[dict]:
        comms = (m["content"] for m in self.kernel.heard if m["msg_type"] == "comm_msg")
        return [content["data"] for content in comms if content["comm_id"] == self.comm]

    @property
    def messages(self) -> list[dict]:
        return [data["content"] for data in self._data() if data["method"] == "custom"]

    def of(self, request: str, *types: str) -> list[dict]:
        return [m for m in self.messages if m["id"] == request and (not types or m["type"] in types)]

    @property
    def traits(self) -> dict:
        """The traits as the page would have them by now; only those that changed."""
        merged: dict = {}
        for data in self._data():
            merged |= data["state"] if data["method"] == "update" else {}
        return merged

    def streamed(self, request: str, count: int = 1) -> None:
        """Wait until some more deltas came."""
        known = len(self.of(request, "delta"))
        self.kernel.wait(lambda: len(self.of(request, "delta")) >= known + count, f"{count} more deltas of {request}")

    def end(self, request: str, within: float = PATIENCE) -> dict:
        return self.kernel.wait(lambda: self.of(request, *self.ENDS), f"the end of {request}", within)[0]

    def call(self, name: str, **args) -> dict:
        return self.end(self.ask(name, **args))
