"""Extraction: the same features whatever the batch, the order or the interruption, and errors that name the sample."""

import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from prh import modalities
from prh.datasets.errors import DataError
from prh.datasets.local_data import read_local
from prh.datasets.samples import Sample, SampleColumns
from prh.datasets.sharding import shard
from prh.datasets.shards import labels_of, shard_paths
from prh.features import extraction
from prh.features.extraction import FeatureError
from prh.io import tables
from prh.modalities import image_batches, text_batches
from prh.modalities.language import LanguageEncoder
from prh.modalities.text_batches import encode_texts, length_batches
from prh.modalities.word_vectors import WordVectors
from prh.models.repositories import ModelError
from prh.models.selftest import SelfTest
from tests.unit.test_datasets import picture
from tests.unit.test_encoders import TEXTS, entry, language_model, tokenizer, word_vectors


def write_shards(folder, captions, shard_size=4):
    samples = [Sample(f"s{i}", picture(i), None, tuple(texts)) for i, texts in enumerate(captions)]
    manifest = shard(samples, folder, SampleColumns(), shard_size=shard_size)
    return shard_paths(manifest, folder)


@pytest.fixture
def shards(tmp_path):
    captions = [[TEXTS[i % 4], " ".join(["a cat"] * (1 + i % 5))] for i in range(11)]
    return write_shards(tmp_path / "shards", captions)


def extract(encoder, shards, output, *, caption=0, template="{caption}", **how):
    """As `extraction.extract`, the samples cut as the modality of the encoder has it."""
    cut = image_batches if hasattr(encoder, "decode") else text_batches
    entry = SimpleNamespace(caption=caption, template=template)
    extraction.extract(encoder, shards, output, encode=partial(cut.encode, entry=entry), **how)


def layers_of(path):
    table = tables.read(path)
    return [tables.layer_array(table, name) for name in tables.layer_columns(table.schema)]


@pytest.fixture
def llama():
    return LanguageEncoder(language_model("llama"), tokenizer())


@pytest.fixture(scope="module")
def vit():
    return modalities.load(entry(id="test_vit"), None)


def test_batches_hold_similar_lengths_and_every_text_once():
    lengths = [3, 50, 4, 4, 49, 1, 200]
    batches = list(length_batches(lengths, tokens=100))
    assert batches == [[6], [1, 4], [2, 3, 0, 5]]
    assert sorted(i for batch in batches for i in batch) == list(range(7))
    assert [len(batch) for batch in length_batches(lengths, tokens=1, size=3)] == [3, 3, 1]


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batch_size_does_not_change_features(shards, tmp_path, llama, vit, batch_size):
    for encoder, name in ((llama, "llama"), (vit, "vit")):
        extract(encoder, shards, tmp_path / f"{name}.parquet", model=name, digest="")
        extract(encoder, shards, tmp_path / "other.parquet", model=name, digest="", batch_size=batch_size)
        for a, b in zip(layers_of(tmp_path / f"{name}.parquet"), layers_of(tmp_path / "other.parquet"), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4)


def test_progress_counts_samples_batch_by_batch(shards, llama, vit):
    told = []
    list(image_batches.encode_images(vit, shards, batch_size=3, advance=told.append))
    assert told == [3, 1, 3, 1, 3]
    told = []
    list(text_batches.encode_captions(llama, shards, caption="all", batch_size=3, advance=told.append))
    assert told == [1.5, 1.5, 1] * 2 + [1.5, 1.5]


def test_rows_are_in_sample_order_with_a_footer(shards, tmp_path, llama):
    llama.selftest = SelfTest({"two passes": "equal"})
    extract(llama, shards, tmp_path / "f.parquet", model="llama", digest="d", made_by={"device": "cpu"})
    table = tables.read(tmp_path / "f.parquet")
    assert table["sample_id"].to_pylist() == [f"s{i}" for i in range(11)]
    footer = tables.made_by(tmp_path / "f.parquet")
    assert footer["layer_names"] == ["embeddings", "block_1", "block_2", "last_hidden_state"]
    assert footer["parameters"] == llama.parameters
    assert footer["device"] == "cpu"
    assert footer["selftest"] == llama.selftest.as_footer()
    assert "torch" in footer["libraries"]
    for i in (0, 5, 10):
        alone = llama.encode(llama.tokenize([TEXTS[i % 4]]))
        for layer, expected in zip(layers_of(tmp_path / "f.parquet"), alone, strict=True):
            np.testing.assert_allclose(layer[i], expected[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("workers", [0, 2])
def test_processes_ahead_of_the_model_decode_what_its_own_threads_do(shards, vit, workers):
    images = image_batches._Images(shards, vit.decode)
    batches = [[(0, 0), (0, 1), (0, 2)], [(1, 0)], [(1, 1), (1, 3)]]
    ahead, in_turns = (
        image_batches._decoded_ahead(images, batches, workers),
        image_batches._decoded_in_turns(images, batches),
    )
    for one, other in zip(ahead, in_turns, strict=True):
        assert torch.equal(one, other)


def test_image_features_are_those_of_each_image(shards, tmp_path, vit):
    extract(vit, shards, tmp_path / "f.parquet", model="vit", digest="d")
    for i in (0, 4, 10):
        alone = vit.encode(vit.decode(picture(i))[None])
        for layer, expected in zip(layers_of(tmp_path / "f.parquet"), alone, strict=True):
            np.testing.assert_allclose(layer[i], expected[0], atol=1e-4, rtol=1e-4)


def test_only_the_wanted_layers_are_kept_under_their_own_numbers(shards, tmp_path, llama):
    extract(llama, shards, tmp_path / "all.parquet", model="llama", digest="d")
    extract(llama, shards, tmp_path / "some.parquet", model="llama", digest="e", keep=[-1, 1, 3])
    table = tables.read(tmp_path / "some.parquet")
    assert tables.layer_columns(table.schema) == ["layer_01", "layer_03"]
    assert table == tables.read(tmp_path / "all.parquet", ["sample_id", "layer_01", "layer_03"])
    assert len(tables.made_by(tmp_path / "some.parquet")["layer_names"]) == 4
    with pytest.raises(FeatureError, match="layer -5 of model 'llama' is asked for, which has 4 layers; lower it"):
        extract(llama, shards, tmp_path / "none.parquet", model="llama", digest="d", keep=[0, -5])


def test_choice_of_caption_and_template(shards, tmp_path, llama):
    def first(**options):
        extract(llama, shards, tmp_path / "f.parquet", model="llama", digest=str(options), **options)
        return layers_of(tmp_path / "f.parquet")[-1]

    second, every, prompted = first(caption=1), first(caption="all"), first(template="the {caption} runs")
    np.testing.assert_allclose((first() + second) / 2, every, atol=1e-5)
    expected = llama.encode(llama.tokenize([f"the {TEXTS[3]} runs"]))[-1][0]
    np.testing.assert_allclose(prompted[3], expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(FeatureError, match="sample 's0' has 2 captions, and caption 2 is asked for"):
        first(caption=2)


@pytest.mark.parametrize("template", ["what does this caption say in other words {caption} ?", "the dog {caption}"])
def test_words_of_the_template_say_nothing_of_whether_the_tokenizer_knows_the_captions(llama, template):
    known = encode_texts(llama, TEXTS, template=template)
    expected = llama.encode(llama.tokenize([template.format(caption=text) for text in TEXTS]))
    np.testing.assert_allclose(known[-1], expected[-1], atol=1e-5, rtol=1e-4)
    with pytest.raises(ModelError, match="of the tokens of 3 texts are unknown to its tokenizer"):
        encode_texts(llama, ["ein Hund", "eine Katze", "ein Baum"], template=template + " the dog" * 40)


def test_shards_are_those_of_the_manifest(tmp_path):
    made = {}
    for name, captions in (("a", ["a cat", "a dog"]), ("b", ["a dog", "a cat"]), ("c", ["a cat"])):
        samples = [Sample(f"s{i}", picture(i), None, (text,)) for i, text in enumerate(captions)]
        made[name] = {"dataset": name, **shard(samples, tmp_path / name, SampleColumns(), made_by={"dataset": name})}
    path = tmp_path / "a" / "00000.parquet"
    assert shard_paths(made["a"], tmp_path / "a") == [path]
    with pytest.raises(DataError, match=r"is not the shard that manifest\.json lists"):
        shard_paths(made["a"], tmp_path / "b")
    with pytest.raises(tables.TableError, match=r"made for data set 'b', not data set 'a'"):
        labels_of([tmp_path / "b" / "00000.parquet"], "class", "a")
    tables.write(tables.read(path).slice(0, 1), path, tables.made_by(path))
    with pytest.raises(DataError, match=r"has 1 samples and the manifest says 2; delete both"):
        shard_paths(made["a"], tmp_path / "a")


class Failing:
    """An encoder that fails at its n-th batch, as a killed job does, and counts the texts that it has seen."""

    layer_names = ("mean_vector",)
    parameters = 1
    device = "cpu"

    def __init__(self, at: int | None) -> None:
        self.at, self.batches, self.seen = at, 0, 0

    def tokenize(self, texts):
        return [(torch.tensor([len(text)]), torch.ones(1)) for text in texts]

    def prove_tokens(self, texts, items):
        pass

    def encode(self, items):
        self.batches += 1
        if self.batches == self.at:
            raise KeyboardInterrupt
        self.seen += len(items)
        return [torch.stack([ids.float() for ids, _ in items])]


def test_a_killed_extraction_goes_on_after_its_last_shard(shards, tmp_path):
    target = tmp_path / "f.parquet"
    with pytest.raises(KeyboardInterrupt):
        extract(Failing(at=3), shards, target, model="m", digest="d")
    assert not target.exists()
    assert len(list((tmp_path / "f.parts").iterdir())) == 2
    again = Failing(at=None)
    extract(again, shards, target, model="m", digest="d")
    assert again.seen == 3
    assert not (tmp_path / "f.parts").exists()
    whole = Failing(at=None)
    extract(whole, shards, tmp_path / "g.parquet", model="m", digest="d")
    np.testing.assert_array_equal(layers_of(target)[0], layers_of(tmp_path / "g.parquet")[0])


@pytest.mark.parametrize("damage", ["other settings", "truncated"])
def test_a_part_of_other_settings_or_half_a_part_is_not_used(shards, tmp_path, damage):
    with pytest.raises(KeyboardInterrupt):
        extract(Failing(at=3), shards, tmp_path / "f.parquet", model="m", digest="d")
    if damage == "truncated":
        part = tmp_path / "f.parts" / "00001.parquet"
        part.write_bytes(part.read_bytes()[:40])
    again = Failing(at=None)
    extract(again, shards, tmp_path / "f.parquet", model="m", digest="d" if damage == "truncated" else "e")
    assert again.seen == (7 if damage == "truncated" else 11)


def test_parts_of_a_former_layout_are_not_in_the_way(shards, tmp_path):
    """Killed at several shards, then run on fewer samples in one: rmdir would fail in this run and in all after it."""
    target = tmp_path / "f.parquet"
    with pytest.raises(KeyboardInterrupt):
        extract(Failing(at=3), shards, target, model="m", digest="d")
    (tmp_path / "f.parts" / "00002.parquet.part").touch()  # what SIGKILL leaves of a part that is being written
    again = Failing(at=None)
    extract(again, shards[:1], target, model="m", digest="d")
    assert again.seen == 0
    assert len(layers_of(target)[0]) == 4
    assert not (tmp_path / "f.parts").exists()


def test_parts_of_other_code_or_libraries_have_another_recipe(tmp_path, monkeypatch):
    """An edited module or an upgraded library runs the job again; it must then not go on from parts of before."""
    code = tmp_path / "models.py"
    code.write_text("a = 1")
    monkeypatch.setattr(sys.modules["prh.models.repositories"], "__file__", str(code))
    digest = extraction.recipe("facts")
    assert extraction.recipe("facts") == digest != extraction.recipe("others")
    code.write_text("a = 2")
    edited = extraction.recipe("facts")
    assert edited != digest
    monkeypatch.setattr(extraction.versions, "libraries", lambda: {"torch": "1.0"})
    assert extraction.recipe("facts") not in (digest, edited)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bad_feature_names_model_layer_and_sample(shards, tmp_path, value):
    vectors = torch.ones(3, 2)
    vectors[1] = value
    encoder = WordVectors(vectors, ["a", "birds", "x"])
    shards = write_shards(tmp_path / "named", [["a"], ["x"], ["a a"], ["x"], ["a"], ["two birds"], ["a"]])
    with pytest.raises(FeatureError, match="model 'glove', layer mean_vector: NaN or infinite feature for sample 's5'"):
        extract(encoder, shards, tmp_path / "f.parquet", model="glove", digest="")
    assert len(list((tmp_path / "f.parts").iterdir())) == 1, "the shard before it is finished and stays"


def test_texts_are_as_large_as_their_padded_tokens():
    items = [(torch.zeros(length), torch.ones(length)) for length in (7, 3, 3)]
    assert text_batches._padded_tokens(items) == 21


def test_real_captions_align_with_real_words(real, tmp_path):
    """Flickr8k captions through the real vectors: two captions of a picture are nearer than those of two pictures."""
    samples = read_local(real / "flickr1k", SampleColumns())
    manifest = shard(samples, tmp_path / "s", SampleColumns(), count=100)
    folder = real / "weights/language/glove25"
    encoder = modalities.load(word_vectors(folder), folder)
    first, second = (
        next(text_batches.encode_captions(encoder, shard_paths(manifest, tmp_path / "s"), caption=caption))[0]
        for caption in (0, 1)
    )
    unit = [layer / np.linalg.norm(layer, axis=1, keepdims=True) for layer in (first, second)]
    assert (np.argmax(unit[0] @ unit[1].T, axis=1) == np.arange(100)).mean() > 0.15


def test_captions_that_a_tokenizer_does_not_know_give_no_features():
    encoder = LanguageEncoder(language_model("gpt2"), tokenizer(), name="m")
    with pytest.raises(ModelError, match=r"model 'm': 50% of the tokens of 1 texts are unknown"):
        text_batches.encode_texts(encoder, ["zork"])
