"""What NDIF, or a service like it, says of itself, and its failures in one sentence each."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from steerwidgets.engines.engine import EngineError
from steerwidgets.transformer.mistakes import listed

_SECONDS: Final = 30.0
_SHOWN: Final = 8
_REFUSED: Final = ("api key", "api-key", "unauthori", "forbidden", "401")
_STATUS: Final = "nnsight.status() lists what is served"


def host_of(remote: bool | str) -> str:
    """The address of a service; empty where nothing goes over a network."""
    from nnsight import CONFIG

    return "" if remote == "local" else str(remote if isinstance(remote, str) else CONFIG.API.HOST)


def refuse_not_served(host: str, name: str) -> None:
    """Ask a service what it serves.

    Raises:
        EngineError: it can't be reached, or does not serve the model.
    """
    try:
        with urllib.request.urlopen(f"{host}/status", timeout=_SECONDS) as answer:  # noqa: S310 - nnsight's own host
            deployed = json.load(answer)["deployments"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "reason", error)
        raise EngineError(
            f"{host} does not say what it serves ({reason}); look at https://ndif.us, and try again later."
        ) from None
    up = [each for each in deployed.values() if each.get("deployment_level") in ("HOT", "WARM")]
    served = sorted({str(each.get("repo_id")) for each in up})
    if name not in served:
        others = (
            f"it serves {listed(served[:_SHOWN])}{' and others' * (len(served) > _SHOWN)}" if served else "nothing is"
        )
        raise EngineError(f"{name} is not served at {host} now: {others}; {_STATUS}.")


@contextmanager
def told(host: str, name: str, key: str | None) -> Iterator[None]:
    """Turn what a remote run raises into one sentence.

    Args:
        host: the service.
        name: the model's.
        key: the API key, if there is one.

    Raises:
        EngineError: in the place of the network's own errors and of nnsight's.
    """
    try:
        yield
    except Exception as error:
        if (sentence := _sentence(error, host, name, key)) is None:
            raise
        raise EngineError(sentence) from error


def _sentence(error: Exception, host: str, name: str, key: str | None) -> str | None:
    """What is to be said of an error; None for one that is not the way's."""
    kinds = {f"{each.__module__.partition('.')[0]}.{each.__name__}" for each in type(error).__mro__}
    said = " ".join(str(error).split())
    code: Any = getattr(error, "status_code", None)
    if code in (401, 403) or any(word in said.lower() for word in _REFUSED):
        if not key:
            return (
                f"{host} asks for an API key: get one at https://login.ndif.us, and set it before nnsight is imported "
                "(the variable NDIF_API_KEY), or once by nnsight.CONFIG.set_default_api_key(key)."
            )
        return f"{host} does not let this API key run {name}: {said[:200]}. Ask for access, or choose a model of yours."
    if "nnsight.RemoteError" in kinds:
        return f"{host} could not run this on {name}: {said[:400]}."
    if kinds & {"websocket.WebSocketConnectionClosedException", "websocket.WebSocketTimeoutException"}:
        return f"{host} ended the connection while the job waited ({said or 'without a word'}); ask again, or later."
    # nnsight takes the empty message of a connection that is being closed for a status.
    if "pydantic_core.ValidationError" in kinds:
        return f"{host} ended the connection while the job waited (without a status); ask again, or later."
    if any(kind.startswith(("websocket.", "httpx.")) for kind in kinds) or isinstance(error, OSError):
        return f"{host} can't be reached ({said[:200]}); is it up? {_STATUS}."
    return None
