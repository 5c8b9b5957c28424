"""Texts must reach a model through its tokenizer."""

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from prh.models import ModelError
from prh.tokenizer_loading import tokenize
from prh.tokenizer_proof import check_ids, prove_tokenizer

CAPTIONS = [f"A {colour} {thing} near the {place}." for colour in ("red", "blue", "green") for thing in ("dog", "ball")
            for place in ("house", "sea", "old tree")]  # fmt: skip


def words(*known, lower=True):
    """Words of a vocabulary, all others unknown, as BERT cuts them."""
    backend = tokenizers.Tokenizer(models.WordLevel({"[UNK]": 0} | {w: i + 1 for i, w in enumerate(known)}, "[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")


def all_words():
    return words(*sorted({word for text in CAPTIONS for word in text.lower().strip(".").split()}), ".")


def bytes_only(normalizer=None):
    backend = tokenizers.Tokenizer(
        models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, [])
    )
    backend.normalizer = normalizer
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def prove(tokenizer, texts, scored=False, **more):
    return prove_tokenizer(tokenizer, texts, tokenize(tokenizer, texts), scored=scored, **more)


def test_an_uncased_tokenizer_is_right_for_features_and_wrong_for_scores():
    report = prove(all_words(), CAPTIONS)
    assert (report.unknown, report.collapsed, report.altered, report.lost) == (0, 0, None, None)
    assert report.footer() == {
        "tokenizer": "TokenizersBackend", "texts": 18, "tokens": 132, "unknown": 0.0, "collapsed": 0.0,
    }  # fmt: skip
    assert str(report) == "TokenizersBackend: 132 tokens of 18 texts, unknown 0.00%, collapsed 0.00%"
    with pytest.raises(ModelError, match=r"loses \d\.\d% of the text .*'A red dog near the sea\.' becomes"):
        prove(all_words(), CAPTIONS, scored=True)


def test_the_empty_vocabulary_of_a_model_without_files():
    with pytest.raises(
        ModelError, match=r"knows too little of the texts: 100% of 132 tokens are unknown \(at most 10%"
    ):
        prove(words(), CAPTIONS)


def test_few_unknown_tokens_are_let_through_and_counted():
    report = prove(all_words(), [*CAPTIONS, "A red zebra near the sea."])
    assert report.unknown == pytest.approx(1 / 139)


def test_texts_must_stay_distinct():
    tokenizer = words("a", "red", "near", "the", ".", "[UNK2]")
    tokenizer.unk_token = "[UNK2]"  # what is unknown hides behind another token than the one named
    with pytest.raises(ModelError, match=r"gives 100% of 18 different texts the ids of another one \(at most 2%"):
        prove(tokenizer, CAPTIONS)


def test_texts_that_differ_in_case_accents_and_spaces_may_be_alike():
    texts = [*CAPTIONS, *(text.upper() for text in CAPTIONS), *(text.replace(" ", "  ") for text in CAPTIONS)]
    assert prove(all_words(), texts).collapsed == 0


def test_the_same_text_twice_is_no_collapse():
    assert prove(all_words(), CAPTIONS * 5).collapsed == 0


def test_spaces_must_not_be_dropped():
    """As where a class cuts at its own sign for a space, which a byte-level vocabulary does not have."""
    dropping = bytes_only(normalizers.Replace(" ", ""))
    with pytest.raises(
        ModelError, match=r"drops the spaces between words: 'A red dog near the house\.' has the same ids"
    ):
        prove(dropping, CAPTIONS)
    with pytest.raises(ModelError, match="drops the spaces"):
        prove(dropping, CAPTIONS, scored=True)


def test_texts_without_spaces_prove_nothing_about_spaces():
    prove(
        bytes_only(normalizers.Replace(" ", "")),
        ["北京 東京", "서울 부산", "one", "two", "three", "four", "five", "six"],
    )


@pytest.mark.parametrize("count", [1, 3])
def test_every_text_with_letters_gives_tokens(count):
    silent = PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(models.BPE({}, [])))
    with pytest.raises(ModelError, match=f"gives no token for {count} of {count} texts, such as 'A red dog"):
        prove(silent, CAPTIONS[:count])
    prove(bytes_only(normalizers.Strip()), [*CAPTIONS, "  \n"])


def test_white_space_may_merge_and_is_counted_as_altered():
    merging = bytes_only(normalizers.Replace(tokenizers.Regex(" +"), " "))
    report = prove(merging, ["one  two", "one two", " at the end ", "x"], scored=True)
    assert (report.altered, report.lost) == (0.25, 0)


def test_compatible_letters_may_be_alike():
    report = prove(bytes_only(normalizers.NFKC()), ["ﬁne ① ２０", "plain"], scored=True)
    assert (report.altered, report.lost) == (0.5, 0)


def test_lost_letters_are_counted_and_many_refused():
    without_e = bytes_only(normalizers.Replace("e", ""))
    report = prove(without_e, ["e" + "x" * 399, "y" * 200], scored=True)
    assert report.altered == 0.5
    assert report.lost == pytest.approx(1 / 600)
    with pytest.raises(
        ModelError, match=r"loses 5\.0% of the text \(at most 0\.5% may be\).*'ezzzzzzzzz' becomes 'zzz"
    ):
        prove(without_e, ["exxxxxxxxx", "yyyyyyyyyy", "ezzzzzzzzz", "aaaaaaaaaa"], scored=True)


@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=5))
def test_bytes_give_back_every_text(texts):
    report = prove(bytes_only(), texts, scored=True)
    assert (report.altered, report.lost, report.unknown) == (0, 0, 0)
    assert report.tokens == sum(len(text.encode()) for text in texts)


def test_ids_beyond_the_embeddings():
    with pytest.raises(
        ModelError, match=r"^x gives the id 12 and the model embeds 12 tokens only; the tokenizer is another"
    ):
        check_ids("x", [[1, 2], [], [12]], 12)
    check_ids("x", [[11], []], 12)
    with pytest.raises(ModelError, match="gives the id"):
        prove(bytes_only(), CAPTIONS, vocabulary=80)
