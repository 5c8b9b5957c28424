"""The registries in resources/models: every entry loads, is what timm and transformers say it is, and can be encoded."""

import json
from collections import Counter

import pytest
import timm
import torch

from prh import modalities
from prh.experiment.loading import load
from prh.experiment.registries import expand
from prh.models import architectures, loading, repositories
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "resources" / "models"
DATASET = {"name": "d", "source": "hub", "id": "a/b"}


def registry(name):
    return load(expand({"datasets": [DATASET], "models": [{"from": f"{name}.yaml"}]}, FOLDER)).models


VISION, LANGUAGE, NEWER, QUANTISED = (registry(name) for name in ("vision", "language", "newer", "quantised"))
ALL = [*VISION, *LANGUAGE, *NEWER]
TIMM = [model for model in ALL if model.modality == "vision"]
WITHOUT_COUNT = {"gemma-3-4b"}  # its vision tower is not in the text config that counts are made from here


def entry(name):
    return next(model for model in ALL if model.name == name)


# ---- what is in them


def test_names_are_unique_over_all_registries():
    assert [name for name, count in Counter(model.name for model in [*ALL, *QUANTISED]).items() if count > 1] == []


def test_the_vision_models_are_as_many_as_in_the_paper():
    assert len(VISION) >= 78
    assert Counter(model.paper for model in VISION) == {"yes": 18, "likely": 10, "substitute": len(VISION) - 28}
    vits = Counter(m.family for m in VISION if m.paper == "yes" and m.source == "hub")
    assert vits == {"ImageNet-21k": 4, "MAE": 3, "DINOv2": 4, "CLIP": 3, "CLIP fine-tuned on ImageNet-12k": 3}
    assert Counter(m.source for m in VISION if m.paper == "yes") == {"hub": 17, "random": 1}
    likely = [m for m in VISION if m.paper == "likely"]
    assert {(m.source, m.family) for m in likely} == {("url", "Contrastive ResNet-50")}, "nine of these ten, at most"


def test_the_language_models_are_those_of_the_paper():
    assert {model.paper for model in LANGUAGE} == {"yes"}
    families = {"BLOOMZ": 5, "OpenLLaMA": 3, "LLaMA": 4, "OLMo": 2, "Gemma": 2, "Mistral": 2, "Llama 3": 2}
    assert Counter(model.family for model in LANGUAGE) == families
    assert all(model.pooling == "mean" and model.special_tokens for model in LANGUAGE)
    gated = {"gemma-2b", "gemma-7b", "Mistral-7B-v0.1", "Mixtral-8x7B-v0.1"}
    assert {model.name for model in LANGUAGE if model.gated} == gated


def test_quantised_models_are_those_of_the_paper_that_are_spread_else():
    spread = {model.name: model for model in LANGUAGE if model.device_map}
    assert {model.name for model in QUANTISED} == {f"{name}-4bit" for name in spread}
    for model in QUANTISED:
        full = spread[model.name.removesuffix("-4bit")]
        changed = {"name", "family", "quantisation", "device_map", "gpus", "paper"}
        assert model.model_dump(exclude=changed) == full.model_dump(exclude=changed)
        assert (model.quantisation, model.family) == ("4bit", f"{full.family}, 4 bit")


def test_newer_models_are_not_those_of_the_paper():
    assert {model.paper for model in NEWER} == {"no"}
    assert {model.id for model in NEWER}.isdisjoint(model.id for model in [*VISION, *LANGUAGE])


@pytest.mark.parametrize("model", ALL, ids=lambda model: model.name)
def test_an_entry_tells_what_tables_need(model):
    assert model.family
    assert model.objective
    assert (model.parameters is None) == (model.name in WITHOUT_COUNT)
    assert model.licence or model.source == "random" or "csail.mit.edu" in model.url, "public weights state a licence"


def test_vision_models_are_names_of_timm():
    pretrained = set(timm.list_pretrained())
    fetched = [model.id for model in TIMM if model.source == "hub"]
    assert set(fetched) <= pretrained
    assert {repositories.hub_repository("timm", name) for name in fetched} == {f"timm/{name}" for name in fetched}
    built = [model.id.split(".")[0] for model in TIMM if model.source != "hub"]
    assert all(timm.is_model(name) for name in built)
    assert "small_alexnet" in built, architectures.__name__


def test_licences_are_those_that_timm_tells():
    told = {model.name: timm.models.get_pretrained_cfg(model.id).license for model in TIMM if model.source == "hub"}
    assert {name: entry(name).licence for name in told} == told


def test_checkpoints_of_the_web_have_addresses_of_their_own():
    urls = [model.url for model in VISION if model.source == "url"]
    assert len(urls) == len(set(urls)) == 29
    assert all(url.startswith(("http://data.csail.mit.edu/", "https://dl.fbaipublicfiles.com/")) for url in urls)


# ---- how large they are


@pytest.mark.slow
def test_parameters_of_vision_models_are_those_that_timm_counts():
    wrong = {}
    for model in TIMM:
        counted = loading.count_parameters(model)
        if counted != model.parameters:
            wrong[model.name] = counted
    assert wrong == {}


def bloom(hidden_size, n_layer, n_head):
    return "bloom", {"hidden_size": hidden_size, "n_layer": n_layer, "n_head": n_head, "vocab_size": 250880}


def llama(width, mlp, layers, heads, kv=None, vocab=32000, tied=False, kind="llama", **more):
    sizes = {"hidden_size": width, "intermediate_size": mlp, "num_hidden_layers": layers, "num_attention_heads": heads}
    return kind, {**sizes, "num_key_value_heads": kv or heads, "vocab_size": vocab, "tie_word_embeddings": tied, **more}


def neox(width, layers, heads, vocab=50304):
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    return "gpt_neox", {**sizes, "num_attention_heads": heads, "vocab_size": vocab}


def gpt2(width, layers, heads):
    return "gpt2", {"n_embd": width, "n_layer": layers, "n_head": heads}


# What the config.json of each model says that decides its size.
CONFIGS = {
    "bloomz-560m": bloom(1024, 24, 16),
    "bloomz-1b1": bloom(1536, 24, 16),
    "bloomz-1b7": bloom(2048, 24, 16),
    "bloomz-3b": bloom(2560, 30, 32),
    "bloomz-7b1": bloom(4096, 30, 32),
    "open_llama_3b": llama(3200, 8640, 26, 32),
    "open_llama_7b": llama(4096, 11008, 32, 32),
    "open_llama_13b": llama(5120, 13824, 40, 40),
    "llama-7b": llama(4096, 11008, 32, 32),
    "llama-13b": llama(5120, 13824, 40, 40),
    "llama-30b": llama(6656, 17920, 60, 52),
    "llama-65b": llama(8192, 22016, 80, 64),
    "OLMo-1B": llama(2048, 8192, 16, 16, vocab=50304, tied=True, kind="olmo"),
    "OLMo-7B": llama(4096, 11008, 32, 32, vocab=50304, kind="olmo"),
    "gemma-2b": llama(2048, 16384, 18, 8, 1, 256000, tied=True, kind="gemma", head_dim=256),
    "gemma-7b": llama(3072, 24576, 28, 16, 16, 256000, tied=True, kind="gemma", head_dim=256),
    "Mistral-7B-v0.1": llama(4096, 14336, 32, 32, 8, kind="mistral"),
    "Mixtral-8x7B-v0.1": llama(4096, 14336, 32, 32, 8, kind="mixtral", num_local_experts=8),
    "Meta-Llama-3-8B": llama(4096, 14336, 32, 32, 8, 128256),
    "Meta-Llama-3-70B": llama(8192, 28672, 80, 64, 8, 128256),
    "Qwen3-0.6B": llama(1024, 3072, 28, 16, 8, 151936, tied=True, kind="qwen3", head_dim=128),
    "Qwen3-1.7B": llama(2048, 6144, 28, 16, 8, 151936, tied=True, kind="qwen3", head_dim=128),
    "Qwen3-4B": llama(2560, 9728, 36, 32, 8, 151936, tied=True, kind="qwen3", head_dim=128),
    "Qwen3-8B": llama(4096, 12288, 36, 32, 8, 151936, kind="qwen3", head_dim=128),
    "Qwen3-14B": llama(5120, 17408, 40, 40, 8, 151936, kind="qwen3", head_dim=128),
    "Llama-3.2-1B": llama(2048, 8192, 16, 32, 8, 128256, tied=True),
    "Llama-3.2-3B": llama(3072, 8192, 28, 24, 8, 128256, tied=True),
    "Llama-3.1-8B": llama(4096, 14336, 32, 32, 8, 128256),
    "Llama-3.1-70B": llama(8192, 28672, 80, 64, 8, 128256),
    "gemma-3-270m": llama(640, 2048, 18, 4, 1, 262144, tied=True, kind="gemma3_text", head_dim=256),
    "gemma-3-1b": llama(1152, 6912, 26, 4, 1, 262144, tied=True, kind="gemma3_text", head_dim=256),
    "OLMo-2-1B": llama(2048, 8192, 16, 16, vocab=100352, kind="olmo2"),
    "OLMo-2-7B": llama(4096, 11008, 32, 32, vocab=100352, kind="olmo2"),
    "OLMo-2-13B": llama(5120, 13824, 40, 40, vocab=100352, kind="olmo2"),
    "OLMo-2-32B": llama(5120, 27648, 64, 40, 8, 100352, kind="olmo2"),
    "SmolLM2-135M": llama(576, 1536, 30, 9, 3, 49152, tied=True),
    "SmolLM2-360M": llama(960, 2560, 32, 15, 5, 49152, tied=True),
    "SmolLM2-1.7B": llama(2048, 8192, 24, 32, vocab=49152, tied=True),
    "SmolLM3-3B": llama(2048, 11008, 36, 16, 4, 128256, tied=True, kind="smollm3"),
    "phi-1_5": llama(2048, 8192, 24, 32, vocab=51200, kind="phi"),
    "phi-2": llama(2560, 10240, 32, 32, vocab=51200, kind="phi"),
    "phi-4": llama(5120, 17920, 40, 40, 10, 100352, kind="phi3", pad_token_id=0),
    "pythia-70m": neox(512, 6, 8),
    "pythia-160m": neox(768, 12, 12),
    "pythia-410m": neox(1024, 24, 16),
    "pythia-1b": neox(2048, 16, 8),
    "pythia-1.4b": neox(2048, 24, 16),
    "pythia-2.8b": neox(2560, 32, 32),
    "pythia-6.9b": neox(4096, 32, 32, 50432),
    "pythia-12b": neox(5120, 36, 40, 50688),
    "gpt2": gpt2(768, 12, 12),
    "gpt2-medium": gpt2(1024, 24, 16),
    "gpt2-large": gpt2(1280, 36, 20),
    "gpt2-xl": gpt2(1600, 48, 25),
}
CLASSES = {
    "gemma3_text": "Gemma3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "gpt_neox": "GPTNeoXForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
}


def counted(name, folder):
    from transformers import AutoConfig

    kind, settings = CONFIGS[name]
    config = AutoConfig.for_model(kind, **settings)
    config.architectures = [CLASSES.get(kind, f"{kind.capitalize()}ForCausalLM")]
    config.save_pretrained(folder)
    return loading.count_parameters(entry(name), folder)


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_of_language_models_are_counted_from_their_config(name, tmp_path):
    assert counted(name, tmp_path) == entry(name).parameters


def test_every_language_model_is_counted():
    assert {model.name for model in ALL if model.modality == "language"} == CONFIGS.keys() | WITHOUT_COUNT


# ---- whether every architecture can be encoded

# One small member of each architecture in the registries, cut in depth: its arguments, the number of its layers, the
# width of its last one, and whether a layer is the class token.
ARCHITECTURES = {
    "vit_tiny_patch16_224.augreg_in21k": ({"depth": 2}, 2, 192, True),
    "vit_base_patch16_224.mae": ({"depth": 1}, 1, 768, True),
    "vit_small_patch14_dinov2.lvd142m": ({"depth": 2, "img_size": 56}, 2, 384, True),
    "vit_small_patch14_reg4_dinov2.lvd142m": ({"depth": 2, "img_size": 56}, 2, 384, True),
    "vit_base_patch16_clip_224.laion2b": ({"depth": 1}, 1, 768, True),
    "vit_small_patch16_dinov3.lvd1689m": ({"depth": 2}, 2, 384, True),
    "vit_base_patch16_siglip_224.v2_webli": ({"depth": 1}, 1, 768, False),
    "vit_small_r26_s32_224.augreg_in21k": ({"depth": 2}, 2, 384, True),
    "vit_pe_core_tiny_patch16_384.fb": ({"depth": 2, "img_size": 64}, 2, 192, True),
    "vit_pe_lang_large_patch14_448.fb": ({"depth": 1, "img_size": 56}, 1, 1024, True),
    "eva_giant_patch14_clip_224.laion400m": ({"depth": 1, "img_size": 56}, 1, 1408, True),
    "eva02_tiny_patch14_224.mim_in22k": ({"depth": 2}, 2, 192, True),
    "eva02_base_patch16_clip_224.merged2b": ({"depth": 1}, 1, 768, True),
    "aimv2_large_patch14_224.apple_pt": ({"depth": 1}, 1, 1024, False),
    "beitv2_base_patch16_224.in1k_ft_in22k": ({"depth": 1}, 1, 768, True),
    "deit_tiny_patch16_224.fb_in1k": ({"depth": 2}, 2, 192, True),
    "deit3_base_patch16_224.fb_in1k": ({"depth": 1}, 1, 768, True),
    "hiera_base_224.mae": ({"stages": [1, 1, 1, 1], "q_pool": 3}, 4, 768, False),
    "swin_tiny_patch4_window7_224.ms_in1k": ({"depths": [1, 1, 1, 1]}, 4, 768, False),
    "mixer_b16_224.goog_in21k": ({}, 12, 768, False),
    "convnext_tiny.dinov3_lvd1689m": ({"depths": [1, 1, 1, 1]}, 4, 768, False),
    "convnextv2_atto.fcmae": ({"depths": [1, 1, 1, 1]}, 4, 320, False),
    "resnet50_clip_gap.openai": ({}, 16, 2048, False),
    "resnet50.tv_in1k": ({"layers": [1, 1, 1, 1]}, 4, 2048, False),
    "resnet18.tv_in1k": ({"layers": [1, 1, 1, 1]}, 4, 512, False),
    "vgg11.tv_in1k": ({}, 5, 512, False),
    "inception_v3.tv_in1k": ({}, 11, 2048, False),
    "densenet121.tv_in1k": ({"block_config": [1, 1, 1, 1]}, 4, None, False),
    "mobilenetv3_small_050.lamb_in1k": ({}, 12, 288, False),
    "efficientnet_b0.ra_in1k": ({}, 16, 320, False),
    "regnety_002.pycls_in1k": ({}, 13, 368, False),
    "small_alexnet.align_uniform": ({}, 8, 128, False),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_gives_a_finite_vector_per_layer_and_image(name):
    arguments, count, width, class_token = ARCHITECTURES[name]
    layers = next(model.layers for model in TIMM if model.id == name)
    keys = {"name": "m", "modality": "vision", "source": "random", "id": name, "layers": layers}
    encoder = modalities.load({**keys, "dtype": "float32", "model_args": arguments}, None)
    size = encoder.decode(_picture()).shape
    pooled = encoder.encode(torch.rand(2, *size))
    assert len(pooled) == len(encoder.layer_names) == count
    assert all(layer.shape[0] == 2 and layer.isfinite().all() for layer in pooled)
    assert all(layer.ndim == 2 and not torch.equal(layer[0], layer[1]) for layer in pooled)
    assert width is None or pooled[-1].shape[1] == width
    assert encoder.pooling == ("cls" if class_token else "gap")


def _picture():
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (60, 50), (200, 30, 90)).save(stream, "PNG")
    return stream.getvalue()


def test_every_architecture_of_the_registries_is_tried():
    """By the class of timm that builds it, which is what layers, tokens and pooling hang on."""
    tried = {timm.models.model_entrypoint(name.split(".")[0]).__module__ for name in ARCHITECTURES}
    assert {timm.models.model_entrypoint(model.id.split(".")[0]).__module__ for model in TIMM} <= tried


def test_the_text_half_of_a_model_of_images_and_text_is_what_is_run(tmp_path):
    """Gemma 3 from 4B on: a config within a config, a vision tower beside the language model."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    from tests.unit.test_encoders import TEXTS, tokenizer

    small = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3}
    text = {**small, "head_dim": 8, "num_key_value_heads": 1, "vocab_size": 60}
    vision = {**small, "num_hidden_layers": 2, "image_size": 28, "patch_size": 14}
    whole = Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4))
    whole.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    encoder = modalities.load(entry("gemma-3-4b").model_copy(update={"dtype": "float32"}), tmp_path)
    items = encoder.tokenize(TEXTS)
    layers = encoder.encode(items)
    with torch.inference_mode():
        states = whole.eval()(input_ids=items[1][0][None], output_hidden_states=True).hidden_states
    assert len(layers) == len(states) == 4
    for layer, state in zip(layers, states, strict=True):
        torch.testing.assert_close(layer[1], state[0].mean(0), atol=1e-5, rtol=1e-4)
    assert encoder.parameters == sum(p.numel() for p in whole.parameters())
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["Gemma3ForConditionalGeneration"]
