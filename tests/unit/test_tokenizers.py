"""Tokenizers are the models' own: their files are there, their tokens are SentencePiece's, they know their texts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prh.models import tokenizer_files, tokenizer_proofs
from prh.models.repositories import COMPANIONS, ModelError, needed_files

transformers = pytest.importorskip("transformers")

WORDS = [
    "a",
    "the",
    "dog",
    "cat",
    "man",
    "woman",
    "child",
    "runs",
    "plays",
    "sits",
    "walks",
    "over",
    "under",
    "with",
    "red",
    "green",
    "blue",
    "ball",
    "grass",
    "table",
    "street",
]


EMPTY = {
    "BertTokenizer": "bert", "DistilBertTokenizer": "distilbert", "ElectraTokenizer": "electra",
    "RobertaTokenizer": "roberta", "GPT2Tokenizer": "gpt2", "Qwen2Tokenizer": "qwen2", "GPTNeoXTokenizer": "gpt_neox",
    "T5Tokenizer": "t5", "LlamaTokenizer": "llama", "GemmaTokenizer": "gemma", "XLMRobertaTokenizer": "xlm-roberta",
    "BloomTokenizer": "bloom", "MPNetTokenizer": "mpnet",
}  # fmt: skip


@pytest.mark.parametrize("told", [True, False], ids=["named in tokenizer_config.json", "known by the model"])
@pytest.mark.parametrize("kind", EMPTY)
def test_a_folder_without_a_tokenizer_is_refused(tmp_path, kind, told):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": EMPTY[kind]}))
    if told:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))
    with pytest.raises((ModelError, OSError, ValueError)) as refused:
        tokenizer_files.load(tmp_path, "m")
    if isinstance(refused.value, ModelError):
        assert "holds no tokenizer" in str(refused.value)


def test_half_a_tokenizer_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1}))
    with pytest.raises((ModelError, OSError, ValueError, TypeError)) as refused:
        tokenizer_files.load(tmp_path, "m")
    if isinstance(refused.value, ModelError):
        assert "merges.txt" in str(refused.value)


def test_the_real_llama_keeps_its_tokens(real):
    folder = real / "weights/language/stories260K"
    plain, own = transformers.AutoTokenizer.from_pretrained(folder), tokenizer_files.load(folder, "stories")
    captions = [
        json.loads(line)["text"][0] for line in (real / "flickr1k/metadata.jsonl").read_text().split("\n")[:100]
    ]
    assert own(captions)["input_ids"] == plain(captions)["input_ids"]
    assert [own.decode(ids, skip_special_tokens=True).strip() for ids in own(captions)["input_ids"]] == [
        caption.strip() for caption in captions
    ]


def vocabulary_files() -> set[str]:
    """Names of the files of every tokenizer class of transformers."""
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES, tokenizer_class_from_name

    names = {name for name in TOKENIZER_MAPPING_NAMES.values() if isinstance(name, str)}
    classes = [known for name in sorted(names) if (known := _importable(tokenizer_class_from_name, name))]
    assert len(classes) > 40
    return {
        file for known in classes for file in getattr(known, "vocab_files_names", {}).values() if isinstance(file, str)
    }


def _importable(find, name):
    try:
        return find(name)
    except ImportError:  # needs a package that is not here
        return None


def test_the_files_of_every_tokenizer_are_downloaded():
    names = sorted(vocabulary_files())
    taken = needed_files([*names, "model.safetensors", "README.md", "training.log"])
    assert set(names) <= set(taken), f"not covered by {COMPANIONS}"
    assert "README.md" not in taken


# ---- what texts prove


class Words:
    """A tokenizer of whole words."""

    unk_token_id, bos_token_id, eos_token_id = 0, 1, 2

    def __init__(self, known: str) -> None:
        self.known = {word: number for number, word in enumerate(known.split(), start=3)}

    def ids(self, texts: list[str]) -> list[list[int]]:
        return [[self.known.get(word, 0) for word in text.split()] for text in texts]


def prove(known: str, texts: list[str]) -> tokenizer_proofs.TokenizerReport:
    tokenizer = Words(known)
    return tokenizer_proofs.prove(tokenizer, texts, tokenizer.ids(texts), "m")


def test_a_report_counts(tmp_path):
    report = prove(" ".join(WORDS), ["a dog runs", "a cat sits", "a cat sits", "a dog martian " + "runs " * 20])
    assert (report.texts, report.tokens) == (4, 32)
    assert report.unknown == pytest.approx(1 / 32)
    assert report.distinct == 1
    assert report.in_words() == "4 texts, 32 tokens, 3.12% unknown, 100.0% distinct"


def test_a_foreign_tokenizer_is_refused():
    texts = [f"{word} runs over {other}" for word in WORDS for other in WORDS]
    with pytest.raises(
        ModelError, match=r"model 'm': 45% of the tokens of \d+ texts are unknown to its tokenizer Words"
    ):
        prove("runs over", texts)
    with pytest.raises(ModelError, match="gives no token for the text 'a b'"):
        tokenizer_proofs.prove(Words(""), ["a b"], [[]], "m")
    same = [[5, 6, 7] for _ in texts]
    with pytest.raises(ModelError, match=r"the same tokens for different texts: 1 kinds for \d+ texts"):
        tokenizer_proofs.prove(Words(""), texts, same, "m")


def test_folded_case_accents_and_spaces_are_no_fault():
    texts = [f"{letter}{number}" for number in range(30) for letter in ("É", "e", "E")]
    ids = [[number] for number in range(30) for _ in range(3)]
    assert tokenizer_proofs.prove(Words(""), texts, ids, "m").distinct == 1


def test_gpt2s_end_of_text_is_no_unknown_word():
    tokenizer = Words("")
    tokenizer.bos_token_id = tokenizer.eos_token_id = tokenizer.unk_token_id
    assert tokenizer_proofs.prove(tokenizer, ["a"], [[0]], "m").unknown == 0


@given(st.lists(st.text(), min_size=1), st.lists(st.text(), min_size=1))
def test_altered_is_a_share_and_none_for_the_same(before, after):
    count = min(len(before), len(after))
    assert 0 <= tokenizer_proofs.altered(before[:count], after[:count]) <= 1
    assert tokenizer_proofs.altered(before, before) == 0


def test_altered_counts_characters_once():
    assert tokenizer_proofs.altered(["Upper case"], ["upper case"]) == pytest.approx(0.1)
    assert tokenizer_proofs.altered([" a\n\nb "], ["a b"]) == pytest.approx(2 / 4)
    assert tokenizer_proofs.altered(["abcd", ""], ["", ""]) == 1
