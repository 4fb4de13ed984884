"""Tiny tokenizers, built here: byte-level BPE and one in SentencePiece's manner."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<|bos|>", "<|eos|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
BOS, EOS, PAD, START, END = range(5)
SIZE = 320

SENTENCES = [
    "The user asks the assistant about the ocean and the system answers.",
    "You are a helpful assistant. Name a city by the sea, please.",
    "user assistant system user assistant system\n user\n assistant\n",
    "Would a wormhole let you travel through time? Nobody knows the answer.",
    "def main(): return the value of the function and print the result",
]

CHATML = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATML_BOS = "{{ bos_token }}" + CHATML
STRIPPING = CHATML.replace("message['content']", "message['content'] | trim")


def byte_level(*, adds_bos: bool = False, template: str | None = CHATML) -> Any:
    """Byte-level BPE like GPT-2's; with `adds_bos`, a plain text gets a BOS as Llama 3's does."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    made.train_from_iterator(SENTENCES, trainer)
    if adds_bos:
        made.post_processor = processors.TemplateProcessing(single="<|bos|> $A", special_tokens=[("<|bos|>", BOS)])
    return _wrapped(made, template)


def sentence_piece(*, template: str | None = None) -> Any:
    """BPE over `▁` pieces with byte fallback, like Llama 2's and Gemma's."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=SIZE - 5 - 256)
    made.train_from_iterator(SENTENCES, trainer)
    learned = json.loads(made.to_str())["model"]
    pieces = [*SPECIAL, *(f"<0x{b:02X}>" for b in range(256)), *sorted(learned["vocab"], key=learned["vocab"].get)]
    merges = [tuple(merge) for merge in learned["merges"]]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return _wrapped(made, template)


def _wrapped(made: Tokenizer, template: str | None) -> Any:
    bos, eos, pad, start, end = SPECIAL
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        additional_special_tokens=[start, end],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = template
    return fast
