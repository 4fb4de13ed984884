"""What a result says of where it comes from."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steerwidgets.engine import Engine

_PACKAGES = ("steerwidgets", "torch", "transformers")


def model_provenance(engine: Engine) -> dict[str, str]:
    """Model, revision, dtype, device, quantisation and package versions."""
    config = engine.model.config
    block = next(iter(engine.architecture.blocks[0].parameters()))
    quantisation = getattr(config, "quantization_config", None)
    found = {
        "model": engine.architecture.name,
        "revision": str(getattr(config, "_commit_hash", None) or "not recorded"),
        "dtype": str(block.dtype).removeprefix("torch."),
        "device": str(engine.architecture.input_device),
        "quantisation": str(getattr(quantisation, "quant_method", quantisation) or "none"),
    }
    return found | {package: _version(package) for package in _PACKAGES}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
