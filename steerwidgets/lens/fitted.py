"""Lenses that were fitted: a linear map for each block that carries its residual to where the model reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from steerwidgets.calls import tells_calls
from steerwidgets.files.containers import load_plain, read_safetensors
from steerwidgets.files.fields import Fields, is_whole
from steerwidgets.files.json_text import read_json
from steerwidgets.files.shown import named, shown
from steerwidgets.files.tensors import checked, dense
from steerwidgets.transformer.model_names import is_other_model, warn_once
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.architecture import Architecture

Kind = Literal["logit lens", "tuned lens", "Jacobian lens"]

MEANINGS: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        "logit lens": (
            "The residual is read as if the blocks after it did nothing: the model's own norm and unembed on it as it "
            "is."
        ),
        "tuned lens": (
            "A linear map of each block, trained to predict the model's output, goes before the model's norm and "
            "unembed: what can be read off a residual, which the model itself need not use."
        ),
        "Jacobian lens": (
            "The average derivative of the last residual by this one goes before the model's norm and unembed: what a "
            "residual disposes the model to say at its own or a later token, on average over a corpus."
        ),
    }
)
"""What each lens means, as it is said on screen."""

_PARAMS: Final = ("params.pt", "params.safetensors")
_CONFIG: Final = "config.json"
_TUNED: Final = re.compile(r"(?:layer_translators\.)?([0-9]{1,5})\.(weight|bias)")
_JACOBIAN: Final = re.compile(r"(?:J|jacobians?)?[._]?([0-9]{1,5})")
_STREAMS: Final = ("resid_post", "resid_pre")
_NEARLY: Final = 0.05


@tells_calls("sw.FittedLens", "lens")
class FittedLens:
    """A tuned lens (Belrose et al. 2023) or a Jacobian lens (Gurnee et al. 2026), for `lm.logit_lens(…, lens=…)`.

    Of a residual `h` before block `b`, a tuned lens makes `h + W_b h + b_b` and a Jacobian lens `J_b h`; the model's
    own final norm, unembed and soft cap make logits of that, as they do for the logit lens. What comes after the last
    block is the model's own and stays as it is.

    Args:
        kind: `tuned lens` or `Jacobian lens`.
        matrices: `W_b` or `J_b` [d_model, d_model], by how many blocks stand before the residual: `resid_post` of block
            15 has the number 16.
        biases: `b_b` [d_model] of a tuned lens, by the same numbers; those left out are 0.
        model: the name of the model that it was fitted to, where it is known.
        provenance: where it comes from.

    Raises:
        ValueError: the matrices are none, not square, of different sizes or not finite.

    Example:
        >>> identity = sw.FittedLens("Jacobian lens", {b: torch.eye(32) for b in range(4)})
        >>> by_j = lm.logit_lens("The answer", lens=identity)
        >>> torch.allclose(by_j.log_probs, lm.logit_lens("The answer").log_probs, atol=1e-4)
        True
    """

    def __init__(
        self,
        kind: Kind,
        matrices: Mapping[int, Tensor],
        biases: Mapping[int, Tensor] | None = None,
        *,
        model: str = "",
        provenance: Mapping[str, str] | None = None,
    ) -> None:
        if kind not in MEANINGS or kind == "logit lens":
            raise ValueError(f"A fitted lens is a 'tuned lens' or a 'Jacobian lens', but {shown(kind)} was given.")
        if not isinstance(matrices, Mapping) or not matrices or not all(map(is_whole, matrices)):
            raise ValueError(f"A {kind} has a matrix for each of several blocks, but {shown(matrices)} was given.")
        self.kind: Kind = kind
        first = dense(next(iter(matrices.values())), f"The first matrix of this {kind}")
        self.d_model = int(first.shape[-1]) if first.ndim == 2 else 0
        axes = (("d_model", self.d_model), ("d_model", self.d_model))
        self._matrices = {
            number: checked(matrix, f"Matrix {number} of this {kind}", axes)
            for number, matrix in sorted(matrices.items())
        }
        self._biases = {
            number: checked(bias, f"Bias {number} of this {kind}", (("d_model", self.d_model),))
            for number, bias in sorted((biases or {}).items())
        }
        self.made_for = model or None
        self.provenance = dict(provenance or {})

    @property
    def meaning(self) -> str:
        """What it says, in a sentence."""
        return MEANINGS[self.kind]

    @property
    def numbers(self) -> tuple[int, ...]:
        """For which residuals it has a matrix: how many blocks stand before each."""
        return tuple(self._matrices)

    @classmethod
    def load(cls, path: str | Path) -> FittedLens:
        """Read a lens of tuned-lens or of jlens from its file or folder; no code in it is run.

        Tuned lenses are a folder with config.json and params.pt, translator `b` being for what enters block `b`;
        Jacobian lenses a `.pt` file with `J`, matrix `l` being for what leaves block `l`. Both may be safetensors, of
        tensors named `0.weight`, `0.bias` and `J.0`.

        Args:
            path: the file, or the folder of a tuned lens.

        Returns:
            The lens.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, could run code, or is no lens.

        Example:
            >>> torch.save({"J": {0: torch.eye(32), 1: torch.eye(32)}, "d_model": 32}, folder / "lens.pt")
            >>> sw.FittedLens.load(folder / "lens.pt")
            <Jacobian lens for 32 numbers, after blocks 0 to 1>
        """
        path = Path(path)
        if path.is_dir():
            found = next((path / name for name in _PARAMS if (path / name).is_file()), None)
            if found is None:
                raise FileNotFoundError(f"The folder {str(path)!r} holds none of {', '.join(_PARAMS)} of a tuned lens.")
            path = found
        if not path.is_file():
            raise FileNotFoundError(f"There is no lens at {str(path)!r}.")
        if path.suffix == ".safetensors":
            held: Any = read_safetensors(path, "a lens")[0]
        else:
            held = load_plain(path, "tensors by name")
        made = _tuned(held, path) or _jacobian(held, path)
        if made is None:
            found_names = named(held) if isinstance(held, Mapping) and held else shown(held)
            raise ValueError(
                f"{path.name} is no lens: a tuned lens holds 0.weight, 0.bias and so on, a Jacobian lens J with a "
                f"matrix for each block, but it holds {found_names}; download it again."
            )
        return made

    def check(self, architecture: Architecture, sites: list[Site]) -> None:
        """Check that it can read some sites of a model; warn where it was fitted to another one.

        Args:
            architecture: the model's parts.
            sites: what shall be read.

        Raises:
            ValueError: the model is of another width, or it has no matrix for one of the sites.

        Example:
            >>> identity = sw.FittedLens("Jacobian lens", {b: torch.eye(32) for b in range(4)})
            >>> identity.check(lm.architecture, [sw.Site(2)])
        """
        if self.d_model != architecture.d_model:
            raise ValueError(
                f"This {self.kind} is for residuals of {self.d_model} numbers, and {architecture.name} has "
                f"{architecture.d_model}; it was fitted to another model."
            )
        if max(self.numbers) > architecture.layers:
            raise ValueError(
                f"This {self.kind} has a matrix for what leaves block {max(self.numbers) - 1}, and "
                f"{architecture.name} has {architecture.layers} blocks; it was fitted to another model."
            )
        last = self._matrices.get(architecture.layers)
        if last is not None and not _is_identity(last, adds=self.kind == "tuned lens"):
            raise ValueError(
                f"This {self.kind} has a matrix for what leaves the last block of {architecture.name}, where a "
                "residual is the last one already; it was fitted elsewhere, to heads' outputs perhaps, or to another "
                "model."
            )
        for site in sites:
            self._number(site, architecture.layers)
        if self.made_for is not None and is_other_model(self.made_for, architecture.name):
            note = f"This {self.kind} was fitted to {self.made_for}, but the model is {architecture.name}."
            warn_once(architecture.model, f"{self.kind} {self.made_for}", note)

    def transport(self, h: Tensor, site: Site, layers: int) -> Tensor:
        """A residual as it is read in place of the last one.

        Args:
            h: [..., d_model].
            site: where it is from: `resid_post` or `resid_pre`.
            layers: how many blocks the model has.

        Returns:
            float32 [..., d_model].

        Raises:
            ValueError: the site is another stream, or there is no matrix for it.

        Example:
            >>> twice = sw.FittedLens("Jacobian lens", {2: 2 * torch.eye(32)})
            >>> h = torch.randn(3, 32)
            >>> torch.equal(twice.transport(h, sw.Site(1), layers=4), 2 * h)
            True
        """
        number = self._number(site, layers)
        x = h.float()
        if number == layers:
            return x
        moved = x @ self._matrices[number].to(x.device).float().T
        if (bias := self._biases.get(number)) is not None:
            moved = moved + bias.to(x.device).float()
        return moved + x if self.kind == "tuned lens" else moved

    def _number(self, site: Site, layers: int) -> int:
        """How many blocks stand before a residual."""
        if site.stream not in _STREAMS:
            raise ValueError(
                f"A {self.kind} is fitted to the residual stream, and {site.stream} was asked for; choose resid_post "
                "or resid_pre, or read it by the logit lens."
            )
        number = site.layer + (site.stream == "resid_post")
        if number != layers and number not in self._matrices:
            raise ValueError(
                f"This {self.kind} has no matrix for {site}; it has some for residuals with {_listed(self.numbers)} "
                "blocks before them: choose layers=, or another stream."
            )
        return number

    def __repr__(self) -> str:
        numbers = self.numbers
        if self.kind == "Jacobian lens":
            return f"<{self.kind} for {self.d_model} numbers, after blocks {_listed(tuple(n - 1 for n in numbers))}>"
        return f"<{self.kind} for {self.d_model} numbers, before blocks {_listed(numbers)}>"


def lens_of(given: FittedLens | str | Path | None) -> FittedLens | None:
    """What a user gives for a lens: one, a file of one, or None for the logit lens.

    Raises:
        TypeError: it is something else.
    """
    if given is None or isinstance(given, FittedLens):
        return given
    if isinstance(given, str | Path):
        return FittedLens.load(given)
    raise TypeError(
        f"lens= takes a FittedLens or the path of one, but a {type(given).__name__} was given: give "
        "sw.FittedLens.load(path)."
    )


def _tuned(held: Any, path: Path) -> FittedLens | None:
    """A tuned lens of tuned-lens (`tuned_lens/nn/lenses.py`): W and bias of each translator; None where it is none."""
    if not isinstance(held, Mapping) or not held or not all(_TUNED.fullmatch(str(name)) for name in held):
        return None
    config = path.parent / _CONFIG
    said = Fields(read_json(config) if config.is_file() else {}, f"In {_CONFIG}")
    if (kind := said.text("lens_type", "linear_tuned_lens")) != "linear_tuned_lens":
        raise ValueError(f"{_CONFIG} says lens_type={shown(kind)}; linear_tuned_lens is read.")
    parts: dict[str, dict[int, Any]] = {"weight": {}, "bias": {}}
    for name, tensor in held.items():
        number, part = str(name).split(".")[-2:]
        parts[part][int(number)] = _matrix(tensor, f"{name} of {path.name}", axes=2 if part == "weight" else 1)
    d_model = said.whole("d_model", None, low=1)
    layers = said.whole("num_hidden_layers", None, low=1)
    missing = sorted(set(parts["bias"]) - set(parts["weight"]))
    if missing or not parts["weight"] or (layers is not None and len(parts["weight"]) != layers):
        raise ValueError(
            f"{path.name} has a weight for {len(parts['weight'])} translators and a bias for {len(parts['bias'])}, and "
            f"{_CONFIG} says num_hidden_layers={shown(layers)}; download both again."
        )
    made = FittedLens(
        "tuned lens",
        parts["weight"],
        parts["bias"],
        model=said.text("base_model_name_or_path", ""),
        provenance={"file": path.name},
    )
    if d_model not in (None, made.d_model):
        raise ValueError(f"{_CONFIG} says d_model={d_model}, but {path.name} has {made.d_model}; download both again.")
    return made


def _jacobian(held: Any, path: Path) -> FittedLens | None:
    """A Jacobian lens of jlens (`jlens/lens.py`), `J_l` for what leaves block `l`; None where it is none."""
    if not isinstance(held, Mapping):
        return None
    inner = next((held[name] for name in ("J", "jacobians") if isinstance(held.get(name), Mapping)), None)
    given = held if inner is None else inner
    matched = {name: _JACOBIAN.fullmatch(str(name)) for name in given}
    if not matched or not all(matched.values()):
        return None
    matrices = {
        int(match[1]) + 1: _matrix(given[name], f"{name} of {path.name}", axes=2)
        for name, match in matched.items()
        if match is not None
    }
    if len(matrices) < len(matched):
        raise ValueError(f"{path.name} holds two matrices of one block; which one counts is not clear, so keep one.")
    said = Fields(held if inner is not None else {}, f"In {path.name}") if _is_named(held) else Fields({}, "")
    prompts = said.whole("n_prompts", None, low=0)
    made = FittedLens(
        "Jacobian lens",
        matrices,
        model=said.text("model_id", "") or said.text("model_name", ""),
        provenance={"file": path.name} | ({} if prompts is None else {"prompts": str(prompts)}),
    )
    if said.whole("d_model", None, low=1) not in (None, made.d_model):
        raise ValueError(f"{path.name} says d_model={said.value('d_model')}, but its matrices have {made.d_model}.")
    return made


def _matrix(value: Any, name: str, axes: int) -> Tensor:
    """A dense tensor with so many axes, of any length from 1.

    Raises:
        ValueError: it is something else.
    """
    tensor = dense(value, name)
    if tensor.ndim != axes or 0 in tensor.shape:
        wanted = "[d_model, d_model]" if axes == 2 else "[d_model]"
        raise ValueError(f"{name} is {wanted}, but one of shape {list(tensor.shape)} was given; download it again.")
    return tensor


def _is_named(held: Mapping[Any, Any]) -> bool:
    return all(isinstance(name, str) for name in held)


def _is_identity(matrix: Tensor, *, adds: bool) -> bool:
    import torch

    size = matrix.shape[0]
    off = matrix.float() if adds else matrix.float() - torch.eye(size, device=matrix.device)
    return bool(off.norm() < _NEARLY * size**0.5)


def _listed(numbers: tuple[int, ...]) -> str:
    if len(numbers) > 1 and numbers == tuple(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return named(numbers)
