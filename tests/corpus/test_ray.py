"""A run on Ray gives the index of a run here, bit for bit, whatever is killed meanwhile."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from support import corpora, models, sae, toks

import steerwidgets as sw
from steerwidgets.corpus import on_ray

TEXTS = corpora.texts(40)
ON_TWO = sw.corpus.Ray(workers=2)


def dictionaries():
    return [sae.make("topk", k=5), sw.CAV(torch.eye(32)[:3], list("abc"), layer=2)]


def build(lm, path, texts=TEXTS, on_progress=lambda _: None, **settings):
    return sw.corpus.build(lm, dictionaries(), texts, path, on_progress=on_progress, **{"batch_tokens": 100} | settings)


@pytest.fixture(scope="module")
def cluster():
    """A Ray of two processors, given minutes to start on a machine that does other things too."""
    patched = pytest.MonkeyPatch()
    for name in ("RAY_agent_register_timeout_ms", "RAY_worker_register_timeout_seconds"):
        patched.setenv(name, "300000" if name.endswith("ms") else "300")
    patched.setenv("RAY_raylet_start_wait_time_s", "300")
    patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patched.setenv("RAY_worker_niceness", "0")
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=2**27)
    yield ray
    ray.shutdown()
    patched.undo()


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(on_ray, "_SHARD_WINDOWS", 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    torch.set_num_threads(1)
    lm = sw.LanguageModel(models.make("llama"), toks.byte_level())
    return build(lm, tmp_path_factory.mktemp("whole") / "index")


def actors():
    return [each for each in psutil.Process().children(recursive=True) if each.name().startswith("ray::MapWork")]


@pytest.mark.usefixtures("cluster")
def test_the_index_of_a_run_here_though_an_actor_dies(llama, whole, tmp_path):
    seen, killed = [], []
    llama.model(torch.tensor([[5, 9]]), output_hidden_states=True)  # hooks of transformers' own stay on it

    def told(progress):
        seen.append(progress)
        if not killed:
            killed.append(actors()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    index = build(llama, tmp_path / "index", iter(TEXTS), told, executor=ON_TWO)
    assert killed
    corpora.assert_same(index, whole, dictionaries())
    assert len([each for each in (tmp_path / "index").iterdir() if each.is_dir()]) == 1
    reading = [each for each in seen if each.stage == "reading"]
    assert len(reading) > 3
    assert [each.done for each in reading] == sorted({each.done for each in reading})


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import torch
from corpus import test_ray
from support import models, toks
import steerwidgets as sw

torch.set_num_threads(1)
test_ray.on_ray._SHARD_WINDOWS = 1
done = []

def told(progress):
    done.append(progress)
    if len(done) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

test_ray.build(sw.LanguageModel(models.make("llama"), toks.byte_level()), sys.argv[1], on_progress=told, executor="ray")
"""


def test_killed_and_resumed(llama, whole, cluster, tmp_path):
    script = KILLED.format(tests=str(Path(__file__).parent.parent))
    address = os.environ | {"RAY_ADDRESS": cluster.get_runtime_context().gcs_address}
    ran = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "index"], env=address, capture_output=True, text=True, check=False
    )
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    with pytest.raises(ValueError, match="not finished"):
        sw.corpus.open(tmp_path / "index")
    seen = []
    # A text that can't be read ends the run after those before it.
    with pytest.raises(TypeError, match=r"Text 30 can't be read\. A prompt is a string"):
        build(llama, tmp_path / "index", [*TEXTS[:30], 3.5, *TEXTS[30:]], seen.append, executor=ON_TWO)
    skipped = sum(each.stage == "skipping" for each in seen)
    assert skipped > 0
    # What Ray began, this process ends.
    index = build(llama, tmp_path / "index", on_progress=seen.append)
    assert sum(each.stage == "skipping" for each in seen) - skipped >= skipped
    corpora.assert_same(index, whole, dictionaries())


@pytest.mark.usefixtures("cluster")
def test_a_worker_that_loads_another_model_is_refused(llama, tmp_path):
    other = sw.LanguageModel(models.make("llama", seed=1), toks.byte_level())
    load = lambda model=other.model, tokenizer=other.tokenizer: sw.LanguageModel(model, tokenizer)
    with pytest.raises(RuntimeError, match=r"A worker of Ray failed \(.*other weights than the model"):
        build(llama, tmp_path / "index", executor=sw.corpus.Ray(workers=1, load=load))


def test_what_is_wrong_is_told_before_anything_starts(llama, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"executor is 'local', 'ray' or sw\.corpus\.Ray\(…\), but 'dask' was given"):
        build(llama, tmp_path / "index", executor="dask")
    with pytest.raises(ValueError, match="workers is how many models read at once, 1 or more, but 0"):
        sw.corpus.Ray(workers=0)
    with pytest.raises(ValueError, match="gpus is how many GPUs each worker has, 0 or more, but -1"):
        sw.corpus.Ray(gpus=-1)
    with pytest.raises(ValueError, match="load is a function without arguments that gives the model"):
        sw.corpus.Ray(load=llama)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r'needs Ray Data, which is not installed: pip install "steerwidgets'):
        build(llama, tmp_path / "index", executor="ray")
    assert not (tmp_path / "index").exists()
