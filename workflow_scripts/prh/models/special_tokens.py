"""The special tokens of a tokenizer: what they are, and which ones it puts before and after a text.

transformers 5 forgets some of them: BOS of a LLaMA without tokenizer.json, [CLS] and [SEP] of RemBERT and FNet, the
language code of NLLB. Only some of its classes follow what tokenizer_config.json says of BOS and EOS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from prh.models.repositories import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
BOS_FIRST = ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer")
BOS_MODELS = ("llama", "mistral", "mixtral", "gemma", "gemma2", "gemma3", "gemma3_text")
"""Classes, and model types if no class is named, that put BOS before a text unless their files say otherwise."""
FOLLOWING = (*BOS_FIRST, "GPTNeoXTokenizer")
"""Classes whose original code follows add_bos_token and add_eos_token, whatever tokenizer.json does."""


class Ends(NamedTuple):
    """Ids of the special tokens before and after a text."""

    before: list[int]
    after: list[int]


def named(tokenizer: PreTrainedTokenizerBase) -> dict[str, object]:
    """The special tokens of a tokenizer by name, such as bos_token."""
    return {name: token for name in NAMED if (token := getattr(tokenizer, name, None)) is not None}


def ends(tokenizer: PreTrainedTokenizerBase) -> Ends:
    """The special tokens that a tokenizer puts around a text.

    Raises ModelError if the text itself gets other ids together with its special tokens than alone.
    """
    bare = tokenizer("a b", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a b")["input_ids"]
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return Ends(whole[:start], whole[start + len(bare) :])
    raise ModelError(f"{type(tokenizer).__name__} gives a text other ids with special tokens than without.")


def follow_settings(
    tokenizer: PreTrainedTokenizerBase, settings: Mapping[str, object], model_type: str | None, *, converted: bool
) -> None:
    """Make a fast tokenizer put BOS and EOS around a text as its model expects.

    settings: the content of tokenizer_config.json. model_type: as in config.json. converted: whether there is no
    tokenizer.json, which otherwise decides what the settings leave open.
    """
    kind = str(settings.get("tokenizer_class") or "").removesuffix("Fast")
    switches = {key: settings[key] for key in ("add_bos_token", "add_eos_token") if settings.get(key) is not None}
    if converted and (kind in BOS_FIRST if kind else model_type in BOS_MODELS):
        switches.setdefault("add_bos_token", True)
    elif converted or kind not in FOLLOWING:
        return  # transformers follows the settings, or the tokens are those of tokenizer.json
    if switches:
        now, first, last = ends(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id
        tokenizer.add_bos_token = first is not None and bool(switches.get("add_bos_token", first in now.before))
        tokenizer.add_eos_token = last is not None and bool(switches.get("add_eos_token", last in now.after))


def require_ends(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Raise ModelError if transformers has forgotten the special tokens around a text of the model ``name``.

    Meant for folders without tokenizer.json. A tokenizer that has [CLS] and [SEP] must use at least one of them.
    """
    around = [token for end in ends(tokenizer) for token in end]
    if tokenizer.unk_token_id in around and tokenizer.unk_token_id not in (
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
    ):
        wrong = f"the unknown token {tokenizer.unk_token}"
    elif tokenizer.cls_token is not None and not {tokenizer.cls_token_id, tokenizer.sep_token_id} & set(around):
        wrong = f"neither {tokenizer.cls_token} nor {tokenizer.sep_token}"
    else:
        return
    raise ModelError(
        f"model {name!r}: {type(tokenizer).__name__} puts {wrong} around a text, so it is unknown which special tokens "
        "belong there; add the tokenizer.json of the model."
    )
