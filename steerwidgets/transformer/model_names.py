"""Names of models, and a warning where a dictionary was made for another model than the one it is used on."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
import warnings
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

_TUNED: Final = frozenset({"it", "pt", "instruct", "chat", "base", "sft", "dpo", "hf", "meta"})
"""Words that tell a tuned model from the one it was tuned from; features carry over between the two, more or less."""

_OTHER_MODEL: Final = frozenset({"deduped", "medium", "large", "xl"})
"""Words that make another model of a name that they extend: pythia-70m-deduped, gpt2-medium."""

_ALIASES: Final = {
    "gpt2-small": "gpt2",
    "distill-gpt2": "distilgpt2",
    "distil-gpt2": "distilgpt2",
    "gpt-j": "gpt-j-6b",
    "gpt-neo-small": "gpt-neo-125m",
    "gpt-neo-medium": "gpt-neo-1.3b",
    "gpt-neo-large": "gpt-neo-2.7b",
    "gpt-neox": "gpt-neox-20b",
    "olmo-2-1b": "olmo-2-0425-1b",
    "olmo-2-7b": "olmo-2-1124-7b",
    "opt-small": "opt-125m",
    "opt-medium": "opt-1.3b",
    "opt-large": "opt-2.7b",
    "phi-3": "phi-3-mini-4k",
}
"""TransformerLens' own names, which sae_lens writes into its files, and Hugging Face's."""

_CLASS: Final = re.compile(r"\w+(ForCausalLM|LMHeadModel|ForConditionalGeneration|Model)")
_CACHED: Final = re.compile(r"models--(?:.*--)?([^/\\]+)[/\\]snapshots[/\\]")
_STEP: Final = re.compile(r"(checkpoint|step|epoch)[-_]?\d*")

_PACKAGE: Final = str(Path(__file__).parents[1])
_PASSED_THROUGH: Final = (_PACKAGE, contextlib.__file__)

_told: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


class OtherModelWarning(UserWarning):
    """A dictionary is used on another model than the one that it was made for.

    Example:
        >>> import warnings
        >>> warnings.simplefilter("ignore", sw.OtherModelWarning)  # you know what you are doing
    """


@functools.cache
def is_other_model(made_for: str | None, used: str) -> bool:
    """Whether two names are plainly of different models.

    `google/gemma-2-2b`, `gemma-2-2b-it`, `/models/gemma-2-2b` and Hugging Face's cache folder of it are not: owner,
    folder, case and words for tuning do not count, and neither does what a name adds to another. TransformerLens'
    `gpt2-small` is `gpt2`. A name that is missing, or that is only the class of a model, tells nothing.
    """
    mine, theirs = _words(made_for or ""), _words(used)
    if not mine or not theirs:
        return False
    short, long = sorted((mine, theirs), key=len)
    return long[: len(short)] != short or not _OTHER_MODEL.isdisjoint(long[len(short) :])


def is_other_type(made_for: str | None, used: str | None) -> bool:
    """Whether two types of models, as configs or GGUF's headers call them, are plainly others: qwen2 and llama."""
    if not made_for or not used:
        return False
    first, second = (_TYPES.get(each, each) for each in (_bare(made_for), _bare(used)))
    return first != second


def _bare(name: str) -> str:
    return re.sub("[-_]|_?text$", "", name.lower())


_TYPES: Final = {"mistral": "llama", "mixtral": "llama"}
"""What llama.cpp calls the types that it runs as another one."""


def warn_once(model: Any, key: str, message: str, category: type[Warning] = OtherModelWarning) -> None:
    """Warn once of each key for each model, in the name of the user's own line."""
    told = _told.setdefault(model, set())
    if key not in told:
        told.add(key)
        warnings.warn(message, category, stacklevel=_levels_to_the_user())


def _words(name: str) -> tuple[str, ...]:
    cached = _CACHED.search(name + "/")
    if cached is not None:
        last = cached[1]
    else:
        parts = [part for part in re.split(r"[/\\]", name) if part and not _STEP.fullmatch(part.lower())]
        last = parts[-1] if parts else ""
    if _CLASS.fullmatch(last):
        return ()
    last = last.lower().replace("_", "-")
    words = [word for word in last.split("-") if word not in _TUNED]
    bare = "-".join(words)
    return tuple(_ALIASES.get(bare, bare).replace("tiny-stories", "tinystories").split("-")) if bare else ()


def _levels_to_the_user() -> int:
    """How many frames above the caller the user's own code stands."""
    frame, levels = sys._getframe(1), 1  # noqa: SLF001 - what warnings does itself
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PASSED_THROUGH):
        frame, levels = frame.f_back, levels + 1
    return levels
