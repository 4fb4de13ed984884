"""What the notebooks of the field do around their formulas: templated ids, a hook on a block's output, greedy texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from support.models import blocks_of

Edit = Callable[[torch.Tensor], torch.Tensor]
CLOSE = {"atol": 1e-4, "rtol": 1e-4}
LOGITS = {"atol": 5e-4, "rtol": 1e-4}


def templated(tokenizer: Any, prompt: str, *, generation_prompt: bool = True) -> list[int]:
    """`apply_chat_template` as the notebooks call it, one user turn."""
    messages = [{"role": "user", "content": prompt}]
    out = tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=generation_prompt)
    return list(out["input_ids"])


@contextmanager
def edited(model: Any, edits: dict[int, Edit], seen: dict[int, torch.Tensor] | None = None) -> Iterator[None]:
    """Block outputs replaced by what each edit makes of them, at every position and step; `seen` takes them before."""

    def hook_of(layer: int, edit: Edit) -> Any:
        def hook(_module: Any, _args: Any, out: Any) -> Any:
            stream = out[0] if isinstance(out, tuple) else out
            if seen is not None:
                seen[layer] = stream.detach().clone()
            new = edit(stream).to(stream.dtype)
            return (new, *out[1:]) if isinstance(out, tuple) else new

        return hook

    handles = [blocks_of(model)[layer].register_forward_hook(hook_of(layer, edit)) for layer, edit in edits.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def block_output(model: Any, ids: Sequence[int], layer: int) -> torch.Tensor:
    """A block's output [position, d_model], as a notebook collects it."""
    seen: dict[int, torch.Tensor] = {}
    logits(model, ids, {layer: lambda stream: stream}, seen)
    return seen[layer][0]


def logits(
    model: Any, ids: Sequence[int], edits: dict[int, Edit] | None = None, seen: dict[int, torch.Tensor] | None = None
) -> torch.Tensor:
    """Logits [position, vocabulary] of one uncached pass."""
    with torch.no_grad(), edited(model, edits or {}, seen):
        return model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].float()


def greedy(
    model: Any, ids: Sequence[int], edits: dict[int, Edit], count: int, end: frozenset[int] = frozenset()
) -> tuple[int, ...]:
    """Greedy tokens, the whole text read afresh at each step; an end token ends it and is left out."""
    text = list(ids)
    for _ in range(count):
        token = int(logits(model, text, edits)[-1].argmax())
        if token in end:
            break
        text.append(token)
    return tuple(text[len(ids) :])
