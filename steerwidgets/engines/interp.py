"""interp-engine's HTTP server as an engine."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.engines.engine import EngineError, Generation, Pass, Passed, Taking
from steerwidgets.engines.interp_steering import SERVED_OPS, point_of, steering_json, tensor_json, tensor_of
from steerwidgets.steering.recipe import Recipe
from steerwidgets.transformer.abilities import Abilities

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.engines.places import Place, Places
    from steerwidgets.transformer.architecture import Architecture

TOKEN: Final = "INTERP_ENGINE_SERVER_TOKEN"  # noqa: S105 - the name of the variable that holds it
"""Where the server, and we, look for its bearer token."""

_SECONDS: Final = 600.0
_START: Final = "python -m interp_engine.server --model NAME"


class InterpEngine:
    """A server of interp-engine's.

    Args:
        address: as `http://127.0.0.1:8000`.
        token: its bearer token, where it has one.

    Raises:
        ValueError: the address is none.
        EngineError: nobody answers there, the token is missing or wrong, or the model is not ready.
    """

    def __init__(self, address: str, token: str | None = None) -> None:
        self.address = address.rstrip("/")
        if not self.address.startswith(("http://", "https://")):
            raise ValueError(
                f"An engine is found by its address, as sw.EngineModel('http://127.0.0.1:8000'); {address!r} is none."
            )
        self._token = token or os.environ.get(TOKEN)
        self.where = f"at {self.address}"
        self.described: Mapping[str, Any] = self._ask("/v1/describe")
        self.architecture: Architecture | None = None
        self.abilities = Abilities(
            couple="interp-engine draws each row by itself, so that rows of one seed share no noise once they part",
            ops="interp-engine carries out add, add_relative, ablate, project and clip of directions",
            where="interp-engine steers all tokens or the prompt's, all alike: without conditions and fades",
            carries=tuple(SERVED_OPS),
        )

    @property
    def model_name(self) -> str:
        """The model that it serves."""
        return str(self.described["description"]["hf_model_id"])

    def describe(self) -> Mapping[str, Any]:
        """Which interp-engine, with which backend."""
        load = self.described["load"]
        return {
            "interp-engine": self.described["engine_version"],
            "backend": load["backend"],
            "quantisation": load["quantization"] or "none",
        }

    def forward(self, places: Places, asked: Pass) -> Passed:
        """One request for each row, and one for each steered place that is read before its change."""
        import torch

        streams: dict[Place, list[Tensor]] = {place: [] for place in asked.keep}
        logits = []
        recipes = [Recipe()] * len(asked.ids) if asked.steering is None else asked.steering.recipes_of(len(asked.ids))
        width = asked.ids.shape[1]
        for ids, mask, recipe in zip(asked.ids, asked.mask, recipes, strict=True):
            own = ids[mask.bool()].tolist()
            begins = int(mask.nonzero()[0])
            read, out = self._row(places, own, recipe, asked.keep, logits=asked.logits is not None)
            for place, values in read.items():
                streams[place].append(_placed(values, begins, width))
            if out is not None:
                logits.append(_placed(out, begins, width))
        keep = asked.logits or 0
        whole = torch.stack(logits)[:, -keep:] if logits else None
        return Passed({place: torch.stack(values) for place, values in streams.items()}, whole)

    def _row(
        self, places: Places, ids: list[int], recipe: Recipe, keep: Any, *, logits: bool
    ) -> tuple[dict[Place, Tensor], Tensor | None]:
        parts = self._parts
        order = {place: index for index, place in enumerate(places.order)}
        names = {place: point_of(parts, places.site(place)) for place in keep}
        changed = {places.of(site) for site in recipe.sites}
        plainly = [place for place in keep if place not in changed]
        last = point_of(parts, places.site(places.order[-1]))
        points = [*dict.fromkeys([*(names[place] for place in plainly), *([last] if logits else [])])]
        found = self._capture(ids, points, recipe)
        streams = {place: found[names[place]] for place in plainly}
        for place in keep:
            if place in changed:
                # Before the change there: with the steers that a forward pass comes to earlier.
                before = Recipe(tuple(each for each in recipe if order[places.of(each.feature.site)] < order[place]))
                streams[place] = self._capture(ids, [names[place]], before)[names[place]]
        return streams, self._decoded(found[last]) if logits else None

    def generate(self, places: Places, asked: Generation, taking: Taking) -> None:
        """One request for each row, whose tokens come as they are drawn."""
        recipes = asked.steering.recipes_of(len(asked.ids))
        sampling, seeds = asked.sampler.sampling, asked.sampler.seeds
        if sampling.frequency_penalty:
            raise ValueError("interp-engine knows no frequency_penalty; leave it at 0, or use sw.RemoteModel.")
        for row, (ids, mask, recipe) in enumerate(zip(asked.ids, asked.mask, recipes, strict=True)):
            steering, generated = steering_json(self._parts, recipe)
            prompt = ids[mask.bool()].tolist()
            most = sampling.max_new_tokens - asked.sampler.begun[row]
            body = {
                "prompt_token_ids": prompt,
                "max_tokens": most,
                "temperature": sampling.temperature,
                "top_k": sampling.top_k,
                "top_p": sampling.top_p,
                "presence_penalty": 0.0,
                "seed": seeds[row] & (2**63 - 1),
                "steering": steering or None,
                "steer_generated": generated,
                "stream": True,
            }
            with closing(self._lines("/v1/generate", body)) as lines:
                for count, line in enumerate(lines):
                    # The line before the last one is the last token: then nothing is left to be stopped.
                    if line["type"] == "token" and not taking.token(row, int(line["token_id"])) and count < most:
                        break
            if asked.watch and taking.generated(row):
                whole = [*prompt, *taking.generated(row)]
                streams, _ = self._row(places, whole, recipe, asked.watch, logits=False)
                taking.streams(row, streams)

    def through(self, path: str, vectors: Tensor) -> Tensor:
        """The server knows final norm and unembed as one; here they stand apart.

        The norm without its gain is worked out here, and what is left of the server's way is linear, but for the bias:
        `decode(y) = W(g ⊙ y/σ(y) + b)`, so that `σ(y)·(decode(y) − decode(0)) + decode(0)` is `W(g ⊙ y + b)`.
        """
        import torch

        y = vectors.float()
        centred = y - y.mean(-1, keepdim=True) if self._centres else y
        size = centred.square().mean(-1, keepdim=True).sqrt()
        if path == self._norm_path:
            return (centred / size.clamp_min(1e-30)).to(vectors.dtype)
        rows = y.reshape(-1, y.shape[-1])
        decoded = self._uncapped(self._decoded(torch.cat([torch.zeros_like(rows[:1]), rows])))
        zero, others = decoded[0], decoded[1:].reshape(*y.shape[:-1], -1)
        return zero + size * (others - zero)

    def attach(self, architecture: Architecture) -> None:
        """Let it know the model's parts."""
        from torch import nn

        self.architecture = architecture
        self._norm_path = next(
            name for name, module in architecture.model.named_modules() if module is architecture.final_norm
        )
        self._centres = isinstance(architecture.final_norm, nn.LayerNorm)

    @property
    def _parts(self) -> Architecture:
        assert self.architecture is not None
        return self.architecture

    def _uncapped(self, logits: Tensor) -> Tensor:
        cap = self._parts.soft_cap
        return logits if cap is None else cap * (logits / cap).atanh()

    def _capture(self, ids: list[int], points: list[str], recipe: Recipe) -> dict[str, Tensor]:
        if not points:
            return {}
        steering, generated = steering_json(self._parts, recipe)
        if steering and not generated:
            raise ValueError(
                "interp-engine steers every token that it reads; a recipe for the prompt alone can generate, but "
                "nothing can be read under it. sw.RemoteModel, or a model in this process, can."
            )
        body = {"prompt_token_ids": ids, "points": points, "steering": steering or None}
        found = self._ask("/v1/capture", body)["activations"]
        return {name: tensor_of(value) for name, value in found.items()}

    def _decoded(self, residuals: Tensor) -> Tensor:
        """Logits of residuals [n, d_model], as the model makes them of its last one."""
        return tensor_of(self._ask("/v1/decode_residuals", {"residuals": tensor_json(residuals)})["tensor"])

    def _ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        with self._open(path, body) as answer:
            return json.load(answer)

    def _lines(self, path: str, body: Mapping[str, Any]) -> Generator[dict[str, Any], None, None]:
        """The lines of a stream; leaving them ends the request."""
        with self._open(path, body) as answer:
            ended = False
            for line in answer:
                said = json.loads(line)
                if said["type"] == "error":
                    raise EngineError(f"The engine {self.where} failed while it generated: {said['detail']}.")
                ended = said["type"] == "done"
                yield said
            if not ended:
                raise EngineError(f"The engine {self.where} went away while it generated; is its server still running?")

    def _open(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        headers = {"content-type": "application/json"}
        headers |= {"authorization": f"Bearer {self._token}"} if self._token else {}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}{path}", data, headers)  # noqa: S310 - http, checked
        try:
            return urllib.request.urlopen(request, timeout=_SECONDS)  # noqa: S310 - likewise
        except urllib.error.HTTPError as error:
            raise self._refusal(error) from None
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise EngineError(
                f"Nobody answers {self.where} ({reason}); start the server there ({_START}), or correct the address."
            ) from None

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        said = _detail(error)
        if error.code == 401:
            which = "does not take this token" if self._token else "asks for a token"
            return EngineError(
                f"The engine {self.where} {which}; give the one that it was started with: "
                f"sw.EngineModel(address, token=…), or the variable {TOKEN}."
            )
        if error.code == 503:
            return EngineError(f"The engine {self.where} is not ready: {said}; try again in a moment.")
        if error.code == 422:
            return ValueError(f"The engine {self.where} refused: {said}.")
        if error.code == 404:
            return EngineError(f"What answers {self.where} is no interp-engine server; start one there ({_START}).")
        return EngineError(f"The engine {self.where} failed ({error.code}: {said}); its own log says more.")


def _detail(error: urllib.error.HTTPError) -> str:
    text = error.read().decode(errors="replace")
    try:
        return str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return text[:200] or str(error.reason)


def _placed(values: Tensor, begins: int, width: int) -> Tensor:
    """A row's values [token, …] where its tokens stand in a batch that is padded on the left."""
    if len(values) == width:
        return values
    placed = values.new_zeros(width, *values.shape[1:])
    placed[begins:] = values
    return placed
