"""Effects that come with a dictionary: what steering with its features does through the model, in one small file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from steerwidgets.files.atomic import atomically
from steerwidgets.files.containers import read_safetensors
from steerwidgets.files.fields import Fields, naming
from steerwidgets.files.json_text import parse_json
from steerwidgets.files.shown import named

if TYPE_CHECKING:
    from torch import Tensor

_TENSORS: Final = ("features", "strengths", "suggested", "ids", "values")


@dataclass(frozen=True)
class KnownEffect:
    """The tokens that steering with one feature raises and lowers most.

    Attributes:
        promoted: token ids, each with the mean difference of its logit.
        suppressed: likewise.
        op: what was steered with.
        strength: how strongly.
        is_suggested: whether that strength was seen to work.
        prompts: how many prompts the mean is over.
        least: the probability below which, after every prompt, tokens are left out.
    """

    promoted: tuple[tuple[int, float], ...]
    suppressed: tuple[tuple[int, float], ...]
    op: str
    strength: float
    is_suggested: bool
    prompts: int
    least: float = 0.0


class KnownEffects(Mapping[int, KnownEffect]):
    """The effects of some features of a dictionary, by index.

    Args:
        features: int [feature], their indices.
        strengths: float [feature], what each was steered with.
        suggested: bool [feature], whether that strength was seen to work.
        ids: int [feature, 2k], the `k` promoted tokens, then the `k` suppressed ones.
        values: float16 [feature, 2k], the mean difference of each one's logit.
        op: what they were steered with.
        prompts: how many prompts the means are over.
        least: the probability below which, after every prompt, tokens are left out.

    Raises:
        ValueError: shapes do not fit.
    """

    def __init__(
        self,
        features: Tensor,
        strengths: Tensor,
        suggested: Tensor,
        ids: Tensor,
        values: Tensor,
        op: str,
        prompts: int,
        least: float = 0.0,
    ) -> None:
        rows = {len(each) for each in (features, strengths, suggested, ids, values)}
        if len(rows) != 1 or ids.ndim != 2 or ids.shape != values.shape or ids.shape[1] % 2:
            raise ValueError("Effects have an index, a strength, token ids and as many values for each feature.")
        self._given = dict(zip(_TENSORS, (features, strengths, suggested, ids, values), strict=True))
        self._row = {index: row for row, index in enumerate(features.tolist())}
        self.op = op
        self.prompts = prompts
        self.least = least

    def __getitem__(self, index: int) -> KnownEffect:
        row = self._row[index]
        ids, values = self._given["ids"][row].tolist(), self._given["values"][row].float().tolist()
        both = list(zip(ids, values, strict=True))
        # Fewer than k are likely enough: the places left are infinite.
        half = len(both) // 2
        promoted, suppressed = (
            tuple(each for each in side if math.isfinite(each[1])) for side in (both[:half], both[half:])
        )
        strength, suggested = float(self._given["strengths"][row]), bool(self._given["suggested"][row])
        return KnownEffect(promoted, suppressed, self.op, strength, suggested, self.prompts, self.least)

    def __iter__(self) -> Iterator[int]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def __repr__(self) -> str:
        return f"<KnownEffects of {len(self)} features>"

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all: ids in 32 bits, values in 16.

        Raises:
            OSError: it can't be written.
        """
        import torch
        from safetensors.torch import save_file

        said = {"op": self.op, "prompts": self.prompts, "least": self.least}
        dtypes = (torch.int32, torch.float16, torch.bool, torch.int32, torch.float16)
        tensors = {n: t.to(d).contiguous() for (n, t), d in zip(self._given.items(), dtypes, strict=True)}
        with atomically(path) as fresh:
            save_file(tensors, fresh, {"effects": json.dumps(said)})

    @classmethod
    def load(cls, path: str | Path) -> KnownEffects:
        """Read a file that `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged, or something else.
        """
        path = Path(path)
        tensors, header = read_safetensors(path, "effects")
        with naming(path):
            what = "the header of a file of effects"
            said = Fields(parse_json(header.get("effects", ""), what), f"In {what}", todo="make the file again")
            missing = [name for name in _TENSORS if name not in tensors]
            if missing:
                raise ValueError(f"A file of effects holds {', '.join(_TENSORS)}, but {named(missing)} is missing.")
            arrays = {name: tensors[name] for name in _TENSORS}
            return cls(
                **arrays,
                op=said.text("op"),
                prompts=said.whole("prompts", low=1),
                least=said.number("least", 0.0, low=0, high=1),
            )
