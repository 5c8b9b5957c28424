"""SentencePiece models as the families of language models have them, trained on the spot on this project's own pages.

The settings are those of the published models: of LLaMA as karpathy/llama2.c prints them (doc/train_llama_tokenizer.md),
which Mistral and Mixtral share; OpenLLaMA merges spaces besides (openlm-research/open_llama, issue 40); Gemma has no space
in front and white space as symbols of its own; the encoders' are those of their papers' code.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import sentencepiece
from transformers import AutoTokenizer

PAGES = Path(__file__).resolve().parents[1]
CORPUS = [
    *(line for page in sorted([PAGES / "README.md", *(PAGES / "docs").glob("*.md")])
      for line in page.read_text(encoding="utf-8").splitlines() if line),
    *["Zürich café naïve œuvre 北京 東京 привет мир", "a\tb  c   d", "1,234 in 2015, 3.14", "def f(x):\n    return x + 1",
      "the best and the finest of the rest, and one more"] * 30,
]  # fmt: skip
LLAMA = {
    "model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity", "split_digits": True,
    "remove_extra_whitespaces": False, "allow_whitespace_only_pieces": True, "character_coverage": 0.99995,
}  # fmt: skip
UNIGRAM = {"model_type": "unigram", "hard_vocab_limit": False}
GEMMA = LLAMA | {
    "add_dummy_prefix": False, "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3,
    "bos_piece": "<bos>", "eos_piece": "<eos>",
    "user_defined_symbols": ["<mask>", "<start_of_turn>", "<end_of_turn>", "\n\n", "\n\n\n", "▁▁", "▁▁▁", "▁▁▁▁"],
}  # fmt: skip
BRACKETED = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": ["[CLS]", "[SEP]", "[MASK]"]}
DEBERTA = UNIGRAM | {
    "pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "control_symbols": ["[MASK]"],
    "pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]",
}  # fmt: skip
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


@dataclass(frozen=True)
class Family:
    """How a family trains its model and what lies beside it: config.json and tokenizer_config.json."""

    options: dict
    file: str
    model_type: str
    settings: dict = field(default_factory=dict)


def _llama(**settings: object) -> Family:
    told = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, **SPECIAL, **settings}
    return Family(LLAMA, "tokenizer.model", "llama", told)


FAMILIES = {
    # those of the registries
    "OpenLLaMA": Family(LLAMA | {"remove_extra_whitespaces": True}, "tokenizer.model", "llama", _llama().settings),
    "OpenLLaMA, NFKC": Family(
        LLAMA | {"remove_extra_whitespaces": True, "normalization_rule_name": "nmt_nfkc"},
        "tokenizer.model", "llama", _llama().settings,
    ),
    "LLaMA": _llama(),
    "LLaMA, legacy false": _llama(legacy=False),
    "LLaMA, without settings": Family(LLAMA, "tokenizer.model", "llama"),
    "Mistral": Family(LLAMA, "tokenizer.model", "mistral", _llama(legacy=True).settings),
    "Mixtral": Family(LLAMA, "tokenizer.model", "mixtral", _llama(legacy=True).settings),
    "Gemma": Family(GEMMA, "tokenizer.model", "gemma", {"tokenizer_class": "GemmaTokenizer"}),
    "Gemma 3": Family(GEMMA, "tokenizer.model", "gemma3_text", {"tokenizer_class": "GemmaTokenizer"}),
    # others
    "Code Llama": Family(LLAMA, "tokenizer.model", "llama", {"tokenizer_class": "CodeLlamaTokenizer", **SPECIAL}),
    "Phi-3": Family(LLAMA, "tokenizer.model", "phi3", _llama().settings),
    "InternLM 2": Family(LLAMA, "tokenizer.model", "internlm2", _llama().settings),
    "T5": Family(UNIGRAM | {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}, "spiece.model", "t5"),
    "ALBERT": Family(UNIGRAM | BRACKETED, "spiece.model", "albert"),
    "ALBERT with case and accents": Family(
        UNIGRAM | BRACKETED, "spiece.model", "albert",
        {"tokenizer_class": "AlbertTokenizer", "do_lower_case": False, "keep_accents": True},
    ),
    "FNet": Family(UNIGRAM | BRACKETED, "spiece.model", "fnet", {"do_lower_case": False, "keep_accents": True}),
    "XLNet": Family(
        UNIGRAM | {"control_symbols": ["<cls>", "<sep>", "<pad>", "<mask>", "<eod>"], "user_defined_symbols": ["<eop>"]},
        "spiece.model", "xlnet",
    ),
    "XLM-RoBERTa": Family(UNIGRAM, "sentencepiece.bpe.model", "xlm-roberta"),
    "CamemBERT": Family(UNIGRAM, "sentencepiece.bpe.model", "camembert"),
    "mBART": Family(UNIGRAM, "sentencepiece.bpe.model", "mbart", {"src_lang": "en_XX", "tgt_lang": "ro_RO"}),
    "NLLB": Family(UNIGRAM, "sentencepiece.bpe.model", "m2m_100", {"tokenizer_class": "NllbTokenizer"}),
    "mBART-50": Family(
        UNIGRAM, "sentencepiece.bpe.model", "mbart", {"tokenizer_class": "MBart50Tokenizer", "src_lang": "en_XX"}
    ),
    "BARThez": Family(UNIGRAM, "sentencepiece.bpe.model", "mbart", {"tokenizer_class": "BarthezTokenizer"}),
    "XGLM": Family(UNIGRAM, "sentencepiece.bpe.model", "xglm"),
    "DeBERTa v3": Family(DEBERTA, "spm.model", "deberta-v2", {"do_lower_case": False}),
    "DeBERTa in lower case": Family(DEBERTA, "spm.model", "deberta-v2", {"do_lower_case": True}),
    "BigBird": Family({"model_type": "bpe", "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3}, "spiece.model", "big_bird"),
    "RemBERT": Family(
        UNIGRAM | BRACKETED, "sentencepiece.model", "rembert", {"tokenizer_class": "RemBertTokenizer"}
    ),
    "Pegasus": Family(UNIGRAM | {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}, "spiece.model", "pegasus"),
    "Reformer": Family({"model_type": "bpe"}, "spiece.model", "reformer"),
    "GPT-SW3": Family(
        LLAMA | {"pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3}, "spiece.model", "gpt2",
        {"tokenizer_class": "GPTSw3Tokenizer"},
    ),
}  # fmt: skip


@cache
def _trained(options: str) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=model, num_threads=1, minloglevel=2, vocab_size=900,
        **json.loads(options),
    )  # fmt: skip
    return model.getvalue()


def write(name: str, folder: Path, *, config: bool = True) -> Path:
    """The folder of a model of a family, without weights; returns its SentencePiece model."""
    family = FAMILIES[name]
    (folder / family.file).write_bytes(_trained(json.dumps(family.options)))
    if config:
        (folder / "config.json").write_text(json.dumps({"model_type": family.model_type}))
    if family.settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(family.settings))
    return folder / family.file


def convert(folder: Path) -> None:
    """Add the tokenizer.json that LLaMA, Mistral and Gemma publish beside their model: a space before every text."""
    content = json.loads(AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer.to_str())
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    content["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, space]}
    content["pre_tokenizer"] = None
    (folder / "tokenizer.json").write_text(json.dumps(content))
