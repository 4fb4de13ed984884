"""How a trace gets to where its model runs: to a service, for somebody who waits, or here as if elsewhere."""

from __future__ import annotations

import importlib
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from nnsight.intervention.backends.local import LocalSimulationBackend
from nnsight.intervention.backends.remote import RemoteBackend

from steerwidgets.transformer.waits import Left

if TYPE_CHECKING:
    from steerwidgets.transformer.waits import Waiter

_STAGES: Final = {
    "RECEIVED": "has taken the job",
    "QUEUED": "has the job in its queue",
    "PROVISIONING": "makes room for the model",
    "DEPLOYING": "loads the model",
    "DISPATCHED": "has handed the job to the model",
    "RUNNING": "runs the job",
}
_SECOND: Final = 1.0
_OURS: Final = "steerwidgets"


def job(model: Any, host: str, place: str, who: Waiter) -> RemoteBackend:
    """What carries a trace to a service, for somebody who waits.

    Args:
        model: nnsight's model.
        host: the address of the service.
        place: what it is called.
        who: is told how the job stands.
    """
    made = RemoteBackend(model.to_model_key(), host=host, env=model._remoteable_get_env())  # noqa: SLF001 - as its trace does
    made.display = _Told(place, who)
    return made


class Here(LocalSimulationBackend):  # type: ignore[misc]  # nnsight has no types
    """nnsight's dry run, beside which other threads of a kernel go on.

    It takes modules out of `sys.modules` for as long as it unpacks a trace, and what another thread imports meanwhile
    is not found, or found twice. So it takes away those alone that no service has, and an import of them waits.
    """

    def find_spec(self, name: str, *_: Any) -> None:
        """Be a finder that finds nothing of ours.

        Raises:
            ModuleNotFoundError: what is unpacked asks for it.
        """
        if _is_ours(name):
            raise ModuleNotFoundError(f"No module named {name!r} where the model runs.", name=name)

    def _hide_local_modules(self) -> dict[str, Any]:
        self._importing = _import_lock(_OURS)
        self._importing.__enter__()
        sys.meta_path.insert(0, self)
        mine = [name for name in sys.modules if _is_ours(name)]
        return {"modules": {name: sys.modules.pop(name) for name in mine}, "paths": []}

    def _restore(self, hidden: dict[str, Any]) -> None:
        super()._restore(hidden)
        sys.meta_path.remove(self)
        self._importing.__exit__(None, None, None)


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] == _OURS


def _import_lock(name: str) -> Any:
    """What Python's own import takes while it loads a module."""
    return importlib._bootstrap._ModuleLockManager(name)  # type: ignore[attr-defined]  # noqa: SLF001


class _Told:
    """Stands where nnsight has its line of output: it is given every status, and ten times a second in between.

    Raises:
        Left: who waits has left.
    """

    enabled = True

    def __init__(self, place: str, who: Waiter) -> None:
        self._place = place
        self._who = who
        self._began = time.monotonic()
        self._stage = ""
        self._last = -_SECOND

    def update(self, response: Any) -> None:
        """Take in a status."""
        stage = _STAGES.get(response.status.value)
        if stage is None:
            self._leave_if_left()
            return
        said = " ".join(str(response.description or "").split()).rstrip(".")
        self._stage = f"{self._place} {stage}{f' ({said[:160]})' if said else ''}"
        self._last = -_SECOND
        self.refresh()

    def refresh(self) -> None:
        """Tell for how long it has been so, once a second."""
        self._leave_if_left()
        seconds = time.monotonic() - self._began
        if self._stage and seconds - self._last >= _SECOND:
            self._last = seconds
            self._who.told(f"{self._stage} · {seconds:.0f} s")

    def _leave_if_left(self) -> None:
        if self._who.has_left():
            raise Left
