"""From a GGUF file to an ordinary checkpoint: dequantised once, tokenizer and chat template stated, answer checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

from steerwidgets.demo.cache import (
    FORMAT,
    MANIFEST,
    WEIGHTS,
    DemoManifest,
    DemoModelUnavailable,
    DemoSource,
    FileRecord,
    sha256,
)
from steerwidgets.files.json_text import read_json

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The published ChatML template of SmolLM2-Instruct."""

START, END, TEXT_END = "<|im_start|>", "<|im_end|>", "<|endoftext|>"


def convert(gguf: Path, staging: Path, source: DemoSource) -> None:
    """Dequantise the file with transformers and write an ordinary checkpoint, its manifest last.

    The weights are those of a bfloat16 checkpoint, stored as the float32 that a CPU computes with: loading maps the
    file, and all kernels of a machine share its pages.
    """
    import torch
    import transformers
    from transformers import AutoModelForCausalLM

    tokenizer = _tokenizer(gguf)
    packed: dict[str, Any] = {}
    if hasattr(transformers, "GgufConfig"):  # newer versions would keep the weights in their blocks
        packed["quantization_config"] = transformers.GgufConfig(dequantize=True)
    read: Any = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, local_files_only=True, **packed
    )
    # The model that was read counts as quantised and cannot be saved: give its weights to a plain one.
    config = read.config
    for leftover in ("quantization_config", "_model_name_or_path"):
        if hasattr(config, leftover):
            delattr(config, leftover)
    tokenizer.model_max_length = config.max_position_embeddings
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = config.pad_token_id = tokenizer.eos_token_id
    model = cast("Any", AutoModelForCausalLM).from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(read.state_dict())
    model.eval()
    model.generation_config = cast("Any", transformers.GenerationConfig)(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id
    )
    if source.probe is not None:
        _probe(model, tokenizer, *source.probe)
    model.float().save_pretrained(staging, max_shard_size="100GB")
    tokenizer.save_pretrained(staging)
    _finish(staging, source)


def widen(folder: Path, staging: Path, source: DemoSource) -> None:
    """Take over a cache of format 1, whose weights are stored in bfloat16, without fetching anything."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, staging, ignore=shutil.ignore_patterns(MANIFEST, WEIGHTS))
    weights = {name: tensor.float() for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(weights, staging / WEIGHTS, metadata={"format": "pt"})
    config = read_json(staging / "config.json")
    (staging / "config.json").write_text(json.dumps(config | {"dtype": "float32"}, indent=2) + "\n", "utf-8")
    _finish(staging, source)


def _finish(staging: Path, source: DemoSource) -> None:
    """Write the manifest, which makes the folder a complete one."""
    import torch
    import transformers

    for file in staging.iterdir():  # safetensors are written for their owner alone; a cache may be shared
        shutil.copymode(staging / "config.json", file)
    files: dict[str, FileRecord] = {
        file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)} for file in sorted(staging.iterdir())
    }
    manifest: DemoManifest = {
        "format": FORMAT,
        "name": source.name,
        "repository": source.repository,
        "requirement": source.requirement,
        "wheel_sha256": source.wheel_sha256,
        "weights_sha256": files[WEIGHTS]["sha256"],
        "stored_as": f"float32 of bfloat16, dequantised from {source.member}",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "files": files,
    }
    (staging / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


def _tokenizer(gguf: Path) -> Any:
    """Take vocabulary and merges from the file and state the rest.

    transformers reads a GGUF's tokenizer differently from version to version, and never its word splitting
    ("smollm": every digit stands alone).
    """
    from gguf import GGUFReader, TokenType
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    fields = GGUFReader(gguf).fields
    tokens, merges, types = (fields[f"tokenizer.ggml.{part}"].contents() for part in ("tokens", "merges", "token_type"))
    vocabulary = {token: index for index, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocabulary, [tuple(merge.split(" ")) for merge in merges]))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([token for token, kind in zip(tokens, types, strict=True) if kind == TokenType.CONTROL])
    return cast("Any", PreTrainedTokenizerFast)(
        tokenizer_object=backend,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        unk_token=TEXT_END,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def _probe(model: Any, tokenizer: Any, text: str, continuation: str) -> None:
    import torch

    with torch.no_grad():
        logits = model(**tokenizer(text, return_tensors="pt")).logits
    said = tokenizer.decode([int(logits[0, -1].argmax())])
    if said != continuation:
        raise DemoModelUnavailable(
            f"The converted model continues {text!r} with {said!r} and not with {continuation!r}, so this version of "
            "transformers does not read the file rightly: `pip install -U transformers` and try again."
        )
