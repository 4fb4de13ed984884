"""Measures SAE steering and reading against the reference clamp, in one run: `python tests/benchmarks/sae.py`.

The reference is what a user of sae_lens writes (and what its error term does): two encodes and two decodes of the whole
SAE to overwrite one latent, one encode to read one. Weights are random; only their size matters. Every ratio is one of
medians of interleaved repetitions.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from timing import keep, ratios, timed

import steerwidgets as sw
from steerwidgets.dictionaries.activations import strongest
from steerwidgets.transformer.prompts import Token

D_MODEL = 2304
WIDTHS = {"16k": 16_384, "65k": 65_536, "262k": 262_144}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", nargs="+", choices=WIDTHS, default=["16k", "65k"])
    parser.add_argument("--repeat", type=int, default=7)
    arguments = parser.parse_args()
    print(f"d_model {D_MODEL}, float32, {torch.get_num_threads()} thread(s)")
    for name in arguments.widths:
        measure(name, WIDTHS[name], arguments.repeat)


def measure(name: str, width: int, repeat: int) -> None:
    sae = random_sae(width)
    codec = sae._codec
    begun = time.perf_counter()
    feature = sae[123]
    print(f"{name}: first feature (its fingerprint reads all weights)  {1000 * (time.perf_counter() - begun):.0f} ms")
    for positions in (1, 128):
        h = torch.randn(1, positions, D_MODEL)
        sides = {
            "ours": lambda h=h: feature.change("clamp", {"c": 20.0}, h),
            "reference": lambda h=h: reference_clamp(codec, h, 123, 20.0) - h,
            "read": lambda h=h: feature.activation(h),
            "encode": lambda h=h: reference_encode(codec, h)[..., 123],
        }
        torch.testing.assert_close(sides["ours"](), sides["reference"](), atol=1e-3, rtol=1e-3)
        taken = timed(sides, repeat)
        seconds = {name: statistics.median(values) for name, values in taken.items()}
        print(f"{name}, {positions} token(s):")
        report("  clamp", seconds["ours"], "reference clamp", seconds["reference"])
        report("  read one feature", seconds["read"], "whole encode", seconds["encode"])
        keep(f"the tutorial's clamp / ours, {name}, {positions} token(s)", ratios(taken["reference"], taken["ours"]))
        keep(f"whole encode / reading one, {name}, {positions} token(s)", ratios(taken["encode"], taken["read"]))
    residual, mask = torch.randn(256, D_MODEL), torch.ones(256, dtype=torch.bool)
    tokens = [Token(0, "")] * 256
    sides = {
        "search": lambda: strongest(sae, residual, mask, tokens, 20),
        "bare": lambda: (residual @ codec.W_enc).max(dim=0).values.topk(20),
    }
    taken = timed(sides, max(3, repeat // 2))
    figure = keep(f"search in {name} / matmul and top-k", ratios(taken["search"], taken["bare"]), "<= 1.2")
    print(f"  which features fire, 256 tokens: {statistics.median(taken['search']):.2f} s, {figure.told} (<= 1.2)")


def random_sae(width: int) -> sw.SAE:
    generator = torch.Generator().manual_seed(0)
    W_dec = torch.randn(width, D_MODEL, generator=generator).div_(D_MODEL**0.5)
    W_enc = W_dec.T.contiguous()
    zeros = torch.zeros(width), torch.zeros(D_MODEL)
    return sw.SAE(W_enc, zeros[0], W_dec, zeros[1], "jumprelu", threshold=0.5, layer=0, apply_b_dec_to_input=False)


def reference_encode(codec, h):
    pre = h @ codec.W_enc + codec.b_enc
    return pre.relu() * (pre > codec.threshold)


def reference_clamp(codec, h, index, value):
    def decode(acts):
        return acts @ codec.W_dec + codec.b_dec

    error = h - decode(reference_encode(codec, h))
    acts = reference_encode(codec, h)
    acts[..., index] = value
    return decode(acts) + error


def report(what: str, ours: float, other_name: str, other: float) -> None:
    print(f"{what}: {1e6 * ours:.0f} µs, {other_name} {1000 * other:.1f} ms, {other / ours:.0f} × faster")


if __name__ == "__main__":
    with torch.no_grad():
        main()
