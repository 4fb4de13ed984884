"""Measures steerwidgets on a CUDA device without any weights: `python tests/benchmarks/gpu.py`, under six minutes.

A Llama of 1B and a Gemma 2 of 2B parameters are made from their configs with random weights, in bfloat16 and float16.
Every time is a ratio of sides that take turns in one run, at batch 1: steered and unsteered, baseline and steered as a
pair, a sweep of 12, clamps of SAEs of 65k and 262k features, the logit lens, a search. Before anything is timed,
greedy tokens are held against those of plain hooks on the same device. What makes the host wait for the device is
counted with PyTorch's profiler, for each token beyond what plain `generate` and our own unsteered run wait for.

`--tiny` does the same with tiny models on whatever device there is, to try the script; its times say nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from timing import Figure, keep, ratios, timed
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import toks

import steerwidgets as sw
from steerwidgets.dictionaries.activations import strongest
from steerwidgets.generation.rows import Plan, generate_rows
from steerwidgets.transformer.prompts import Prompt, Token

NO_DEVICE = (
    "There is no CUDA device here, so nothing was run; run this on a machine that has one, or try the script itself "
    "with --tiny."
)
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "aten::_local_scalar_dense")
"""What the host waits for: calls of CUDA, and (on a CPU the only one) tensors whose number Python asks for."""
PROMPT_TOKENS, LENS_TOKENS, SEARCH_TOKENS = 24, 128, 256


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    tokens: int
    repeat: int
    widths: tuple[int, ...]
    llama: dict[str, Any]
    gemma: dict[str, Any]


FULL = Sizes(
    tokens=48,
    repeat=5,
    widths=(65_536, 262_144),
    llama={
        "vocab_size": 128_256,
        "hidden_size": 2048,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 8192,
        "head_dim": 64,
    },
    gemma={
        "vocab_size": 256_000,
        "hidden_size": 2304,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "intermediate_size": 9216,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
    },
)
_SMALL = {
    "vocab_size": toks.SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "head_dim": 8,
}
TINY = Sizes(6, 2, (64, 128), _SMALL, _SMALL | {"query_pre_attn_scalar": 8})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="tiny models, on a CPU too: tries the script")
    parser.add_argument("--only-one", action="store_true", help="the Llama in bfloat16 alone")
    parser.add_argument("--json", type=Path, help="where the figures go as JSON")
    arguments = parser.parse_args()
    if not (arguments.tiny or torch.cuda.is_available()):
        print(NO_DEVICE)
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sizes = TINY if arguments.tiny else FULL
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU (tiny: no times to go by)"
    print(f"{name}, torch {torch.__version__}, transformers {hf.__version__}, batch 1, {sizes.tokens} tokens")
    figures: list[Figure] = []
    wrong = 0
    every = list(product(("llama", "gemma"), (torch.bfloat16, torch.float16)))
    for family, dtype in every[:1] if arguments.only_one else every:
        torch.manual_seed(0)
        bench = Bench(family, dtype, device, sizes)
        print(f"\n{bench.title}", flush=True)
        wrong += bench.check_tokens()
        figures += bench.measure()
        del bench
        if device.type == "cuda":
            torch.cuda.empty_cache()
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"device": name, "rows": [each.to_json() for each in figures]}, indent=1))
    if wrong:
        raise SystemExit(f"{wrong} checks of tokens against plain hooks failed.")


def made(family: str, dtype: torch.dtype, device: torch.device, sizes: Sizes) -> sw.LanguageModel:
    """A model of random weights whose logits are far from flat (a standard deviation of 3)."""
    ids = {"bos_token_id": 0, "eos_token_id": None, "pad_token_id": 2, "tie_word_embeddings": False}
    settings = {**(sizes.llama if family == "llama" else sizes.gemma), **ids}
    config = hf.LlamaConfig(**settings) if family == "llama" else hf.Gemma2Config(**settings)
    with device:
        model = hf.AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    unembed = model.get_output_embeddings().weight
    with torch.no_grad():
        unembed.normal_(0, 3 / config.hidden_size**0.5)
    lm = sw.LanguageModel(model, toks.byte_level())
    lm.model.generation_config.eos_token_id = None
    lm.tokenizer.eos_token = None
    return lm


class Bench:
    """Everything that is measured of one model in one dtype."""

    def __init__(self, family: str, dtype: torch.dtype, device: torch.device, sizes: Sizes) -> None:
        self.sizes, self.device = sizes, device
        self.lm = made(family, dtype, device, sizes)
        self.title = f"{self.lm.name}, {sum(p.numel() for p in self.lm.model.parameters()) / 1e9:.2f}B, {dtype}"
        drawn = torch.Generator().manual_seed(1)
        # Ids below the tokenizer's size, so that texts have tokens to show; what is generated may be any id.
        self.ids = torch.randint(5, toks.SIZE, (LENS_TOKENS,), generator=drawn).tolist()
        self.layer = self.lm.architecture.layers // 2
        width = self.lm.architecture.d_model
        vector = torch.randn(width, generator=drawn)
        self.direction = sw.Direction(vector / vector.norm(), sw.Site(self.layer), "random")
        self.saes = {size: random_sae(size, width, self.layer, device) for size in sizes.widths}

    @property
    def prompt(self) -> Prompt:
        return self.lm.encode(self.ids[:PROMPT_TOKENS])

    # ------------------------------------------------------------ tokens

    def check_tokens(self) -> int:
        """Hold greedy tokens against plain hooks; how many differ."""
        v = self.direction.vector.to(self.device)
        size, sae = next(iter(self.saes.items()))
        codec, index = sae._codec, 7
        column, row = codec.W_enc[:, index], codec.W_dec[index]
        threshold = float(codec.threshold[index]) if codec.threshold is not None else 0.0

        def added(h: torch.Tensor) -> torch.Tensor:
            return 8.0 * v

        def clamped(h: torch.Tensor) -> torch.Tensor:
            pre = h @ column
            return (20.0 - torch.where(pre > threshold, pre, 0.0))[..., None] * row

        # The unsteered run is held against plain `generate` too: if that differs, so does everything.
        cases = {
            "unsteered": (sw.Recipe(), torch.zeros_like),
            "add": (sw.Recipe.of(self.direction.add(8.0)), added),
            f"clamp of {size:,}": (sw.Recipe.of(sae[index].clamp(20.0)), clamped),
        }
        wrong = 0
        sampling = sw.Sampling(temperature=0, max_new_tokens=self.sizes.tokens)
        for name, (recipe, change) in cases.items():
            ours = list(generate_rows(self.lm, [Plan(self.prompt, recipe)], sampling)[0].token_ids)
            theirs = self.hooked(change)
            same = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), None)
            wrong += same is not None
            told = "as plain hooks have them" if same is None else f"differ from plain hooks' at token {same}"
            print(f"  tokens, {name:<18} {told}", flush=True)
        return wrong

    def hooked(self, change: Callable[[torch.Tensor], torch.Tensor]) -> list[int]:
        """Greedy tokens of plain `generate` under a forward hook that adds a change at every ordinary token."""
        special = torch.tensor(sorted(self.lm.special_ids), device=self.device)
        seen: list[torch.Tensor] = []

        def note(_module: Any, args: Any, kwargs: Any) -> None:
            seen[:] = [kwargs["input_ids"] if "input_ids" in kwargs else args[0]]

        def hook(_module: Any, _args: Any, output: Any) -> Any:
            h = output[0] if isinstance(output, tuple) else output
            acts = ~torch.isin(seen[0], special)
            new = torch.where(acts[..., None], h.float() + change(h.float()), h.float()).to(h.dtype)
            return (new, *output[1:]) if isinstance(output, tuple) else new

        base = self.lm.architecture.base
        handles = [
            base.register_forward_pre_hook(note, with_kwargs=True),
            self.lm.architecture.blocks[self.layer].register_forward_hook(hook),
        ]
        try:
            out = self.generate(self.sizes.tokens, do_sample=False)
        finally:
            for handle in handles:
                handle.remove()
        return out[0, PROMPT_TOKENS:].tolist()

    def generate(self, tokens: int, **settings: Any) -> torch.Tensor:
        ids = torch.tensor([self.ids[:PROMPT_TOKENS]], device=self.device)
        length = {"max_new_tokens": tokens, "min_new_tokens": tokens}
        with torch.no_grad():
            return self.lm.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **length, **settings)

    # ------------------------------------------------------------ times

    def run(self, *recipes: sw.Recipe, tokens: int | None = None) -> Callable[[], object]:
        plans = [Plan(self.prompt, recipe) for recipe in recipes]
        sampling = sw.Sampling(max_new_tokens=tokens or self.sizes.tokens)
        return lambda: generate_rows(self.lm, plans, sampling)

    def measure(self) -> list[Figure]:
        """All figures, printed as they come."""
        tokens = self.sizes.tokens
        steers = {"add": self.direction.add(1.0), "add_relative": self.direction.add_relative(0.01)}
        steers |= {f"clamp {size:,}": sae[7].clamp(20.0) for size, sae in self.saes.items()}
        settings = {"do_sample": True, "temperature": 0.7, "top_k": 50}
        sides = {"plain": lambda: self.generate(tokens, **settings), "unsteered": self.run(sw.Recipe())}
        sides |= {name: self.run(sw.Recipe.of(steer)) for name, steer in steers.items()}
        sides["pair"] = self.run(sw.Recipe(), sw.Recipe.of(steers["add"]))
        sides["sweep"] = self.run(*(sw.Recipe.of(self.direction.add(float(i)) if i else None) for i in range(12)))
        taken = timed({name: self.settled(side) for name, side in sides.items()}, self.sizes.repeat)
        found = [
            self.figure(f"unsteered / {name}, tokens per second", ratios(taken["unsteered"], taken[name]), ">= 0.97")
            for name in steers
        ]
        found.append(self.figure("unsteered / one plain generate", ratios(taken["unsteered"], taken["plain"]), ""))
        found.append(self.figure("pair / one plain generate", ratios(taken["pair"], taken["plain"]), "<= 1.05"))
        found.append(self.figure("sweep of 12 / one plain generate", ratios(taken["sweep"], taken["plain"]), ""))
        found += [*self.lens(), *self.searches(), *self.waits(steers)]
        return found

    def settled(self, side: Callable[[], object]) -> Callable[[], object]:
        """The side, over when the device has done its part."""
        if self.device.type != "cuda":
            return side

        def run() -> None:
            side()
            torch.cuda.synchronize()

        return run

    def figure(self, name: str, values: list[float], reach: str) -> Figure:
        # Of tiny models no time is asked.
        asked = reach if self.sizes is FULL or name.startswith("waits") else ""
        made = keep(f"{self.title}: {name}", values, asked)
        print(f"  {name:<48} {made.told:<30} {made.reach:<8} {made.verdict}", flush=True)
        return made

    def lens(self) -> list[Figure]:
        rows = torch.tensor([self.ids], device=self.device)
        architecture = self.lm.architecture
        dtype = next(self.lm.model.parameters()).dtype
        hidden = torch.randn(architecture.layers * len(self.ids), architecture.d_model).to(self.device, dtype)

        def bare() -> None:
            with torch.no_grad():
                architecture.base(input_ids=rows, use_cache=False)
                for chunk in hidden.split(256):
                    architecture.unembed(chunk)

        taken = timed(
            {"bare": self.settled(bare), "lens": self.settled(lambda: self.lm.logit_lens(self.ids))}, self.sizes.repeat
        )
        name = f"lens of {len(self.ids)} tokens / forward and matmuls"
        return [self.figure(name, ratios(taken["lens"], taken["bare"]), "<= 1.2")]

    def searches(self) -> list[Figure]:
        found = []
        residual = torch.randn(SEARCH_TOKENS, self.lm.architecture.d_model, device=self.device)
        mask = torch.ones(SEARCH_TOKENS, dtype=torch.bool, device=self.device)
        tokens = [Token(0, "")] * SEARCH_TOKENS
        for size, sae in self.saes.items():
            sides = {
                "search": lambda sae=sae: strongest(sae, residual, mask, tokens, 20),
                "bare": lambda sae=sae: (residual @ sae._codec.W_enc).max(dim=0).values.topk(20),
            }
            taken = timed({name: self.settled(side) for name, side in sides.items()}, self.sizes.repeat)
            name = f"search in {size:,} / matmul and top-k"
            found.append(self.figure(name, ratios(taken["search"], taken["bare"]), "<= 1.2"))
        return found

    # ------------------------------------------------------------ waiting

    def waits(self, steers: dict[str, sw.Steer]) -> list[Figure]:
        """What one more token makes the host wait for, beyond the waits of the same run unsteered."""
        plain = self.per_token(lambda tokens: self.generate(tokens, do_sample=True, temperature=0.7, top_k=50))
        own = self.per_token(lambda tokens: self.run(sw.Recipe(), tokens=tokens)())
        found = [
            self.figure("waits a token, plain generate", [plain], ""),
            self.figure("waits a token, unsteered (our sampler's own)", [own], ""),
        ]
        for name, steer in steers.items():
            each = self.per_token(lambda tokens, steer=steer: self.run(sw.Recipe.of(steer), tokens=tokens)())
            found.append(self.figure(f"waits a token that steering adds, {name}", [each - own], "<= 0"))
        return found

    def per_token(self, run: Callable[[int], object]) -> float:
        few, many = 4, 12
        return (self.counted(run, many) - self.counted(run, few)) / (many - few)

    def counted(self, run: Callable[[int], object], tokens: int) -> int:
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.device.type == "cuda" else [])]
        run(tokens)
        with profile(activities=activities) as profiled:
            run(tokens)
        counts = {each.key: each.count for each in profiled.key_averages()}
        # A number that Python asks for waits in a call of CUDA: there that call is what counts.
        names = WAITS[:-1] if self.device.type == "cuda" else WAITS[-1:]
        return sum(counts.get(name, 0) for name in names)


def random_sae(size: int, width: int, layer: int, device: torch.device) -> sw.SAE:
    """A JumpReLU SAE of random weights on the device, where its search is computed."""
    drawn = torch.Generator(device).manual_seed(0)
    W_dec = torch.randn(size, width, generator=drawn, device=device).div_(width**0.5)
    zeros = torch.zeros(size, device=device), torch.zeros(width, device=device)
    settings = {"threshold": 0.5, "layer": layer, "apply_b_dec_to_input": False}
    return sw.SAE(W_dec.T.contiguous(), zeros[0], W_dec, zeros[1], "jumprelu", **settings)


if __name__ == "__main__":
    main()
