"""Every causal model class of transformers, built tiny from its config: random weights, CPU, nothing fetched.

A config's fields are shrunk by their names; a family whose fields have to fit together has a row in `OVERRIDES`.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY = 128
LAYERS = 3
D_MODEL = 32
LIMIT = 12_000_000
"""A model with more numbers was not shrunk."""

_BY_NAME: dict[int, str] = {
    0: "num_dense_layers first_k_dense_replace num_mtp_layers num_nextn_predict_layers num_kv_shared_layers "
    "bos_token_id",
    1: "n_group topk_group n_shared_experts num_shared_experts moe_num_shared_experts pretraining_tp mamba_n_groups "
    "n_groups mamba_ngroups eos_token_id n_layers_per_attn_res_block zero_expert_num",
    2: "num_key_value_heads num_experts_per_tok moe_topk moe_k top_k_experts swa_num_key_value_heads num_kv_heads "
    "linear_num_key_heads altup_num_inputs hc_mult hc_count index_topk_blocks o_groups pad_token_id n_mamba_heads "
    "type_vocab_size num_codebooks no_rope_layer_interval layer_group_size ngram global_attn_every_n_layers "
    "num_image_with_embedding heads_per_ngram conv_L_cache",
    LAYERS: "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers num_decoder_layers "
    "num_encoder_layers",
    4: "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads attention_heads "
    "num_decoder_attention_heads num_encoder_attention_heads num_experts n_routed_experts num_local_experts "
    "moe_num_experts swa_num_attention_heads index_n_heads linear_num_value_heads mamba_num_heads "
    "linear_num_heads d_rel laurel_rank gated_norm_rank num_random_blocks num_mel_bins hc_lowrank",
    8: "head_dim qk_rope_head_dim v_head_dim qk_nope_head_dim index_head_dim swa_head_dim linear_key_head_dim "
    "linear_value_head_dim linear_head_dim kv_channels dim_head d_head state_size mamba_d_state ssm_state_size "
    "index_topk chunk_size mamba_chunk_size mamba_head_dim mamba_d_head rotary_dim block_size index_block_size "
    "router_hidden_size hidden_size_per_layer_input attention_head_dim attention_head_size time_step_rank "
    "adapter_rank indexer_head_dim ple_embed_dim mamba_headdim",
    16: "kv_lora_rank q_lora_rank qk_head_dim embedding_size o_lora_rank rel_extent sliding_window local_attention "
    "window_size attention_window_size sliding_window_size attention_chunk_size keep_window_size "
    "local_attention_window_len num_buckets position_bias_num_buckets prompt_types segment_types prompt_mid_dim "
    "prompt_length languages_size patch_size swa_window_size",
    D_MODEL: "hidden_size d_model n_embd emb_dim embedding_dim lru_width word_embed_proj_dim backbone_hidden_size "
    "pronunciation_embed_dim shape_embed_dim attention_hidden_size input_embedding_size output_embedding_size "
    "embed_dim dim_model_base projection_dim output_proj_dims audio_embed_dim",
    48: "intermediate_size moe_intermediate_size ffn_dim decoder_ffn_dim encoder_ffn_dim n_inner d_inner dff dim_ff "
    "ffn_hidden_size expert_ffn_hidden_size shared_expert_intermediate_size shared_intermediate_size "
    "intermediate_size_mlp dense_intermediate_size moe_shared_expert_intermediate_size feed_forward_size "
    "shared_experts_intermediate_size prefix_dense_intermediate_size",
    64: "mamba_d_ssm ngram_vocab_size_base make_ngram_vocab_size_divisible_by split_ngram_parts num_centroids",
    VOCABULARY: "vocab_size vocab_size_per_layer_input audio_vocab_size decoder_vocab_size pronunciation_vocab_size "
    "shape_vocab_size unpadded_vocab_size encoder_hash_byte_group_vocab max_position_embeddings n_positions n_ctx "
    "max_seq_len context_length original_max_position_embeddings max_target_positions max_source_positions "
    "position_bias_max_distance relative_max_distance mem_len log_scaling_n_floor floor_scale "
    "max_inference_chunksize",
}
SIZES = {name: value for value, names in _BY_NAME.items() for name in names.split()}
"""What a field of a config is set to, by its name."""

_ROPE = {"rope_type": "default", "rope_theta": 10_000.0}

_MLA = {"num_key_value_heads": 4}
_SWA = {
    f"swa_{name}": 8 for name in ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
}
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8}
_MIXED = {"layer_types": ["linear_attention", "full_attention", "linear_attention"]}
_SCALED = {"residual_multiplier": 0.4, "embedding_multiplier": 3.0, "logits_scaling": 2.0}
_ROTARY = {"full_attention": _ROPE, "sliding_attention": _ROPE}
_CAPPED = {"final_logit_softcapping": 4.0}
_SLIDING = {"layer_types": ["sliding_attention", "full_attention", "full_attention"]}
_GEMMA4 = _SLIDING | {"global_head_dim": 8, "num_kv_shared_layers": 0}
_ASSISTANT = _GEMMA4 | {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0, "num_kv_shared_layers": 3}

OVERRIDES: dict[str, dict[str, Any]] = {
    "axk1": _MLA,
    "axk2": _MLA,
    "bailing_hybrid": _MLA,
    "bamba": _MAMBA | {"attn_layer_indices": [1]},
    "cohere2": {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "cohere_compass_text": {"rope_parameters": _ROTARY},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10_000.0, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": D_MODEL},
    },
    "deepseek_v2": _MLA,
    "deepseek_v3": _MLA,
    "deepseek_v32": _MLA,
    "dots3_note_text": _MLA | _SWA | {"swa_head_dim": 16},
    "falcon_h1": _MAMBA
    | {"mamba_d_ssm": 64, "attention_out_multiplier": 0.5, "ssm_out_multiplier": 0.7, "lm_head_multiplier": 0.8}
    | {"embedding_multiplier": 2.0, "mlp_multipliers": [0.9, 0.6]},
    "fuyu": {"text_config": {"model_type": "persimmon"}},
    "gemma2": _CAPPED | {"query_pre_attn_scalar": 8},
    "gemma3": {
        "text_config": _SLIDING | {"query_pre_attn_scalar": 8},
        "vision_config": {"model_type": "siglip_vision_model", "image_size": 28, "patch_size": 14},
        "mm_tokens_per_image": 4,
    },
    "gemma3_text": _SLIDING | {"query_pre_attn_scalar": 8},
    "gemma3n_text": _SLIDING | {"activation_sparsity_pattern": [0.0] * LAYERS},
    "gemma4_assistant": {"text_config": _ASSISTANT | {"model_type": "gemma4_text"}},
    "gemma4_text": _GEMMA4,
    "gemma4_unified_assistant": {"text_config": _ASSISTANT | {"model_type": "gemma4_unified_text"}},
    "gemma4_unified": {
        "text_config": _GEMMA4,
        "vision_config": {"mm_embed_dim": 32, "mm_posemb_size": 16},
    },
    "gemma4_unified_text": _GEMMA4,
    "glm4_moe_lite": _MLA,
    "glm_moe_dsa": _MLA,
    "got_ocr2": {"text_config": {"model_type": "qwen2"}, "vision_config": {"output_channels": 16}},
    "gpt_neo": {"attention_types": [[["global", "local", "global"], 1]]},
    "granite": _SCALED,
    "granite_swa": _SCALED,
    "granitemoe": _SCALED,
    "granitemoe_swa": _SCALED,
    "granitemoehybrid": _MAMBA | _SCALED | _MIXED,
    "granitemoeshared": _SCALED | {"shared_intermediate_size": 48},
    "hyperclovax": _SCALED | {"attention_multiplier": 0.2},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": _MLA | _MIXED,
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv"]},
    "longcat_flash": _MLA,
    "mamba2": {"num_heads": 8},
    "minicpm3": _MLA,
    "minimax": {"layer_types": ["linear_attention", "full_attention", "linear_attention"]}
    | {
        f"{kind}_{letter}_factor": value
        for kind in ("full_attn", "linear_attn", "mlp")
        for letter, value in (("alpha", 1.5), ("beta", 0.7))
    },
    "moss_transcribe_diarize": {"text_config": {"model_type": "qwen3"}},
    "musicgen_decoder": {"num_codebooks": 1},
    "musicgen_melody_decoder": {"num_codebooks": 1},
    "mpt": {"attn_config": {"attn_pdrop": 0}},
    "qwen3_5_moe_text": _MIXED,
    "qwen3_5_text": _MIXED,
    "qwen3_next": _MIXED,
    "qwen4_exp_text": {
        "layer_types": ["linear_attention", "indexed_attention", "linear_attention"],
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_budget": 8,
        "indexer_compress_ratio": 2,
    },
    "reformer": {
        "axial_pos_shape": (8, 16),
        "axial_pos_embds_dim": (16, 16),
        "attn_layers": ["local", "local", "local"],
        "attention_head_size": 8,
        "local_attn_chunk_length": 16,
    },
    "xlstm": {"qk_dim_factor": 2.0, "v_dim_factor": 2.0, "autocast_kernel_dtype": "float32"},
    "xmod": {"default_language": "en_XX"},
    "youtu": _MLA,
    "zamba": {
        "num_hidden_layers": 6,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
    },
    "zamba2": {
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
    },
    "zaya": {"num_experts_per_tok": 1},
}
"""Fields of a family that have to fit together, or that make its parts differ: by model type."""


LEFT_OUT = {
    "blt": "transformers 5.23 cannot run it without a cache of its own (BltConfig has no num_hidden_layers)",
    "gemma3n": "its vision tower needs timm, which nothing else here needs; gemma3n_text is in",
    "gemma4_assistant": "it runs on another model's keys and values, never by itself",
    "gemma4_unified_assistant": "it runs on another model's keys and values, never by itself",
}
"""Model types that cannot be run from token ids alone, each with the reason."""


def families() -> dict[str, str]:
    """Each model type and its class, one type for each pair of config and model class."""
    return dict(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def config_of(model_type: str) -> Any:
    """The shrunk config of a family; of one with several parts that which the class takes."""
    cls = CONFIG_MAPPING[model_type]
    part = class_of(model_type).config_class
    if part in cls.sub_configs.values():
        cls, model_type = part, part.model_type
    return cls(**shrunk(cls, OVERRIDES.get(model_type, {})))


def class_of(model_type: str) -> Any:
    """The model class of a family."""
    return getattr(hf, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type])


def shrunk(cls: type, overrides: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a config class that make it tiny, its nested configs too."""
    made: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        nested = cls.sub_configs.get(field.name)
        if nested is not None:
            given = overrides.get(field.name, {})
            if given is None:
                continue
            chosen = CONFIG_MAPPING[given["model_type"]] if "model_type" in given else nested
            if dataclasses.is_dataclass(chosen):
                made[field.name] = shrunk(chosen, given)
        elif field.name in SIZES and _is_number(field):
            made[field.name] = SIZES[field.name]
        elif field.name == "is_decoder":
            made[field.name] = True
        elif ("dropout" in field.name or "pdrop" in field.name) and "float" in str(field.type):
            made[field.name] = 0.0
    made |= {name: value for name, value in overrides.items() if name not in cls.sub_configs}
    return made


def _is_number(field: Any) -> bool:
    return "int" in str(field.type)


def make(model_type: str, seed: int = 0) -> Any:
    """The tiny model of a family, in evaluation mode.

    Raises:
        ValueError: it is not tiny.
    """
    config, cls = config_of(model_type), class_of(model_type)
    with torch.device("meta"):
        numbers = sum(parameter.numel() for parameter in cls(config).parameters())
    if numbers > LIMIT:
        raise ValueError(f"{model_type} has {numbers:,} numbers: not tiny")
    torch.manual_seed(seed)
    model = cls(config_of(model_type)).eval()
    # Nothing of a family's own way to generate (tokens forced at the end, suppressed ones) is what is looked at here.
    model.generation_config = hf.GenerationConfig(bos_token_id=0, pad_token_id=2)
    randomise(model, seed)
    return model


def randomise(model: Any, seed: int) -> None:
    """Matrices of unit gain, some noise on norms and biases: a wrong factor anywhere shows in the logits."""
    noise = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            draw = torch.randn(parameter.shape, generator=noise)
            if parameter.ndim < 2:
                parameter.add_(0.1 * draw)
            else:
                parameter.copy_(draw / min(parameter.shape[-2:]) ** 0.5)


@functools.cache
def tokenizer() -> Any:
    """Words t3 … t127, and three special tokens; ids are what they are called."""
    words = ["<bos>", "<eos>", "<pad>", *(f"t{i}" for i in range(3, VOCABULARY))]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="t3"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return hf.PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")
