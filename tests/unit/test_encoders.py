"""Layers taken by hooks must be the layers that the libraries themselves hand out, and must not feel their batch."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from prh import modalities
from prh.modalities.language import LanguageEncoder
from prh.modalities.vision import VisionEncoder
from prh.modalities.word_vectors import WordVectors
from prh.models.pooling import Layout, pool
from prh.models.repositories import ModelError

TEXTS = ["a cat", "the dog runs over the old green hill by the sea", "x", "two birds in one tree , no three"]

# One tiny model for each kind of position (absolute, rotary, alibi), mask (causal, bidirectional) and block.
SMALL = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
FAMILIES = {
    "gpt2": {"vocab_size": 60, "n_embd": 16, "n_layer": 3, "n_head": 2},
    "gpt_neox": SMALL,
    "bloom": {"vocab_size": 60, "hidden_size": 16, "n_layer": 3, "n_head": 2},
    "llama": SMALL,
    "olmo": SMALL,
    "olmo2": SMALL,
    "gemma": {**SMALL, "head_dim": 8, "num_key_value_heads": 1},
    "gemma2": {**SMALL, "head_dim": 8, "num_key_value_heads": 1},
    "gemma3_text": {**SMALL, "head_dim": 8, "num_key_value_heads": 1},
    "smollm3": {**SMALL, "num_key_value_heads": 1, "pad_token_id": 0},
    "phi": SMALL,
    "phi3": {**SMALL, "num_key_value_heads": 1, "pad_token_id": 0},
    "mistral": {**SMALL, "num_key_value_heads": 1},
    "mixtral": {**SMALL, "num_key_value_heads": 1, "num_local_experts": 3},
    "qwen3": {**SMALL, "head_dim": 8, "num_key_value_heads": 1},
    "opt": {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "ffn_dim": 32,
            "word_embed_proj_dim": 16},
    "bert": SMALL,
    "roberta": SMALL,
    "distilbert": {"vocab_size": 60, "dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32},
    "mpnet": SMALL,
    "electra": {**SMALL, "embedding_size": 8},
    "deberta-v2": SMALL,
    "xlm": {"n_words": 60, "emb_dim": 16, "n_layers": 3, "n_heads": 2, "pad_index": 59},
    "flaubert": {"n_words": 60, "emb_dim": 16, "n_layers": 3, "n_heads": 2, "pad_token_id": 59},
    "xlnet": {"vocab_size": 60, "d_model": 16, "n_layer": 3, "n_head": 2, "d_inner": 32},
    "rwkv": {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 3, "attention_hidden_size": 16},
    "albert": {**SMALL, "embedding_size": 8},
    "squeezebert": {**SMALL, "embedding_size": 16, "q_groups": 1, "k_groups": 1, "v_groups": 1,
                    "post_attention_groups": 1, "intermediate_groups": 1, "output_groups": 1},
    "mpt": {"vocab_size": 60, "d_model": 16, "n_layers": 3, "n_heads": 2},
    "mamba": {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 3, "state_size": 4},
}  # fmt: skip


def tokenizer(bos: bool = True, padding_side: str = "right"):
    from tokenizers import Tokenizer, pre_tokenizers, processors
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = ["<s>", "<unk>", *sorted({word for text in TEXTS for word in text.split()})]
    made = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if bos:
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", unk_token="<unk>", padding_side=padding_side)


def language_model(family: str):
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **FAMILIES[family])
    config.use_cache = False
    return AutoModel.from_config(config).eval()


def hidden_states(model, ids):
    with torch.inference_mode():
        return model(input_ids=ids[None], output_hidden_states=True).hidden_states


# Of these no list of blocks has the hidden states as its inputs: other axes, outputs of blocks.
UNHOOKED = {"xlnet", "squeezebert", "mamba", "rwkv"}


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_are_those_of_the_library_text_by_text(family):
    """Pooled in one padded batch, every layer equals the pooled hidden state of the text on its own."""
    model = language_model(family)
    encoder = LanguageEncoder(model, tokenizer())
    items = encoder.tokenize(TEXTS)
    batch = encoder.encode(items)
    assert len(batch) == len(encoder.layer_names) == 4
    assert encoder.layer_names[0] == ("hidden_state_0" if family in UNHOOKED else "embeddings")
    for i, (ids, _) in enumerate(items):
        for layer, states in zip(batch, hidden_states(model, ids), strict=True):
            np.testing.assert_allclose(layer[i], states[0].mean(0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "most"), [("roberta", 10), ("mpnet", 10), ("bert", 12), ("xlnet", None), ("mpt", 12)]
)
def test_no_text_is_longer_than_the_positions_of_a_model(family, most):
    """RoBERTa counts positions from the one after padding; XLNet, which has no bound, says -1; MPT names it otherwise."""
    from transformers import AutoConfig, AutoModel

    bounded = {} if most is None else {"max_position_embeddings": 12, "max_seq_len": 12, "pad_token_id": 1}
    encoder = LanguageEncoder(
        AutoModel.from_config(AutoConfig.for_model(family, **FAMILIES[family], **bounded)), tokenizer(bos=False)
    )
    encoder.encode(encoder.tokenize([" ".join(["cat"] * (most or 50))]))
    if most is not None:
        with pytest.raises(ModelError, match=f"a text has {most + 1} tokens and the model takes at most {most}"):
            encoder.tokenize([" ".join(["cat"] * (most + 1))])


@pytest.mark.parametrize("states", [None, [(1, 7, 6), (1, 2, 6)], TypeError("forward() got an unexpected keyword")])
def test_a_model_without_a_state_for_each_token_is_refused(states):
    class Model(torch.nn.Module):
        def forward(self, **_arguments):
            if isinstance(states, TypeError):
                raise states
            given = None if states is None else [torch.zeros(shape) for shape in states]
            return SimpleNamespace(hidden_states=given, last_hidden_state=torch.zeros(1, 7, 6))

    with pytest.raises(ModelError, match=r"Model does not give .* hidden state.*; leave it out"):
        LanguageEncoder(Model(), tokenizer())


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
@pytest.mark.parametrize("pooling", ["mean", "last", "cls"])
def test_pooling_and_the_padding_side_of_the_tokenizer(family, pooling):
    model = language_model(family)
    right, left = (LanguageEncoder(model, tokenizer(padding_side=side), pooling=pooling) for side in ("right", "left"))
    items = right.tokenize(TEXTS)
    for a, b in zip(right.encode(items), left.encode(left.tokenize(TEXTS)), strict=True):
        torch.testing.assert_close(a, b)
    for i, (ids, _) in enumerate(items):
        states = hidden_states(model, ids)[-1][0]
        expected = {"mean": states.mean(0), "last": states[-1], "cls": states[0]}[pooling]
        torch.testing.assert_close(right.encode(items)[-1][i], expected, atol=1e-5, rtol=1e-4)


def test_special_tokens_can_be_left_out_of_the_mean():
    model = language_model("llama")
    encoder = LanguageEncoder(model, tokenizer(), special_tokens=False)
    items = encoder.tokenize(TEXTS)
    states = hidden_states(model, items[1][0])[-1][0]
    torch.testing.assert_close(encoder.encode(items)[-1][1], states[1:].mean(0), atol=1e-5, rtol=1e-4)


def test_texts_that_cannot_be_pooled_are_named():
    model = language_model("gpt2")
    model.config.max_position_embeddings = 5
    with pytest.raises(ModelError, match="a text has 12 tokens and the model takes at most 5: 'the dog runs"):
        LanguageEncoder(model, tokenizer()).tokenize(TEXTS)
    with pytest.raises(ModelError, match="the tokenizer gives no token for the text ''"):
        LanguageEncoder(model, tokenizer(bos=False)).tokenize([""])


def picture(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def entry(**changes):
    return {"name": "m", "modality": "vision", "source": "random", **changes}


def word_vectors(folder):
    return {"name": "m", "modality": "language", "library": "word_vectors", "source": "local", "path": str(folder)}


# Class token; registers; no class token; rotary; convolutions; channels last; residual, dense and mobile stages.
VISION = {
    "test_vit": 6,
    "test_vit2": 8,
    "test_vit3": 9,
    "eva02_tiny_patch14_224": 12,
    "test_convnext": 9,
    "test_efficientnet": 5,
    "test_resnet": 4,
    "test_byobnet": 4,
    "test_nfnet": 4,
    "resnet18": 8,
    "mobilenetv2_050": 17,
    "convnext_atto": 12,
    "swin_tiny_patch4_window7_224": 12,
    "regnetx_002": 13,
    "xcit_nano_12_p16_224": 12,
}


@pytest.mark.parametrize(
    ("name", "smaller"),
    [
        ("cait_xxs24_224", {"depth": 2, "img_size": 64}),
        ("xcit_nano_12_p16_224", {"depth": 2, "img_size": 64}),
        ("volo_d1_224", {"img_size": 64}),
    ],
)
def test_a_class_token_that_comes_after_the_blocks_is_not_looked_for_in_them(name, smaller):
    assert modalities.load(entry(id=name, model_args=smaller), None).pooling == "gap"


@pytest.mark.parametrize("name", VISION)
def test_every_block_is_a_layer_and_does_not_feel_its_batch(name):
    import timm

    if name not in timm.list_models():
        pytest.skip(f"this timm has no {name}")
    encoder = modalities.load(entry(id=name), None)
    images = torch.stack([encoder.decode(picture(seed)) for seed in range(3)])
    layers = encoder.encode(images)
    assert len(layers) == len(encoder.layer_names) == VISION[name]
    assert all(layer.shape[0] == 3 and layer.dtype == torch.float32 for layer in layers)
    for alone, together in zip(encoder.encode(images[1:2]), layers, strict=True):
        torch.testing.assert_close(alone[0], together[1], atol=1e-4, rtol=1e-3)


def test_vit_layers_are_the_intermediates_of_timm():
    encoder = modalities.load(entry(id="test_vit"), None)
    images = torch.rand(2, 3, 160, 160)
    with torch.inference_mode():
        taken = encoder.module.forward_intermediates(
            images, return_prefix_tokens=True, intermediates_only=True, output_fmt="NLC"
        )
    pooled = {
        "cls": [prefix[:, 0] for _, prefix in taken],
        "gap": [patches.mean(1) for patches, _ in taken],
        "mean": [torch.cat([prefix, patches], 1).mean(1) for patches, prefix in taken],
    }
    for pooling, expected in pooled.items():
        encoder.pooling = pooling
        for layer, wanted in zip(encoder.encode(images), expected, strict=True):
            torch.testing.assert_close(layer, wanted)


@pytest.mark.parametrize(("pooling", "expected"), [("cls", lambda x: x[:, 0]), ("mean", lambda x: x.mean(1)),
                                                   ("gap", lambda x: x[:, 2:].mean(1))])  # fmt: skip
def test_pooling_of_tokens(pooling, expected):
    tokens = torch.rand(2, 11, 5)
    layout = Layout(places=(1,), width=2, first=2, class_token=0)
    torch.testing.assert_close(pool(tokens, layout, pooling, len(tokens)), expected(tokens))


def test_pooling_of_maps():
    maps = torch.rand(2, 5, 3, 4)
    torch.testing.assert_close(pool(maps, Layout(places=(2, 3), width=1), "gap", len(maps)), maps.mean((2, 3)))
    torch.testing.assert_close(pool(maps, Layout(places=(1, 2), width=3), "gap", len(maps)), maps.mean((1, 2)))


def test_a_class_token_must_exist():
    with pytest.raises(ModelError, match="pooling 'cls' needs a class token"):
        modalities.load(entry(id="test_resnet", pooling="cls"), None)


def test_layers_can_be_named():
    encoder = modalities.load(entry(id="test_resnet", layers=r"layer\d"), None)
    assert encoder.layer_names == ["layer1", "layer2", "layer3", "layer4"]
    with pytest.raises(ModelError, match=r"no module name matches layers: 'stage\.\.'"):
        modalities.load(entry(id="test_resnet", layers="stage.."), None)


def test_random_weights_are_seeded():
    first, same, other = (modalities.load(entry(id="test_vit", seed=seed), None) for seed in (1, 1, 2))
    images = torch.rand(1, 3, 160, 160)
    torch.testing.assert_close(first.encode(images), same.encode(images))
    assert not torch.equal(first.encode(images)[0], other.encode(images)[0])


@pytest.mark.parametrize(
    "family", ["vit", "dinov2", "dinov2_with_registers", "clip_vision_model", "resnet", "convnextv2"]
)
def test_vision_models_of_transformers(family, tmp_path):
    from transformers import AutoConfig, AutoModel, ViTImageProcessor

    small = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    size = {"image_size": 32, "patch_size": 8}
    maps = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2], "num_stages": 2, "layer_type": "basic"}
    settings = maps if family in ("resnet", "convnextv2") else {**small, **size}
    AutoModel.from_config(AutoConfig.for_model(family, **settings)).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    encoder = modalities.load(entry(library="transformers", source="local", path=str(tmp_path)), tmp_path)
    assert len(encoder.layer_names) == 3
    images = torch.rand(2, 3, 32, 32)
    layers = encoder.encode(images)
    assert encoder.pooling == ("gap" if family in ("resnet", "convnextv2") else "cls")
    if encoder.pooling == "cls":
        with torch.inference_mode():
            states = encoder.module(images, output_hidden_states=True).hidden_states
        for layer, state in zip(layers[:-1], states[1:-1], strict=True):
            torch.testing.assert_close(layer, state[:, 0])


def test_decoding_gives_what_the_model_wants():
    encoder = modalities.load(entry(id="test_vit"), None)
    for mode in ("RGB", "L", "RGBA", "P", "CMYK"):
        stream = io.BytesIO()
        Image.new(mode, (31, 47)).save(stream, "TIFF")
        assert encoder.decode(stream.getvalue()).shape == (3, 160, 160)


def test_images_are_passed_on_as_bytes_and_normalised_as_timm_does():
    from timm.data import create_transform, resolve_model_data_config

    encoder = modalities.load(entry(id="test_vit"), None)
    decoded = encoder.decode(picture(0))
    assert decoded.dtype == torch.uint8
    transform = create_transform(**resolve_model_data_config(encoder.module), is_training=False)
    expected = transform(Image.open(io.BytesIO(picture(0))).convert("RGB"))
    torch.testing.assert_close(encoder.as_input(decoded[None])[0], expected, atol=2e-6, rtol=1e-5)


def test_word_vectors(tmp_path):
    save_file({"vectors": torch.arange(8.0).reshape(4, 2)}, tmp_path / "vectors.safetensors")
    (tmp_path / "vocab.txt").write_text("cat\ndog\nred\nblue\n")
    encoder = modalities.load(word_vectors(tmp_path), tmp_path)
    np.testing.assert_allclose(encoder.encode(encoder.tokenize(["A red cat!", "dog xyz"]))[0], [[2, 3], [2, 3]])
    with pytest.raises(ModelError, match="none of the words of 'xyz' has a vector"):
        encoder.tokenize(["xyz"])
    with pytest.raises(ModelError, match="4 word vectors and 1 words"):
        WordVectors(torch.zeros(4, 2), ["cat"])
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(ModelError, match=r"has no vocab\.txt"):
        modalities.load(word_vectors(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"vectors": torch.full((2, 2), float("nan"))}, r"has no tensor 'vectors' of finite numbers"),
        ({"vectors": torch.ones(4)}, r"has no tensor 'vectors' of finite numbers"),
        ({"table": torch.ones(2, 2)}, r"has no tensor 'vectors'"),
        ({"vectors": torch.ones(3, 2)}, "has 2 words, one a line, and vectors.safetensors 3 vectors"),
    ],
)
def test_damaged_word_vectors_are_refused(tmp_path, tensors, message):
    save_file(tensors, tmp_path / "vectors.safetensors")
    (tmp_path / "vocab.txt").write_text("cat\ndog\n")
    settings = word_vectors(tmp_path)
    with pytest.raises(ModelError, match=message):
        modalities.load(settings, tmp_path)
    content = (tmp_path / "vectors.safetensors").read_bytes()
    (tmp_path / "vectors.safetensors").write_bytes(content[: len(content) - 3])
    with pytest.raises(ModelError, match=r"vectors\.safetensors is not a whole safetensors file"):
        modalities.load(settings, tmp_path)


def test_words_are_split_at_newlines_only(tmp_path):
    """Some vocabularies hold the separators of lines and of paragraphs of Unicode."""
    save_file({"vectors": torch.ones(3, 2)}, tmp_path / "vectors.safetensors")
    (tmp_path / "vocab.txt").write_text("cat\n\u2028\ndog\n", encoding="utf-8")
    assert modalities.load(word_vectors(tmp_path), tmp_path).parameters == 6


def test_real_llama_is_loaded_whole(real):
    folder = real / "weights/language/stories260K"
    encoder = modalities.load(entry(modality="language", source="local", path=str(folder)), folder)
    assert encoder.parameters == 260_032
    assert len(encoder.layer_names) == 6


def test_real_mobilenet_knows_its_classes(real):
    """The weights sit where they belong: a strict load, and the input size of the model's own config."""
    folder = real / "weights/vision/mobilenet_v1_0.25_128"
    encoder = modalities.load(entry(source="local", path=str(folder)), folder)
    config = json.loads((folder / "config.json").read_text())
    content = next((real / "cifar10/test/cat").iterdir()).read_bytes()
    assert encoder.decode(content).shape == tuple(config["input_size"])
    assert isinstance(encoder, VisionEncoder)
    assert len(encoder.layer_names) == 13
