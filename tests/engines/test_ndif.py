"""What goes wrong on the way to NDIF is one sentence with a way on. A fake service answers here."""

import http.server
import json
import threading

import pytest

import steerwidgets as sw
from steerwidgets.engines.ndif import told


@pytest.fixture
def service():
    """The address of a service that serves what it is told to, and lets nobody in."""
    served = {}

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/status" else 401)
            self.end_headers()
            self.wfile.write(json.dumps({"deployments": served}).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", served
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_model_that_is_not_served(folder, service):
    address, served = service
    with pytest.raises(sw.EngineError, match=r"not served at .*: nothing is; nnsight\.status\(\)"):
        sw.RemoteModel(folder("llama"), remote=address)
    served["a"] = {"repo_id": "some/other", "deployment_level": "HOT"}
    with pytest.raises(sw.EngineError, match="it serves some/other"):
        sw.RemoteModel(folder("llama"), remote=address)


@pytest.mark.parametrize("key", [None, "mine"])
def test_keys(folder, service, monkeypatch, key):
    import nnsight

    monkeypatch.setattr(nnsight.CONFIG.API, "APIKEY", key)
    # A folder has no name on the hub, by which a service knows models.
    monkeypatch.setattr(nnsight.TransformersModel, "to_model_key", lambda _self: "key")
    address, served = service
    served["a"] = {"repo_id": str(folder("llama")), "deployment_level": "HOT"}
    there = sw.RemoteModel(folder("llama"), remote=address)
    with pytest.raises(sw.EngineError, match="does not let this API key run" if key else "asks for an API key"):
        there.compare("Name a city.", None, max_new_tokens=2)


def test_a_service_that_is_gone(folder):
    with pytest.raises(sw.EngineError, match="does not say what it serves"):
        sw.RemoteModel(folder("llama"), remote="http://127.0.0.1:1")


def test_a_queue_that_dies():
    from websocket import WebSocketConnectionClosedException

    with pytest.raises(sw.EngineError, match="ended the connection while the job waited"), told("it", "a model", "key"):
        raise WebSocketConnectionClosedException
    with pytest.raises(sw.EngineError, match="can't be reached"), told("it", "a model", "key"):
        raise ConnectionRefusedError("refused")
    with pytest.raises(ZeroDivisionError), told("it", "a model", "key"):
        raise ZeroDivisionError
