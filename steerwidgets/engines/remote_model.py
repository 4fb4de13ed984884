"""RemoteModel: a language model that NDIF, or a server of one's own, runs through nnsight."""

from __future__ import annotations

from importlib import util
from typing import TYPE_CHECKING, Any

from steerwidgets.engines.elsewhere import ModelElsewhere, skeleton_of

if TYPE_CHECKING:
    from os import PathLike


class RemoteModel(ModelElsewhere):
    """A language model that runs elsewhere through nnsight, with the verbs of `sw.LanguageModel`.

    Recipes go there as data and are carried out inside the forward pass, by the same formulas. Weights stay where they
    are: here stands the model's skeleton, made of its config. Texts come back whole, once their job is done.

    Args:
        name: of a repository on Hugging Face's hub, or a folder with the model's config and tokenizer.
        remote: True for NDIF (https://ndif.us), the address of another such service, or `"local"`, which loads the
            model here and goes the whole way that a remote run goes, but for the network.
        serve: instead of `remote`, the address of an `nnsight-serve` of your own.
        settings: go to nnsight's `TransformersModel` as they are, such as `revision`.

    Raises:
        ImportError: nnsight is missing; `pip install "steerwidgets[remote]"` brings it.
        ValueError: nothing says where the model runs, or two things do.
        EngineError: the model is not served there, or can't be reached; the message says what may help.

    Example:
        >>> lm = sw.RemoteModel("meta-llama/Llama-3.1-70B", remote=True)  # doctest: +SKIP
        >>> out = lm.compare("Name a city.", cavs["ocean"].add(4))  # doctest: +SKIP
    """

    def __init__(
        self,
        name: str | PathLike[str],
        *,
        remote: bool | str | None = None,
        serve: str | None = None,
        **settings: Any,
    ) -> None:
        where, run = _where(remote, serve)
        if util.find_spec("nnsight") is None:
            raise ImportError(
                'sw.RemoteModel runs models through nnsight, which is missing: pip install "steerwidgets[remote]".'
            )
        import nnsight
        from nnsight import TransformersModel

        from steerwidgets.engines.remote import NNsightEngine

        nnsight.register("steerwidgets")
        path = str(name)
        model = TransformersModel(path, task="text-generation", dispatch=remote == "local", **settings)
        skeleton = skeleton_of(path, model._module.dtype, **settings)  # noqa: SLF001 - nnsight's model has no other name for it
        super().__init__(skeleton, model.tokenizer, NNsightEngine(model, run, where))
        self.source_code = f"sw.RemoteModel({path!r}, {'serve' if serve else 'remote'}={serve or remote!r})"


def _where(remote: bool | str | None, serve: str | None) -> tuple[str, dict[str, Any]]:
    """Where a model runs, in words and as nnsight takes it.

    Raises:
        ValueError: nothing says it, or two things do.
    """
    if bool(remote) == bool(serve):
        raise ValueError(
            'Say where the model runs, in one way: sw.RemoteModel(name, remote=True) for NDIF, remote="local" to try '
            'the whole way here, or serve="http://…" for an nnsight-serve of your own.'
        )
    if serve:
        return f"at {serve}", {"serve": serve}
    if remote == "local":
        return "here as if elsewhere (remote='local')", {"remote": "local"}
    return ("on NDIF" if remote is True else f"at {remote}"), {"remote": remote}
