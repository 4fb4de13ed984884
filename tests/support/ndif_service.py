"""What NDIF does, on loopback: `python ndif_service.py FOLDER` serves the model of a folder, and prints its address.

It takes nnsight's requests and runs them as nnsight's own server would, in a process without steerwidgets; a queue
holds them for as long as `POST /hold` says, until `POST /release` or `POST /drop`. It stands for what can't be reached
here.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
import threading
from typing import Any

import nnsight
import torch
import uvicorn
from nnsight.schema.request import RequestModel
from nnsight.schema.response import ResponseModel, Status
from nnsight.tracing import tracer as tracing
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute


class Blocked:
    """Hides what a service does not have."""

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> None:
        if name.partition(".")[0] == "steerwidgets":
            raise ModuleNotFoundError(f"No module named {name!r}")


class Service:
    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.model: Any = nnsight.TransformersModel(folder, task="text-generation", dispatch=True)
        self.sockets: dict[str, Any] = {}
        self.open = asyncio.Event()
        self.open.set()
        self.dropped = False
        self.running = threading.Lock()
        self.jobs: set[asyncio.Task[None]] = set()

    async def status(self, _request: Any) -> Response:
        return JSONResponse({"deployments": {"a": {"repo_id": self.folder, "deployment_level": "HOT"}}})

    async def hold(self, _request: Any) -> Response:
        self.dropped = False
        self.open.clear()
        return Response()

    async def release(self, _request: Any) -> Response:
        self.dropped = False
        self.open.set()
        return Response()

    async def drop(self, _request: Any) -> Response:
        self.dropped = True
        self.open.set()
        return Response()

    async def subscribe(self, socket: Any) -> None:
        await socket.accept()
        name = str(len(self.sockets))
        self.sockets[name] = socket
        await socket.send_json({"session_id": name})
        with contextlib.suppress(Exception):
            while True:
                await socket.receive()

    async def request(self, request: Any) -> Response:
        form = await request.form()
        envelope = RequestModel.model_validate_json(form["data"])
        blob = await form["blob"].read()
        job = asyncio.create_task(self.serve(self.sockets[envelope.session_id], envelope, blob))
        self.jobs.add(job)
        job.add_done_callback(self.jobs.discard)
        return Response(ResponseModel(id="job", status=Status.RECEIVED).model_dump_json())

    async def serve(self, socket: Any, envelope: RequestModel, blob: bytes) -> None:
        async def say(status: Status, description: str = "") -> None:
            await socket.send_text(ResponseModel(id="job", status=status, description=description).model_dump_json())

        with contextlib.suppress(RuntimeError):  # whoever asked has left
            await say(Status.QUEUED, "You are number 1 of the queue.")
            await self.open.wait()
            if self.dropped:
                await socket.close()
                return
            await say(Status.RUNNING)
            try:
                found = await asyncio.to_thread(self.run, blob, compress=envelope.compress)
            except Exception as error:
                await say(Status.ERROR, f"{type(error).__name__}: {error}")
                return
            await socket.send_bytes(ResponseModel(id="job", status=Status.COMPLETED, data=found).pickle())

    def run(self, blob: bytes, *, compress: bool) -> bytes:
        """The bytes of what a request saved."""
        with self.running:
            objects = self.model._remoteable_persistent_objects()
            tracer = RequestModel.deserialize(blob, objects, compress)
            tracing.inc()
            try:
                with torch.no_grad():
                    tracer.execute(tracer.info.code)
                kept = tracer.info.frame.f_locals.items()
                saved = {name: value for name, value in kept if id(value) in tracing._saves()}
            finally:
                tracing.dec()
        file = io.BytesIO()
        torch.save(saved, file)
        if compress:
            import zstandard

            return zstandard.ZstdCompressor().compress(file.getvalue())
        return file.getvalue()


async def main() -> None:
    service = Service(sys.argv[1])
    sys.meta_path.insert(0, Blocked())
    posts = {"request": service.request, "hold": service.hold, "release": service.release, "drop": service.drop}
    routes: list[BaseRoute] = [Route(f"/{name}", each, methods=["POST"]) for name, each in posts.items()]
    routes += [Route("/status", service.status), WebSocketRoute("/subscribe", service.subscribe)]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), host="127.0.0.1", port=0, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells it in no other way
        await asyncio.sleep(0.05)
    print(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", flush=True)
    await serving


if __name__ == "__main__":
    asyncio.run(main())
