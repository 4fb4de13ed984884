"""Interventions of pyvene, live or saved, as what they hold: tensors, classes, and where they act.

Neither pyvene nor any code in a file is run: live objects are asked for their state_dict, files are read as tensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.files.containers import load_plain
from steerwidgets.files.fields import Fields
from steerwidgets.files.json_text import read_json
from steerwidgets.transformer.architecture import Architecture, UnknownArchitectureError
from steerwidgets.transformer.sites import STREAMS, Site, Stream

if TYPE_CHECKING:
    from torch import Tensor, nn

_FILE: Final = re.compile(r"intkey_(.+)\.bin")
_KEY: Final = re.compile(r"(?:layer_(\d+)_)?comp_(.+)_unit_[^_]+(?:_[^_]+)?_nunit_\d+(?:#\d+)?")
_BLOCK: Final = re.compile(r"(?:^|_)(?:layers|h|blocks)[\[_](\d+)\]?_(.+)")
# pyvene's own names of components, and paths below a block with underscores for their dots.
_STREAM_OF: Final[dict[str, Stream]] = {
    "block_input": "resid_pre",
    "block_output": "resid_post",
    "attention_value_output": "attn_z",
    "input": "resid_pre",
    "output": "resid_post",
    "self_attn_o_proj_input": "attn_z",
    "attn_c_proj_input": "attn_z",
    "attention_dense_input": "attn_z",
    "mlp_down_proj_input": "mlp_acts",
    "mlp_c_proj_input": "mlp_acts",
    "mlp_dense_4h_to_h_input": "mlp_acts",
    "post_feedforward_layernorm_output": "mlp_out",
}
# On some architectures these are the stream, on others not: Gemma norms what a sublayer gives, gated MLPs multiply it.
_DEPENDS: Final[dict[str, Stream]] = {
    "mlp_output": "mlp_out",
    "mlp_activation": "mlp_acts",
    "mlp_act_output": "mlp_acts",
    "mlp_act_fn_output": "mlp_acts",
    "attention_output": "attn_out",
    "attn_output": "attn_out",
    "self_attn_output": "attn_out",
    "attn_resid_dropout_output": "attn_out",
    "post_attention_layernorm_output": "attn_out",
}


@dataclass(frozen=True)
class Place:
    """Where an intervention acts.

    Attributes:
        component: what pyvene calls the place.
        layer: the block, where it is one.
        stream: the stream of that block; None where it is none that steerwidgets has, or where nobody can tell.
        likely: the stream that it is on some architectures.
    """

    component: str
    layer: int | None = None
    stream: Stream | None = None
    likely: Stream | None = None

    @classmethod
    def of_key(cls, key: str) -> Place:
        """The place that a key of pyvene names, such as `layer_20_comp_block_output_unit_pos_nunit_1#0`."""
        found = _KEY.fullmatch(key)
        if found is None:
            return cls(key)
        layer, component = found.groups()
        path = None if layer is not None else _BLOCK.search(component)
        if path is not None and "vision" not in component:
            layer, component = path.groups()
        if layer is None:
            return cls(component)
        return cls(component, int(layer), _STREAM_OF.get(component), _DEPENDS.get(component))

    def could_be(self, layer: int | None, stream: Stream | None) -> bool:
        """Whether it may be the place that was asked for."""
        return layer in (None, self.layer) and stream in (None, self.stream, self.likely)

    def site(self, stream: Stream | None, named: str) -> Site:
        """The site, where the component says it, or the user does.

        Raises:
            ValueError: it is none, or `stream` has to be given.
        """
        chosen = self.stream or (stream if stream == self.likely else None)
        if self.layer is not None and chosen is not None:
            return Site(self.layer, chosen)
        if self.layer is not None and self.likely is not None:
            raise ValueError(
                f"{named} acts at {self.component!r} of block {self.layer}, which is {self.likely} on some "
                "architectures and none of the streams on others (Gemma norms it before it joins the residual, gated "
                f"MLPs multiply it); where it is {self.likely}, pass stream={self.likely!r}."
            )
        raise ValueError(
            f"{named} acts at {self.component!r}, which is none of the streams of a block that steerwidgets reads and "
            f"steers: {', '.join(STREAMS)}."
        )

    def __str__(self) -> str:
        return self.component if self.layer is None else f"block {self.layer} {self.stream or self.component}"


@dataclass(frozen=True)
class Intervention:
    """One intervention.

    Attributes:
        state: its tensors by name; empty where none were saved.
        classes: the names of its class and that class's bases, where known.
        origin: what to call it in a message, as `the Steer` or a file's name.
        place: where it acts, where it says so.
        path: the file or folder that was given, where one was.
    """

    state: Mapping[str, Tensor]
    classes: tuple[str, ...]
    origin: str
    place: Place | None = None
    path: Path | None = None

    def source_code(self, kind: str, site: Site, labels: Any) -> str | None:
        """The expression that makes the dictionary again; None where it came from memory or has labels of its own."""
        if self.path is None or labels:
            return None
        return f"sw.{kind}.from_pyvene({str(self.path)!r}, layer={site.layer}, stream={site.stream!r})"

    @property
    def named(self) -> str:
        """Its name at the beginning of a sentence."""
        return re.sub("^the ", "The ", self.origin)

    @property
    def provenance(self) -> dict[str, str]:
        """What a dictionary says of where it comes from."""
        source = {} if self.path is None else {"source": self.path.name}
        return {"format": "pyvene intervention"} | source | ({"class": self.classes[0]} if self.classes else {})


def find(source: Any, layer: int | None, stream: Stream | None) -> tuple[Intervention, Site]:
    """The one intervention of a source that is meant, and its site.

    Args:
        source: an IntervenableModel, an intervention, its state_dict, or the path of a saved folder or state_dict.
        layer: the block; chooses among several, and says it where the source does not.
        stream: the stream of that block, likewise.

    Raises:
        FileNotFoundError: there is no such file or folder, or it holds no interventions.
        TypeError: the source is none of these.
        ValueError: a file is damaged or would run code, or what is meant is not clear.
    """
    found = _read(source)
    fitting = [each for each in found if each.place is None or each.place.could_be(layer, stream)]
    if len(fitting) != 1:
        held = ", ".join(str(each.place) for each in found)
        asked = " ".join(f"{n}={v!r}" for n, v in (("layer", layer), ("stream", stream)) if v is not None)
        which = f"{len(fitting) or 'none'} of them fit {asked}" if asked else "one has to be chosen"
        raise ValueError(
            f"There are interventions at {held or 'no place at all'}, and {which}; choose by layer= and stream=, or "
            "give the one intervention or its file."
        )
    one = fitting[0]
    if one.place is not None:
        return one, one.place.site(stream, one.named)
    if layer is None:
        raise ValueError(f"{one.named} does not say which block it belongs to; pass layer=.")
    return one, Site(layer, stream or "resid_post")


def _read(source: Any) -> list[Intervention]:
    if isinstance(source, str | Path):
        path = Path(source)
        if path.is_dir():
            return _of_folder(path)
        if not path.is_file():
            raise FileNotFoundError(f"There is no intervention of pyvene at {str(path)!r}.")
        return [_of_file(path)]
    if hasattr(source, "interventions") and hasattr(source, "intervention_hooks"):
        return [_of_model(source, key) for key in source.interventions]
    if hasattr(source, "state_dict"):
        return [_live(source)]
    if isinstance(source, Mapping):
        return [Intervention(_tensors(source, "The state_dict"), (), "the state_dict")]
    raise TypeError(
        "from_pyvene takes an IntervenableModel, an intervention, its state_dict or the path of a saved one, but a "
        f"{type(source).__name__} was given."
    )


def _live(intervention: Any, place: Place | None = None) -> Intervention:
    # PyTorch's and pyvene's general classes say nothing about what is held.
    classes = tuple(each.__name__ for each in type(intervention).__mro__ if each.__name__ not in ("object", "Module"))
    return Intervention(intervention.state_dict(), classes, f"the {classes[0]}", place)


def _of_model(model: Any, key: str) -> Intervention:
    """An intervention that is mounted, its place found by the module that it hooks."""
    named = Place.of_key(key)
    register = model.intervention_hooks[key]
    try:
        parts = Architecture(model.model)
    except UnknownArchitectureError:
        return _live(model.interventions[key], named)
    site = _site_of(
        parts, getattr(register, "__self__", None), is_input="pre_hook" in getattr(register, "__name__", "")
    )
    if site is None:
        return _live(model.interventions[key], Place(named.component, named.layer, likely=named.likely))
    return _live(model.interventions[key], Place(named.component, site.layer, site.stream))


def _site_of(architecture: Architecture, module: nn.Module | None, *, is_input: bool) -> Site | None:
    for layer in range(architecture.layers):
        for stream in STREAMS:
            try:
                point = architecture.hookpoint(Site(layer, stream))
            except ValueError:
                continue
            # One that is multiplied on its way to the residual is no stream of ours.
            if point.module is module and point.is_input == is_input and point.factor == 1.0:
                return Site(layer, stream)
    return None


def _of_file(path: Path, classes: tuple[str, ...] = (), *, given: Path | None = None) -> Intervention:
    named = _FILE.fullmatch(path.name)
    state = _tensors(load_plain(path, "the state_dict of the intervention"), path.name)
    return Intervention(state, classes, path.name, Place.of_key(named[1]) if named else None, given or path)


def _of_folder(folder: Path) -> list[Intervention]:
    """What `IntervenableModel.save` and `save_intervention` write: weights by key, and config.json."""
    files = {path.name.removeprefix("intkey_").removesuffix(".bin"): path for path in folder.glob("intkey_*.bin")}
    config = folder / "config.json"
    classes = _saved_classes(config) if config.is_file() else {}
    if not files and not classes:
        raise FileNotFoundError(
            f"{str(folder)!r} holds no interventions of pyvene: neither weights (intkey_….bin) nor a config.json that "
            "names any."
        )
    return [
        _of_file(files[key], classes.get(key, ()), given=folder)
        if key in files
        else Intervention({}, classes[key], f"the {classes[key][0]}", Place.of_key(key), folder)
        for key in sorted(files.keys() | classes.keys())
    ]


def _saved_classes(config: Path) -> dict[str, tuple[str, ...]]:
    """The class of each intervention, by the key that pyvene makes of its representation."""
    said = Fields(
        read_json(config, what=f"The {config.name} of an IntervenableModel"),
        f"In the {config.name} of an IntervenableModel",
        todo="save it again, or give the file with the weights",
    )
    places = said.items("representations", of="[layer, component, unit, number of units, …] of each")
    kinds = said.items("intervention_types", of="a class of each representation")
    if len(places) != len(kinds):
        raise said.wrong("intervention_types", f"a list of one class for each of the {len(places)} representations")
    keys: list[str] = []
    classes: dict[str, tuple[str, ...]] = {}
    for place, kind in zip(places, kinds, strict=True):
        names = re.findall(r"\w+", kind) if isinstance(kind, str) else []
        if not names:
            raise said.wrong("intervention_types", "a list of names of classes")
        if not isinstance(place, list) or len(place) < 4 or not isinstance(place[1], str):
            raise said.wrong("representations", "a list of [layer, component, unit, number of units, …]")
        layer, component, unit, units, *_ = place
        where = f"comp_{component}" if "." in component else f"layer_{layer}_comp_{component}"
        key = f"{where}_unit_{unit}_nunit_{units}".replace(".", "_")
        keys.append(f"{key}#{sum(each.startswith(f'{key}#') for each in keys)}")
        classes[keys[-1]] = (names[-1],)
    return classes


def _tensors(value: Any, origin: str) -> Mapping[str, Tensor]:
    import torch

    if not isinstance(value, Mapping) or not all(isinstance(each, torch.Tensor) for each in value.values()):
        held = ", ".join(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
        raise ValueError(f"{origin} should hold the tensors of an intervention's state_dict, but holds {held}.")
    return value
