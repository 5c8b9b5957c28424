"""`tokenizer.json`, a complete fast tokenizer in one file, read directly with the `tokenizers` library.

If the files name a tokenizer class, transformers 5 takes only the vocabulary from tokenizer.json and loses how it
splits text.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from prh.models import special_tokens

if TYPE_CHECKING:
    import tokenizers
    from transformers import PreTrainedTokenizerBase

FILE = "tokenizer.json"
SETTINGS = {
    "add_prefix_space": ("pre_tokenizer", "ByteLevel", "add_prefix_space"),
    "do_lower_case": ("normalizer", "BertNormalizer", "lowercase"),
    "strip_accents": ("normalizer", "BertNormalizer", "strip_accents"),
    "tokenize_chinese_chars": ("normalizer", "BertNormalizer", "handle_chinese_chars"),
}
"""Settings in tokenizer_config.json that override tokenizer.json: for each, the part, its type and the key there."""


def read(folder: Path, settings: Mapping[str, object]) -> tokenizers.Tokenizer:
    """The tokenizer in the file of ``folder``, with ``settings`` applied, and truncation and padding off."""
    import tokenizers

    content = json.loads((folder / FILE).read_text(encoding="utf-8"))
    for setting, (part, kind, key) in SETTINGS.items():
        whole = content.get(part) or {}
        for piece in [whole, *whole.get("pretokenizers", ()), *whole.get("normalizers", ())]:
            if piece.get("type") == kind and settings.get(setting) is not None:
                piece[key] = settings[setting]
    backend = tokenizers.Tokenizer.from_str(json.dumps(content))
    backend.no_truncation()
    backend.no_padding()
    return backend


def as_saved(folder: Path, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer in the file of ``folder``, with the special tokens and settings of ``tokenizer``."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=read(folder, tokenizer.init_kwargs),
        padding_side=tokenizer.padding_side,
        model_max_length=tokenizer.model_max_length,
        chat_template=tokenizer.chat_template,
        clean_up_tokenization_spaces=False,
        **special_tokens.named(tokenizer),
    )


def own_texts(backend: tokenizers.Tokenizer, count: int = 200, length: int = 8) -> list[str]:
    """Texts made of the vocabulary's own tokens, drawn at random with a fixed seed."""
    draw, size = random.Random(0), backend.get_vocab_size()
    return [backend.decode(draw.choices(range(size), k=length)) for _ in range(count)]
