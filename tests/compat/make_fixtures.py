"""Writes `from_0_1_0/`: files of every kind as version 0.1.0 wrote them, and what that version said of them.

Run once, at commit 920ff69 with the fix 09dc1dc on top, in an environment with the extras `corpus` and `concepts`:

    python tests/compat/make_fixtures.py

A later version must read these files, so they are never written again: a new form of a file gets a folder of its own,
`from_<version>/`, beside this one. Paths in the files are relative, since the folder is made with itself as the working
directory; the tiny model lies in it, so that nothing depends on how a library draws random numbers.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]  # the tests, and the package beside them
OUT = HERE / "from_0_1_0"
D, SIZE, RANK, NEURONS = 32, 5, 2, 12

# The labels of whoever runs this are none of a fixture's business.
os.environ["STEERWIDGETS_DATA"] = tempfile.mkdtemp(prefix="steerwidgets-fixtures-")

import transformers  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from steerwidgets.control_vectors import export_control_vector  # noqa: E402
from support import corpora, mfa, models, saved, toks  # noqa: E402

import steerwidgets as sw  # noqa: E402

NAMES = ["the sea and sailing", "cooking, “quoted”", "", "města (cities)", "海 and 🌊"]
"""Labels with what files have to keep: commas, quotes, nothing, accents, other scripts."""


def drawn(*shape: int, seed: int) -> torch.Tensor:
    """Seeded numbers of three decimals."""
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 1000).round() / 1000


def residual() -> torch.Tensor:
    """The residual that everything is read in [position, width]; position 6 is an attention sink."""
    h = 2 * drawn(len(saved.IDS), D, seed=1)
    h[6] *= 15
    return h


def statistics(seed: int = 5) -> sw.FeatureStatistics:
    """Statistics with every array; of one feature nothing is known."""
    maximum, typical, p995 = (drawn(SIZE, seed=seed + i).abs() + i for i in (3, 1, 2))
    maximum[2] = torch.nan
    return sw.FeatureStatistics(maximum, typical, p995, torch.linspace(0, 0.2, SIZE), "a tiny corpus", 12_345)


# The model and its dictionaries


def write_model() -> None:
    """A Llama of three blocks and its tokenizer: half-precision numbers, read as float32."""
    sizes = {"num_hidden_layers": 3, "intermediate_size": NEURONS, "num_attention_heads": 2, "num_key_value_heads": 1}
    made = models.make("llama", tie_word_embeddings=True, **sizes)
    made.config.dtype = torch.float32
    made.config.save_pretrained("model")
    weights = {name: value.half().contiguous() for name, value in made.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, "model/model.safetensors", {"format": "pt"})
    toks.byte_level().save_pretrained("model")


def sae(activation: str = "relu", seed: int = 10, **settings: Any) -> sw.SAE:
    """An SAE of five features."""
    tensors = {
        "W_enc": drawn(D, SIZE, seed=seed) / 4,
        "b_enc": drawn(SIZE, seed=seed + 1) / 4,
        "W_dec": drawn(SIZE, D, seed=seed + 2) / 4,
        "b_dec": drawn(D, seed=seed + 3) / 4,
    }
    return sw.SAE(**tensors, activation=activation, **{"layer": 1} | settings)


def write_saes() -> None:
    """Folders of every activation function, normalisation and centring that is saved."""
    relu = sae(labels=NAMES, provenance={"model": "model"})
    relu.statistics = statistics()
    relu.save("sae-relu")
    threshold = drawn(SIZE, seed=9).abs()
    jumprelu = sae("jumprelu", 20, threshold=threshold, apply_b_dec_to_input=False)
    jumprelu.save("sae-jumprelu")
    topk = sae("topk", 30, k=2, labels={"only one": 3}, rescale_acts_by_decoder_norm=True)
    topk.save("sae-topk")
    sae(seed=40, normalize_activations="layer_norm").save("sae-layer-norm")
    sae(seed=50, normalize_activations="constant_norm_rescale", stream="mlp_out").save("sae-constant-norm")
    sae(seed=60, center_input=True, max_activations={1: 4.5}, max_activation_of="ten texts").save("sae-centred")
    sw.SAE(**{name: value.bfloat16() for name, value in sae(seed=70).tensors().items()}, layer=1).save("sae-bfloat16")
    sae(seed=80, labels=NAMES, normalize_activations="expected_average_only_in", norm_scaling_factor=0.5).export(
        "sae-exported"
    )


def write_cavs(lm: sw.LanguageModel) -> None:
    """safetensors with all and with little in them, one with a fit's report, `.pt`, GGUF of one block and of two."""
    rows = drawn(SIZE, D, seed=90)
    suggested = [("add", {"alpha": 2.5}), None, ("clip", {"lo": -1.0, "hi": 1.0}), None, None]
    full = sw.CAV(rows, NAMES, layer=1, suggested=suggested, provenance={"model": "model", "how": "drawn"})
    full.statistics = statistics(50)
    full.save("cav.safetensors")
    sw.CAV(rows, layer=0, stream="mlp_out", max_activations=[1.5, None, 2, None, 0.5], max_activation_of="ten").save(
        "cav-bare.safetensors"
    )
    texts, labels = zip(*[(text, ["sea", "other"][i % 2]) for i, text in enumerate(corpora.texts(16))], strict=True)
    sw.CAV.fit(lm, texts, labels, layer=1, method="mean_difference", held_out=0.25).save("cav-fitted.safetensors")
    torch.save({"cavs": rows, "labels": NAMES}, "cavs.pt")
    full.to_gguf("cav.gguf", 0, model_hint="llama")
    other = sw.Direction(drawn(D, seed=91), sw.Site(0), "other")
    export_control_vector("layers.gguf", full[1].add(2) + full[0].add(1) + other.add(-1), model_hint="llama")


def write_refts() -> None:
    """A folder with all that its metadata and statistics hold, and one with nothing but rows."""
    full = sw.ReFT(
        drawn(SIZE, D, seed=100) / 6,
        layer=1,
        labels=NAMES,
        links=["https://www.neuronpedia.org/a/1", None, None, None, None],
        genres=[("text",), ("code", "math"), (), (), ("text",)],
        suggested=[("add", {"alpha": 20.0}), None, None, ("clamp", {"alpha": 3.0}), None],
    )
    full.statistics = statistics(110)
    full.save("l1")
    sw.ReFT(drawn(SIZE, D, seed=101) / 6, layer=2, max_activations=[1, None, 2, 3, 4]).save("reft-bare")


def write_mfas(lm: sw.LanguageModel) -> None:
    """Files with rotations, statistics and a report; the reference's own form, a bare state_dict."""
    make = lambda **changes: mfa.make_state(SIZE, D, RANK, **changes)
    full = sw.MFA(*make(seed=1, rotation="varimax"), layer=1, labels=NAMES, provenance={"model": "model"})
    full.statistics = statistics(120)
    full.save("mfa.pt")
    sw.MFA(*make(seed=2, per_component=True), layer=0, stream="resid_pre").save("mfa-bare.pt")
    sw.MFA(*make(seed=3, rotation="oblimin"), layer=1, centred=True).save("mfa-centred.pt")
    texts = corpora.texts(12, seed=4)
    sw.MFA.fit(lm, texts, layer=1, components=3, rank=1, epochs=2, held_out=0.2).save("mfa-fitted.pt")
    torch.save(make(seed=5)[0], "mfa-state-dict.pt")


# What is known of features


def write_feature_data() -> None:
    """Evidence with all that it may hold, and with the least."""
    whole = windows("") | windows("random.") | windows("quantiles.", 2)
    whole |= {"quantiles.bounds": torch.tensor([[1.0, 2.0], [0.0, 1.0]]).repeat(SIZE, 1, 1)}
    for i, name in enumerate(("promoted", "suppressed", "nearest", "coactive")):
        ids = torch.arange(SIZE * 3).view(SIZE, 3) + i
        whole |= {f"{name}.ids": ids, f"{name}.values": drawn(SIZE, 3, seed=130 + i).abs()}
    whole |= {"counts": (torch.arange(SIZE * 4) * 9).view(SIZE, 4).to(torch.uint8)}
    whole |= {"histogram_top": drawn(SIZE, seed=140).abs()}
    sw.FeatureData(whole, ["news", "letters"], "a tiny corpus").save("features.safetensors")
    least = {name: value for name, value in whole.items() if not name.startswith(("random", "quantiles", "coactive"))}
    sw.FeatureData(least, ["news"] * 2).save("features-least.safetensors")


def windows(group: str, *bands: int) -> dict[str, torch.Tensor]:
    """Two examples of five tokens for each feature; the last one is shorter, or not there."""
    shape = (SIZE, *bands, 2)
    lengths = torch.full(shape, 5, dtype=torch.uint8)
    lengths[..., -1] = torch.tensor([3, 0, 5, 1, 2], dtype=torch.uint8).view(SIZE, *[1 for _ in bands])
    levels = (torch.arange(lengths.numel() * 5) * 37 % 256).view(*shape, 5).to(torch.uint8)
    return {
        f"{group}tokens": (torch.arange(lengths.numel() * 5) % 320).view(*shape, 5).int(),
        f"{group}values": levels,
        f"{group}lengths": lengths,
        f"{group}peaks": torch.zeros(shape, dtype=torch.uint8),
        f"{group}sources": (torch.arange(lengths.numel()) % 2).view(shape).to(torch.uint8),
        f"{group}tops": drawn(*shape, seed=150).abs(),
    }


def write_labels() -> None:
    """Labels in the forms of the field, and kept with their index in one file."""
    folder = Path("labels")
    (folder / "neuronpedia").mkdir(parents=True)
    write = lambda name, text: (folder / name).write_text(text, encoding="utf-8")
    as_json = lambda value: json.dumps(value, ensure_ascii=False, indent=1) + "\n"
    named = [(i, name) for i, name in enumerate(NAMES) if name]
    write("by_label.json", as_json({name: i for i, name in named}))
    write("by_index.json", as_json({str(i): name for i, name in named}))
    write("list.json", as_json(NAMES))
    rows = [{"index": i, "label": name, "source": "a reader", "author": "person"} for i, name in named]
    write("rows.json", as_json([*rows, {"index": 0, "label": "sea, again"}]))
    write("labels.csv", 'index,label,author\n0,the sea,person\n3,"cities, towns",language model\n')
    write("labels.tsv", "feature\tdescription\n0\tthe sea\n3\tcities\n")
    metadata = [{"concept_id": i, "concept": name, "ref": None, "concept_genres_map": {name: []}} for i, name in named]
    write("metadata.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in metadata))
    for batch, layer in enumerate(("1-res-tiny", "2-res-tiny", "1-res-tiny")):
        row = {"modelId": "tiny", "layer": layer, "index": str(batch), "description": f"sea of {layer}"}
        row |= {"explanationModelName": "gpt-4o-mini", "typeName": "oai_token-act-pair"}
        packed = gzip.compress((json.dumps(row) + "\n").encode(), mtime=0)
        (folder / "neuronpedia" / f"batch-{batch}.jsonl.gz").write_bytes(packed)
    sw.Labels.load(folder / "rows.json", size=SIZE, file="labels.sqlite").close()
    kept = Path("labels.sqlite")
    Path("labels.sqlite.gz").write_bytes(gzip.compress(kept.read_bytes(), mtime=0))  # mostly empty pages


def write_user_labels() -> None:
    """A user's own labels, in the database and exported, on two dictionaries."""
    for each in (sw.SAE.load("sae-relu"), sw.CAV.load("cav.safetensors")):
        own = each.user_labels
        own.set(0, label="my sea 🌊", note="tides\nand “harbours”", rating=4)
        own.set(2, rating=1)
        own.set(4, note="unclear")
        own.export_json(f"verdicts-{each.kind}.json")
        own.close()
    # Closed by the last connection, the database has all in its one file.
    shutil.copy(Path(os.environ["STEERWIDGETS_DATA"]) / "user_labels.sqlite", "user_labels.sqlite")
    for left in Path(os.environ["STEERWIDGETS_DATA"]).iterdir():
        left.unlink()


# The corpus index


def write_corpora(lm: sw.LanguageModel) -> dict[str, Any]:
    """A finished index, and one of a run that broke off; what the first says."""
    texts = [*corpora.texts(24, longest=12), ""]
    Path("texts.json").write_text(json.dumps(texts, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    whole = sw.corpus.build(lm, indexed(), texts, "index", on_progress=lambda _: None, **settings())
    broken = []

    def breaks(progress: Any) -> None:
        broken.append(progress)
        if len(broken) == 4:
            raise KeyboardInterrupt

    try:
        sw.corpus.build(lm, indexed(), texts, "index-broken", on_progress=breaks, **settings())
    except KeyboardInterrupt:
        return saved.index_says(whole, indexed())
    raise AssertionError("the run did not break off")


def settings() -> dict[str, Any]:
    """How the corpus was read: windows of few texts, so that a run can be left in the middle."""
    return {
        "batch_tokens": 8,
        "examples": 2,
        "quantiles": 2,
        "per_quantile": 1,
        "random": 1,
        "bins": 6,
        "context": [4, 2],
        "name": "tiny",
    }


def indexed() -> list[Any]:
    """The dictionaries in the index."""
    return [saved.DICTIONARIES["sae-relu"](Path()), saved.DICTIONARIES["mfa"](Path())]


# Recipes


def recipes(lm: sw.LanguageModel) -> dict[str, sw.Recipe]:
    """Every op of every kind, positions of every form, controls, and steers that have to be solved together."""
    loaded = {name: saved.DICTIONARIES[name](Path()) for name in saved.DICTIONARIES}
    bare = loaded["cav"][0] - 0.5 * loaded["cav"][1]
    found = (
        of_direction(bare, "direction")
        | of_direction(loaded["cav"][3], "cav")
        | of_direction(loaded["reft"][1], "reft")
    )
    found |= {"reft clamp": loaded["reft"][1].clamp(2.5)}
    for name in ("sae-relu", "sae-jumprelu", "sae-topk", "sae-layer-norm", "sae-centred"):
        feature = loaded[name][1]
        steers = {"add": feature.add(3), "add_relative": feature.add_relative(-0.25), "ablate": feature.ablate()}
        steers |= {"clamp": feature.clamp(4.5), "scale": feature.scale(-1.5)}
        found |= {f"{name} {op}": steer for op, steer in steers.items()}
    for name in ("mfa", "mfa-centred"):
        component = loaded[name][2]
        found |= {
            f"{name} pull": component.pull(0.5, {1: 3.0}),
            f"{name} add": component.add(1.5),
            f"{name} add_relative": component.add_relative(0.1),
            f"{name} ablate": component.ablate(),
            f"{name} mixture pull": loaded[name].mixture.pull(0.6),
            f"{name} mixture pull z": loaded[name].mixture.pull(0.25, [2.0, -1.0]),
            f"{name} mixture pull z of some": loaded[name].mixture.pull(0.25, {0: {1: 5.0}, 3: [1.0, 2.0]}),
        }
    found |= of_neuron(saved.neurons(lm)[5])
    found |= at_positions(loaded["cav"][0]) | controlled(found) | together(loaded, bare)
    return {name: sw.Recipe.of(steers) for name, steers in found.items()} | {"nothing": sw.Recipe()}


def of_direction(feature: sw.Direction, name: str) -> dict[str, Any]:
    """The five ops that every direction takes."""
    steers = {
        "add": feature.add(-2.5),
        "add_relative": feature.add_relative(0.5),
        "ablate": feature.ablate(),
        "project": feature.project(-0.5),
        "clip": feature.clip(-0.5, 1.25),
        "clip above": feature.clip(lo=0.5),
        "clip below": feature.clip(hi=0.5),
    }
    return {f"{name} {op}": steer for op, steer in steers.items()}


def of_neuron(neuron: Any) -> dict[str, Any]:
    """The ops of a neuron."""
    steers = {
        "add": neuron.add(2),
        "add_relative": neuron.add_relative(0.5),
        "ablate": neuron.ablate(),
        "clip": neuron.clip(-0.1, 0.1),
        "set": neuron.set(3),
        "scale": neuron.scale(-2),
    }
    return {f"neuron {op}": steer for op, steer in steers.items()}


def at_positions(feature: sw.Direction) -> dict[str, Any]:
    """Positions of every form, each with special tokens and without."""
    steer = feature.add(2)
    forms: dict[str, tuple[Any, int | None]] = {
        name: (name, None) for name in ("all", "prompt", "generated", "last_prompt")
    }
    forms |= {"first": ("first", 3), "after": ("after", 2), "indices": ([1, 3, 6], None)}
    return {
        f"at {name}{'' if special else ', not special'}": steer.at(where, count=count, special=special)
        for name, (where, count) in forms.items()
        for special in (True, False)
    }


def controlled(steers: dict[str, Any]) -> dict[str, Any]:
    """Random directions in place of some of the steers."""
    names = (
        "direction add",
        "cav project",
        "reft clamp",
        "sae-relu clamp",
        "mfa pull",
        "neuron set",
        "cav add_relative",
    )
    found = {f"{name}, random direction": steers[name].random_direction(7) for name in names}
    return found | {"cav add, random direction at prompt": steers["cav add"].random_direction().at("prompt")}


def together(loaded: dict[str, Any], bare: sw.Direction) -> dict[str, Any]:
    """Several steers of one site, solved together or summed, and of several sites."""
    cav, sae_ = loaded["cav"], loaded["sae-relu"]
    return {
        "ablations": cav[0].ablate() + cav[1].ablate() + cav[2].clip(0, 1) + bare.project(2),
        "clamps": sae_[0].clamp(2) + sae_[1].scale(0) + sae_[2].add(1),
        "twice the same": cav[0].add(1) + cav[0].add(1),
        "setters apart": cav[0].project(2).at("prompt") + cav[0].ablate().at("generated"),
        "every kind": cav[0].add(1)
        + sae_[3].clamp(5)
        + loaded["reft"][0].add(4).at("prompt")
        + loaded["mfa"][1].pull(0.2)
        + bare.ablate().at([2, 3]),
    }


def elsewhere() -> dict[str, sw.Recipe]:
    """Directions at every stream; these are only read again, since a silenced block has nothing there."""
    resid, inner = ("resid_pre", "resid_mid", "resid_post"), ("attn_z", "mlp_in", "mlp_normalized", "mlp_acts")
    streams = (*resid, *inner, "attn_out", "mlp_out")
    vector = drawn(D, seed=160)
    return {stream: sw.Recipe.of(sw.Direction(vector, sw.Site(1, stream), stream).add(1)) for stream in streams}


def recipe_json(recipe: sw.Recipe, *, inline: bool = False) -> Any:
    """A recipe as it is written; None where it can't be written out."""
    try:
        return json.loads(recipe.to_json(inline=inline))
    except ValueError:
        return None


# What a panel leaves


def write_panel(lm: sw.LanguageModel) -> None:
    """What a panel exports: its JSON, which holds the recipe as set and as run, and the snippet that makes the run."""
    sae_, cav = saved.DICTIONARIES["sae-relu"](Path()), saved.DICTIONARIES["cav"](Path())
    recipe = cav["the sea and sailing"].add(3).at("generated") + sae_[1].clamp(5).at([2, 3]) + cav[1].ablate()
    panel = sw.SteeringPanel(lm, [cav, sae_], prompt="Name a city.", recipe=recipe, max_new_tokens=6, temperature=0.0)
    panel.generate()
    state = json.loads(panel.to_json())
    kept = ("recipe_json", "steers", "positions", "settings", "snippet", "result", "prompt", "chat")
    panel_said = {name: state[name] for name in kept} | {"fingerprint": recipe.fingerprint}
    lens = json.loads(sw.LogitLens(lm, "Name a city.", recipe.at("all")).to_json())
    panel_said["lens"] = {"recipe_json": lens["recipe_json"], "fingerprint": recipe.at("all").fingerprint}
    saved.write_lines(Path("panel.json"), panel_said)
    Path("snippet.py.txt").write_text(panel.snippet, encoding="utf-8")


def write_training(lm: sw.LanguageModel) -> dict[str, Any]:
    """The state of a ReFT training that was stopped after two steps, and where the whole one ends."""
    texts = corpora.texts(12, seed=8, longest=8)
    stop, steps = threading.Event(), []

    def stops(progress: Any) -> None:
        steps.append(progress)
        if len(steps) == 2:
            stop.set()

    train = {"label": "sea", "layer": 1, "held_out": 0.0}
    sw.ReFT.fit(lm, texts[:6], texts[6:], **train, state="reft-training.pt", stop=stop, on_step=stops)
    whole = sw.ReFT.fit(lm, texts[:6], texts[6:], **train)
    return {"texts": texts, "train": train, "weight": saved.plain(whole.weight)}


# All of it


def main() -> None:
    """Write the folder."""
    if OUT.exists():
        sys.exit(f"{OUT.name} is there, and what an earlier version wrote is never written again.")
    torch.set_num_threads(1)
    OUT.mkdir()
    os.chdir(OUT)
    here, h = Path(), residual()
    write_model()
    lm = saved.model(here)
    write_saes()
    write_cavs(lm)
    write_refts()
    write_mfas(lm)
    statistics().save("statistics.safetensors")
    write_feature_data()
    write_labels()
    expected: dict[str, Any] = {"made by": made_by(), "residual": saved.plain(h), "corpus settings": settings()}
    for name, load in saved.DICTIONARIES.items():
        expected[f"dictionary {name}"] = saved.dictionary_says(load(here), h)
    for name, load in saved.LABELS.items():
        expected[f"labels {name}"] = saved.labels_say(load(here))
    expected["statistics"] = saved.statistics_say(sw.FeatureStatistics.load("statistics.safetensors"))
    for name in ("features", "features-least"):
        expected[name] = saved.evidence_says(sw.FeatureData.load(f"{name}.safetensors"))
    quiet = saved.quiet_model(here, h)
    expected["neurons"] = saved.dictionary_says(saved.neurons(quiet), drawn(3, NEURONS, seed=170))
    expected["neurons read"] = saved.plain(drawn(3, NEURONS, seed=170))
    expected["training"] = write_training(lm)
    expected["index"] = write_corpora(lm)
    write_recipes(quiet)
    write_panel(lm)
    write_user_labels()
    own = json.loads(Path("verdicts-SAE.json").read_text(encoding="utf-8"))
    expected["entries"] = own["entries"]
    saved.write_lines(Path("expected.json"), expected)
    Path("labels.sqlite").unlink()


def write_recipes(quiet: sw.LanguageModel) -> None:
    """By fingerprint, written out in full, and what each does."""
    made = recipes(quiet)
    everywhere = made | {f"at {stream}": recipe for stream, recipe in elsewhere().items()}
    saved.write_lines(Path("recipes.json"), {name: recipe_json(recipe) for name, recipe in everywhere.items()})
    inline = {name: recipe_json(recipe, inline=True) for name, recipe in made.items() if not name.startswith("at ")}
    # Bare directions are written out anyway; TopK and mixtures can't be.
    inline = {name: value for name, value in inline.items() if value not in (None, recipe_json(made[name]))}
    saved.write_lines(Path("recipes-inline.json"), inline)
    says: dict[str, Any] = {name: {"fingerprint": recipe.fingerprint} for name, recipe in everywhere.items()}
    for name, recipe in made.items():
        says[name]["change"] = saved.change(quiet, recipe)
    saved.write_lines(Path("recipes-expected.json"), says)


def made_by() -> dict[str, str]:
    """Which versions wrote the folder."""
    commit = subprocess.run(["git", "-C", str(HERE), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return {"commit": commit.stdout.strip(), "torch": torch.__version__, "transformers": transformers.__version__}


if __name__ == "__main__":
    main()
