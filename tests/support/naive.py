"""Reference steering: design.md section 5 in plain loops and own hooks. Nothing of steerwidgets is used here.

One row at a time, no cache, no padding: what every faster way has to agree with.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from support.models import blocks_of


@dataclass(frozen=True)
class Change:
    """One steer, as the reference sees it; `acts(position, prompt_length)` says where.

    `when` decides by the rows [width] of the sites in `reads` as they entered them at that position; `share` is what a
    fade leaves there.
    """

    layer: int
    op: str
    v: Any
    numbers: dict[str, Any] = field(default_factory=dict)
    stream: str = "resid_post"
    acts: Callable[[int, int], bool] = lambda _position, _prompt_length: True
    special: bool = True
    when: Callable[[Mapping[tuple[int, str], np.ndarray]], bool] = lambda _rows: True
    reads: tuple[tuple[int, str], ...] = ()
    share: Callable[[int, int], float] = lambda _position, _prompt_length: 1.0

    def where(self, name: str, value: Any = None) -> Change:
        rules: dict[str, Callable[[int, int], bool]] = {
            "all": lambda _t, _n: True,
            "prompt": lambda t, n: t < n,
            "generated": lambda t, n: t >= n,
            "last_prompt": lambda t, n: t == n - 1,
            "indices": lambda t, _n: t in value,
            "first": lambda t, _n: t < value,
            "after": lambda t, _n: t >= value,
        }
        return replace(self, acts=rules[name])


def stream_module(model: Any, layer: int, stream: str) -> tuple[Any, bool]:
    """The module of a stream and whether the stream is its input."""
    block = blocks_of(model)[layer]
    if stream in ("resid_pre", "resid_post"):
        return block, stream == "resid_pre"
    if hasattr(block, "attn"):  # GPT-2
        inner = {
            "attn_out": block.attn,
            "mlp_out": block.mlp,
            "mlp_acts": block.mlp.c_proj,
            "attn_z": block.attn.c_proj,
            "mlp_in": block.mlp,
        }
    elif hasattr(block, "attention"):  # GPT-NeoX
        inner = {
            "attn_out": block.attention,
            "mlp_out": block.mlp,
            "mlp_acts": block.mlp.dense_4h_to_h,
            "attn_z": block.attention.dense,
            "mlp_in": block.mlp,
        }
    else:
        post_norms = hasattr(block, "pre_feedforward_layernorm")
        inner = {
            "attn_out": block.post_attention_layernorm if post_norms else block.self_attn,
            "mlp_out": block.post_feedforward_layernorm if post_norms else block.mlp,
            "mlp_acts": block.mlp.down_proj,
            "attn_z": block.self_attn.o_proj,
            "mlp_in": block.mlp,
        }
    return inner[stream], stream in ("mlp_acts", "attn_z", "mlp_in")


def changed(
    h: np.ndarray,
    changes: Sequence[Change],
    prompt_length: int,
    special: set[int] | frozenset[int],
    entered: Mapping[tuple[int, str], np.ndarray] = MappingProxyType({}),
) -> np.ndarray:
    """`h` [position, width] of one row of one site after all of its changes; `entered` has what conditions read."""
    norms = [float(np.linalg.norm(row)) for row in h]
    counted = norms[1:prompt_length]
    threshold = 10 * statistics.median(counted) if counted else float("inf")
    out = h.copy()
    for t, row in enumerate(h):
        fixed: list[tuple[np.ndarray, float]] = []
        for change in changes:
            if not change.acts(t, prompt_length) or (not change.special and t in special):
                continue
            if not change.when({site: entered[site][t] for site in change.reads}):
                continue
            share = change.share(t, prompt_length)
            if change.op == "head":
                part, value = change.numbers["part"], change.numbers["value"]
                for i in range(part.start, part.stop):
                    wanted = value[i - part.start] if isinstance(value, list) else value * row[i]
                    out[t, i] += share * (wanted - row[i])
                continue
            v = np.asarray(change.v, dtype=np.float64)
            unit = v / np.linalg.norm(v)
            projection = float(row @ unit)
            if change.op == "add":
                out[t] += share * change.numbers["alpha"] * v
            elif change.op == "add_relative":
                if t != 0 and norms[t] <= threshold:
                    out[t] += share * change.numbers["alpha"] * norms[t] * unit
            elif change.op == "ablate":
                fixed.append((unit, share * -projection))
            elif change.op == "project":
                fixed.append((unit, share * (change.numbers["c"] * projection - projection)))
            elif change.op == "clip":
                target = projection
                if change.numbers["lo"] is not None:
                    target = max(target, change.numbers["lo"])
                if change.numbers["hi"] is not None:
                    target = min(target, change.numbers["hi"])
                fixed.append((unit, share * (target - projection)))
        if fixed:
            # The least change that moves every projection by its residue.
            directions, residues = np.stack([unit for unit, _ in fixed]), np.array([r for _, r in fixed])
            out[t] += np.linalg.lstsq(directions, residues, rcond=1e-6)[0]
    return out


@contextmanager
def steered(
    model: Any,
    changes: Sequence[Change],
    prompt_length: int,
    special: set[int] | frozenset[int] = frozenset(),
    seen: dict[tuple[int, str], torch.Tensor] | None = None,
    watch: Sequence[tuple[int, str]] = (),
) -> Iterator[None]:
    """Reference hooks for one unpadded, uncached row; `seen` takes the watched streams before any change."""
    sites = {(c.layer, c.stream) for c in changes} | {site for c in changes for site in c.reads} | set(watch)
    handles = []
    entered: dict[tuple[int, str], np.ndarray] = {}

    def edit(site: tuple[int, str], stream: torch.Tensor) -> torch.Tensor:
        if seen is not None:
            seen[site] = stream[0].detach().float().clone()
        entered[site] = stream[0].detach().double().numpy()
        mine = [c for c in changes if (c.layer, c.stream) == site]
        if not mine:
            return stream
        new = changed(entered[site], mine, prompt_length, special, entered)
        return torch.from_numpy(new)[None].to(stream.dtype)

    for site in sites:
        module, is_input = stream_module(model, *site)

        def before(_module: Any, args: Any, kwargs: Any, site: Any = site) -> Any:
            if args:
                return (edit(site, args[0]), *args[1:]), kwargs
            return args, kwargs | {"hidden_states": edit(site, kwargs["hidden_states"])}

        def after(_module: Any, _args: Any, out: Any, site: Any = site) -> Any:
            return (edit(site, out[0]), *out[1:]) if isinstance(out, tuple) else edit(site, out)

        handles.append(
            module.register_forward_pre_hook(before, with_kwargs=True)
            if is_input
            else module.register_forward_hook(after)
        )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def logits(
    model: Any,
    ids: Sequence[int],
    changes: Sequence[Change] = (),
    prompt_length: int | None = None,
    special: set[int] | frozenset[int] = frozenset(),
) -> torch.Tensor:
    """Logits [position, vocabulary] of one row, in one uncached forward."""
    length = len(ids) if prompt_length is None else prompt_length
    with torch.no_grad(), steered(model, changes, length, special):
        return model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].float()


def greedy(
    model: Any,
    ids: Sequence[int],
    changes: Sequence[Change] = (),
    count: int = 8,
    special_ids: Sequence[int] = (),
    end: frozenset[int] = frozenset(),
) -> tuple[int, ...]:
    """Greedy tokens, the whole text read afresh at each step; an end token ends it and is left out."""
    text = list(ids)
    for _ in range(count):
        special = {t for t, token in enumerate(text) if token in special_ids}
        token = int(logits(model, text, changes, len(ids), special)[-1].argmax())
        if token in end:
            break
        text.append(token)
    return tuple(text[len(ids) :])


def streams(
    model: Any,
    ids: Sequence[int],
    sites: Sequence[tuple[int, str]],
    changes: Sequence[Change] = (),
    prompt_length: int | None = None,
) -> dict[tuple[int, str], torch.Tensor]:
    """Streams [position, width] before any change at their own site."""
    seen: dict[tuple[int, str], torch.Tensor] = {}
    length = len(ids) if prompt_length is None else prompt_length
    with torch.no_grad(), steered(model, changes, length, seen=seen, watch=sites):
        model(input_ids=torch.tensor([list(ids)]), use_cache=False)
    return {site: seen[site] for site in sites}
