"""Where a Hugging Face model keeps its blocks, final norm, unembed and soft cap, and the streams of a block."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.files.shown import shown
from steerwidgets.transformer.hookpoints import Hookpoint
from steerwidgets.transformer.norms import normaliser
from steerwidgets.transformer.self_check import CHECKED, Findings, findings
from steerwidgets.transformer.sites import STREAMS, Site

if TYPE_CHECKING:
    import torch
    from torch import nn

# Names say where to look; what is found there is checked on numbers (`self_check`) before it is served.
_NORMS: Final = (
    *("norm", "ln_f", "final_layer_norm", "final_layernorm", "norm_f", "final_norm", "layer_norm", "embedding_norm"),
    *("out_norm", "ln_out", "layernorm", "output_layernorm", "LayerNorm", "ln"),
)
# BigBird-Pegasus calls its final norm what BART calls that of its embeddings.
_NORM_OF_PEGASUS: Final = ("layernorm_embedding",)
_SOFT_CAPS: Final = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
_ATTENTIONS: Final = ("self_attn", "attn", "attention", "self_attention")
_MLPS: Final = ("mlp", "feed_forward", "block_sparse_moe", "ffn")
_ATTENTION_OUTPUTS: Final = ("o_proj", "c_proj", "dense")
_MLP_OUTPUTS: Final = ("down_proj", "c_proj", "dense_4h_to_h", "fc_out", "fc2", "w2")
_MLP_NORMS: Final = ("post_attention_layernorm", "ln_2", "pre_ff_layernorm", "ffn_norm", "norm_2")
# OPT and BART keep an MLP's two matrices, and the norm before them, in the block itself.
_FIRST_OF_BLOCK, _LAST_OF_BLOCK, _NORM_OF_BLOCK = ("fc1",), ("fc2",), ("final_layer_norm",)
# Gemma 2 and 3, OLMo 2 and GLM-4 norm what a sublayer gives before it joins the residual.
_AFTER_MLP: Final = ("post_feedforward_layernorm", "post_mlp_layernorm")
_AFTER_ATTENTION: Final = ("post_self_attn_layernorm", "post_attention_layernorm")
_BEFORE_MLP: Final = ("pre_feedforward_layernorm",)


class UnknownArchitectureError(ValueError):
    """The model's parts were not found by structure; the message says what was looked for and what to pass."""


class CompiledModelError(RuntimeError):
    """The model is compiled, so PyTorch would silently ignore a hook."""


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

    Attributes:
        steered_by: what steers the model now; where it runs elsewhere, hooks alone would not get there.

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
        self.steered_by: list[Any] = []
        caps = (getattr(self.config, name, None) for name in _SOFT_CAPS)
        self.soft_cap: float | None = next((cap for cap in caps if cap is not None), None)

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
    def longest_text(self) -> int | None:
        """The tokens of the longest text that it was made for; None where nothing says so."""
        limits = (self.context_limit, getattr(self.config, "max_position_embeddings", None))
        return min((int(limit) for limit in limits if isinstance(limit, int) and limit > 0), default=None)

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

    def heads(self, site: Site) -> int:
        """How many attention heads share the numbers of a site of the stream `attn_z`.

        Raises:
            ValueError: they can't be told apart, or the model has no such site.
        """
        width, heads = self.width(site), getattr(self.config, "num_attention_heads", None)
        if not isinstance(heads, int) or heads < 1 or width % heads:
            raise ValueError(
                f"The heads of block {site.layer} of {self.name} can't be told apart: what enters the attention's "
                f"last matrix has {width} numbers, and the config says num_attention_heads={shown(heads)}."
            )
        return heads

    @property
    def residual_multiplier(self) -> float:
        """What the config says stands between a sublayer's output and the residual: 1 but for Granite and its like."""
        return float(getattr(self.config, "residual_multiplier", None) or 1.0)

    def norms_after(self, site: Site) -> list[nn.Module]:
        """The norm that a sublayer's output goes through before it joins the residual, as on Gemma 2 and 3; or none."""
        block = self.blocks[site.layer]
        after_mlp = _child(block, _AFTER_MLP)
        is_attention = site.stream in ("attn_out", "attn_z")
        after = _child(block, _AFTER_ATTENTION) if is_attention and after_mlp is not None else after_mlp
        return [] if after is None else [after]

    @property
    def findings(self) -> Findings:
        """What a short text said of the model: made when first asked for."""
        return findings(self)

    def look_again(self) -> None:
        """Look at the model as it is now, its adapters switched: before hooks are on, which the look would run."""
        _ = self.findings

    @property
    def virtual_tokens(self) -> int:
        """How many tokens the model puts before every text by itself, as prompt and prefix tuning do."""
        return self.findings.virtual

    def refuse_unreadable(self) -> None:
        """Refuse a model that is not what its parts' names say.

        Raises:
            UnknownArchitectureError: its numbers are others; the message says what was found.
        """
        if self.findings.refusal:
            raise UnknownArchitectureError(self.findings.refusal)

    def run(self, **inputs: Any) -> None:
        """A forward pass for its streams alone: of the base, or of all where the model puts tokens before a text."""
        runner: Any = self.model if self.virtual_tokens else self.base
        runner(**inputs)

    def has(self, site: Site) -> bool:
        """Whether a block has such a stream."""
        if site.stream in ("resid_pre", "resid_post"):
            return True
        return self._inner_hookpoint(self.blocks[site.layer], site) is not None

    def _inner_hookpoint(self, block: nn.Module, site: Site) -> Hookpoint | None:
        """A stream inside a block, where its numbers were found to be what its name says."""
        point = self.named_hookpoint(site)
        if point is None or self.findings.refusal:
            return point
        if site.stream in CHECKED and site.stream not in self.findings.streams[site.layer]:
            return None
        flat_in = block if site.stream in self.findings.flat[site.layer] else None
        return replace(point, flat_in=flat_in, factor=self.findings.factors[site.layer].get(site.stream, 1.0))

    def named_hookpoint(self, site: Site) -> Hookpoint | None:
        """Where a stream inside a block would be by the names of its modules."""
        block = self.blocks[site.layer]
        attention, mlp = _child(block, _ATTENTIONS), _child(block, _MLPS)
        after_mlp = _child(block, _AFTER_MLP)
        after_attention = _child(block, _AFTER_ATTENTION) if after_mlp is not None else None
        norms: tuple[str, ...] = _MLP_NORMS
        first, last = mlp, _child(mlp, _MLP_OUTPUTS)
        if mlp is None and _child(block, _LAST_OF_BLOCK) is not None:
            first, mlp, norms = _child(block, _FIRST_OF_BLOCK), _child(block, _LAST_OF_BLOCK), _NORM_OF_BLOCK
            last = mlp
        before_mlp = _child(block, _BEFORE_MLP if after_mlp is not None else norms)
        module, is_input = {
            "attn_out": (after_attention or attention, False),
            "mlp_out": (after_mlp or mlp, False),
            "resid_mid": (before_mlp, True),
            "mlp_acts": (last, True),
            "attn_z": (_child(attention, _ATTENTION_OUTPUTS), True),
            "mlp_in": (first, True),
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

    @property
    def is_compiled(self) -> bool:
        """Whether the model or a part of it went through `torch.compile`."""
        return any(_is_compiled(module) for module in self.model.modules())

    def refuse_without_weights(self, call: str) -> None:
        """Refuse what needs the weights in this process, where they are elsewhere.

        Args:
            call: what was asked for, as `lm.patch`.

        Raises:
            ValueError: they are.
        """

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

    def refuse_training(self) -> None:
        """Refuse to read a model that gives noise.

        Raises:
            ValueError: it is in training mode.
        """
        if self.model.training:
            raise ValueError(
                f"{self.name} is in training mode, where dropout makes texts differ that are the same; call "
                "model.eval() first."
            )

    def check_readable(self, rows: Iterable[Sequence[int]]) -> None:
        """Check that texts can be read, and say the same each time.

        Args:
            rows: their token ids.

        Raises:
            ValueError: the model is in training mode or without weights, or an id has no place in its embedding.
        """
        self.refuse_training()
        if self.input_device.type == "meta":
            raise ValueError(
                f"{self.name} has no numbers, for its weights are on the meta device; load it with its weights."
            )
        for row in filter(len, rows):
            for token in (min(row), max(row)):
                if not 0 <= token < self.embedded:
                    raise ValueError(
                        f"The text holds the token id {token}, but {self.name} knows the ids 0 to {self.embedded - 1}; "
                        "is the tokenizer another model's?"
                    )

    def refuse_endless(self, text: Sequence[int]) -> None:
        """Refuse to read, unasked, a text that is longer than any the model was made for: it may take minutes.

        Raises:
            ValueError: it is.
        """
        if self.longest_text is not None and len(text) > self.longest_text:
            raise ValueError(
                f"The text has {len(text):,} tokens, but {self.name} was made for {self.longest_text:,} at most; "
                "shorten it."
            )

    @functools.cached_property
    def embedded(self) -> int:
        """How many token ids the model takes."""
        embed: Any = self.model.get_input_embeddings()  # type: ignore[operator]  # transformers' method, not a module
        return int(getattr(embed, "num_embeddings", None) or embed.weight.shape[0])

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
        if len(found) > 1:
            # Of several as long, as audio towers have them, the decoder's own list.
            of_decoder = self._children_of_decoder()
            found = [each for each in found if each[1] in of_decoder] or found
        if len(found) == 1:
            return found[0][1]
        names = ", ".join(name for name, _ in found) or "none"
        raise UnknownArchitectureError(
            f"The blocks of {self.name} were not found: exactly one ModuleList as long as config.num_hidden_layers "
            f"({expected}) was looked for, and these are: {names}. Pass them, as in "
            "sw.LanguageModel(model, tokenizer, blocks=model.model.layers)."
        )

    def _children_of_decoder(self) -> list[nn.Module]:
        get = getattr(self.model, "get_decoder", None)
        decoder = get() if callable(get) else None
        return [] if decoder is None else list(decoder.children())

    def _find_base(self) -> nn.Module:
        for module in self.model.modules():
            if any(child is self.blocks for child in module.children()):
                return module
        raise UnknownArchitectureError(
            f"No module of {self.name} holds the given blocks as a child; pass the one that runs them as base=."
        )

    def _find_final_norm(self) -> nn.Module:
        norm = _child(self.base, _NORMS) or _child(self.base, _NORM_OF_PEGASUS)
        if norm is None and not any("norm" in type(child).__name__.lower() for child in self._unnamed()):
            raise UnknownArchitectureError(
                f"{type(self.model).__name__} is no model that steerwidgets reads and steers: no final norm stands "
                f"after its blocks ({type(self.base).__name__} has {self._names_beside_blocks()}), as none does in "
                "encoders and post-norm decoders such as BERT, BART and the first GPT."
            )
        if norm is None:
            raise UnknownArchitectureError(
                f"The final norm of {self.name} was not found: {type(self.base).__name__} was looked at for "
                f"{', '.join(_NORMS)}, and has {self._names_beside_blocks()}. "
                "Pass it as final_norm=."
            )
        return norm

    def _names_beside_blocks(self) -> str:
        return ", ".join(name for name, _ in self.base.named_children())

    def _unnamed(self) -> list[nn.Module]:
        """What stands beside the blocks and may be a final norm, but for norms of embeddings."""
        return [module for name, module in self.base.named_children() if "emb" not in name]

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
