"""A recipe: the set of steers of one run, the artefact that makes it reproducible."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from steerwidgets.steer import Direction, Feature, Steer
from steerwidgets.steering.positions import Positions, Where
from steerwidgets.steering.random_direction import RandomDirection
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    from torch import Tensor, nn

    from steerwidgets.transformer.loaded import LoadedModel

FORMAT: Final = "steerwidgets.recipe/1"


class FeatureSource(Protocol):
    """What a recipe needs of a dictionary to find a feature again."""

    @property
    def fingerprint(self) -> str:
        """The name that a recipe keeps."""
        ...

    def __getitem__(self, index: int) -> Feature: ...


@dataclass(frozen=True, eq=False)
class Recipe:
    """A multiset of steers; the order never matters.

    Every steer computes its change from the same `h`, and the changes are summed.

    Raises:
        ValueError: two steers set the same feature at positions that may overlap.
    """

    steers: tuple[Steer, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "steers", tuple(self.steers))
        setters = [steer for steer in self.steers if steer.is_setter]
        for i, first in enumerate(setters):
            for second in setters[i + 1 :]:
                if first.feature.key == second.feature.key and first.positions.overlaps(second.positions):
                    raise ValueError(
                        f"{first!r} and {second!r} both set {first.feature.label!r} at positions that overlap; "
                        "keep one of them, or give them positions apart."
                    )

    @classmethod
    def of(cls, steers: Recipe | Steer | Iterable[Steer] | None) -> Recipe:
        """A recipe from what a user writes: a recipe, one steer, several, or None for no change."""
        if steers is None:
            return cls()
        if isinstance(steers, Recipe):
            return steers
        if isinstance(steers, Steer):
            return cls((steers,))
        items = tuple(steers)
        for item in items:
            if not isinstance(item, Steer):
                raise TypeError(f"A recipe is made of steers such as feature.add(40), but {item!r} was given.")
        return cls(items)

    def at(self, where: Positions | Where | Sequence[int], *, count: int | None = None, special: bool = True) -> Recipe:
        """The same steers, all at other positions."""
        return Recipe(tuple(steer.at(where, count=count, special=special) for steer in self.steers))

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites that it changes, in the network's order."""
        return tuple(sorted({steer.feature.site for steer in self.steers}))

    @property
    def fingerprint(self) -> str:
        """A short hash of what the recipe does, the same in every session."""
        canonical = sorted(json.dumps(_what_it_does(steer)) for steer in self.steers)
        return hashlib.sha256("\n".join(canonical).encode()).hexdigest()[:16]

    def to_json(self, *, inline: bool = False, indent: int | None = None) -> str:
        """The recipe as text.

        Features are kept as dictionary fingerprint and index; directions that belong to no dictionary are written
        out. With `inline=True` all that each op needs is written out, so that the text can be read without any
        dictionary: for each feature one vector, three for an op of an SAE, and one more than loadings for a `pull`.

        Raises:
            ValueError: with `inline=True`, an op needs more of its dictionary than one feature: of a TopK SAE, of one
                that sae_lens computes, or of a whole mixture.
        """
        steers = [_steer_json(steer, inline=inline) for steer in self.steers]
        return json.dumps({"format": FORMAT, "steers": steers}, indent=indent, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, dictionaries: Sequence[FeatureSource] = ()) -> Recipe:
        """The inverse of `to_json`.

        Raises:
            ValueError: the text is not a recipe, or a dictionary that it names is not among `dictionaries`.
        """
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"This is not a recipe: the text is not JSON ({error}).") from None
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            found = value.get("format") if isinstance(value, dict) else type(value).__name__
            raise ValueError(f"This is not a recipe: its format should be {FORMAT!r}, but it is {found!r}.")
        try:
            return cls(tuple(_steer_from_json(steer, dictionaries) for steer in value["steers"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"This recipe is damaged: {type(error).__name__} at {error}.") from None

    def to_pyvene(self, model: LoadedModel | nn.Module) -> Any:
        """An IntervenableModel of pyvene that steers a `LanguageModel` or bare model alike; see `pyvene_bridge`."""
        from steerwidgets.steering.to_pyvene import to_pyvene

        return to_pyvene(self, model)

    def __add__(self, other: Recipe | Steer) -> Recipe:
        if not isinstance(other, Recipe | Steer):
            return NotImplemented
        return Recipe(self.steers + Recipe.of(other).steers)

    def __iter__(self) -> Iterator[Steer]:
        return iter(self.steers)

    def __len__(self) -> int:
        return len(self.steers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and Counter(self.steers) == Counter(other.steers)

    def __hash__(self) -> int:
        return hash(frozenset(Counter(self.steers).items()))

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.steers)) or "Recipe()"


def _what_it_does(steer: Steer) -> list[Any]:
    key, op, numbers, positions, control = steer.identity_key
    return [key, op, numbers, positions.to_json(), *([] if control is None else [control.to_json()])]


def _steer_json(steer: Steer, *, inline: bool) -> dict[str, Any]:
    feature = steer.feature
    value: dict[str, Any] = {
        "label": feature.label,
        "site": {"layer": feature.site.layer, "stream": feature.site.stream},
    }
    if isinstance(feature, Feature) and not (inline and steer.is_of_direction):
        value |= {"dictionary": feature.dictionary, "kind": feature.kind, "index": feature.index}
        if inline:
            from steerwidgets.steering.inline import written

            value["inline"] = written(steer)
    else:
        value["vector"] = tensor_json(feature.vector)
    return {
        "feature": value,
        "op": steer.op,
        "parameters": dict(steer.parameters),
        "positions": steer.positions.to_json(),
        **({} if steer.control is None else {"control": steer.control.to_json()}),
    }


def _steer_from_json(value: Mapping[str, Any], dictionaries: Sequence[FeatureSource]) -> Steer:
    feature = _feature_from_json(value["feature"], dictionaries)
    positions, control = (
        Positions.from_json(value.get("positions", {})),
        RandomDirection.from_json(value.get("control")),
    )
    return Steer(feature, value["op"], value.get("parameters", {}), positions, control)


def _feature_from_json(value: Mapping[str, Any], dictionaries: Sequence[FeatureSource]) -> Direction:
    if "vector" in value:
        return Direction(tensor_from_json(value["vector"]), Site(**value["site"]), value["label"])
    for dictionary in dictionaries:
        if dictionary.fingerprint == value["dictionary"]:
            try:
                index: Any = value["index"]
                # JSON has no tuples: several indices name a feature made of several.
                index = tuple(index) if isinstance(index, list) else index
                return dictionary[index]
            except IndexError as error:
                raise ValueError(f"This recipe is damaged: {error}") from None
    if "inline" in value:
        from steerwidgets.steering.inline import read

        return read(value)
    raise ValueError(
        f"The recipe uses feature {value['index']} ({value['label']!r}) of the {value['kind']} dictionary "
        f"{value['dictionary']}, which is not among the {len(dictionaries)} dictionaries given; "
        "pass it in dictionaries=[…]."
    )


def tensor_json(tensor: Tensor) -> dict[str, Any]:
    """A tensor as a JSON value: its float32 numbers in base64, and its shape."""
    data = tensor.detach().float().cpu().numpy().astype("<f4").tobytes()
    return {"data": base64.b64encode(data).decode(), "dtype": "float32", "shape": list(tensor.shape)}


def tensor_from_json(value: Mapping[str, Any]) -> Tensor:
    """The inverse of `tensor_json`.

    Raises:
        ValueError: the numbers are cut, do not fit the shape, or are of another type.
    """
    import numpy as np
    import torch

    if value["dtype"] != "float32":
        raise ValueError(f"This recipe is damaged: a vector is written as float32, but this one as {value['dtype']!r}.")
    try:
        data = np.frombuffer(base64.b64decode(value["data"], validate=True), dtype="<f4").reshape(value["shape"])
    except ValueError:
        raise ValueError("This recipe is damaged: the numbers of a vector are cut or do not fit its shape.") from None
    return torch.from_numpy(data.copy())
