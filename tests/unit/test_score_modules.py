"""Modules in memory give the features that the workflow would extract, also while they are trained."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import prh
from prh.bank import modules
from prh.bank.modules import layers_of
from prh.experiment.schema import VisionModel
from prh.io import tables
from prh.modalities import language, text_batches, vision
from prh.models.repositories import ModelError
from tests import small_models

N = 24
TEXTS = [f"{small_models.TEXTS[i % 4]} {' '.join(small_models.WORDS[4 + i % 12 : 7 + i % 12])}" for i in range(N)]


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    rng = np.random.default_rng(0)
    models = {name: [rng.normal(size=(N, 6)).astype(np.float32) for _ in range(2)] for name in ("one", "two")}
    bank = prh.make_bank(folder, models, dataset="d")
    columns = {"sample_id": bank.sample_ids, "captions": [[text] for text in TEXTS], "group_id": [None] * N}
    shard = pa.table(columns, pa.schema([tables.SHARD.field(name) for name in columns]))
    tables.write(shard, folder / "datasets/d/shards/00000.parquet", {})
    return bank


def batches(*tensors, size=7):
    return DataLoader(TensorDataset(*tensors), batch_size=size)


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 4)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.second(self.dropout(self.first(x).relu()))


class Sequences(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(30, 6)
        self.blocks = nn.ModuleList([nn.TransformerEncoderLayer(6, 2, 12, batch_first=True) for _ in range(2)])

    def forward(self, input_ids, attention_mask=None):
        x = self.embedding(input_ids)
        for block in self.blocks:
            x = block(x, src_key_padding_mask=None if attention_mask is None else attention_mask == 0)
        return x


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_images_are_encoded_as_by_the_workflow(bank, name):
    entry = VisionModel(name="m", modality="vision", source="random", id=name, seed=1)
    encoder = vision.load(entry, None, "cpu", torch.float32)
    images = torch.randn(N, 3, *encoder.transform(_image()).shape[1:], generator=torch.Generator().manual_seed(0))
    wanted = encoder.encode(images)
    features = layers_of(encoder.module, bank, data=batches(images, torch.arange(N), size=N))
    assert list(features) == encoder.layer_names
    for layer, other in zip(features.values(), wanted, strict=True):
        np.testing.assert_array_equal(layer, other.numpy())
    table = prh.score(encoder.module, bank, k=5, data=batches(images), permutations=20)
    assert table.equals(prh.score([layer.numpy() for layer in wanted], bank, k=5, permutations=20))


def _image():
    from PIL import Image

    return Image.new("RGB", (64, 64))


@pytest.mark.parametrize("kind", ["AutoModel", "AutoModelForCausalLM"])
def test_texts_are_encoded_as_by_the_workflow(bank, tmp_path, kind):
    import transformers

    folder = small_models.model_folder(tmp_path / "m", "llama", "AutoModelForCausalLM")
    tokenizer = small_models.tokenizer()
    model = getattr(transformers, kind).from_pretrained(folder).train()
    entry = small_models.entry(folder, pooling="mean")
    wanted = text_batches.encode_texts(language.load(entry, folder, "cpu", torch.float32), TEXTS)
    features = layers_of(model, bank, tokenizer=tokenizer)
    assert model.training
    assert all(part.training for part in model.modules())
    for layer, other in zip(features.values(), wanted, strict=True):
        np.testing.assert_array_equal(layer, other)
    table = prh.score(model, bank, k=5, tokenizer=tokenizer, permutations=20)
    assert table.equals(prh.score(wanted, bank, k=5, permutations=20))
    assert not table.equals(prh.score(model, bank, k=5, tokenizer=tokenizer, permutations=20, texts=TEXTS[::-1]))


def test_other_inputs_with_named_layers(bank):
    torch.manual_seed(0)
    module, x = Mlp(), torch.randn(N, 5)
    features = layers_of(module, bank, data=batches(x, torch.zeros(N)), layers=["first", "second"])
    assert list(features) == ["first", "second"]
    module.eval()
    with torch.no_grad():
        np.testing.assert_allclose(features["first"], module.first(x).numpy(), rtol=1e-5)
        np.testing.assert_allclose(features["second"], module(x).numpy(), rtol=1e-5, atol=1e-6)
    named = layers_of(module, bank, data=[{"x": x, "labels": torch.zeros(N)}], layers="first|second")
    assert all(np.allclose(one, two, atol=1e-6) for one, two in zip(features.values(), named.values(), strict=True))


@pytest.mark.parametrize("pooling", ["mean", "last", "cls"])
def test_sequences_are_pooled_over_their_own_tokens(bank, pooling):
    torch.manual_seed(0)
    module = Sequences().train()
    lengths = torch.randint(2, 9, (N,))
    ids = torch.randint(0, 30, (N, 9))
    mask = (torch.arange(9) < lengths[:, None]).long()
    data = [{"input_ids": ids[i : i + 5], "attention_mask": mask[i : i + 5]} for i in range(0, N, 5)]
    features = layers_of(module, bank, data=data, pooling=pooling)
    assert list(features) == ["blocks.0", "blocks.1"]
    assert module.training
    module.eval()
    with torch.no_grad():
        for row in range(0, N, 6):
            alone = module(ids[row : row + 1, : lengths[row]])[0]
            wanted = {"mean": alone.mean(0), "last": alone[-1], "cls": alone[0]}[pooling]
            np.testing.assert_allclose(features["blocks.1"][row], wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "pass either data .* or, .* its tokenizer"),
        ({"data": [], "tokenizer": len}, "pass either data"),
        ({"data": []}, "cannot tell which modules of Mlp are its layers; name them with 'layers'"),
        ({"data": [], "layers": ["first"]}, "data has no batches"),
        ({"data": [torch.zeros(3, 5)], "layers": ["third"]}, "the model has no module 'third'"),
        ({"data": [torch.zeros(3, 5)], "layers": []}, "layers is empty"),
        ({"data": [torch.zeros(3, 5)], "layers": "("}, r"layers is '\(', which is no regular expression"),
        ({"data": ["text"], "layers": ["first"]}, "a batch of data is a str"),
        ({"data": [torch.full((N, 5), torch.nan)], "layers": ["first"]}, "first: NaN or infinite feature in batch 0"),
        ({"data": [torch.zeros(3, 5)], "layers": ["first"], "pooling": "gap"}, "pooling is 'gap'"),
        ({"data": [torch.randn(9, 5)], "layers": ["first"]}, "mine has 9 rows and the bank 24 samples"),
        ({"data": DataLoader(TensorDataset(torch.randn(N, 5)), shuffle=True), "layers": ["first"]}, "data shuffles"),
        (
            {"data": DataLoader(TensorDataset(torch.randn(N, 5)), 7, drop_last=True), "layers": ["first"]},
            "data drops its last batch",
        ),
    ],
)
def test_modules_that_cannot_be_scored(bank, options, message):
    with pytest.raises(ValueError, match=message):
        prh.score(Mlp(), bank, **options)


def test_layers_without_one_output_for_each_input(bank):
    module = nn.Sequential(nn.Linear(5, 6), nn.Unflatten(1, (2, 3)), nn.Flatten(0, 1))
    with pytest.raises(ModelError, match=r"layer 2 gives \[48, 3\] for 24 inputs"):
        layers_of(module, bank, data=[torch.randn(N, 5)], layers=["2"])
    twice = Mlp()
    twice.second = twice.first = nn.Linear(5, 5)
    with pytest.raises(ModelError, match="layer first runs several times in one pass"):
        layers_of(twice, bank, data=[torch.randn(N, 5)], layers=["first"])
    unused = Mlp()
    unused.spare = nn.Linear(5, 5)
    with pytest.raises(ModelError, match="layer spare does not run"):
        layers_of(unused, bank, data=[torch.randn(N, 5)], layers=["spare"])


def test_a_copy_without_weights_has_the_structure_and_no_memory():
    module = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5))
    twin = modules._without_weights(module)
    assert all(one.is_meta for one in (*twin.parameters(), *twin.buffers()))
    assert twin.state_dict().keys() == module.state_dict().keys()
    assert not any(one.is_meta for one in (*module.parameters(), *module.buffers()))
    with Path(__file__).open() as module.stream:
        assert modules._without_weights(module) is None


def test_a_tokenizer_and_layers_do_not_go_together(bank, tmp_path):
    with pytest.raises(ValueError, match="leave layers out"):
        layers_of(Mlp(), bank, tokenizer=len, layers=["first"])
    with pytest.raises(ValueError, match="pooling is 'gap'; for texts"):
        layers_of(Mlp(), bank, tokenizer=len, pooling="gap")


# ---- while it is trained -----------------------------------------------------------------------------------------


def test_the_trainer_of_transformers_logs_scores(bank, tmp_path):
    import transformers

    folder = small_models.model_folder(tmp_path / "m", "llama", "AutoModelForCausalLM")
    tokenizer = small_models.tokenizer()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    rows = [tokenizer(text)["input_ids"][:6] for text in TEXTS]
    examples = [{"input_ids": ids, "labels": ids, "attention_mask": [1] * 6} for ids in rows if len(ids) == 6]
    arguments = transformers.TrainingArguments(
        tmp_path / "run", max_steps=5, per_device_train_batch_size=2, learning_rate=0.1, report_to=[], use_cpu=True,
        save_strategy="no", logging_steps=1, disable_tqdm=True,
    )  # fmt: skip
    trainer = transformers.Trainer(model, arguments, train_dataset=examples)
    trainer.add_callback(prh.ScoreCallback(trainer, bank, every=2, tokenizer=tokenizer, k=5, permutations=20))
    before = prh.score_logs(model, bank, tokenizer=tokenizer, k=5, permutations=20)
    trainer.train()
    scored = [log for log in trainer.state.log_history if "alignment/one" in log]
    assert [log["step"] for log in scored] == [0, 2, 4]
    assert {key: scored[0][key] for key in before} == before
    assert scored[2] != scored[0]
    assert {"alignment/two", "alignment_calibrated/one"} <= scored[0].keys()
    assert any("loss" in log for log in trainer.state.log_history)


def test_lightning_logs_scores(bank):
    """Through the calls that Lightning makes; the package is no dependency."""

    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.logged = Mlp(), []

        def log_dict(self, values, **options):
            self.logged.append((values, options))

    class Trainer:
        global_step, is_global_zero = 0, True

    torch.manual_seed(0)
    module, trainer, x = Module().train(), Trainer(), torch.randn(N, 5)
    callback = prh.LightningScoreCallback(
        bank, every=2, module="backbone", data=[x], layers=["first", "second"], k=5, permutations=0
    )
    for batch in range(10):
        trainer.global_step = batch // 2  # two batches are one step
        callback.on_train_batch_end(trainer, module, None, None, batch)
    assert len(module.logged) == 2
    values, options = module.logged[0]
    wanted = prh.score(module.backbone, bank, data=[x], layers=["first", "second"], k=5, permutations=0)
    assert values == {f"alignment/{row['model']}": row["score"] for row in wanted.iter_rows(named=True)}
    assert options == {"rank_zero_only": True}
    assert module.training
    trainer.is_global_zero, trainer.global_step = False, 6
    callback.on_train_batch_end(trainer, module, None, None, 12)
    assert len(module.logged) == 2


@pytest.mark.parametrize(
    "callback", [prh.LightningScoreCallback, lambda *args, **how: prh.ScoreCallback(None, *args, **how)]
)
def test_a_callback_with_a_wrong_step_or_bank(bank, tmp_path, callback):
    with pytest.raises(ValueError, match="every is 0"):
        callback(bank, every=0)
    with pytest.raises(ValueError, match="there is no folder"):
        callback(tmp_path / "absent")
