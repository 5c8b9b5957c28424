"""The vision families of transformers, made small: classifiers, backbones, and the towers of models of images and text."""

import contextlib
import dataclasses
import tempfile
from pathlib import Path

import torch
from transformers import PreTrainedConfig

from prh import modalities
from tests.sweep.vision import by_hand, entry, hooked_by_hand, pictures, same

LARGEST = 120_000_000
EXACT = {
    **dict.fromkeys(["hidden_size", "d_model", "dim", "projection_dim", "out_hidden_size", "output_dim"], 32),
    **dict.fromkeys(["num_hidden_layers", "num_layers", "n_layers", "encoder_layers", "decoder_layers", "depth"], 3),
    **dict.fromkeys(["num_attention_heads", "num_heads", "encoder_attention_heads", "decoder_attention_heads"], 4),
    **dict.fromkeys(["num_key_value_heads"], 4),
    **dict.fromkeys(["intermediate_size", "mlp_dim", "encoder_ffn_dim", "decoder_ffn_dim", "ffn_dim"], 48),
    **dict.fromkeys(["head_dim"], 8),
    **dict.fromkeys(["max_position_embeddings"], 128),
    **dict.fromkeys(["num_detection_tokens"], 10),
    **dict.fromkeys(["num_register_tokens"], 4),
}
IMAGES = 4
"""Patches on a side, of models that say how large a patch is."""
OWN: dict[str, dict] = {
    "sam": {"vision_config": {"image_size": 64, "patch_size": 8, "num_hidden_layers": 3, "window_size": 4, "global_attn_indexes": [2], "hidden_size": 32, "num_attention_heads": 4, "mlp_dim": 64, "output_channels": 16}},
    "sam_vision_model": {"image_size": 64, "patch_size": 8, "num_hidden_layers": 3, "window_size": 4, "global_attn_indexes": [2], "hidden_size": 32, "num_attention_heads": 4, "mlp_dim": 64, "output_channels": 16},
    "align": {"vision_config": {"image_size": 64, "depth_coefficient": 0.3, "width_coefficient": 1.0, "hidden_dim": 1280}},
    "efficientnet": {"image_size": 64, "depth_coefficient": 0.3, "width_coefficient": 1.0, "hidden_dim": 1280},
    "perceiver": {"num_latents": 16, "d_latents": 32, "num_blocks": 1, "num_self_attends_per_block": 3, "num_self_attention_heads": 4, "num_cross_attention_heads": 4, "d_model": 32},
    **{name: {} for name in ("sam2", "sam2_vision_model", "sam2_video", "edgetam", "edgetam_vision_model")},
    "vitdet": {"image_size": 64, "pretrain_image_size": 64, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4},
    "yolos": {"image_size": [64, 64], "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48, "num_detection_tokens": 10},
}  # fmt: skip


AFTER = {"yolos": 10}
"""Tokens behind those of the image."""


def families() -> list[str]:
    """Families with an image processor, listed as classifiers or backbones, or with vision in their name."""
    from transformers.models.auto import image_processing_auto, modeling_auto

    listed = set(image_processing_auto.IMAGE_PROCESSOR_MAPPING_NAMES)
    listed |= set(modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES)
    listed |= set(modeling_auto.MODEL_FOR_BACKBONE_MAPPING_NAMES)
    listed |= {name for name in modeling_auto.MODEL_MAPPING_NAMES if "vision" in name}
    return sorted(listed & set(modeling_auto.MODEL_MAPPING_NAMES))


def _settings(config_class: type) -> dict:
    """Arguments of a small configuration; what is a list (stages) keeps its default but for depths."""
    settings: dict = {}
    defaults = {field.name: field.default for field in dataclasses.fields(config_class)}
    for name, default in defaults.items():
        if name in EXACT and (isinstance(default, int) or default is None) and name != "dim":
            settings[name] = EXACT[name]
        elif name in ("depths", "layers_per_stage") and isinstance(default, list | tuple):
            settings[name] = [min(depth, 2) for depth in default]
    plain = isinstance(defaults.get("hidden_size"), int) and not isinstance(defaults.get("depths"), list | tuple)
    if isinstance(defaults.get("image_size"), int) and plain and isinstance(defaults.get("patch_size"), int):
        settings["image_size"] = IMAGES * defaults["patch_size"]
    with contextlib.suppress(Exception):
        for name, part in vars(config_class()).items():
            if isinstance(part, PreTrainedConfig) and name in defaults:
                settings[name] = {**_settings(type(part)), "model_type": part.model_type}
    return settings


def _config(family: str, attempt: int):
    from transformers import CONFIG_MAPPING

    config_class = CONFIG_MAPPING[family]
    if family in OWN:
        return config_class(**OWN[family])
    settings = _settings(config_class)
    if attempt == 1:
        settings = {name: value for name, value in settings.items() if "layer" in name or "depth" in name}
    return config_class(**(settings if attempt < 2 else {}))


def _small(family: str):
    """A headless model with random weights, and its configuration; None and the reason where no small one is known."""
    from transformers import AutoModel

    reason = ""
    for attempt in range(3):
        try:
            config = _config(family, attempt)
            with torch.device("meta"):
                count = sum(p.numel() for p in AutoModel.from_config(config).parameters())
            if count > LARGEST:
                reason = f"{count} parameters"
                continue
            torch.manual_seed(0)
            return AutoModel.from_config(config).eval(), config
        except Exception as error:
            reason = reason or f"{type(error).__name__}: {str(error)[:100]}"
    return None, reason


def _image_size(config) -> int:
    if "sam2" in config.model_type:
        return 256
    for part in (config, getattr(config, "vision_config", None), getattr(config, "image_config", None)):
        size = getattr(part, "image_size", None)
        if size:
            return max(size) if isinstance(size, list | tuple) else size
    return 128


def check(family: str) -> tuple[str, str]:
    """Compare every layer with a plain hook pooled by hand, and the hidden states of the library with our layers."""
    from transformers import ViTImageProcessor

    model, config = _small(family)
    if model is None:
        return "not built", config
    size = _image_size(config)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        ViTImageProcessor(size={"height": size, "width": size}).save_pretrained(folder)
        encoder = modalities.load(entry(library="transformers", source="local", path=folder), Path(folder))
    images = torch.stack([encoder.decode(picture) for picture in pictures()])
    kinds = sorted({str(layout) for layout in encoder.layouts})
    facts = f"{hooked_by_hand(encoder, images, AFTER.get(family, 0))}; {encoder.pooling}, {' | '.join(kinds)}"
    with torch.inference_mode():
        try:
            states = encoder.module(encoder.as_input(images), output_hidden_states=True).hidden_states
        except (TypeError, AttributeError) as error:
            return "equal", f"no hidden states ({type(error).__name__}); {facts}"
    chosen, encoder.pooling = encoder.pooling, "gap"
    ours = encoder.encode(images)
    if states is None:
        return "equal", f"no hidden states; {facts}"
    pooled = [by_hand(state, AFTER.get(family, 0)) for state in states]
    matched = sum(any(same(layer, state) for layer in ours) for state in pooled if state is not None)
    words = f"{matched} of {len(pooled)} hidden states are layers"
    if chosen == "cls":
        encoder.pooling = "cls"
        ours = encoder.encode(images)
        classes = sum(any(same(layer, state[:, 0].float()) for layer in ours) for state in states)
        words += f", {classes} of their class tokens"
    return "equal", f"{words}; {facts}"
