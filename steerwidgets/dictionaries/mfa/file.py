"""The reference's file format and parametrisation of a mixture of factor analysers (arXiv 2602.02464, `save_mfa`).

A file is `torch.save({"state_dict", "meta"})`, or a bare state_dict. `W_k = normalised columns of dir_raw_k ·
softplus(scale_rho_k)`, `Ψ = softplus(psi_rho) + eps`, `π = softmax(pi_logits)`; where a rotation is on, steering and
scores use `W_k · _rot_inv_Tt_k` and `z · _rot_T_k`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.files.atomic import atomically
from steerwidgets.files.containers import load_plain
from steerwidgets.files.fields import Fields
from steerwidgets.files.shown import named, shown
from steerwidgets.files.tensors import dense, finite

if TYPE_CHECKING:
    from torch import Tensor

_NEEDED: Final = ("mu", "dir_raw", "scale_rho", "psi_rho", "pi_logits")
_ROTATION: Final = ("_rot_T", "_rot_inv_Tt")
_EPS: Final = 1e-8
"""What the reference takes where a file does not say; its constructor takes 1e-5."""

_EPS_OF_RANK_FILES: Final = 1e-5
"""The same for the published files, whose meta says `rank` where others say `q`."""


@dataclass(frozen=True)
class Checkpoint:
    """A state_dict of the reference and its meta.

    Raises:
        ValueError: a tensor is missing, unknown, of a wrong shape, or holds NaN or infinite values.
    """

    state: Mapping[str, Tensor]
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        state = {str(name): _tensor(str(name), value) for name, value in self.state.items()}
        object.__setattr__(self, "state", state)
        object.__setattr__(self, "meta", dict(self.meta))
        missing = [name for name in _NEEDED if name not in state]
        if missing:
            raise ValueError(
                f"An MFA's state_dict has {', '.join(_NEEDED)}, but {missing[0]!r} is missing from {named(state)}."
            )
        unknown = [name for name in state if name not in (*_NEEDED, *_ROTATION)]
        if unknown:
            raise ValueError(
                f"An MFA's state_dict has {', '.join(_NEEDED)}, and {shown(unknown[0])} is none that it may have."
            )
        self._check_meta()
        self._check_shapes()
        for name, value in state.items():
            finite(value, f"The tensor {name!r} of this MFA")
        if not bool((self.noise() > 0).all()):
            raise ValueError("psi_rho of this MFA, with its eps_floor, leaves no noise at all, so it has no density.")

    def _check_meta(self) -> None:
        said = Fields(self.meta, "In the meta of this MFA")
        said.number("eps_floor", None, low=0)
        # The reference keeps its flag as a tensor of one number too.
        on = self.meta.get("rotation_on")
        if on is not None and not isinstance(on, bool):
            if getattr(on, "numel", lambda: 0)() != 1:
                raise said.wrong("rotation_on", "true or false")
            object.__setattr__(self, "meta", {**self.meta, "rotation_on": bool(on)})
        said.inner("extra")

    def _check_shapes(self) -> None:
        shapes = {name: tuple(value.shape) for name, value in self.state.items()}
        if len(shapes["dir_raw"]) != 3 or 0 in shapes["dir_raw"]:
            raise ValueError(
                f"The loadings dir_raw of an MFA are [component, d_model, rank], but they have shape "
                f"{list(shapes['dir_raw'])}."
            )
        k, d, q = shapes["dir_raw"]
        right: dict[str, list[tuple[int, ...]]] = {
            "mu": [(k, d)],
            "scale_rho": [(k, q)],
            "psi_rho": [(d,), (k, d)],
            "pi_logits": [(k,)],
        }
        right |= {name: [(k, q, q)] for name in _ROTATION if name in shapes}
        for name, allowed in right.items():
            if shapes[name] not in allowed:
                wanted = " or ".join(str(list(shape)) for shape in allowed)
                raise ValueError(
                    f"The tensor {name!r} of an MFA with {k} components of rank {q} in {d} dimensions has shape "
                    f"{wanted}, but this one has {list(shapes[name])}."
                )
        if self.rotated and not set(_ROTATION) <= set(shapes):
            raise ValueError("This MFA's meta says that its loadings are rotated, but its rotation is missing.")

    @property
    def components(self) -> int:
        """How many components there are."""
        return int(self.state["mu"].shape[0])

    @property
    def d_model(self) -> int:
        """The width."""
        return int(self.state["mu"].shape[1])

    @property
    def rank(self) -> int:
        """The loadings of each component."""
        return int(self.state["dir_raw"].shape[2])

    @property
    def rotated(self) -> bool:
        """Whether a rotation is on."""
        return bool(self.meta.get("rotation_on", False))

    @property
    def eps(self) -> float:
        """The floor of Ψ; where the meta does not say, what the reference's own loader takes."""
        said = self.meta.get("eps_floor")
        return float(said if said is not None else _EPS_OF_RANK_FILES if "rank" in self.meta else _EPS)

    @property
    def extra(self) -> dict[str, Any]:
        """The one place of the format where layer, stream and the like can stand."""
        extra = self.meta.get("extra")
        return dict(extra) if isinstance(extra, Mapping) else {}

    def mu(self) -> Tensor:
        """The centroids, float32 [component, d_model]."""
        return self.state["mu"].float()

    def noise(self) -> Tensor:
        """The diagonal of Ψ, float64 [component or 1, d_model]."""
        from torch.nn.functional import softplus

        noise: Tensor = softplus(self.state["psi_rho"].double()) + self.eps
        return noise[None] if noise.ndim == 1 else noise

    def log_mixing(self) -> Tensor:
        """`ln π`, float64 [component]."""
        return self.state["pi_logits"].double().log_softmax(0)

    def loadings(self, which: slice, *, rotated: bool) -> Tensor:
        """`W_k` of some components, float64 [n, d_model, rank]."""
        from torch.nn.functional import softplus

        raw = self.state["dir_raw"][which].double()
        unit = raw / raw.norm(dim=1, keepdim=True).clamp_min(self.eps)
        loadings: Tensor = unit * softplus(self.state["scale_rho"][which].double())[:, None]
        return loadings @ self.state["_rot_inv_Tt"][which].double() if rotated and self.rotated else loadings

    def score_rotation(self, component: int) -> Tensor | None:
        """`T` with which scores turn, `z·T`, float64 [rank, rank]; None where no rotation is on."""
        return self.state["_rot_T"][component].double() if self.rotated else None

    @classmethod
    def of(
        cls, mu: Tensor, loadings: Tensor, noise: Tensor, pi_logits: Tensor, *, eps: float = 1e-5, dtype: Any = None
    ) -> Checkpoint:
        """A checkpoint from what its numbers mean.

        Args:
            mu: [component, d_model].
            loadings: [component, d_model, rank].
            noise: the diagonal of Ψ, [d_model] or [component, d_model], above `eps`.
            pi_logits: [component].
            eps: the floor of Ψ.
            dtype: of the tensors; float32 where None.
        """
        import torch

        tensors = [torch.as_tensor(each).detach().double() for each in (mu, loadings, noise, pi_logits)]
        mu, loadings, noise, pi_logits = tensors
        if not bool((noise > eps).all()):
            raise ValueError(
                f"The noise of an MFA lies above its floor of {eps:g}, but {float(noise.min()):g} was given."
            )
        lengths = loadings.norm(dim=1)
        state = {
            "mu": mu,
            "dir_raw": loadings / lengths[:, None].clamp_min(1e-30),
            "scale_rho": inverse_softplus(lengths.clamp_min(1e-30)),
            "psi_rho": inverse_softplus(noise - eps),
            "pi_logits": pi_logits,
        }
        return cls({name: value.to(dtype or torch.float32) for name, value in state.items()}, {"eps_floor": eps})


def inverse_softplus(value: Tensor) -> Tensor:
    """The ρ with `softplus(ρ) = value`, for large values too."""
    import torch

    inverse: Tensor = value + torch.log(-torch.expm1(-value))
    return inverse


def read(path: Path) -> Checkpoint:
    """The checkpoint in a file; no code in the file is run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, holds more than plain tensors, or is not of an MFA.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no MFA file at {str(path)!r}.")
    value = load_plain(path, '{"state_dict": tensors, "meta": plain values}')
    if not isinstance(value, Mapping):
        raise ValueError(f'An MFA file holds {{"state_dict", "meta"}}, but {path.name} holds {shown(value)}.')
    # A file of parts that is no state_dict itself: what is not a tensor in it is named by what it should be.
    state = value.get("state_dict", value)
    if not isinstance(state, Mapping) or not state:
        raise ValueError(
            f'An MFA file holds {{"state_dict", "meta"}}, but in {path.name} the state_dict is {shown(state)}.'
        )
    meta = value.get("meta") if "state_dict" in value else None
    if meta is not None and not isinstance(meta, Mapping):
        raise ValueError(f"The meta of an MFA file is a table with names, but in {path.name} it is {shown(meta)}.")
    return Checkpoint(state, meta or {})


def _tensor(name: str, value: Any) -> Tensor:
    return dense(value, f"The tensor {shown(name)} of this MFA").cpu()


def write(path: Path, checkpoint: Checkpoint, extra: Mapping[str, Any]) -> None:
    """Write a file that `read` and the reference's `load_mfa` read; a file that stands there is replaced whole."""
    import torch

    eye = torch.eye(checkpoint.rank, dtype=checkpoint.state["mu"].dtype)
    rotation = {name: eye.repeat(checkpoint.components, 1, 1) for name in _ROTATION}
    meta = {
        "rotation_kind": None,
        "rotation_params": {},
        **checkpoint.meta,
        "K": checkpoint.components,
        "D": checkpoint.d_model,
        "q": checkpoint.rank,
        "psi_per_component": checkpoint.state["psi_rho"].ndim == 2,
        "eps_floor": checkpoint.eps,
        "dtype": str(checkpoint.state["mu"].dtype),
        "version": 1,
        "rotation_on": checkpoint.rotated,
        "extra": {**checkpoint.extra, **extra},
    }
    with atomically(path) as fresh:
        torch.save({"state_dict": {**rotation, **checkpoint.state}, "meta": meta}, fresh)
