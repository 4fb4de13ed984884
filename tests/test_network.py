"""Nothing is asked of the network but what the user called for: a process in which no socket leaves the machine."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

# Nothing may look up a name or connect, whoever asks: Python code, or a library in C through Python's socket module.
# The audit hook comes before either, and can't be taken off again; what it saw is told at the end too, in case that
# somebody swallows the error.
BLOCKED = """
import sys
asked = []
EVENTS = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.sendto"}
def refuse(event, args):
    if event in EVENTS:
        asked.append((event, str(args[1:])[:80]))
        raise OSError("the network was asked: " + event)
    if event == "urllib.Request":
        asked.append((event, str(args)[:80]))
sys.addaudithook(refuse)
"""
TOLD = "\nprint('asked', asked)\n"
TINY = """
import tempfile
from pathlib import Path
import torch
import steerwidgets as sw
from support import models, pages, toks
torch.set_num_threads(1)
lm = sw.LanguageModel(models.make("llama"), toks.byte_level())
"""


def asked(code, **environment):
    """What a process with that code asked of the network."""
    import os

    env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    path = os.pathsep.join(filter(None, [str(TESTS), str(TESTS.parent), env.get("PYTHONPATH")]))
    command = [sys.executable, "-c", BLOCKED + code + TOLD]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=280, env=env | {"PYTHONPATH": path} | environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1].removeprefix("asked ")


def test_a_look_at_the_network_is_seen():
    """Else all others here would pass whatever happened."""
    look = "import socket\ntry: socket.create_connection(('203.0.113.1', 80), timeout=1)\nexcept OSError: pass\n"
    assert "socket.getaddrinfo" in asked(look)


def test_imports_ask_nothing():
    names = "import steerwidgets as sw\nfor name in sw.__all__: getattr(sw, name)\nimport steerwidgets.demo.model\n"
    assert asked(names) == "[]"


@pytest.mark.model
def test_widgets_and_exports_ask_nothing(tmp_path):
    """Each widget is made, used as `support.pages` uses it, shown and written as a page of its own."""
    work = """
for name in pages.WIDGETS:
    widget = pages.make(name, lm)
    widget._repr_mimebundle_()
    with tempfile.TemporaryDirectory() as folder:
        assert widget.to_html(Path(folder) / "page.html").stat().st_size > 1000
    widget.close()
"""
    assert asked(TINY + work, STEERWIDGETS_DATA=str(tmp_path)) == "[]"


@pytest.mark.model
def test_verbs_and_files_ask_nothing(tmp_path):
    work = """
from support import corpora, kinds
cav = kinds.make("CAV")
lm.compare("Name a city.", cav[0].add(2), max_new_tokens=2)
lm.logit_lens("Name a city.", k=2)
cav.save(Path(folder) / "c.safetensors")
sw.CAV.load(Path(folder) / "c.safetensors")
sw.CAV.fit(lm, ["good", "nice", "bad", "awful"], ["p", "p", "n", "n"], layer=1, held_out=0)
sw.Recipe.from_json(sw.Recipe.of(cav[0].add(2)).to_json(inline=True))
sw.SAE.demo()
sw.corpus.build(lm, cav, corpora.texts(3), Path(folder) / "index", on_progress=lambda _: None)
"""
    assert asked(TINY + f"folder = {str(tmp_path)!r}\n" + work, STEERWIDGETS_DATA=str(tmp_path / "data")) == "[]"
