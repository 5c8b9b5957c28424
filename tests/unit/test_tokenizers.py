"""Tokenizers are the models' own: their files are there, their tokens are SentencePiece's, they know their texts."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prh.models import tokenizer_files, tokenizer_proofs
from prh.models.repositories import COMPANIONS, ModelError, needed_files

sentencepiece = pytest.importorskip("sentencepiece")
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

IDENTITY = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
FAMILIES = {
    "llama": {"model_type": "bpe", "byte_fallback": True, "split_digits": True, **IDENTITY},
    "open_llama": {"model_type": "bpe", "byte_fallback": True},  # merges spaces and line breaks, folds characters
    "gemma": {"model_type": "bpe", "byte_fallback": True, "split_digits": True, "add_dummy_prefix": False, **IDENTITY}
    | {"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3},
    "t5": {"model_type": "unigram", "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "fairseq": {"model_type": "unigram"},
    "albert": {"model_type": "unigram", "pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1}
    | {"control_symbols": ["[CLS]", "[SEP]", "[MASK]"]},
    "deberta": {"model_type": "unigram", "pad_id": 0, "unk_id": 3, "bos_id": 1, "eos_id": 2}
    | {"bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]", "pad_piece": "[PAD]"}
    | {"control_symbols": ["[MASK]"]},
}

# class, how its SentencePiece model is trained and called, what its tokenizer_config.json says besides, kind of model
CASES = {
    "LLaMA": ("LlamaTokenizer", "llama", "tokenizer.model", {"legacy": True, "add_bos_token": True}, "llama"),
    "Llama 2": ("LlamaTokenizer", "llama", "tokenizer.model", {"legacy": False, "add_bos_token": True}, "llama"),
    "Mistral": ("LlamaTokenizer", "llama", "tokenizer.model", {"add_bos_token": True}, "mistral"),
    "OpenLLaMA": ("LlamaTokenizer", "open_llama", "tokenizer.model", {"add_bos_token": True}, "llama"),
    "Gemma": ("GemmaTokenizer", "gemma", "tokenizer.model", {}, "gemma"),
    "T5": ("T5Tokenizer", "t5", "spiece.model", {}, "t5"),
    "Pegasus": ("PegasusTokenizer", "t5", "spiece.model", {}, "pegasus"),
    "BigBird": ("BigBirdTokenizer", "t5", "spiece.model", {}, "big_bird"),
    "ALBERT": ("AlbertTokenizer", "albert", "spiece.model", {}, "albert"),
    "RemBERT": ("RemBertTokenizer", "albert", "sentencepiece.model", {}, "rembert"),
    "XLM-R": ("XLMRobertaTokenizer", "fairseq", "sentencepiece.bpe.model", {}, "xlm-roberta"),
    "CamemBERT": ("CamembertTokenizer", "fairseq", "sentencepiece.bpe.model", {}, "camembert"),
    "mBART": ("MBartTokenizer", "fairseq", "sentencepiece.bpe.model", {}, "mbart"),
    "NLLB": ("NllbTokenizer", "fairseq", "sentencepiece.bpe.model", {}, "m2m_100"),
    "DeBERTa": ("DebertaV2Tokenizer", "deberta", "spm.model", {}, "deberta-v2"),
    "GPT-SW3": ("GPTSw3Tokenizer", "t5", "spiece.model", {}, "gpt2"),
}
FOLDING = {"ALBERT", "GPT-SW3"}  # they change case, accents or spaces before SentencePiece sees a text


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """A SentencePiece model of each kind, trained on captions of a few words."""
    folder = tmp_path_factory.mktemp("pieces")
    sentences = [" ".join(WORDS[(i * j + i // 3) % len(WORDS)] for j in range(2, 9)) for i in range(300)]
    (folder / "text").write_text("\n".join([*sentences, "def f(x):\treturn x_2 + 10 .,!()=;", "café 1234567890"]))
    made = {}
    for name, settings in FAMILIES.items():
        sentencepiece.SentencePieceTrainer.train(
            input=str(folder / "text"),
            model_prefix=str(folder / name),
            vocab_size=400,
            hard_vocab_limit=False,
            minloglevel=2,
            **(
                {"allow_whitespace_only_pieces": True} | settings
                if "remove_extra_whitespaces" in settings
                else settings
            ),
        )
        made[name] = folder / f"{name}.model"
    return made


@pytest.fixture
def folder_of(models, tmp_path):
    def make(case: str) -> tuple[Path, Path]:
        kind, family, file, settings, model_type = CASES[case]
        shutil.copy(models[family], tmp_path / file)
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind, **settings}))
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
        return tmp_path, models[family]

    return make


@pytest.mark.parametrize("case", CASES)
def test_tokens_are_those_of_sentencepiece(folder_of, case):
    folder, model = folder_of(case)
    tokenizer = tokenizer_files.load(folder, "m")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    unknown = pieces.id_to_piece(pieces.unk_id())
    for text in tokenizer_files.PLAIN if case in FOLDING else tokenizer_files.PROBES:
        expected = [pieces.id_to_piece(number) for number in pieces.encode(text)]
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        found = tokenizer.convert_ids_to_tokens(ids)
        assert found == [tokenizer.unk_token if piece == unknown else piece for piece in expected], text
    assert max(tokenizer.get_vocab().values()) < len(tokenizer)


@pytest.mark.parametrize("case", ["LLaMA", "OpenLLaMA"])
def test_ids_begin_of_text_and_round_trip_of_the_llamas(folder_of, case):
    folder, model = folder_of(case)
    tokenizer = tokenizer_files.load(folder, "m")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    text = "the dog\n\nruns  over 12 cats"
    assert tokenizer(text)["input_ids"] == [pieces.bos_id(), *pieces.encode(text)]
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == pieces.decode(
        pieces.encode(text)
    )
    masked = tokenizer([text], return_special_tokens_mask=True)["special_tokens_mask"][0]
    assert masked == [1] + [0] * len(pieces.encode(text))
    spelt = tokenizer("<s> a </s>", add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert spelt == pieces.encode("<s> a </s>")


def test_a_tokenizer_beside_the_sentencepiece_of_another_is_refused(folder_of):
    folder, _ = folder_of("T5")
    tokenizer_files.load(folder, "m").save_pretrained(folder)
    assert (folder / "tokenizer.json").is_file()
    sentences = ["completely other words stand here", "and here are some more of them"] * 50
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_prefix=str(folder / "spiece"),
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    with pytest.raises(ModelError, match=r"model 'm': its tokenizer T5Tokenizer gives other tokens than"):
        tokenizer_files.load(folder, "m")


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
