"""Tiny models as they run elsewhere."""

import contextlib
import threading
import time
import urllib.error
import urllib.request

import pytest
from support import models, toks

import steerwidgets as sw


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The folder of a tiny model of a family, written once."""
    made = {}

    def folder_of(family):
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            models.make(family).save_pretrained(made[family])
            toks.byte_level().save_pretrained(made[family])
        return made[family]

    return folder_of


@pytest.fixture(scope="session")
def remote_of(folder):
    """A tiny model of a family through nnsight, the whole remote way but for the network."""
    made = {}

    def remote(family):
        if family not in made:
            made[family] = sw.RemoteModel(folder(family), remote="local")
        return made[family]

    return remote


@pytest.fixture(scope="session", name="serving")
def _serving():
    """Serves a folder while it lasts, under a token or none."""
    return serving


@contextlib.contextmanager
def serving(folder, token=None):
    """The address of interp-engine's own server on loopback, in a thread of this process."""
    import uvicorn
    from interp_engine.server.app import create_app
    from interp_engine.server.config import ServerConfig

    config = ServerConfig(str(folder), backend="eager", device="cpu", dtype="float32", token=token, warmup=False)
    server = uvicorn.Server(uvicorn.Config(create_app(config), host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield _address_once_ready(server)
    finally:
        server.should_exit = True
        thread.join()


def _address_once_ready(server):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if server.started:
            address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
            with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(f"{address}/health"):
                return address
        threading.Event().wait(0.05)
    raise TimeoutError("interp-engine's server did not come up")


@pytest.fixture(scope="session")
def served(folder):
    """The address of a server for a tiny model of a family, started once."""
    with contextlib.ExitStack() as stack:
        made = {}

        def served_at(family):
            if family not in made:
                made[family] = stack.enter_context(serving(folder(family)))
            return made[family]

        yield served_at


@pytest.fixture(scope="session")
def engine_of(served):
    """A tiny model of a family behind a server."""
    made = {}

    def engine(family):
        if family not in made:
            made[family] = sw.EngineModel(served(family))
        return made[family]

    return engine
