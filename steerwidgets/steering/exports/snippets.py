"""A recipe as code that runs by itself: plain PyTorch hooks, and a trace of nnsight."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.files.fields import Fields
from steerwidgets.steering import ops
from steerwidgets.steering.exports.constant import sum_of_adds, why_not_everywhere
from steerwidgets.steering.hooks import check_fits
from steerwidgets.steering.inline import tensor_from_json
from steerwidgets.steering.recipe import Feature

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.steering.recipe import Recipe, Steer
    from steerwidgets.transformer.architecture import Architecture
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import Prompt
    from steerwidgets.transformer.sites import Site

_BEGIN: Final = '''\
import base64

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
{imports}
name = {name!r}
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.{dtype}).eval()
prompt = torch.tensor([{ids}])  # {text}


def tensor(text, *shape):
    """float32 numbers that are written out as base64."""
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.float32).reshape(shape)

'''

_TORCH: Final = '''
def attach(module, change, is_input):
    """A hook that adds a change to what goes into a module, or comes out of it; alike at every token."""

    def changed(h):
        return (h.float() + change(h.float())).to(h.dtype)

    def before(_module, args, kwargs):
        if args:
            return (changed(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": changed(kwargs["hidden_states"])}

    def after(_module, _args, output):
        return (changed(output[0]), *output[1:]) if isinstance(output, tuple) else changed(output)

    if is_input:
        return module.register_forward_pre_hook(before, with_kwargs=True)
    return module.register_forward_hook(after)


'''

_GENERATE: Final = "max_new_tokens={count}, do_sample=False, repetition_penalty=1.0, pad_token_id={pad}"


def to_torch(recipe: Recipe, lm: LoadedModel, prompt: Any, max_new_tokens: int, *, chat: bool | None) -> str:
    """Plain PyTorch; see `Recipe.to_torch`."""
    encoded = _checked(recipe, lm, prompt, max_new_tokens, chat)
    lines = [_begin(lm, prompt, encoded, ""), *_changes(recipe), _TORCH]
    lines.append("handles = [\n")
    for number, site in enumerate(recipe.sites):
        point = lm.architecture.hookpoint(site)
        lines.append(
            f"    attach(model.{_path(lm.architecture, site)}, change_{number}, is_input={point.is_input}),  # {site}\n"
        )
    lines.append("]\ntry:\n")
    arguments = _GENERATE.format(count=max_new_tokens, pad=_pad(lm))
    lines.append(f"    out = model.generate(prompt, attention_mask=torch.ones_like(prompt), {arguments})\n")
    lines.append("finally:\n    for handle in handles:\n        handle.remove()\n")
    lines.append("print(tokenizer.decode(out[0, prompt.shape[1] :]))\n")
    return "".join(lines)


def to_nnsight(recipe: Recipe, lm: LoadedModel, prompt: Any, max_new_tokens: int, *, chat: bool | None) -> str:
    """A trace of nnsight; see `Recipe.to_nnsight`."""
    encoded = _checked(recipe, lm, prompt, max_new_tokens, chat)
    lines = [_begin(lm, prompt, encoded, "from nnsight import TransformersModel\n"), *_changes(recipe)]
    lines.append('\nnn = TransformersModel(model, tokenizer=tokenizer, task="text-generation")\n')
    arguments = _GENERATE.format(count=max_new_tokens, pad=_pad(lm))
    lines.append(f"with nn.generate(prompt, {arguments}) as tracer:\n")
    lines.append(f"    for step in tracer.iter[:{max_new_tokens}]:\n")
    for number, site in enumerate(recipe.sites):
        place = "input" if lm.architecture.hookpoint(site).is_input else "output"
        lines.append(f"        h = nn.{_path(lm.architecture, site)}.{place}  # {site}\n")
        lines.append("        h = h[0] if isinstance(h, tuple) else h\n")
        lines.append(f"        h[:] = (h.float() + change_{number}(h.float())).to(h.dtype)\n")
    lines.append("    out = tracer.result.save()\n")
    lines.append("print(tokenizer.decode(out[0, prompt.shape[1] :]))\n")
    return "".join(lines)


def _checked(recipe: Recipe, lm: LoadedModel, prompt: Any, max_new_tokens: int, chat: bool | None) -> Prompt:
    if not len(recipe):
        raise ValueError("The recipe is empty, so there is nothing that code could do; add a steer to it.")
    if isinstance(max_new_tokens, bool) or not isinstance(max_new_tokens, int) or max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is a whole number from 1 on, but {max_new_tokens!r} was given.")
    encoded = lm.encode(prompt, chat=chat)
    check_fits(lm.architecture, recipe, lm.known([encoded]))
    for steer in recipe:
        if reason := _why_not(steer):
            raise ValueError(
                f"Code of a few lines acts alike at every token, and {steer!r} {reason}. Leave it out, or take "
                "recipe.to_pyvene(lm), which does all that recipes do."
            )
    return encoded


def _why_not(steer: Steer) -> str:
    if steer.control is not None and not (steer.op == "add" and steer.is_of_direction):
        return "goes along a random direction, by what stands along its own"
    if steer.spec.skips_sinks:
        return "leaves attention sinks out, which it would have to find first"
    if reason := why_not_everywhere(steer):
        return reason
    feature = steer.feature
    if steer.is_of_direction:
        return ""
    if not isinstance(feature, Feature) or feature.not_inline:
        return f"needs its dictionary: {getattr(feature, 'not_inline', '')}"
    form = feature.inline()["form"]
    if form not in ("reft", "latent"):
        return f"is of the kind {feature.kind}, whose {steer.op} is no formula of a line"
    settings = feature.inline().get("settings", {})
    if settings.get("center_input") or settings.get("normalize_activations", "none") != "none":
        return "is of an SAE that centres or normalises its input"
    return ""


def _begin(lm: LoadedModel, prompt: Any, encoded: Prompt, imports: str) -> str:
    text = prompt if isinstance(prompt, str) else "a conversation, or ids"
    dtype = lm.provenance["dtype"]
    ids = list(encoded.token_ids)
    return _BEGIN.format(imports=imports, name=lm.name, dtype=dtype, ids=ids, text=ascii(text[:60]))


def _pad(lm: LoadedModel) -> int:
    """What fills a row that has ended; nothing of it is shown."""
    found = getattr(lm.tokenizer, "pad_token_id", None)
    return int(next(iter(lm.end_ids), 0)) if found is None else int(found)


def _path(architecture: Architecture, site: Site) -> str:
    """A site's module as code, as `model.layers[20]`."""
    point = architecture.hookpoint(site)
    if point.factor != 1.0 or point.flat_in is not None or point.reads is not None:
        raise ValueError(
            f"{site} of {architecture.name} is not what a module takes or gives as it is; steer resid_post of the same "
            "block instead."
        )
    for name, module in architecture.model.named_modules():
        if module is point.module:
            return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", name)
    raise ValueError(f"{site} lies in a module that is no part of {architecture.name}, so code can't name it.")


def _changes(recipe: Recipe) -> list[str]:
    return [
        _change(number, site, [steer for steer in recipe if steer.feature.site == site])
        for number, site in enumerate(recipe.sites)
    ]


def _change(number: int, site: Site, steers: Sequence[Steer]) -> str:
    """A function that gives the change at one site, and the tensors that it needs."""
    tensors: list[str] = []

    def kept(value: Tensor) -> str:
        name = f"t{number}_{len(tensors)}"
        shape = ", ".join(map(str, value.shape))
        data = base64.b64encode(value.detach().float().cpu().contiguous().numpy().tobytes()).decode()
        tensors.append(f'{name} = tensor("{data}", {shape})\n')
        return name

    adds = [steer for steer in steers if steer.op == "add" and steer.is_of_direction]
    fixing = [steer for steer in steers if steer.spec.fixes_projection and not steer.is_identity]
    others = [steer for steer in steers if not (steer.op == "add" and steer.is_of_direction)]
    body = [f"    change = change + {kept(sum_of_adds(adds))}\n"] if adds else []
    body += [line for steer in others if not steer.spec.fixes_projection for line in _latent(steer, kept)]
    body += _projections(fixing, kept) if fixing else []
    said = "; ".join(ascii(repr(steer))[1:-1] for steer in steers)
    head = f'\ndef change_{number}(h):\n    """{site}: {said}"""\n'.replace("\\'", "'")
    return "".join(tensors) + f"\n{head}    change = torch.zeros_like(h)\n" + "".join(body) + "    return change\n\n"


def _projections(steers: Sequence[Steer], kept: Any) -> list[str]:
    """Ops that fix a projection, solved together in the span of their directions."""
    import torch

    unit = torch.stack([steer.feature.vector / steer.feature.vector.norm() for steer in steers])
    name, solver = kept(unit), kept(ops.projection_solver(unit))
    targets = ", ".join(_target(steer, f"p[..., {at}]") for at, steer in enumerate(steers))
    return [
        f"    p = h @ {name}.T\n",
        f"    target = torch.stack([{targets}], dim=-1)\n",
        f"    change = change + (target - p) @ {solver} @ {name}\n",
    ]


def _target(steer: Steer, p: str) -> str:
    numbers = steer.parameters
    if steer.op == "ablate":
        return f"torch.zeros_like({p})"
    if steer.op == "project":
        return f"{numbers['c']!r} * {p}"
    return f"{p}.clamp(min={numbers['lo']!r}, max={numbers['hi']!r})"


def _latent(steer: Steer, kept: Any) -> list[str]:
    """A clamp, scale or ablation of a latent of an SAE, or a clamp of ReFT-r1."""
    feature: Any = steer.feature
    numbers, parts = steer.parameters, feature.inline()
    v = feature.vector
    if parts["form"] == "reft":
        name = kept(v)
        return [f"    change = change + ({numbers['alpha']!r} - (h @ {name}).relu())[..., None] * {name}\n"]
    settings = parts["settings"]
    norm = float(v.norm()) if settings["rescale_acts_by_decoder_norm"] else 1.0
    written = Fields(parts, "In this recipe")
    encoder, bias = tensor_from_json(written, "encoder") * norm, parts["bias"] * norm
    centred = f"(h - {kept(tensor_from_json(written, 'decoder_bias'))})" if settings["apply_b_dec_to_input"] else "h"
    lines = [f"    a = ({centred} @ {kept(encoder)} + {bias!r}).relu()\n"]
    if parts["threshold"] is not None:
        lines.append(f"    a = a * (a > {parts['threshold']!r})\n")
    wanted = {"clamp": f"{numbers.get('c')!r} - a", "scale": f"{(numbers.get('m') or 0.0) - 1!r} * a", "ablate": "-a"}
    return [*lines, f"    change = change + ({wanted[steer.op]})[..., None] * {kept(v / norm)}\n"]
