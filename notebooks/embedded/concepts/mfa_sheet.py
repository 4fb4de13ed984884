"""What a labeller of an MFA reads: each component's tokens, contexts and the ends of its first two loadings."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.dictionaries.mfa.mfa import MFA
    from steerwidgets.dictionaries.mfa.points import Points

CONTEXTS: Final = 14
WINDOW: Final = 9
ENDS: Final = 9
LOADINGS: Final = 2


def write_sheet(mfa: MFA, points: Points, path: Path) -> None:
    """Write one file for all components.

    Args:
        mfa: the mixture.
        points: residuals with their texts.
        path: where.
    """
    import torch

    shares = torch.cat([mfa.responsibilities(chunk) for chunk in torch.split(points.residuals, 4096)])
    nearest = shares.argmax(-1)
    lines = []
    for k in range(mfa.size):
        mine = (nearest == k).nonzero()[:, 0]
        lines.append(f"\n## {k} {mfa.label(k)}: {len(mine)} points, π {float(mfa.mixing[k]):.4f}")
        if len(mine):
            lines += _component(mfa, points, k, mine)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _component(mfa: MFA, points: Points, k: int, mine: Tensor) -> list[str]:
    import torch

    counts = Counter(token.text for token in points.tokens(mine.tolist()))
    lines = ["tokens: " + ", ".join(f"{text!r} {count}" for text, count in counts.most_common(12))]
    drawn = mine[torch.randperm(len(mine), generator=torch.Generator().manual_seed(k))[:CONTEXTS]]
    lines += [f"- {_shown(points, int(row))}" for row in drawn]
    latent = mfa.expected_latent(points.residuals[mine], k)
    for loading in range(LOADINGS):
        order = latent[:, loading].argsort()
        for sign, end in (("-", order[:ENDS]), ("+", order.flip(0)[:ENDS])):
            lines.append(f"  z{loading}{sign}: " + " | ".join(_shown(points, int(mine[i]), 4) for i in end))
    return lines


def _shown(points: Points, row: int, window: int = WINDOW) -> str:
    context = points.context(row, 0.0, window)
    return f"{context.before}«{context.token.text}»".replace("\n", "⏎")
