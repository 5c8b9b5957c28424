"""Files of models: weights, configuration, tokenizers, preparation of images; small ones with random weights."""

from __future__ import annotations

import io
import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from prh import modalities
from prh.modalities.language import LanguageEncoder
from tests.attack.damage import CUT, NO_CHECKSUM, Kind
from tests.attack.programs import digest
from tests.small_models import TEXTS, entry, model_folder

NUMBERS = NO_CHECKSUM | {"flipped at an end"}
"""A weight is as good as another; weights.json has the hash of the file for all that happens to it later."""
WORDS = NUMBERS | CUT
_ENTRY = {"name": "m", "source": "local", "dtype": "float32"}
_VIT = {**_ENTRY, "modality": "vision", "library": "transformers"}
SENTENCES = ["a cat sleeps on the green hill", "two birds sing in one tree by the sea"] * 30


@cache
def _temporary() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="prh-attack-models-")


@cache
def _sound(maker: Callable[[Path], object]) -> Path:
    """A folder that ``maker`` has written, once in a process."""
    folder = Path(_temporary().name) / maker.__name__.strip("_")
    folder.mkdir()
    maker(folder)
    return folder


def _of(maker: Callable[[Path], object], name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        shutil.copytree(_sound(maker), folder / "model")
        return folder / "model" / name

    return make


def _from(maker: Callable[[Path], object], name: str) -> Callable[[Path], object]:
    return lambda path: shutil.copyfile(_sound(maker) / name, path)


# ---- what reads them ------------------------------------------------------------------------------------------


def _read_texts(path: Path) -> str:
    encoder = modalities.load(entry(path.parent), path.parent, "cpu")
    items = encoder.tokenize(TEXTS)
    if isinstance(encoder, LanguageEncoder):
        encoder.prove_tokens(TEXTS, items)
    return digest([layer.tolist() for item in items for layer in encoder.encode([item])])


def _read_words(path: Path) -> str:
    settings = {**_ENTRY, "modality": "language", "library": "word_vectors", "path": str(path.parent)}
    encoder = modalities.load(settings, path.parent)
    return digest([layer.tolist() for layer in encoder.encode(encoder.tokenize(TEXTS))])


def _read_images(settings: dict, root: Path) -> str:
    encoder = modalities.load({**_VIT, **settings}, root, "cpu")
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return digest([layer.tolist() for layer in encoder.encode(encoder.decode(stream.getvalue())[None])])


def _read_vit(path: Path) -> str:
    return _read_images({"path": str(path.parent)}, path.parent)


def _read_timm(path: Path) -> str:
    return _read_images({"library": "timm", "path": str(path.parent)}, path.parent)


def _read_checkpoint(path: Path) -> str:
    return _read_images({"library": "timm", "path": str(path), "id": "test_resnet"}, path)


# ---- sound folders --------------------------------------------------------------------------------------------


def _llama(folder: Path) -> None:
    model_folder(folder, "llama")


def _larger(folder: Path) -> None:
    model_folder(folder, "llama", hidden_size=32, words=["<s>", "<unk>", *(f"w{i}" for i in range(60))], vocab_size=70)


def _sharded(folder: Path) -> None:
    from transformers import AutoModel

    AutoModel.from_pretrained(_sound(_llama)).save_pretrained(folder, max_shard_size="8KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(_sound(_llama) / name, folder)


def _pickled(folder: Path) -> None:
    shutil.copytree(_sound(_llama), folder, dirs_exist_ok=True)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _bytes_bpe(folder: Path) -> None:
    """GPT-2's kind of tokenizer: vocab.json and merges.txt."""
    from tokenizers import ByteLevelBPETokenizer

    made = ByteLevelBPETokenizer()
    made.train_from_iterator(SENTENCES, vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False)
    model_folder(folder, "llama", vocab_size=320)
    _without_tokenizer(folder, "GPT2Tokenizer", {"unk_token": "<|endoftext|>"})
    made.save_model(str(folder))


def _word_pieces(folder: Path) -> None:
    """BERT's kind of tokenizer: vocab.txt."""
    words = sorted({word for sentence in SENTENCES for word in sentence.split()} | {"dog", "runs", "the", "."})
    model_folder(folder, "bert", vocab_size=60, type_vocab_size=2)
    _without_tokenizer(folder, "BertTokenizer", {})
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))


def _sentence_pieces(folder: Path) -> None:
    """LLaMA's kind of tokenizer: tokenizer.model."""
    import sentencepiece

    model_folder(folder, "llama", vocab_size=420)
    _without_tokenizer(folder, "LlamaTokenizer", {"add_bos_token": True})
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*SENTENCES, *TEXTS * 9]), model_prefix=str(folder / "tokenizer"), vocab_size=400,
        hard_vocab_limit=False, minloglevel=2, model_type="bpe", byte_fallback=True, remove_extra_whitespaces=False,
        normalization_rule_name="identity", allow_whitespace_only_pieces=True,
    )  # fmt: skip
    (folder / "tokenizer.vocab").unlink()


def _without_tokenizer(folder: Path, kind: str, settings: dict) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind, **settings}))


def _vit(folder: Path) -> None:
    from transformers import AutoConfig, AutoModel, ViTImageProcessor

    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    AutoModel.from_config(AutoConfig.for_model("vit", **small, image_size=32, patch_size=8)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


def _timm(folder: Path) -> None:
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(0)
    save_for_hf(timm.create_model("test_resnet"), folder, safe_serialization=True)


def _checkpoint(folder: Path) -> None:
    import timm

    torch.manual_seed(0)
    weights = timm.create_model("test_resnet").state_dict()
    torch.save(weights, folder / "weights.pth")
    save_file(weights, folder / "weights.safetensors")


def _word_vectors(folder: Path) -> None:
    words = sorted({word for text in TEXTS for word in text.replace(".", "").split()})
    vectors = torch.randn(len(words), 6, generator=torch.Generator().manual_seed(0))
    save_file({"vectors": vectors}, folder / "vectors.safetensors")
    (folder / "vocab.txt").write_text("\n".join(words))


# ---- the kinds ------------------------------------------------------------------------------------------------


def kinds() -> list[Kind]:
    logging.getLogger("prh").setLevel(logging.ERROR)
    larger = {name: {"of another model": _from(_larger, name)} for name in ("config.json", "model.safetensors",
                                                                            "tokenizer.json")}  # fmt: skip

    def language(name: str, unseen: frozenset[str] = NUMBERS, maker: Callable = _llama, title: str = "") -> Kind:
        others = larger.get(name, {}) if maker is _llama else {}
        return Kind(f"{title or 'llama'}: {name}", _of(maker, name), _read_texts, unseen, others, "its tokenizer")

    shard = sorted(path.name for path in _sound(_sharded).glob("*.safetensors"))[1]
    return [
        language("config.json"),
        language("model.safetensors"),
        language("tokenizer.json"),
        language("tokenizer_config.json", NUMBERS),
        language(shard, NUMBERS, _sharded, "sharded"),
        language("model.safetensors.index.json", NUMBERS, _sharded, "sharded"),
        language("pytorch_model.bin", NUMBERS, _pickled, "pickled"),
        language("vocab.json", NUMBERS, _bytes_bpe, "byte BPE"),
        language("merges.txt", WORDS, _bytes_bpe, "byte BPE"),
        language("vocab.txt", WORDS, _word_pieces, "word pieces"),
        language("tokenizer.model", NUMBERS, _sentence_pieces, "SentencePiece"),
        language("tokenizer_config.json", NUMBERS | {"missing"}, _sentence_pieces, "SentencePiece"),
        Kind("ViT: config.json", _of(_vit, "config.json"), _read_vit, NUMBERS),
        Kind("ViT: model.safetensors", _of(_vit, "model.safetensors"), _read_vit, NUMBERS),
        Kind("ViT: preprocessor_config", _of(_vit, "preprocessor_config.json"), _read_vit, NUMBERS),
        Kind("timm: config.json", _of(_timm, "config.json"), _read_timm, NUMBERS),
        Kind("timm: model.safetensors", _of(_timm, "model.safetensors"), _read_timm, NUMBERS),
        Kind("checkpoint .pth", _of(_checkpoint, "weights.pth"), _read_checkpoint, NUMBERS),
        Kind("checkpoint .safetensors", _of(_checkpoint, "weights.safetensors"), _read_checkpoint, NUMBERS),
        Kind("vectors.safetensors", _of(_word_vectors, "vectors.safetensors"), _read_words, NUMBERS),
        Kind("vocab.txt", _of(_word_vectors, "vocab.txt"), _read_words, NUMBERS | {"truncated"}),
    ]
