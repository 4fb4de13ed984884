"""Files that an earlier version wrote: how each is read, and what is told of it, as plain JSON to compare.

`tests/compat/make_fixtures.py` writes with this what the version of then said, and `test_saved_by_earlier.py` compares.
Only names that the package promises are used, so that both keep working however the package is arranged.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

import steerwidgets as sw
from support.naive import stream_module

IDS = (0, 45, 100, 3, 40, 41, 301, 7)
"""Two of these are special tokens of the tiny tokenizers: 0 and 3."""
PROMPT_LENGTH = 5
TOLERANCE = 1e-6
"""Of the largest number of an array: what float32 can tell, whatever the order of its sums."""

DICTIONARIES: dict[str, Callable[[Path], Any]] = {
    "sae-relu": lambda at: sw.SAE.load(at / "sae-relu"),
    "sae-jumprelu": lambda at: sw.SAE.load(at / "sae-jumprelu"),
    "sae-topk": lambda at: sw.SAE.load(at / "sae-topk"),
    "sae-layer-norm": lambda at: sw.SAE.load(at / "sae-layer-norm"),
    "sae-constant-norm": lambda at: sw.SAE.load(at / "sae-constant-norm"),
    "sae-centred": lambda at: sw.SAE.load(at / "sae-centred"),
    "sae-bfloat16": lambda at: sw.SAE.load(at / "sae-bfloat16"),
    "sae-exported": lambda at: sw.SAE.load(at / "sae-exported"),
    "sae-moved": lambda at: sw.SAE.load(at / "sae-relu", layer=0, stream="resid_pre", labels=["a", "b", "c", "d", "e"]),
    "cav": lambda at: sw.CAV.load(at / "cav.safetensors"),
    "cav-fitted": lambda at: sw.CAV.load(at / "cav-fitted.safetensors"),
    "cav-bare": lambda at: sw.CAV.load(at / "cav-bare.safetensors"),
    "cav-pt": lambda at: sw.CAV.load(at / "cavs.pt", layer=1),
    "cav-gguf": lambda at: sw.CAV.load(at / "cav.gguf"),
    "cav-gguf-layers-0": lambda at: sw.CAV.load_layers(at / "layers.gguf")[0],
    "cav-gguf-layers-1": lambda at: sw.CAV.load(at / "layers.gguf", layer=1),
    "reft": lambda at: sw.ReFT.load(at / "l1"),
    "reft-bare": lambda at: sw.ReFT.load(at / "reft-bare", layer=2),
    "mfa": lambda at: sw.MFA.load(at / "mfa.pt"),
    "mfa-bare": lambda at: sw.MFA.load(at / "mfa-bare.pt"),
    "mfa-centred": lambda at: sw.MFA.load(at / "mfa-centred.pt"),
    "mfa-fitted": lambda at: sw.MFA.load(at / "mfa-fitted.pt"),
    "mfa-state-dict": lambda at: sw.MFA.load(at / "mfa-state-dict.pt", layer=1),
}
"""How each file of a dictionary is read."""

LABELS: dict[str, Callable[[Path], Any]] = {
    "by label": lambda at: sw.Labels.load(at / "labels" / "by_label.json"),
    "by index": lambda at: sw.Labels.load(at / "labels" / "by_index.json", size=7),
    "list": lambda at: sw.Labels.load(at / "labels" / "list.json"),
    "rows": lambda at: sw.Labels.load(at / "labels" / "rows.json"),
    "csv": lambda at: sw.Labels.load(at / "labels" / "labels.csv"),
    "tsv": lambda at: sw.Labels.load(at / "labels" / "labels.tsv", author="person"),
    "metadata": lambda at: sw.Labels.load(at / "labels" / "metadata.jsonl"),
    "neuronpedia": lambda at: sw.Labels.load(at / "labels" / "neuronpedia", layer="1-res-tiny"),
    "several": lambda at: sw.Labels.load([at / "labels" / "labels.csv", at / "labels" / "list.json"]),
    "kept": lambda at: sw.Labels.open(at / "labels.sqlite"),
}
"""How each file of labels is read."""


def model(at: Path) -> sw.LanguageModel:
    """The tiny model of the fixtures."""
    # A name without a folder: an index keeps the name, and so does a snippet.
    assert not at.parts, "the fixtures' folder is the working directory"
    return sw.LanguageModel.from_pretrained("model")


def quiet_model(at: Path, residual: torch.Tensor) -> sw.LanguageModel:
    """The same, its blocks silenced and its embedding filled, so that the residual is `residual` at every block.

    What a recipe does to it is then the op's own arithmetic, and nothing that a matrix product may round elsewhere. The
    last block keeps its MLP, for the neurons.
    """
    lm = model(at)
    with torch.no_grad():
        for block in lm.model.model.layers:
            block.self_attn.o_proj.weight.zero_()
        for block in lm.model.model.layers[:-1]:
            block.mlp.down_proj.weight.zero_()
        lm.model.get_input_embeddings().weight[list(IDS)] = residual
    return lm


def neurons(lm: sw.LanguageModel) -> sw.Neurons:
    """The neurons of its last block."""
    return sw.Neurons(lm, layer=2)


def probes(width: int) -> torch.Tensor:
    """Three directions that any vector can be told by: float32 [width, 3]."""
    grid = torch.arange(1, width + 1, dtype=torch.float64)[:, None] * torch.arange(1, 4, dtype=torch.float64)
    return grid.cos().float()


def change(lm: sw.LanguageModel, recipe: sw.Recipe) -> dict[str, Any]:
    """`h′ − h` of every site of a recipe on the text `IDS`, as seen along the probes: [position][probe]."""
    seen: list[dict[str, torch.Tensor]] = []
    for steers in (None, recipe):
        with torch.no_grad(), lm.steer(steers, prompt_length=PROMPT_LENGTH), _watching(lm, recipe) as found:
            lm.model(input_ids=torch.tensor([list(IDS)]), use_cache=False)
        seen.append(dict(found))
    before, after = seen
    return {site: plain((after[site] - before[site]) @ probes(after[site].shape[-1])) for site in before}


@contextmanager
def _watching(lm: sw.LanguageModel, recipe: sw.Recipe) -> Iterator[dict[str, torch.Tensor]]:
    """Hooks of our own behind those that steer: {site: [position, width]} after every change."""
    found: dict[str, torch.Tensor] = {}
    handles = []
    for site in recipe.sites:
        module, is_input = stream_module(lm.model, site.layer, site.stream)

        def before(_module: Any, args: Any, kwargs: Any, site: Any = site) -> None:
            found[str(site)] = (args[0] if args else kwargs["hidden_states"])[0].clone()

        def after(_module: Any, _args: Any, out: Any, site: Any = site) -> None:
            found[str(site)] = (out[0] if isinstance(out, tuple) else out)[0].clone()

        handles.append(
            module.register_forward_pre_hook(before, with_kwargs=True)
            if is_input
            else module.register_forward_hook(after)
        )
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def dictionary_says(dictionary: Any, residual: torch.Tensor) -> dict[str, Any]:
    """What a dictionary is, knows, and reads in the residual."""
    features = range(dictionary.size)
    return {
        "kind": dictionary.kind,
        "site": str(dictionary.site),
        "size": dictionary.size,
        "width": dictionary.d_model,
        "fingerprint": dictionary.fingerprint,
        "labels": list(dictionary.labels),
        "provenance": dict(dictionary.provenance),
        "statistics": statistics_say(dictionary.statistics),
        "report": plain(getattr(dictionary, "report", None)),
        "encode": plain(dictionary.encode(residual)),
        "activations": plain(dictionary.activations(residual, [dictionary.size - 1, 0])),
        "directions": plain(dictionary.directions() @ probes(dictionary.d_model)),
        "features": [feature_says(dictionary[index]) for index in features],
        "labels_of": [plain(dictionary.labels_of(index)) for index in features],
        **_says_of_kind(dictionary, residual),
    }


def _says_of_kind(dictionary: Any, residual: torch.Tensor) -> dict[str, Any]:
    if dictionary.kind == "SAE":
        acts = dictionary.encode(residual)
        return {"activation": dictionary.activation, "decode": _along(dictionary.decode(acts, residual))}
    if dictionary.kind == "ReFT":
        return {"links": list(dictionary.links), "genres": [list(each) for each in dictionary.genres]}
    if dictionary.kind == "MFA":
        return {
            "centred": dictionary.centred,
            "log likelihood": plain(dictionary.log_likelihood(residual)),
            "loadings": _along(dictionary.loadings(1).T),
        }
    return {}


def feature_says(feature: Any) -> dict[str, Any]:
    """What one feature says of itself."""
    return {
        "key": feature.key,
        "label": feature.label,
        "index": feature.index,
        "norm": feature.norm,
        "ops": {name: [each.name for each in op.parameters] for name, op in feature.ops.items()},
        "full strength": feature.full_strength,
        "known": [feature.max_activation, feature.typical_activation, feature.p995_activation],
        "known of": feature.max_activation_of,
        "made for": feature.made_for,
        "label source": feature.label_source,
        "suggested": plain(feature.suggested),
    }


def statistics_say(statistics: sw.FeatureStatistics | None) -> dict[str, Any] | None:
    """All that is known of the activations over a corpus."""
    if statistics is None:
        return None
    numbers = {
        name: [statistics.of(name, index) for index in range(len(statistics))]
        for name in ("maximum", "typical", "p995", "density")
    }
    return numbers | {"corpus": statistics.corpus, "tokens": statistics.tokens, "source": statistics.source}


def evidence_says(data: Any) -> dict[str, Any]:
    """All that can be seen of every feature."""
    return {"corpus": data.corpus, "features": [plain(data[index]) for index in range(len(data))]}


def labels_say(labels: Any) -> dict[str, Any]:
    """Every label with source and author, and what a search finds."""
    return {
        "all": [plain(labels.of(index)) for index in range(len(labels))],
        "first": list(labels),
        "found": [each.index for each in labels.search("sea")],
    }


def entries_say(user_labels: Any) -> list[Any]:
    """A person's own labels, notes and ratings."""
    return [plain(entry) for entry in user_labels]


def index_says(index: Any, dictionaries: list[Any]) -> dict[str, Any]:
    """A corpus index, and what it says of dictionaries."""
    return {
        "name": index.name,
        "complete": index.complete,
        "counts": [index.texts, index.empty, index.tokens],
        "dictionaries": [[each.fingerprint, each.kind, each.site, each.size] for each in index.dictionaries],
        "lowest": [plain(index.of(each).lowest) for each in dictionaries],
        "statistics": [statistics_say(index.statistics(each)) for each in dictionaries],
        "evidence": [evidence_says(index.of(each)) for each in dictionaries],
    }


def read_lines(path: Path) -> dict[str, Any]:
    """A JSON object of which every entry is a line of its own."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_lines(path: Path, value: Mapping[str, Any]) -> None:
    """The inverse: one entry a line, so that a person can read it and git can tell two apart."""
    lines = [
        f" {json.dumps(name)}: {json.dumps(each, ensure_ascii=False, separators=(',', ':'))}"
        for name, each in value.items()
    ]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def differences(expected: Any, found: Any, at: str = "", *, scale: Any = 0.0) -> Iterator[str]:
    """Where two plain values differ; what `found` says besides is no difference.

    Numbers may be apart by `TOLERANCE` of the largest of their array, of 1, or of `scale`, whichever is most: what came
    of a subtraction is no more exact than the numbers were that it came from.
    """
    if _is_array(expected) and _is_array(found):
        yield from _apart(np.asarray(expected, float), np.asarray(found, float), at, scale)
    elif isinstance(expected, dict) and isinstance(found, dict):
        for name, value in expected.items():
            if name in found:
                yield from differences(value, found[name], f"{at}.{name}", scale=scale)
            else:
                yield f"{at}.{name} is gone"
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for i, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences(one, other, f"{at}[{i}]", scale=scale)
    elif expected != found:
        yield f"{at} was {expected!r} and is {found!r}"


def _is_array(value: Any) -> bool:
    """Whether it is a number, or nested lists of nothing but numbers, of one shape."""
    if isinstance(value, bool) or not isinstance(value, int | float | list):
        return False
    try:
        return np.asarray(value).dtype.kind in "if"
    except ValueError:
        return False


def _apart(expected: np.ndarray, found: np.ndarray, at: str, scale: Any) -> Iterator[str]:
    if expected.shape != found.shape:
        yield f"{at} had the shape {expected.shape} and has {found.shape}"
        return
    apart = np.abs(expected - found)
    largest = np.maximum(np.abs(expected).max(initial=1.0), scale)
    if not (apart <= TOLERANCE * largest).all():
        most = apart.max(initial=0)
        yield f"{at} is off by up to {most:.3g}: it was {expected.tolist()} and is {found.tolist()}"


def _along(vectors: torch.Tensor) -> Any:
    return plain(vectors.float() @ probes(vectors.shape[-1]))


def plain(value: Any) -> Any:
    """As JSON has it: tensors as lists, data classes by their fields, numbers as short as float32 tells them apart."""
    if dataclasses.is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.8g}") if math.isfinite(value) else str(value)
    return value
