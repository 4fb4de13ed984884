"""RemoteModel: a language model that NDIF runs, through nnsight."""

from __future__ import annotations

from importlib import util
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from steerwidgets.calls import tells_calls
from steerwidgets.engines.elsewhere import ModelElsewhere, skeleton_of

if TYPE_CHECKING:
    from os import PathLike


class RemoteSettings(TypedDict, total=False):
    """Which of a repository's models is meant.

    Attributes:
        revision: its branch, tag or commit.
        token: for repositories that ask for one.
        trust_remote_code: whether code of the repository may make the model's modules.
    """

    revision: str
    token: str
    trust_remote_code: bool


@tells_calls("sw.RemoteModel", "lm")
class RemoteModel(ModelElsewhere):
    """A language model that runs elsewhere through nnsight, with the verbs of `sw.LanguageModel`.

    Recipes go there as data and are carried out inside the forward pass, by the same formulas. Weights stay where they
    are: here stands the model's skeleton, made of its config. Texts come back whole, once their job is done; widgets
    tell where it stands in the queue, and Stop leaves it.

    Args:
        name: of a repository on Hugging Face's hub, or a folder with the model's config and tokenizer.
        remote: True for NDIF (https://ndif.us), the address of another such service, or `"local"`, which loads the
            model here and goes the whole way that a remote run goes, but for the network.
        serve: refused: an `nnsight-serve` runs vLLM, whose streams are others; `sw.EngineModel` runs on vLLM.
        settings: `revision`, `token`, `trust_remote_code`, as `RemoteSettings` explains them.

    Raises:
        ImportError: nnsight is missing; `pip install "steerwidgets[remote]"` brings it.
        ValueError: nothing says where the model runs, or an `nnsight-serve` shall run it.
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
        **settings: Unpack[RemoteSettings],
    ) -> None:
        where = _checked(remote, serve)
        if util.find_spec("nnsight") is None:
            raise ImportError(
                'sw.RemoteModel runs models through nnsight, which is missing: pip install "steerwidgets[remote]".'
            )
        import nnsight
        from nnsight import TransformersModel
        from transformers import AutoTokenizer

        from steerwidgets.engines.ndif import host_of, refuse_not_served
        from steerwidgets.engines.remote import NNsightEngine

        nnsight.register("steerwidgets")
        path = str(name)
        if host := host_of(where):
            refuse_not_served(host, path)
        given: dict[str, Any] = {**settings}
        tokenizer = AutoTokenizer.from_pretrained(path, **given)
        model = TransformersModel(path, task="text-generation", tokenizer=tokenizer, dispatch=where == "local", **given)
        skeleton = skeleton_of(path, model._module.dtype, **given)  # noqa: SLF001 - nnsight has no other name for it
        super().__init__(skeleton, model.tokenizer, NNsightEngine(model, path, where))
        self.source_code = f"sw.RemoteModel({path!r}, remote={where!r})"


def _checked(remote: bool | str | None, serve: str | None) -> bool | str:
    """Where a model runs, as nnsight takes it.

    Raises:
        ValueError: nothing says it, or it is where recipes can't be carried out.
    """
    if serve is not None:
        raise ValueError(
            "An nnsight-serve runs vLLM, whose blocks hand on their streams in parts, so that a recipe can't be "
            "carried out there; for a server of your own start interp-engine's, which runs vLLM as well: "
            "sw.EngineModel('http://…')."
        )
    if not remote:
        raise ValueError(
            "Say where the model runs: sw.RemoteModel(name, remote=True) for NDIF, the address of another such "
            'service, or remote="local" to try the whole way here.'
        )
    return remote
