"""Where a Hugging Face model keeps its blocks, final norm, unembed and soft cap; reading and writing block outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.transformer.norms import normaliser
from steerwidgets.transformer.sites import STREAMS, Site

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

_NORMS: Final = ("norm", "ln_f", "final_layer_norm", "final_layernorm")
_ATTENTIONS: Final = ("self_attn", "attn", "attention")
_MLPS: Final = ("mlp",)
_ATTENTION_OUTPUTS: Final = ("o_proj", "c_proj", "dense")
_MLP_OUTPUTS: Final = ("down_proj", "c_proj", "dense_4h_to_h")
_MLP_NORMS: Final = ("post_attention_layernorm", "ln_2")
# Gemma 2 and 3, OLMo 2 and GLM-4 norm what a sublayer gives before it joins the residual.
_AFTER_MLP: Final = ("post_feedforward_layernorm", "post_mlp_layernorm")
_AFTER_ATTENTION: Final = ("post_self_attn_layernorm", "post_attention_layernorm")
_BEFORE_MLP: Final = ("pre_feedforward_layernorm",)


class UnknownArchitectureError(ValueError):
    """The model's parts were not found by structure; the message says what was looked for and what to pass."""


class CompiledModelError(RuntimeError):
    """The model is compiled, so PyTorch would silently ignore a hook."""


@dataclass(frozen=True)
class Hookpoint:
    """A module and whether the stream is its input or its output; or, read only, what `reads` makes of that."""

    module: nn.Module
    is_input: bool
    writable: bool = True
    reads: Callable[[Tensor], Tensor] | None = None


class Architecture:
    """The parts of a causal language model that steerwidgets reads and changes.

    They are found by structure: the blocks are the `ModuleList` as long as `num_hidden_layers`, the final norm is
    their sibling, the unembed is the model's output embedding. Any of them can be given instead.

    Args:
        model: a Hugging Face causal language model.
        blocks: its transformer blocks.
        base: the module that runs them (it takes `input_ids` and `attention_mask`).
        final_norm: the norm before the unembed.
        unembed: the module that makes logits.

    Raises:
        UnknownArchitectureError: a part was neither found nor given.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        blocks: nn.ModuleList | None = None,
        base: nn.Module | None = None,
        final_norm: nn.Module | None = None,
        unembed: nn.Module | None = None,
    ) -> None:
        self.model = model
        config: Any = getattr(model, "config", None)
        self.config: Any = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
        self.blocks = blocks if blocks is not None else self._find_blocks()
        self.base = base if base is not None else self._find_base()
        self.final_norm = final_norm if final_norm is not None else self._find_final_norm()
        self.unembed = unembed if unembed is not None else self._find_unembed()
        self.soft_cap: float | None = getattr(self.config, "final_logit_softcapping", None)

    @property
    def layers(self) -> int:
        """The number of blocks."""
        return len(self.blocks)

    @property
    def d_model(self) -> int:
        """The width of the residual stream."""
        return int(self.config.hidden_size)

    @property
    def context_limit(self) -> int | None:
        """The positions of a learned position table, as GPT-2 has one; None where positions are computed."""
        from torch import nn

        embed: Any = self.model.get_input_embeddings()  # type: ignore[operator]  # transformers' method, not a module
        tables = [m for m in self.base.children() if isinstance(m, nn.Embedding) and m is not embed]
        return min((table.num_embeddings for table in tables), default=None)

    @property
    def input_device(self) -> torch.device:
        """Where token ids have to be put, offloaded and sharded models included."""
        import torch

        embed: Any = self.model.get_input_embeddings()  # type: ignore[operator]  # transformers' method, not a module
        offloaded = getattr(getattr(embed, "_hf_hook", None), "execution_device", None)
        return torch.device(offloaded) if offloaded is not None else torch.device(next(embed.parameters()).device)

    def hookpoint(self, site: Site) -> Hookpoint:
        """The module that carries a stream, Gemma's post norms included.

        Raises:
            ValueError: the model has no such block, or no such stream.
        """
        if site.layer >= self.layers:
            raise ValueError(
                f"{site} was asked for, but {self.name} has {self.layers} blocks, counted from 0 to {self.layers - 1}."
            )
        block = self.blocks[site.layer]
        if site.stream in ("resid_pre", "resid_post"):
            return Hookpoint(block, is_input=site.stream == "resid_pre")
        found = self._inner_hookpoint(block, site)
        if found is None:
            raise ValueError(
                f"{site} was asked for, but block {site.layer} of {self.name} ({type(block).__name__}) has no such "
                f"stream; it has {', '.join(s for s in STREAMS if self.has(Site(site.layer, s)))}."
            )
        return found

    def width(self, site: Site) -> int:
        """How many numbers a stream has at each position: d_model, d_mlp for `mlp_acts`, heads × d_head for `attn_z`.

        Raises:
            ValueError: the model has no such block, or no such stream.
        """
        point = self.hookpoint(site)
        if site.stream not in ("mlp_acts", "attn_z"):
            return self.d_model
        projection: Any = point.module
        # GPT-2's Conv1D keeps its weight as [in, out]; a quantised Linear keeps only in_features honest.
        return int(getattr(projection, "in_features", None) or projection.weight.shape[0])

    @property
    def residual_multiplier(self) -> float:
        """What stands between a sublayer's output and the residual: 1 but for Granite and its like."""
        return float(getattr(self.config, "residual_multiplier", None) or 1.0)

    def norms_after(self, site: Site) -> list[nn.Module]:
        """The norm that a sublayer's output goes through before it joins the residual, as on Gemma 2 and 3; or none."""
        block = self.blocks[site.layer]
        after_mlp = _child(block, _AFTER_MLP)
        is_attention = site.stream in ("attn_out", "attn_z")
        after = _child(block, _AFTER_ATTENTION) if is_attention and after_mlp is not None else after_mlp
        return [] if after is None else [after]

    def has(self, site: Site) -> bool:
        """Whether a block has such a stream."""
        if site.stream in ("resid_pre", "resid_post"):
            return True
        return self._inner_hookpoint(self.blocks[site.layer], site) is not None

    def _inner_hookpoint(self, block: nn.Module, site: Site) -> Hookpoint | None:
        attention, mlp = _child(block, _ATTENTIONS), _child(block, _MLPS)
        after_mlp = _child(block, _AFTER_MLP)
        after_attention = _child(block, _AFTER_ATTENTION) if after_mlp is not None else None
        before_mlp = _child(block, _BEFORE_MLP if after_mlp is not None else _MLP_NORMS)
        # Where a multiplier stands between a sublayer and the residual, its output is not what is added.
        scaled = self.residual_multiplier != 1.0
        parallel = bool(getattr(self.config, "use_parallel_residual", False))
        module, is_input = {
            "attn_out": (None if scaled else after_attention or attention, False),
            "mlp_out": (None if scaled else after_mlp or mlp, False),
            "resid_mid": (None if parallel else before_mlp, True),
            "mlp_acts": (_child(mlp, _MLP_OUTPUTS), True),
            "attn_z": (_child(attention, _ATTENTION_OUTPUTS), True),
            "mlp_in": (mlp, True),
            "mlp_normalized": (before_mlp, True),
        }[site.stream]
        if site.stream == "mlp_normalized":
            reads = normaliser(before_mlp)
            return None if module is None or reads is None else Hookpoint(module, is_input, writable=False, reads=reads)
        # A change to the input of the MLP's norm would not reach the residual that skips around it: read only.
        return None if module is None else Hookpoint(module, is_input, writable=site.stream != "resid_mid")

    @property
    def name(self) -> str:
        """The model's name or, where it has none, its class."""
        return str(getattr(getattr(self.model, "config", None), "_name_or_path", "") or type(self.model).__name__)

    def refuse_compiled(self) -> None:
        """Refuse to attach to a compiled model.

        Raises:
            CompiledModelError: the model or a part of it went through `torch.compile`.
        """
        for module in self.model.modules():
            if _is_compiled(module):
                raise CompiledModelError(
                    f"{self.name} is compiled ({type(module).__name__} went through torch.compile), and PyTorch "
                    "silently ignores hooks that are added to a compiled module; steer the model as it was "
                    "before torch.compile."
                )

    def __repr__(self) -> str:
        return f"<Architecture of {self.name}: {self.layers} blocks of {self.d_model}>"

    def _find_blocks(self) -> nn.ModuleList:
        from torch import nn

        expected = getattr(self.config, "num_hidden_layers", None)
        found = [
            (name, module)
            for name, module in self.model.named_modules()
            if isinstance(module, nn.ModuleList) and len(module) == expected and "vision" not in name
        ]
        if len(found) == 1:
            return found[0][1]
        names = ", ".join(name for name, _ in found) or "none"
        raise UnknownArchitectureError(
            f"The blocks of {self.name} were not found: exactly one ModuleList as long as config.num_hidden_layers "
            f"({expected}) was looked for, and these are: {names}. Pass them, as in "
            "sw.LanguageModel(model, tokenizer, blocks=model.model.layers)."
        )

    def _find_base(self) -> nn.Module:
        for module in self.model.modules():
            if any(child is self.blocks for child in module.children()):
                return module
        raise UnknownArchitectureError(
            f"No module of {self.name} holds the given blocks as a child; pass the one that runs them as base=."
        )

    def _find_final_norm(self) -> nn.Module:
        norm = _child(self.base, _NORMS)
        if norm is None:
            raise UnknownArchitectureError(
                f"The final norm of {self.name} was not found: {type(self.base).__name__} was looked at for "
                f"{', '.join(_NORMS)}, and has {', '.join(name for name, _ in self.base.named_children())}. "
                "Pass it as final_norm=."
            )
        return norm

    def _find_unembed(self) -> nn.Module:
        get = getattr(self.model, "get_output_embeddings", None)
        unembed = get() if callable(get) else None
        if unembed is None:
            raise UnknownArchitectureError(
                f"The unembed of {self.name} was not found: get_output_embeddings() gave nothing, so this is not a "
                "causal language model with its head. Load it with AutoModelForCausalLM, or pass unembed=."
            )
        found: nn.Module = unembed
        return found


def _child(module: nn.Module | None, names: tuple[str, ...]) -> nn.Module | None:
    children = dict(module.named_children()) if module is not None else {}
    return next((children[name] for name in names if name in children), None)


def _is_compiled(module: nn.Module) -> bool:
    return (
        hasattr(module, "_orig_mod")
        or getattr(module, "_compiled_call_impl", None) is not None
        or hasattr(getattr(module, "forward", None), "_torchdynamo_orig_callable")
    )


def on_stream(point: Hookpoint, edit: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Call `edit` with the stream at a hookpoint; what it returns replaces the stream, None leaves it alone.

    A block's output is a tensor or a tuple, by architecture and by release: what came is mirrored.
    """
    if (reads := point.reads) is not None:
        seen = edit
        edit = lambda stream: seen(reads(stream))
    if point.is_input:
        return point.module.register_forward_pre_hook(_input_hook(edit), with_kwargs=True)

    def output_hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        stream = output[0] if isinstance(output, tuple) else output
        edited = edit(stream)
        if edited is None:
            return None
        return (edited, *output[1:]) if isinstance(output, tuple) else edited

    return point.module.register_forward_hook(output_hook)


def _input_hook(edit: Callable[[Tensor], Tensor | None]) -> Callable[..., Any]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            edited = edit(args[0])
            return None if edited is None else ((edited, *args[1:]), kwargs)
        edited = edit(kwargs["hidden_states"])
        return None if edited is None else (args, kwargs | {"hidden_states": edited})

    return hook


def remove_all(handles: list[RemovableHandle]) -> None:
    """Take off exactly these hooks, and forget them."""
    for handle in _drain(handles):
        handle.remove()


def _drain(handles: list[RemovableHandle]) -> Iterator[RemovableHandle]:
    while handles:
        yield handles.pop()
