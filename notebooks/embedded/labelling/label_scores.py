"""How well labels predict where features fire, on held-out texts that the labeller had not seen.

`python -m embedded.labelling.label_scores` compares the labellers' `predictions-N.json`, written down before
anybody looked at the activations, with what the texts are, and writes `steerwidgets/demo/sae_labels.json`.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embedded import SHIPPED
from embedded.features.sampled_activations import FIRST, SampledActivations
from embedded.labelling.label_sheets import FOLDER, WRITTEN, written_labels
from embedded.labelling.sae_steering import REPORT

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.dictionaries.sae.sae import SAE

LABELS: Final = SHIPPED / "sae_labels.json"
AUTHOR: Final = "language model"
_HARD: Final = ("same token", "near feature", "label's words")


def score(predicted: list[float], kinds: list[str]) -> dict[str, Any]:
    """A label's scores.

    Args:
        predicted: for each text, how likely the feature fires there, by the label.
        kinds: for each text, why it is in the sheet; the feature fires in those of kind `fires` alone.

    Returns:
        `auroc` over all texts; `auroc_hard` against the hard negatives alone; `missed`, of the texts that the label
        covers by its prediction (above one half), how many do not fire; `texts`, how many there are.

    Raises:
        ValueError: there are not as many predictions as texts.
    """
    import torch

    from steerwidgets.dictionaries.cav.directions import auroc

    if len(predicted) != len(kinds):
        raise ValueError(f"There are {len(kinds)} texts, but {len(predicted)} predictions.")

    def of(*wanted: str) -> Tensor:
        return torch.tensor([p for p, kind in zip(predicted, kinds, strict=True) if kind in wanted])

    quiet = {kind for kind in kinds if kind != "fires"}
    covered = [kind for p, kind in zip(predicted, kinds, strict=True) if p > 0.5]
    hard = of(*_HARD)
    return {
        "auroc": round(auroc(of("fires"), of(*quiet)), 3),
        "auroc_hard": round(auroc(of("fires"), hard), 3) if len(hard) else None,
        "missed": [sum(kind != "fires" for kind in covered), len(covered)],
        "texts": len(kinds),
    }


def collected(sae: SAE, folder: Path = FOLDER, written: Path = WRITTEN) -> dict[str, dict[str, Any]]:
    """Every label of this SAE with its scores; features that nobody understands without."""
    labels: dict[str, dict[str, Any]] = {}
    steering = _steering(REPORT)
    fires = SampledActivations.load(folder.parent / "sampled" / "heldout.npz")
    for number, entries in written_labels(sae, written).items():
        predictions = json.loads((written / f"predictions-{number}.json").read_text())
        answers = json.loads((folder / f"answers-{number}.json").read_text())
        for index, entry in entries.items():
            if not entry["understood"]:
                labels[index] = {"understood": False}
                continue
            told = zip(predictions[index], _kinds(fires, int(index), answers[index]), strict=True)
            kept = [(predicted, kind) for predicted, kind in told if kind != "dropped"]
            scores = score([predicted for predicted, _ in kept], [kind for _, kind in kept])
            labels[index] = (
                {"understood": True, "label": entry["label"], "by": AUTHOR} | scores | steering.get(index, {})
            )
    return dict(sorted(labels.items(), key=lambda item: int(item[0])))


def _kinds(fires: SampledActivations, feature: int, texts: list[dict[str, Any]]) -> list[str]:
    """Why each text is in a sheet; `dropped` where the feature fires at the beginning of a row alone."""
    rows, positions, _ = fires.of(feature)
    own = {(int(row), int(position)) for row, position in zip(rows, positions, strict=True) if position >= FIRST}
    kinds = []
    for text in texts:
        fired = any((text["row"], position) in own for position in range(text["first"], text["last"]))
        kinds.append("fires" if fired else "dropped" if text["kind"] == "fires" else text["kind"])
    return kinds


def _steering(report: Path) -> dict[str, dict[str, Any]]:
    """For each feature that was tried, `steers`: its strength, where text breaks, and the answers on its topic."""
    if not report.exists():
        return {}
    held = json.loads(report.read_text(encoding="utf-8"))
    marked = {}
    for index, result in held["tested"].items():
        tried = held["tried"][index]
        on_topic = [result["steered"], result["answers"]]
        marked[index] = {"steers": {"strength": tried["strength"], "breaks": tried["breaks"], "on_topic": on_topic}}
    return marked


def main() -> None:
    """Score all labels and ship them."""
    from steerwidgets.dictionaries.sae.sae import SAE

    labels = collected(SAE.demo())
    LABELS.write_text(json.dumps(labels, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    scored = [entry for entry in labels.values() if "auroc" in entry]
    print(f"{len(scored)} labels, {len(labels) - len(scored)} features not understood")
    for name in ("auroc", "auroc_hard"):
        values = [entry[name] for entry in scored if entry[name] is not None]
        if not values:
            continue
        print(f"{name}: median {statistics.median(values):.2f}, mean {statistics.mean(values):.2f}")


if __name__ == "__main__":
    main()
