"""The benchmarks' own arithmetic, and that the script for a GPU runs without one; `make bench` runs the rest."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.model
FOLDER = Path(__file__).parent / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """A script as a module; its figures go nowhere."""
    monkeypatch.delenv("STEERWIDGETS_BENCH", raising=False)
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


def test_the_script_for_a_gpu_runs_tiny_on_a_cpu(tmp_path):
    """Tokens are held against plain hooks, and no token of a steered text waits for more than one of an unsteered."""
    out = tmp_path / "figures.json"
    command = [sys.executable, str(FOLDER / "gpu.py"), "--tiny", "--only-one", "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("as plain hooks have them") == 3
    rows = {row["name"].rpartition(": ")[2]: row for row in json.loads(out.read_text())["rows"]}
    assert {"pair / one plain generate", "sweep of 12 / one plain generate", "search in 64 / matmul and top-k"} <= set(
        rows
    )
    waits = [row for name, row in rows.items() if "steering adds" in name]
    assert len(waits) == 4
    assert [row["name"] for row in waits if not row["reached"]] == []


def test_an_exponent_is_the_slope_of_logarithms(script):
    growth = script("growth")
    sizes = (64, 128, 256, 512, 1024)
    for power in (0, 1, 1.5, 2):
        assert growth.exponent(sizes, [3.0 * size**power for size in sizes]) == pytest.approx(power)
    fixed = growth.exponent(sizes, [1e6 + size for size in sizes])
    assert fixed == pytest.approx(0, abs=0.01)


def test_a_table_tells_figures_and_sentences(script, tmp_path):
    bench, timing = script("bench"), script("timing")
    points = {64: 1.0, 128: 2.1}
    rows = [
        timing.Figure("pair / plain", [1.0, 1.1, 1.05], "<= 1.08").to_json(),
        timing.Figure("time of a lens, by tokens", [1.07], "<= 1.15", "exponent", points).to_json(),
        timing.Figure("slow", [3.0], "<= 2").to_json(),
        {"name": "repeng", "said": "can't be installed."},
    ]
    told = bench.table(rows)
    assert "repeng                     can't be installed." in told
    assert "NOT REACHED" in told
    assert told.endswith("2 of 3 reached")
    bench.draw({"rows": rows, "machine": {"processor": "x", "threads": 1, "date": "2026-11-28"}}, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.png", "bench.svg", "growth.png", "growth.svg"]


def test_a_peer_that_is_not_there_is_told_in_a_sentence(script, monkeypatch, capsys):
    peers = script("peers")

    def missing(_lm, _arguments):
        raise ModuleNotFoundError("No module named 'their_library'")

    def broken(_lm, _arguments):
        raise RuntimeError("their fault\nand more of it")

    monkeypatch.setattr(peers.sw.LanguageModel, "demo", classmethod(lambda cls: None))
    monkeypatch.setattr(peers, "endless", lambda _lm: None)
    monkeypatch.setattr(peers, "PEERS", {"missing": missing, "broken": broken})
    arguments = type("Arguments", (), {"tokens": 3})()
    monkeypatch.setattr(peers, "print", lambda *_args, **_named: None, raising=False)
    said = []
    monkeypatch.setattr(peers, "say", lambda name, sentence: said.append(f"{name} {sentence}"))
    for name in peers.PEERS:
        peers.one(name, arguments)
    assert said == [
        "missing can't be imported here: No module named 'their_library'.",
        "broken did not run: RuntimeError: their fault.",
    ]
