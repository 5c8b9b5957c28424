"""The ids of every kind of tokenizer are those of its own files."""

import json
import logging
import pickle
import re
import unicodedata

import pytest
import sentencepiece
import tokenizers
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from prh.experiment.schema import LanguageModel
from prh.modalities import language
from prh.models import sentencepiece_tokenizer, special_tokens, tokenizer_files
from prh.models.repositories import ModelError
from prh.models.tokenizer_files import PROBES, SHUFFLED, tokenize
from tests import sentencepiece_models
from tests.conftest import REPOSITORY
from tests.sentencepiece_models import CORPUS, FAMILIES

REFUSED = {
    "NLLB": "NllbTokenizer puts the unknown token <unk> around a text",
    "BARThez": "BarthezTokenizer puts neither <s> nor </s> around a text",
    "RemBERT": r"RemBertTokenizer puts neither \[CLS\] nor \[SEP\] around a text",
    "FNet": r"FNetTokenizer puts neither \[CLS\] nor \[SEP\] around a text",
    "XGLM": r"lacks pieces of sentencepiece\.bpe\.model there",
}
"""Families of which transformers 5 makes no true tokenizer of the SentencePiece model alone."""
CHANGED = {
    "ALBERT": lambda text: without_accents(text).lower(),
    "ALBERT with case and accents": lambda text: text,
    "XLNet": lambda text: without_accents(text),
    "DeBERTa in lower case": str.lower,
}
"""What is done to a text before SentencePiece sees it."""
AS_THEY_ARE = [name for name in FAMILIES if name not in {*REFUSED, *CHANGED, "GPT-SW3"}]


def entry(folder, name="mine"):
    return LanguageModel(name=name, modality="language", source="local", path=str(folder))


def loaded(folder, **more):
    return language.load_tokenizer(entry(folder), None, **more)


def without_accents(text):
    return "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))


def true_ids(path, tokenizer, text):
    """Those of SentencePiece, where the tokenizer has the same pieces under other numbers."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    pieces = [
        tokenizer.unk_token if processor.piece_to_id(piece) == processor.unk_id() else piece
        for piece in processor.encode(text, out_type=str)
    ]
    return [tokenizer.get_vocab()[piece] for piece in pieces]


# ---- SentencePiece


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_ids_are_those_of_sentencepiece(tmp_path, name):
    path = sentencepiece_models.write(name, tmp_path)
    tokenizer = loaded(tmp_path)
    for text in [*PROBES, *SHUFFLED, *CORPUS[:200]]:
        ids = true_ids(path, tokenizer, text)
        assert tokenize(tokenizer, [text]) == [ids], text
        if not any(token in text for token in tokenizer.all_special_tokens):
            assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids, text


@pytest.mark.parametrize(
    "name", ["OpenLLaMA", "LLaMA", "LLaMA, without settings", "Mistral", "Mixtral", "Gemma", "Gemma 3"]
)
def test_numbers_special_tokens_and_text_of_the_registries_families(tmp_path, name):
    path = sentencepiece_models.write(name, tmp_path)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    tokenizer = loaded(tmp_path)
    for text in PROBES:
        ids = processor.encode(text)
        assert tokenize(tokenizer, [text]) == [ids]
        if "<" not in text:
            assert tokenizer(text)["input_ids"] == [processor.bos_id(), *ids], "BOS as these models were trained"
            mask = tokenizer(text, return_special_tokens_mask=True)["special_tokens_mask"]
            assert mask == [1] + [0] * len(ids)
        assert tokenizer.decode(ids) == processor.decode(ids)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (processor.bos_id(), processor.eos_id())


def test_what_transformers_makes_of_openllama_differs_in_white_space(tmp_path, caplog):
    sentencepiece_models.write("OpenLLaMA", tmp_path)
    converted = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    with caplog.at_level(logging.INFO):
        true = loaded(tmp_path)
    assert "gives other ids than SentencePiece on tokenizer.model" in caplog.text
    texts = ["two  spaces", "a line\n  indented", "at the end "]
    assert all(a != b for a, b in zip(tokenize(converted, texts), tokenize(true, texts), strict=True))
    assert tokenize(converted, ["one space"]) == tokenize(true, ["one space"])
    assert true.decode(tokenize(true, ["two  spaces\n"])[0]).startswith("two spaces")


@pytest.mark.parametrize("name", ["LLaMA", "Mistral"])
def test_a_published_tokenizer_json_is_taken_where_its_ids_are_right(tmp_path, name):
    path = sentencepiece_models.write(name, tmp_path)
    sentencepiece_models.convert(tmp_path)
    tokenizer = loaded(tmp_path)
    assert tokenizer.is_fast, "the quicker one"
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert tokenize(tokenizer, PROBES) == [processor.encode(text) for text in PROBES]


def test_own_pieces_and_the_texts_to_score_are_compared_too(tmp_path, monkeypatch):
    sentencepiece_models.write("LLaMA", tmp_path)
    sentencepiece_models.convert(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    merge = next(merge for merge in content["model"]["merges"] if "".join(merge) == "ing")
    content["model"]["merges"].remove(merge)  # no probe has it
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert not any("ing" in text for text in PROBES)
    assert not loaded(tmp_path).is_fast
    monkeypatch.setattr(sentencepiece_tokenizer, "own_texts", lambda _: [])
    assert loaded(tmp_path).is_fast
    assert not loaded(tmp_path, texts=["something is missing"]).is_fast


@pytest.mark.parametrize("name", CHANGED)
def test_texts_that_are_changed_first_have_the_ids_of_what_they_become(tmp_path, name):
    path = sentencepiece_models.write(name, tmp_path)
    tokenizer, cut = loaded(tmp_path), []
    for text in [*PROBES, *CORPUS[:200]]:
        changed = CHANGED[name](text if name.startswith("DeBERTa") else " ".join(text.split()))
        if "``" not in text and "''" not in text and not re.search(r"\d,", changed):
            assert tokenize(tokenizer, [text]) == [true_ids(path, tokenizer, changed)], text
            cut.append(text)
    assert len(cut) > 150


@pytest.mark.parametrize("name", ["ALBERT", "XLNet"])
def test_albert_and_xlnet_write_quotes_alike_and_cut_a_comma_from_its_digits(tmp_path, name):
    path = sentencepiece_models.write(name, tmp_path)
    tokenizer, processor = loaded(tmp_path), sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert tokenize(tokenizer, ["a  ``b''"]) == [processor.encode('a "b"')]
    assert tokenizer.convert_ids_to_tokens(tokenize(tokenizer, ["2015,"])[0]) == [
        *processor.encode("2015", out_type=str),
        ",",
    ]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_proved_is_refused(tmp_path, name):
    sentencepiece_models.write(name, tmp_path)
    with pytest.raises(ModelError, match=f"^model 'mine': .*{REFUSED[name]}"):
        loaded(tmp_path)


def test_a_setting_that_is_not_known_is_refused(tmp_path):
    sentencepiece_models.write("DeBERTa v3", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"split_by_punct": true}')
    with pytest.raises(ModelError, match=r"split_by_punct in tokenizer_config\.json is not supported"):
        loaded(tmp_path)


ENDS = {"XLM-RoBERTa": ("<s>", "</s>"), "CamemBERT": ("<s>", "</s>"), "ALBERT": ("[CLS]", "[SEP]"),
        "DeBERTa v3": ("[CLS]", "[SEP]"), "BigBird": ("[CLS]", "[SEP]"), "T5": ("", "</s>"), "Pegasus": ("", "</s>"),
        "XLNet": ("", "<sep> <cls>"), "mBART": ("", "</s> en_XX"), "mBART-50": ("en_XX", "</s>"), "Reformer": ("", ""),
        }  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_special_tokens_around_a_text_are_the_familys(tmp_path, name):
    sentencepiece_models.write(name, tmp_path)
    tokenizer = loaded(tmp_path)
    before, after = ENDS[name]
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("a text")["input_ids"])
    inner = tokenizer.convert_ids_to_tokens(tokenize(tokenizer, ["a text"])[0])
    assert tokens == [*before.split(), *inner, *after.split()]
    assert max(tokenizer.get_vocab().values()) < len(tokenizer)


BOS, EOS = [1], [2]


@pytest.mark.parametrize("is_published", [False, True], ids=["tokenizer.model", "tokenizer.json too"])
@pytest.mark.parametrize(
    ("told", "before", "after"),
    [
        ({"add_bos_token": True}, BOS, []),
        ({"add_bos_token": False}, [], []),
        ({"add_bos_token": True, "add_eos_token": True}, BOS, EOS),
        ({"add_eos_token": False}, BOS, []),
        ({"add_bos_token": False, "add_eos_token": True}, [], EOS),
    ],
)
def test_bos_and_eos_are_as_the_settings_say(tmp_path, told, before, after, is_published):
    path = sentencepiece_models.write("LLaMA", tmp_path)
    if is_published:
        sentencepiece_models.convert(tmp_path)  # with BOS
    told = {"tokenizer_class": "LlamaTokenizer", **sentencepiece_models.SPECIAL, **told}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(told))
    tokenizer, processor = loaded(tmp_path), sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert tokenizer.is_fast == is_published
    assert tokenizer(" a  text")["input_ids"] == [*before, *processor.encode(" a  text"), *after]


def test_what_is_unknown_has_the_id_of_sentencepiece(tmp_path):
    """transformers adds a token of another name to the vocabulary, where a class wants one."""
    path = sentencepiece_models.write("ALBERT with case and accents", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "AlbertTokenizer", "unk_token": "[UNK]", "do_lower_case": false, "keep_accents": true}'
    )
    tokenizer, processor = loaded(tmp_path), sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert tokenize(tokenizer, ["a 😀"]) == [processor.encode("a 😀")]
    assert tokenizer.unk_token_id == processor.unk_id()


def test_no_space_is_lost_beside_what_is_unknown(tmp_path):
    sentencepiece_models.write("XLM-RoBERTa", tmp_path)
    tokenizer = loaded(tmp_path)
    assert tokenizer.decode(tokenize(tokenizer, ["a 😀 and one"])[0]) == "a <unk> and one"
    assert tokenizer.decode(tokenizer("a 😀 and one")["input_ids"], skip_special_tokens=True) == "a  and one"
    assert tokenizer.decode(tokenizer("one")["input_ids"]) == "<s>one</s>"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=40))
def test_any_text_has_the_ids_of_sentencepiece(tmp_path_factory, text):
    tokenizer, processor = _openllama(tmp_path_factory)
    assert tokenize(tokenizer, [text]) == [processor.encode(text)]
    assert tokenizer.decode(processor.encode(text)) == processor.decode(processor.encode(text))


_KEPT = {}


def _openllama(factory):
    if not _KEPT:
        folder = factory.mktemp("openllama")
        path = sentencepiece_models.write("OpenLLaMA", folder)
        _KEPT["pair"] = loaded(folder), sentencepiece.SentencePieceProcessor(model_file=str(path))
    return _KEPT["pair"]


def test_it_can_be_sent_to_another_process(tmp_path_factory):
    tokenizer, processor = _openllama(tmp_path_factory)
    again = pickle.loads(pickle.dumps(tokenizer))
    assert tokenize(again, PROBES) == [processor.encode(text) for text in PROBES]


def test_batches_are_padded_and_pairs_joined(tmp_path_factory):
    tokenizer, processor = _openllama(tmp_path_factory)
    tokenizer.pad_token = tokenizer.eos_token
    one, two = processor.encode("one"), processor.encode("one and two")
    batch = tokenizer(["one", "one and two"], padding=True, padding_side="right")
    assert batch["input_ids"] == [[1, *one, *[2] * (len(two) - len(one))], [1, *two]]
    assert batch["attention_mask"][0] == [1] * (1 + len(one)) + [0] * (len(two) - len(one))
    assert tokenizer("one", "one and two")["input_ids"] == [1, *one, 1, *two]
    assert tokenizer.decode([1, *one, 2], skip_special_tokens=True) == "one"
    assert tokenizer.decode([1, *one, 2]) == "<s>one</s>"


def test_a_model_file_of_another_model_is_refused(tmp_path):
    sentencepiece_models.write("LLaMA", tmp_path)
    sentencepiece_models.convert(tmp_path)
    sentencepiece_models.write("Gemma", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    with pytest.raises(ModelError, match=r"lacks pieces of tokenizer\.model there, or numbers them differently"):
        loaded(tmp_path)


# ---- tokenizer.json


def byte_level(folder, model_type, **config):
    """A tokenizer.json with white space as added tokens, as GPT-NeoX and OLMo have them."""
    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(CORPUS, trainer)
    trained.add_tokens([tokenizers.AddedToken(" " * count, normalized=False) for count in (4, 3, 2)])
    trained.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    trained.encode_special_tokens = True
    return trained


CLASSES = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CUTS = {
    "digits one by one": [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ],
    "digits by three": [pre_tokenizers.Split(CLASSES, "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)],
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(
    ("model_type", "kind"),
    [
        ("llama", "GPT2Tokenizer"),  # SmolLM2: digits one by one, which GPT-2 does not do
        ("gpt_neox", "GPTNeoXTokenizer"),
        ("dbrx", "GPT2Tokenizer"),
        ("qwen2", "Qwen2Tokenizer"),
        ("qwen2", "LlamaTokenizerFast"),
        ("phi3", "GPT2Tokenizer"),
        ("olmo2", "GPT2Tokenizer"),
        ("llama", "PreTrainedTokenizerFast"),
    ],
)
def test_text_is_cut_as_tokenizer_json_says_and_not_as_its_class_does(tmp_path, model_type, kind, cut):
    trained = byte_level(tmp_path, model_type, tokenizer_class=kind, bos_token="<|endoftext|>")
    trained.pre_tokenizer = pre_tokenizers.Sequence(CUTS[cut])
    trained.save(str(tmp_path / "tokenizer.json"))
    texts = [*PROBES, "in 2015", "12345"]
    tokenizer = loaded(tmp_path)
    assert tokenize(tokenizer, texts) == [trained.encode(text, add_special_tokens=False).ids for text in texts]
    assert tokenizer.bos_token == "<|endoftext|>"


@pytest.mark.parametrize(
    ("model_type", "kind"),
    [
        ("bloom", "BloomTokenizerFast"),
        ("olmo", "GPTNeoXTokenizerFast"),
        ("olmo2", "GPT2Tokenizer"),
        ("gpt_neox", "GPTNeoXTokenizerFast"),
        ("gpt2", "GPT2Tokenizer"),
        ("gpt2", None),
        ("llama", "PreTrainedTokenizerFast"),
        ("llama", "LlamaTokenizerFast"),  # as some copies of Llama 3 say, whose tokenizer is not LLaMA's
        ("llama", None),
        ("qwen3", "Qwen2Tokenizer"),
        ("phi", "CodeGenTokenizer"),
        ("phi3", "GPT2Tokenizer"),
        ("smollm3", "PreTrainedTokenizerFast"),
    ],
)
def test_ids_are_those_of_tokenizer_json(tmp_path, model_type, kind):
    told = {} if kind is None else {"tokenizer_class": kind, "eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}
    trained = byte_level(tmp_path, model_type, **told)
    tokenizer = loaded(tmp_path)
    texts = [*PROBES, *CORPUS[:200]]
    assert tokenize(tokenizer, texts) == [trained.encode(text, add_special_tokens=False).ids for text in texts]
    assert tokenizer.decode(tokenize(tokenizer, ["a  b"])[0]) == "a  b"


def test_settings_beside_tokenizer_json_go_before_it(tmp_path):
    trained = byte_level(tmp_path, "gpt2", tokenizer_class="GPT2Tokenizer", add_prefix_space=True)
    assert tokenize(loaded(tmp_path), ["word"]) == [trained.encode(" word").ids]

    told = {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": True}  # a class that does not look
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(told))
    assert tokenize(loaded(tmp_path), ["word"]) == [trained.encode(" word").ids]

    folder = tmp_path / "bert"
    folder.mkdir()
    words = tokenizers.Tokenizer(models.WordPiece({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "Word": 3, "word": 4}))
    words.normalizer = normalizers.BertNormalizer(lowercase=True)
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": false}')
    assert tokenize(loaded(folder), ["Word word"]) == [[3, 4]]


def test_every_family_of_the_registries_is_one_that_is_tested_here():
    registered = {
        model["family"].removesuffix(", 4 bit")
        for path in (REPOSITORY / "resources/models").glob("*.yaml")
        for model in yaml.safe_load(path.read_text())["models"]
        if model["modality"] == "language"
    }
    saved = {"BLOOMZ", "OLMo", "Llama 3", "Qwen3", "OLMo 2", "SmolLM", "Phi", "Pythia", "GPT-2"}
    assert registered - saved <= set(FAMILIES)
    assert saved <= registered


# ---- files and sizes


@pytest.mark.parametrize(
    "model_type", ["bert", "t5", "roberta", "gpt2", "gemma", "qwen2", "gpt_neox", "llama", "mistral", "xglm"]
)
def test_a_folder_without_tokenizer_files_is_refused(tmp_path, model_type):
    """transformers makes a tokenizer of a few special tokens of it, and says nothing."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(ModelError, match=r"^model 'mine'[: ].*(holds no tokenizer|cannot be loaded)"):
        loaded(tmp_path)


@pytest.mark.parametrize("there", ["vocab.json", "merges.txt"])
def test_half_of_the_tokenizer_files_is_refused(tmp_path, there):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / there).write_text('{"a": 0}' if there == "vocab.json" else "#version: 0.2\na b\n")
    missing = {"vocab.json": "merges.txt", "merges.txt": "vocab.json"}[there]
    with pytest.raises(ModelError, match=f"(holds half a tokenizer: {missing} of|cannot be loaded)"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"model": {}}', "version https://git-lfs.github.com/spec/v1\noid sha256:0"]
)
def test_a_tokenizer_json_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        loaded(tmp_path)


MISSING = [
    ({"vocab_file": "vocab.json", "merges_file": "merges.txt"}, True, ["vocab.json"], ["merges.txt"]),
    ({"vocab_file": "vocab.json", "merges_file": "merges.txt"}, True, ["tokenizer.json"], []),
    ({"vocab_file": "vocab.json", "merges_file": "merges.txt"}, False, ["tokenizer.json"], ["vocab.json", "merges.txt"]),
    ({"tokenizer_file": "tokenizer.json"}, True, [], ["tokenizer.json"]),
    ({"tokenizer_file": "tokenizer.json"}, True, ["tokenizer.model"], []),
    ({"tokenizer_file": "tokenizer.json", "vocab_file": "tokenizer.model"}, True, ["qwen.tiktoken"], []),
    ({"tokenizer_file": "tokenizer.json", "vocab_file": "tokenizer.model"}, True, ["config.json"], ["tokenizer.model"]),
    ({"vocab_file": "vocab.txt", "spm_file": "spiece.model"}, False, ["vocab.txt"], []),
    ({"vocab_file": "vocab.json", "spm_file": "s.bpe.model", "tokenizer_config_file": "tokenizer_config.json"},
     False, ["vocab.json"], ["s.bpe.model"]),
    ({}, False, [], []),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "fast", "there", "missing"), MISSING)
def test_missing_files(wanted, fast, there, missing):
    assert tokenizer_files.missing_files(there, wanted, fast=fast) == missing


@pytest.mark.parametrize("content", [b"", b"\x00\x01 damaged", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_sentencepiece_model_that_is_none_is_refused(tmp_path, content):
    sentencepiece_models.write("LLaMA", tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(ModelError, match=r"tokenizer\.model is not a whole SentencePiece model"):
        loaded(tmp_path)


def test_classes_without_files_need_none(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "canine"}')
    assert tokenize(loaded(tmp_path), ["ab"]) == [[97, 98]]


def test_no_true_tokenizer_is_an_error(tmp_path, monkeypatch):
    byte_level(tmp_path, "gpt2", tokenizer_class="GPT2Tokenizer")
    other = tokenizer_files.Reference("x", lambda _: [0], special_tokens.Ends([], []))
    monkeypatch.setattr(tokenizer_files, "_saved_reference", lambda *_: other)
    expected = (
        r"no tokenizer gives the ids that the files in .* define \(TokenizersBackend gives other ids than x for \d+"
    )
    with pytest.raises(ModelError, match=expected):
        loaded(tmp_path)


def test_ranks_without_the_rule_that_cuts_texts_are_refused(tmp_path, monkeypatch):
    """Where tiktoken is installed, transformers cuts the texts of every such model by one rule."""
    byte_level(tmp_path, "llama", tokenizer_class="PreTrainedTokenizerFast")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_, **__: tokenizer)
    with pytest.raises(ModelError, match=r"do not say how a text is split, so its ids cannot be proved"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    ("kind", "model_type"), [("RobertaTokenizer", "roberta"), ("PreTrainedTokenizerFast", "llama")]
)
def test_special_tokens_around_a_text_are_those_of_tokenizer_json(tmp_path, kind, model_type):
    """RobertaTokenizer of transformers 5 puts its own there."""
    trained = byte_level(tmp_path, model_type, tokenizer_class=kind, bos_token="<|endoftext|>")
    number = trained.token_to_id("<|endoftext|>")
    trained.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", pair="<|endoftext|> $A $B", special_tokens=[("<|endoftext|>", number)]
    )
    trained.save(str(tmp_path / "tokenizer.json"))
    assert loaded(tmp_path)("a text")["input_ids"] == [number, *trained.encode("a text", add_special_tokens=False).ids]


@pytest.mark.parametrize("told", [True, False])
def test_gpt_neox_has_bos_as_its_settings_say(tmp_path, told):
    names = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    trained = byte_level(tmp_path, "olmo", tokenizer_class="GPTNeoXTokenizerFast", add_bos_token=told, **names)
    number = trained.token_to_id("<|endoftext|>")
    assert loaded(tmp_path)("a text")["input_ids"] == [*[number] * told, *trained.encode("a text").ids]


def test_classes_that_read_their_own_files_are_taken(tmp_path):
    trained = byte_level(tmp_path, "gpt2", tokenizer_class="GPT2Tokenizer")
    trained.model.save(str(tmp_path))
    (tmp_path / "tokenizer.json").unlink()
    texts = [text for text in PROBES if "  " not in text]  # white space of byte_level is no part of these files
    assert tokenize(loaded(tmp_path), texts) == [trained.encode(text, add_special_tokens=False).ids for text in texts]


def test_a_tokenizer_of_the_world_is_taken(tmp_path):
    words = tokenizers.Tokenizer(models.WordLevel({"<unk>": 0, "red": 1, "ball": 2}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert tokenize(loaded(tmp_path), ["red ball"]) == [[1, 2]]
