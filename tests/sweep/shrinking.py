"""Any configuration of transformers made small: a few layers, narrow, with a short vocabulary."""

import contextlib
import dataclasses

# The first pattern that is in the name of a setting decides; settings that no pattern names keep their default.
EXACT = {
    **dict.fromkeys(["hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embed_dim", "embedding_size", "decoder_hidden_size", "hidden_dim_text"], 32),
    **dict.fromkeys(["word_embed_proj_dim", "attention_hidden_size", "block_configs_dim", "lru_width", "gate_hidden", "n_state"], 32),
    **dict.fromkeys(["projection_dim", "text_embed_dim", "out_hidden_size", "output_dim", "reduction_hidden_size", "text_hidden_size"], 32),
    **dict.fromkeys(["num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers", "num_encoder_layers", "num_decoder_layers", "depth", "num_blocks", "layers"], 4),
    **dict.fromkeys(["num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads", "decoder_attention_heads", "attention_heads", "num_encoder_attention_heads", "num_decoder_attention_heads", "heads"], 4),
    **dict.fromkeys(["num_key_value_heads", "n_head_kv", "num_kv_heads", "multi_query_group_num", "num_global_key_value_heads", "swa_num_key_value_heads"], 2),
    **dict.fromkeys(["intermediate_size", "ffn_dim", "d_ff", "n_inner", "hidden_dim", "ffn_hidden_size", "encoder_ffn_dim", "decoder_ffn_dim", "d_inner", "ffn_hidden", "shared_expert_intermediate_size", "moe_intermediate_size", "intermediate_size_mlp", "expert_ffn_hidden_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size", "dense_intermediate_size", "moe_ffn_hidden_size", "feed_forward_size", "mlp_hidden_size", "decoder_intermediate_size"], 48),
    **dict.fromkeys(["head_dim", "d_kv", "d_head", "kv_channels", "attention_head_size", "qk_nope_head_dim", "v_head_dim", "qk_head_dim", "global_head_dim", "swa_head_dim", "linear_key_head_dim", "linear_value_head_dim", "attention_head_dim", "linear_head_dim"], 8),
    **dict.fromkeys(["qk_rope_head_dim", "rotary_dim", "index_head_dim"], 8),
    **dict.fromkeys(["kv_lora_rank", "q_lora_rank", "decay_lora_rank", "o_lora_rank"], 16),
    **dict.fromkeys(["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts", "n_experts"], 4),
    **dict.fromkeys(["num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "moe_router_topk", "router_topk", "top_k_experts"], 2),
    **dict.fromkeys(["n_group", "topk_group", "num_expert_group", "n_shared_experts", "num_shared_experts", "moe_num_shared_experts"], 1),
    **dict.fromkeys(["first_k_dense_replace", "num_dense_layers", "moe_layer_start_index", "encoder_sparse_step", "decoder_sparse_step"], 1),
    **dict.fromkeys(["state_size", "mamba_d_state", "ssm_state_size", "d_state", "mamba_state_size"], 8),
    **dict.fromkeys(["mamba_n_heads", "mamba_num_heads", "n_mamba_heads"], 8),
    **dict.fromkeys(["mamba_d_head", "mamba_head_dim"], 8),
    **dict.fromkeys(["linear_num_key_heads", "linear_num_value_heads", "linear_num_heads"], 4),
    **dict.fromkeys(["mamba_n_groups", "n_groups"], 1),
    **dict.fromkeys(["time_step_rank", "mamba_dt_rank", "altup_num_inputs"], 4),
    **dict.fromkeys(["vocab_size", "n_words", "vocab_size_per_layer_input"], 90),
    **dict.fromkeys(["hidden_size_per_layer_input", "laurel_rank"], 8),
    **dict.fromkeys(["max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "block_size", "max_sequence_length", "context_length", "max_source_positions"], 128),
    **dict.fromkeys(["image_size"], 32),
    **dict.fromkeys(["patch_size"], 8),
}  # fmt: skip
SPECIAL_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "unk_token_id": 3, "sep_token_id": 2, "cls_token_id": 1, "mask_token_id": 3, "decoder_start_token_id": 1, "pad_index": 0, "bos_index": 1, "eos_index": 2, "unk_index": 3, "mask_index": 4}  # fmt: skip

# Settings of families whose sizes hang together in their own way.
OWN: dict[str, dict] = {
    "bamba": {"attn_layer_indices": [1, 3]},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 1e4}, "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2}},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8},
    "funnel": {"block_sizes": [2, 2], "num_decoder_layers": 1},
    "gemma3n_text": {"num_kv_shared_layers": 0, "layer_types": ["full_attention"] * 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention", "mamba", "attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    "kimi_linear": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "layoutlmv3": {"has_visual_segment_embedding": False, "visual_embed": False, "coordinate_size": 4, "shape_size": 8},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "luke": {"entity_vocab_size": 50, "entity_emb_size": 8},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "reformer": {"axial_pos_shape": [8, 16], "axial_pos_embds_dim": [16, 16], "attn_layers": ["local", "lsh"] * 2, "is_decoder": True, "hash_seed": 0},
    "xmod": {"default_language": "en_XX"},
    "zamba2": {"layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"], "layer_types": ["mamba", "hybrid", "mamba", "hybrid"], "num_mem_blocks": 1, "hybrid_layer_ids": [1, 3]},
    "zaya": {"num_experts_per_tok": 1},
}  # fmt: skip


def shrunken(config_class: type, family: str = "", **others):
    """A small configuration of ``config_class``, the same for its parts (text_config and so on); ``others`` differ."""
    return config_class(**(_settings(config_class, others) | OWN.get(family, {})))


def _settings(config_class: type, others: dict) -> dict:
    settings = {}
    for field in dataclasses.fields(config_class):
        name = field.name
        if name in SPECIAL_TOKENS:
            settings[name] = SPECIAL_TOKENS[name]
        elif name in EXACT | others and not isinstance(field.default, (list, tuple, dict)):
            if field.default is None and name in _LEFT_TO_THE_CLASS:
                continue
            settings[name] = (EXACT | others)[name]
    for part, part_class in _parts(config_class).items():
        with contextlib.suppress(TypeError, AttributeError):
            settings[part] = _settings(part_class, others)
            if getattr(part_class, "model_type", ""):
                settings[part]["model_type"] = part_class.model_type
    return settings


def _parts(config_class: type) -> dict[str, type]:
    """The classes of the parts of a configuration; where any would do, that of the default."""
    from transformers import AutoConfig

    parts = dict(getattr(config_class, "sub_configs", None) or {})
    if AutoConfig in parts.values():
        default = config_class()
        parts = {name: type(getattr(default, name)) if kind is AutoConfig else kind for name, kind in parts.items()}
    return {name: kind for name, kind in parts.items() if dataclasses.is_dataclass(kind)}


_LEFT_TO_THE_CLASS = {"q_lora_rank", "n_inner", "embedding_size", "dense_intermediate_size"}
