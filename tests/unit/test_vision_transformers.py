"""Vision models of transformers: their tokens, their masks, the preparation of their images, and what is refused."""

import json

import pytest
import torch
import transformers
from PIL import Image
from transformers import AutoConfig, AutoModel, ViTImageProcessor
from transformers import logging as transformers_logging

from prh import modalities
from prh.models import vision_proofs
from prh.models.blocks import find_layers
from prh.models.repositories import ModelError
from prh.models.vision_loading import ProcessorTransform
from tests.unit.test_encoders import entry

transformers_logging.disable_progress_bar()

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
VIT = {**SMALL, "image_size": 32, "patch_size": 8}
STAGES = {"depths": [1, 1, 1, 1], "image_size": 64}
SAM = {**SMALL, "image_size": 64, "patch_size": 8, "window_size": 3, "global_attn_indexes": [2], "mlp_dim": 32}
# settings, size of images, tokens before and after the places, index of the class token
FAMILIES = {
    "vit": (VIT, 32, (1, 0, 0)),
    "deit": (VIT, 32, (2, 0, 0)),
    "beit": (VIT, 32, (1, 0, 0)),
    "data2vec-vision": (VIT, 32, (1, 0, 0)),
    "vit_msn": (VIT, 32, (1, 0, 0)),
    "vit_mae": (VIT, 32, (1, 0, 0)),
    "ijepa": (VIT, 32, (0, 0, None)),
    "dinov2": (VIT, 32, (1, 0, 0)),
    "dinov2_with_registers": ({**VIT, "num_register_tokens": 3}, 32, (4, 0, 0)),
    "dinov3_vit": ({**VIT, "num_register_tokens": 2}, 32, (3, 0, 0)),
    "yolos": ({**VIT, "image_size": [32, 32], "num_detection_tokens": 7}, 32, (1, 7, 0)),
    "clip_vision_model": (VIT, 32, (1, 0, 0)),
    "siglip_vision_model": (VIT, 32, (0, 0, None)),
    "aimv2_vision_model": (VIT, 32, (0, 0, None)),
    "swin": ({**STAGES, "embed_dim": 8, "num_heads": [1, 1, 2, 2], "window_size": 2, "patch_size": 2}, 64, (0, 0, None)),
    "segformer": ({**STAGES, "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2]}, 64, (0, 0, None)),
}  # fmt: skip
MAPS = {
    "sam_vision_model": (SAM, 64, (1, 2)),
    "vitdet": ({**VIT, "pretrain_image_size": 32}, 32, (2, 3)),
    "convnext": ({**STAGES, "hidden_sizes": [8, 8, 16, 16]}, 64, (2, 3)),
    "resnet": ({"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}, 64, (2, 3)),
    "poolformer": ({"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}, 64, (2, 3)),
}


def folder(path, family, settings, size, processor=None):
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(family, **settings)).eval()
    model.save_pretrained(path)
    if processor is not False:
        (processor or ViTImageProcessor(size={"height": size, "width": size})).save_pretrained(path)
    return model


def load(path, **changes):
    return modalities.load(entry(library="transformers", source="local", path=str(path), **changes), path)


def hooked(encoder, images):
    """What every layer gives, taken by a plain hook: the first tensor of it."""
    taken = []
    hooks = [
        module.register_forward_hook(lambda _m, _i, out: taken.append(out if isinstance(out, torch.Tensor) else out[0]))
        for _, module in encoder._layers
    ]
    with torch.inference_mode():
        encoder.module(images)
    for hook in hooks:
        hook.remove()
    return taken


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_of_each_family_are_pooled_over_the_image_alone(family, tmp_path):
    settings, size, (first, last, class_token) = FAMILIES[family]
    folder(tmp_path, family, settings, size)
    encoder = load(tmp_path)
    assert {(one.first, one.last, one.class_token) for one in encoder.layouts} == {(first, last, class_token)}
    assert encoder.pooling == ("gap" if class_token is None else "cls")
    images = torch.rand(2, 3, size, size)
    raw = hooked(encoder, images)
    for pooling in ("gap", "mean", *(["cls"] if class_token is not None else [])):
        encoder.pooling = pooling
        for layer, tokens in zip(encoder.encode(images), raw, strict=True):
            places = tokens[:, first : tokens.shape[1] - last]
            expected = {"gap": places.mean(1), "mean": tokens.mean(1), "cls": tokens[:, 0]}[pooling]
            torch.testing.assert_close(layer, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", MAPS)
def test_maps_of_each_family_are_pooled_over_the_image(family, tmp_path):
    settings, size, axes = MAPS[family]
    folder(tmp_path, family, settings, size)
    encoder = load(tmp_path)
    images = torch.rand(2, 3, size, size)
    for layer, maps in zip(encoder.encode(images), hooked(encoder, images), strict=True):
        torch.testing.assert_close(layer, maps.mean(axes), atol=1e-5, rtol=1e-4)


def test_the_tower_of_a_model_of_images_and_text_is_taken(tmp_path):
    parts = {"vision_config": VIT, "text_config": {**SMALL, "vocab_size": 50}}
    clip = folder(tmp_path, "clip", parts, 32)
    encoder = load(tmp_path)
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        states = clip.vision_model(images, output_hidden_states=True).hidden_states
    for layer, state in zip(encoder.encode(images), states[1:], strict=True):
        torch.testing.assert_close(layer, state[:, 0])


# ---- masks --------------------------------------------------------------------------------------------------------


def test_a_masked_autoencoder_sees_the_whole_image_in_order(tmp_path):
    model = folder(tmp_path, "vit_mae", VIT, 32)
    encoder = load(tmp_path)
    assert encoder.selftest.results["two passes"] == "equal"
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        places = model.embeddings.patch_embeddings(images) + model.embeddings.position_embeddings[:, 1:]
        first = model.embeddings.cls_token + model.embeddings.position_embeddings[:, :1]
        state = torch.cat([first.expand(2, -1, -1), places], 1)
        for (_, layer), pooled in zip(find_layers(model), encoder.encode(images), strict=True):
            state = layer(state)
            state = state if isinstance(state, torch.Tensor) else state[0]
            torch.testing.assert_close(pooled, state[:, 0], atol=1e-5, rtol=1e-4)
    encoder.pooling = "mean"
    torch.testing.assert_close(encoder.encode(images)[-1], state.mean(1), atol=1e-5, rtol=1e-4)


def test_a_random_mask_that_is_asked_for_is_refused(tmp_path):
    folder(tmp_path, "vit_mae", VIT, 32)
    with pytest.raises(ModelError, match="two passes of the same images differ"):
        load(tmp_path, model_args={"mask_ratio": 0.5})


# ---- preparation --------------------------------------------------------------------------------------------------


def test_no_preparation_is_one_sentence(tmp_path):
    folder(tmp_path, "vit", VIT, 32, processor=False)
    with pytest.raises(
        ModelError, match=r"has no preprocessor_config\.json, so it is unknown how to prepare its images"
    ):
        load(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "NoSuchProcessor"}))
    with pytest.raises(ModelError, match="has no image processor that loads"):
        load(tmp_path)


def test_a_preparation_that_keeps_the_form_of_images_is_refused(tmp_path):
    uncut = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, do_center_crop=False)
    folder(tmp_path, "vit", VIT, 32, uncut)
    with pytest.raises(ModelError, match=r"gives images of several shapes \(\[3, 32, 42\] of 320 x 240 pixels"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("processor", "said"),
    [
        ("Qwen2VLImageProcessor", "turns one image into .*, not .channels, height, width.; models of videos"),
        ("LlavaNextImageProcessor", "turns one image into .*, not .channels, height, width."),
        ("VideoMAEImageProcessor", "turns one image into .*, not .channels, height, width.; models of videos"),
        ("PixtralImageProcessor", "gives images of several shapes"),
        ("Pix2StructImageProcessor", "and no pixel_values; only models that take pixels can be read"),
        ("VitMatteImageProcessor", "its preprocessing fails for an image of 320 x 240 pixels"),
    ],
)
def test_processors_that_do_not_make_one_image_are_refused(processor, said):
    transform = ProcessorTransform(getattr(transformers, processor)())
    with pytest.raises(ModelError, match=said) as refusal:
        vision_proofs.example_images(transform, "model 'm'")
    assert "\n" not in str(refusal.value)


def test_example_images_are_two_and_differ():
    transform = ProcessorTransform(ViTImageProcessor(size={"height": 32, "width": 48}))
    first, second = vision_proofs.example_images(transform, "model 'm'")
    assert first.shape == (3, 32, 48)
    assert not torch.equal(first, second)
    assert transform(Image.new("RGB", (1, 1))).shape == (3, 32, 48)


@pytest.mark.parametrize("family", ["videomae", "vivit", "timesformer"])
def test_a_model_of_video_is_refused_in_one_sentence(family, tmp_path):
    size = {"num_frames": 2, "tubelet_size": [2, 8, 8]} if family == "vivit" else {"num_frames": 2}
    folder(tmp_path, family, {**VIT, **size}, 32)
    with pytest.raises(ModelError, match=r"a vision model must take a batch of single images \(no videos") as refusal:
        load(tmp_path)
    assert "\n" not in str(refusal.value)


def test_images_of_another_size_than_the_model_has_are_refused(tmp_path):
    folder(tmp_path, "vit", VIT, 48)
    with pytest.raises(ModelError, match=r"does not take images of shape \(2, 3, 48, 48\) .*doesn't match model"):
        load(tmp_path)


def test_code_of_the_repository_is_run_for_the_preparation_too(tmp_path):
    """A processor whose class lies beside the weights is loaded with trust_remote_code, and refused without."""
    folder(tmp_path, "vit", VIT, 32)
    (tmp_path / "preparing.py").write_text(
        "from transformers import ViTImageProcessor\n\n\nclass Preparing(ViTImageProcessor):\n    pass\n"
    )
    config = json.loads((tmp_path / "preprocessor_config.json").read_text())
    config |= {"image_processor_type": "Preparing", "auto_map": {"AutoImageProcessor": "preparing.Preparing"}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    assert type(load(tmp_path, trust_remote_code=True).transform.processor).__name__ == "Preparing"
    with pytest.raises(ModelError, match="has no image processor that loads"):
        load(tmp_path)
