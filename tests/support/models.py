"""Tiny random models of each family, seeded, whose logits are far from flat."""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf

VOCABULARY = 320
LAYERS = 4
D_MODEL = 32
FAMILIES = (
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3",
    "gpt2",
    "neox_parallel",
    "neox_serial",
)

_ROTARY: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": D_MODEL,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
_IDS: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}


def make(family: str, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    """A model of a family; `changes` go to its config."""
    model_class, config = _config(family, changes)
    torch.manual_seed(seed)
    model = model_class(config).eval()
    _randomise(model, seed)
    return model.to(dtype)


def _config(family: str, changes: dict[str, Any]) -> tuple[Any, Any]:
    rotary = _ROTARY | _IDS | changes
    if family == "llama":
        return hf.LlamaForCausalLM, hf.LlamaConfig(**rotary)
    if family == "mistral":
        return hf.MistralForCausalLM, hf.MistralConfig(**({"sliding_window": 6} | rotary))
    if family == "qwen2":
        rotary.pop("head_dim")
        return hf.Qwen2ForCausalLM, hf.Qwen2Config(**rotary)
    if family == "qwen3":
        return hf.Qwen3ForCausalLM, hf.Qwen3Config(**rotary)
    if family == "gemma2":
        caps: dict[str, Any] = {
            "final_logit_softcapping": 4.0,
            "attn_logit_softcapping": 5.0,
            "query_pre_attn_scalar": 8,
        }
        gemma = caps | {"sliding_window": 6} | rotary
        return hf.Gemma2ForCausalLM, hf.Gemma2Config(**gemma)
    if family == "gemma3":
        gemma = {"sliding_window": 6, "query_pre_attn_scalar": 8, "sliding_window_pattern": 2} | rotary
        return hf.Gemma3ForCausalLM, hf.Gemma3TextConfig(**gemma)
    if family == "gpt2":
        gpt2: dict[str, Any] = {
            "vocab_size": VOCABULARY,
            "n_embd": D_MODEL,
            "n_layer": LAYERS,
            "n_head": 4,
            "n_positions": 128,
        }
        gpt2["tie_word_embeddings"] = False
        return hf.GPT2LMHeadModel, hf.GPT2Config(**(gpt2 | _IDS | changes))
    sizes: dict[str, Any] = {
        key: value for key, value in rotary.items() if key not in ("num_key_value_heads", "head_dim")
    }
    sizes["use_parallel_residual"] = family == "neox_parallel"
    return hf.GPTNeoXForCausalLM, hf.GPTNeoXConfig(**sizes)


def _randomise(model: Any, seed: int) -> None:
    """Matrices of unit gain, some noise on norms and biases, an unembed that makes logits of standard deviation 3."""
    noise = torch.Generator().manual_seed(seed + 1)
    unembed = model.get_output_embeddings().weight
    embed = model.get_input_embeddings().weight
    with torch.no_grad():
        for parameter in model.parameters():
            draw = torch.randn(parameter.shape, generator=noise)
            if parameter.ndim == 1:
                parameter.add_(0.1 * draw)
            elif parameter is unembed:
                parameter.copy_(3 * draw / parameter.shape[-1] ** 0.5)
            elif parameter is embed:
                parameter.copy_(draw)
            else:
                parameter.copy_(draw / min(parameter.shape) ** 0.5)


def blocks_of(model: Any) -> Any:
    """The model's blocks, by the families' own names."""
    if hasattr(model, "transformer"):
        return model.transformer.h
    if hasattr(model, "gpt_neox"):
        return model.gpt_neox.layers
    return model.model.layers


def base_of(model: Any) -> Any:
    """The module that runs the blocks."""
    return getattr(model, model.base_model_prefix)
