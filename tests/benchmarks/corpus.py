"""Measures the corpus index against a bare forward over the same tokens: `python tests/benchmarks/corpus.py`.

The bare forward takes the same batches to the same block and does nothing else; every batch goes through both, one
after the other, so that both see the same machine. What happens once at the end (writing, tokens and neighbours of
all directions) is told apart, since its share falls with the size of the corpus. Then: how long an index takes to open
and one feature to read, here and in a synthetic one of 65,536 features.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from timing import keep

import steerwidgets as sw
from steerwidgets.corpus import building
from steerwidgets.corpus.gathering import Gathering
from steerwidgets.transformer.residuals import _EnoughRead, left_padded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=16_000)
    parser.add_argument("--wide", type=int, default=65_536)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lm, sae = sw.LanguageModel.demo(), sw.SAE.demo()
    print(f"{sae!r}, {torch.get_num_threads()} thread(s)")
    with tempfile.TemporaryDirectory() as folder:
        index = build_beside_forward(lm, sae, texts(), arguments.tokens, Path(folder) / "index")
        read(index.path, sae, "this index")
    with tempfile.TemporaryDirectory() as folder:
        wide(arguments.wide, Path(folder))


def texts() -> list[str]:
    """The texts of the installed packages' own documentation: any corpus does, as long as it is text."""
    import sysconfig

    found = sorted(Path(sysconfig.get_path("purelib")).glob("transformers/models/*/modeling_*.py"))
    return [path.read_text(encoding="utf-8")[:4000] for path in found]


def build_beside_forward(lm, sae, corpus, tokens, folder):
    """Build, with a bare forward after every batch; both timed by the processor time of this process."""
    ours, bare, once = [], [], {}
    fire = building.Build._fire
    add = Gathering.add

    def timed_fire(build, pieces):
        begun = time.process_time()
        found = fire(build, pieces)
        ours.append(time.process_time() - begun)
        begun = time.process_time()
        forward(lm, [piece.ids.tolist() for piece in pieces], sae.site.layer)
        bare.append(time.process_time() - begun)
        return found

    def timed_add(gathering, batch, firing):
        begun = time.process_time()
        add(gathering, batch, firing)
        ours[-1] += time.process_time() - begun

    for name in ("_merge", "_write"):
        once[name] = 0.0
        setattr(building.Build, name, summed(getattr(building.Build, name), name, once))
    building.Build._fire, building.Gathering.add = timed_fire, timed_add
    begun = time.process_time()
    index = sw.corpus.build(lm, sae, corpus, folder, max_tokens=tokens, on_progress=lambda _: None, max_length=512)
    whole = time.process_time() - begun
    building.Build._fire, building.Gathering.add = fire, add
    rate = index.tokens / sum(bare)
    print(
        f"{index.tokens:,} tokens in {len(bare)} batches; bare forward to block {sae.site.layer}: {rate:.0f} tokens/s"
    )
    keep("speed of a corpus index / bare forward", [sum(bare) / sum(ours)], ">= 0.9")
    print(f"  speed of the build / bare forward: {sum(bare) / sum(ours):.3f} (>= 0.9); by halves", end=" ")
    half = len(bare) // 2
    print(", ".join(f"{sum(bare[part]) / sum(ours[part]):.3f}" for part in (slice(half), slice(half, None))))
    print(f"  once: writing {once['_write']:.1f} s, of which putting parts together {once['_merge']:.1f} s;", end=" ")
    print(f"tokenizing, directions and the rest {whole - sum(ours) - sum(bare) - once['_write']:.1f} s")
    size = sum(path.stat().st_size for path in index.path.rglob("*") if path.is_file())
    print(f"  {size / 1e6:.1f} MB on disk")
    return index


def summed(method, name, into):
    def timed(*given, **named):
        begun = time.process_time()
        try:
            return method(*given, **named)
        finally:
            into[name] += time.process_time() - begun

    return timed


def forward(lm, rows, layer):
    """The same batch through the same blocks, with a hook that ends it and does no more."""
    ids, mask = left_padded(rows, padding=0)
    absolute = (mask.cumsum(-1) - 1).clamp(min=0)

    def end(*_):
        raise _EnoughRead

    handle = lm.architecture.blocks[layer].register_forward_hook(end)
    try:
        with torch.no_grad():
            lm.architecture.base(input_ids=ids, attention_mask=mask, position_ids=absolute, use_cache=False)
    except _EnoughRead:
        pass
    finally:
        handle.remove()


def read(path, sae, what):
    begun = time.perf_counter()
    index = sw.corpus.open(path)
    opened = time.perf_counter() - begun
    data = index.of(sae)
    first = taken_by(data, 1)
    drawn = torch.randint(0, len(data), (50,), generator=torch.Generator().manual_seed(0)).tolist()
    again = statistics.median(taken_by(data, feature) for feature in drawn)
    print(
        f"{what}: opened in {1000 * opened:.1f} ms; processor time of the first feature {1000 * first:.1f} ms,", end=" "
    )
    print(f"{1000 * first:.1f} ms, of another one {1000 * again:.1f} ms (median of 50)")


def taken_by(data, feature):
    begun = time.process_time()
    data[feature]
    return time.process_time() - begun


def wide(size, folder):
    """A dictionary of 65k features on random residuals of a tiny model: only the index' own work counts."""
    import sys

    sys.path.insert(0, str(Path(__file__).parent.parent))
    from support import corpora, models, toks

    lm = sw.LanguageModel(models.make("llama"), toks.byte_level())
    drawn = torch.Generator().manual_seed(0)
    W = torch.randn(size, models.D_MODEL, generator=drawn)
    sae = sw.SAE(W.T.contiguous(), torch.zeros(size), W, torch.zeros(models.D_MODEL), "topk", k=32, layer=1)
    begun = time.process_time()
    index = sw.corpus.build(lm, sae, corpora.texts(1500, longest=60), folder / "wide", on_progress=lambda _: None)
    taken = time.process_time() - begun
    print(f"{size:,} features, {index.tokens:,} tokens of a tiny model: {taken:.1f} s in all")
    read(index.path, sae, f"{size:,} features")


if __name__ == "__main__":
    main()
