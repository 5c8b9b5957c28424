"""What a model of text proves when it is loaded: repeatable, unmoved by its batch, causal where it is scored."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import torch

from prh import modalities
from prh.competence.bits_per_byte import bits_per_byte
from prh.competence.causal_models import load_causal
from prh.io import tables
from prh.modalities import language
from prh.modalities.text_batches import encode_texts, length_batches
from prh.models import text_checks
from prh.models.repositories import ModelError, may_be_causal
from prh.models.selftest import SelfTest, distance
from prh.models.text_checks import NotCausal
from tests.small_models import TEXTS, entry, model_folder, rewritten, tokenizer

LONG_TEXTS = [
    *TEXTS,
    "two birds sing",
    " ".join(["the dog runs on the green hill"] * 6),
    "a cat runs on the hill by the sea",
]


CONVBERT = {"embedding_size": 16}


def load(folder, **changes):
    return modalities.load(entry(folder, **changes), folder)


@pytest.mark.parametrize("family", ["llama", "convbert"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_types_of_16_bits_pass_within_their_rounding(folders, family, dtype, caplog):
    encoder = load(folders(family, **(CONVBERT if family == "convbert" else {})), dtype=dtype)
    assert encoder.batching == ("padded" if family == "llama" else "equal")
    assert "equal for all texts" not in caplog.text


def test_a_type_that_a_model_cannot_compute_with_is_said(folders):
    with pytest.raises(
        ModelError, match=r"FNetModel does not give .*Unsupported dtype BFloat16\); try 'dtype: float32'"
    ):
        load(folders("fnet"), dtype="bfloat16")


# ---- batches --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each family, made once."""
    made = {}

    def folder(family, kind="AutoModel", **settings):
        key = (family, kind, *sorted(settings))
        if key not in made:
            made[key] = model_folder(tmp_path_factory.mktemp(family) / family, family, kind, **settings)
        return made[key]

    return folder


@pytest.mark.parametrize(
    ("family", "settings", "batching"),
    [
        ("bert", {}, "padded"),
        ("llama", {}, "padded"),
        ("mixtral", {"num_key_value_heads": 1, "num_local_experts": 4}, "padded"),
        ("mamba", {"state_size": 4}, "padded"),
        ("rwkv", {"attention_hidden_size": 16}, "padded"),
        ("longformer", {"attention_window": 4}, "padded"),
        ("fnet", {}, "equal"),
        ("nystromformer", {}, "equal"),
        ("convbert", CONVBERT, "equal"),
        ("yoso", {}, "equal"),
    ],
)
def test_features_depend_neither_on_the_batch_nor_on_the_shard(folders, family, settings, batching, caplog):
    encoder = load(folders(family, **settings))
    assert encoder.batching == batching
    assert ("batches are cut to equal lengths" in caplog.text) == (batching == "equal")
    assert encoder.selftest.as_footer()["two passes"] == "equal"
    whole = encode_texts(encoder, LONG_TEXTS)
    one = encode_texts(encoder, LONG_TEXTS, batch_size=1)
    parts = [encode_texts(encoder, LONG_TEXTS[:3], batch_size=2), encode_texts(encoder, LONG_TEXTS[3:], batch_size=5)]
    for layer, alone, first, rest in zip(whole, one, *parts, strict=True):
        scale = np.abs(alone).max()
        np.testing.assert_allclose(layer / scale, alone / scale, atol=2e-6)
        np.testing.assert_allclose(np.concatenate([first, rest]) / scale, alone / scale, atol=2e-6)


class Batchwise(torch.nn.Module):
    """A wrapper that lets the texts of a batch see each other, as experts with room for so many tokens do."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, hidden_states, *arguments, **settings):
        return self.inner(hidden_states + 0.1 * hidden_states.mean((0, 1), keepdim=True), *arguments, **settings)


def test_a_text_tower_in_a_folder_of_its_own_is_read(tmp_path):
    """AutoModel has no class for it; its config names one."""
    from transformers import SiglipTextConfig, SiglipTextModel

    settings = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = SiglipTextModel(SiglipTextConfig(**settings, intermediate_size=32, projection_size=16)).eval()
    model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    ids = torch.tensor([[2, 3, 4, 5]])
    encoder = load(tmp_path)
    with torch.inference_mode():
        expected = model(input_ids=ids, output_hidden_states=True).hidden_states[1].mean(1)
    torch.testing.assert_close(encoder.encode([(ids[0], torch.ones(4))])[1], expected)
    assert load(tmp_path, source="random").layer_names == encoder.layer_names


def test_a_model_that_reads_no_texts_is_refused(folders):
    sizes = {f"{part}_{what}": 2 for part in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    folder = folders("whisper", d_model=16, num_mel_bins=8, pad_token_id=0, decoder_start_token_id=1, **sizes)
    with pytest.raises(ModelError, match=r"WhisperEncoder cannot read texts alone \(it also needs input_features\)"):
        load(folder)


def test_texts_that_change_each_other_are_run_one_by_one(folders, monkeypatch):
    plain = language.load_auto

    def mixing(*arguments, **settings):
        loaded = plain(*arguments, **settings)
        layers = loaded.model.encoder.layer
        layers[1] = Batchwise(layers[1])
        return loaded

    monkeypatch.setattr(language, "load_auto", mixing)
    encoder = load(folders("bert"))
    assert encoder.batching == "single"
    whole, one = (encode_texts(encoder, TEXTS, batch_size=size) for size in (None, 1))
    for layer, alone in zip(whole, one, strict=True):
        np.testing.assert_array_equal(layer, alone)


@pytest.mark.parametrize("size", [None, 2])
def test_batches_of_equal_lengths(size):
    lengths = [3, 5, 3, 9, 5, 3, 3]
    batches = list(length_batches(lengths, 12, size, "equal"))
    assert sorted(i for batch in batches for i in batch) == list(range(7))
    assert all(len({lengths[i] for i in batch}) == 1 for batch in batches)
    assert max(map(len, batches)) == (size or 4)
    assert [len(batch) for batch in length_batches(lengths, 12, size, "single")] == [1] * 7


# ---- two passes -----------------------------------------------------------------------------------------------


def test_a_model_that_draws_random_numbers_is_refused(folders, monkeypatch):
    plain = language.load_auto

    def dropping(*arguments, **settings):
        loaded = plain(*arguments, **settings)
        loaded.model.embeddings.dropout.forward = lambda x: torch.nn.functional.dropout(x, 0.1)
        return loaded

    monkeypatch.setattr(language, "load_auto", dropping)
    with pytest.raises(
        ModelError, match=r"two passes of model 'm' over the same input differ by 0\.\d+ of its features"
    ):
        load(folders("bert"))


def test_a_model_that_pads_texts_itself_is_refused(folders):
    """Reformer hands out hidden states of whole chunks: which of them are the text's it does not say."""
    sizes = {"num_buckets": 4, "axial_pos_embds": False, "attention_head_size": 8, "attn_layers": ["lsh"] * 2,
             "lsh_attn_chunk_length": 4, "feed_forward_size": 16, "is_decoder": False, "hash_seed": 0}  # fmt: skip
    with pytest.raises(ModelError, match=r"ReformerModel does not give a hidden state .* for each token"):
        load(folders("reformer", **sizes))


# ---- layers and footers ---------------------------------------------------------------------------------------


def test_layers_that_are_equal_for_all_texts_are_named(folders, caplog):
    same = "layers that are equal for all texts"
    first = load(folders("bert"), pooling="cls").selftest.as_footer()
    assert first[same] == "embeddings"
    last = load(folders("bert"), pooling="last", template="{caption} in one .").selftest.as_footer()
    assert last.get(same) is None, "positions tell lengths apart"
    last = load(folders("llama"), pooling="last", template="{caption} .").selftest.as_footer()
    assert last[same] == "embeddings"
    assert same not in load(folders("bert")).selftest.as_footer()
    assert "layers that are equal for all texts tried: embeddings" in caplog.text


def test_the_self_test_can_be_left_out_and_says_so(folders, tmp_path):
    folder = rewritten(
        model_folder(tmp_path / "m", "bert"), lambda found: {k: v for k, v in found.items() if ".1." not in k}
    )
    with pytest.raises(ModelError):
        load(folder)
    encoder = load(folder, selftest=False)
    assert encoder.selftest.as_footer() == {"left out": "by selftest: false of the entry"}


def test_random_weights_are_tried_too(folders):
    encoder = modalities.load(entry(folders("fnet"), source="random"), None)
    assert encoder.batching == "equal"
    assert encoder.selftest.as_footer()["weights"] == "random, as the entry says"


def test_a_self_test_in_words():
    result = SelfTest({"weights": "3 tensors", "two passes": "equal"}, 1.26)
    assert result.log_line() == "self-test (1.3 s): weights: 3 tensors; two passes: equal"
    assert json.loads(json.dumps(result.as_footer())) == {"weights": "3 tensors", "two passes": "equal"}


def test_distance_by_hand():
    a = torch.tensor([3.0, 4.0])
    assert distance([a], [a]) == 0
    assert distance([a, a], [a, torch.tensor([3.0, 3.0])]) == pytest.approx(0.2)
    assert distance([a], [a * torch.nan]) == float("inf")
    assert distance([a * torch.nan], [a]) == float("inf")
    assert distance([a * 0], [a * 0]) == 0
    assert distance([a * 0], [a]) == float("inf")


@pytest.mark.parametrize("limit", [2, 3, 12, 77])
def test_probes_fit_every_model(folders, limit):
    encoder = load(folders("bert"))
    encoder.limit = limit
    items = text_checks.probe_items(encoder)
    assert all(1 <= len(ids) <= limit and len(ids) == len(mask) for ids, mask in items)
    assert len(items[0][0]) < len(items[-1][0])
    assert all(int(ids.max()) < encoder.vocabulary for ids, _ in items)


# ---- causal ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "kind", "settings"),
    [
        ("bert", "AutoModelForMaskedLM", {}),
        ("roberta", "AutoModelForMaskedLM", {}),
        ("electra", "AutoModelForMaskedLM", {"embedding_size": 8}),
        ("xlnet", "AutoModel", {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32}),
        ("xlm", "AutoModel", {"emb_dim": 16, "n_layers": 2, "n_heads": 2}),
        ("mpnet", "AutoModelForMaskedLM", {}),
        ("distilbert", "AutoModel", {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}),
        ("bert", "AutoModel", {}),
        ("t5", "AutoModel", {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}),
        ("bart", "AutoModel", {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
                               "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}),
        ("clip", "AutoModel", {"text_config": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
                                               "num_attention_heads": 2, "vocab_size": 40},
                               "vision_config": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
                                                 "num_attention_heads": 2, "image_size": 16, "patch_size": 8}}),
    ],
)  # fmt: skip
def test_a_model_that_is_not_causal_gets_no_score(folders, family, kind, settings):
    folder = folders(family, kind, **settings)
    with pytest.raises(NotCausal, match=r"model 'm'.*set 'causal: false'") as caught:
        load_causal(entry(folder), folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("gpt2", {"n_embd": 16, "n_layer": 2, "n_head": 2}),
        ("llama", {}),
        ("bloom", {"n_layer": 2, "n_head": 2}),
        ("mixtral", {"num_key_value_heads": 1, "num_local_experts": 4}),
        ("mamba", {"state_size": 4}),
        ("rwkv", {"attention_hidden_size": 16}),
        ("bert", {"is_decoder": True}),
    ],
)
def test_a_causal_model_is_scored_whatever_its_entry_says_of_it(folders, family, settings):
    folder = folders(family, "AutoModelForCausalLM", **settings)
    for causal in (None, True):
        loaded = load_causal(entry(folder, causal=causal), folder)
        assert loaded.selftest.as_footer()["causal"] == "a later token changes no earlier prediction"
        assert loaded.batch_size(7) == 7
        assert bits_per_byte(loaded.model, loaded.tokenizer, TEXTS, window=8).value > 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_later_tokens_that_change_little_are_seen_in_numbers_of_16_bits(folders, dtype):
    """An untrained encoder attends to all tokens alike: each changes the others by less than rounding."""
    folder = folders("bert", "AutoModelForMaskedLM", initializer_range=0.02)
    with pytest.raises(NotCausal, match="is not a causal language model"):
        load_causal(entry(folder, dtype=dtype), folder)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("mixtral", {"num_key_value_heads": 1, "num_local_experts": 4}),
        ("qwen2_moe", {"num_key_value_heads": 1, "num_experts": 4, "moe_intermediate_size": 8}),
        ("mamba", {"state_size": 4}),
    ],
)
def test_a_causal_model_has_no_slope_in_later_tokens(folders, family, settings):
    """Nor is it asked for where nothing changes; experts round by who else is there."""
    folder = folders(family, "AutoModelForCausalLM", **settings)
    model = load_causal(entry(folder, dtype="bfloat16"), folder).model
    slopes = text_checks._gradients(model, torch.arange(12), 6)
    assert slopes[:6].any()
    assert not slopes[6:].any()


def test_causality_is_proved_without_a_self_test_too(folders):
    folder = folders("bert", "AutoModelForMaskedLM")
    with pytest.raises(NotCausal, match="is not a causal language model"):
        load_causal(entry(folder, selftest=False), folder)
    folder = folders("llama", "AutoModelForCausalLM")
    loaded = load_causal(entry(folder, selftest=False), folder)
    assert loaded.batching == "padded"
    assert loaded.selftest.as_footer() == {
        "left out": "by selftest: false of the entry, but for what follows",
        "causal": "a later token changes no earlier prediction",
        "two passes": "equal",
    }


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, True),
        ({"architectures": ["BertModel"]}, True),
        ({}, True),
        ({"architectures": None}, True),
        ({"architectures": ["BertForMaskedLM"]}, False),
        ({"architectures": ["RobertaForSequenceClassification"]}, False),
        ({"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}, False),
        ([], True),
    ],
)
def test_what_a_config_says_before_anything_is_loaded(tmp_path, config, expected):
    from prh.experiment.schema import LanguageModel

    (tmp_path / "config.json").write_text(json.dumps(config))
    settings = {"name": "m", "modality": "language", "source": "local", "path": str(tmp_path)}
    assert may_be_causal(LanguageModel(**settings)) is expected
    assert may_be_causal(LanguageModel(**settings, causal=True)) is True
    assert may_be_causal(LanguageModel(**settings, causal=False)) is False
    assert may_be_causal(LanguageModel(name="m", modality="language", source="hub", id="a/b")) is True


def spec_of(kind, settings, folder, **changes):
    """The spec of a job that scores the model in ``folder`` on a text or a task."""
    model = {"name": "m", "modality": "language", "source": "local", "path": str(folder), **changes}
    return json.dumps({kind: settings, "model": model})


@pytest.fixture
def score(repository, tmp_path):
    """The program that scores, run on a folder: its process and its table."""

    def run(folder, **changes):
        (tmp_path / "t.jsonl").write_text("".join(json.dumps(text) + "\n" for text in TEXTS))
        weights, output = tmp_path / "weights.json", tmp_path / "scores.parquet"
        weights.write_text(json.dumps({"source": "local", "root": str(folder), "files": {}, "revision": None}))
        command = [
            *(sys.executable, str(repository / "workflow_scripts/bits_per_byte.py"), "--device", "cpu"),
            *("--spec", spec_of("text", {"name": "t", "source": "local", "window": 16}, folder, **changes)),
            *("--text", str(tmp_path / "t.jsonl")),
            *("--weights", str(weights), "--output", str(output)),
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False), output

    return run


@pytest.mark.slow
def test_the_program_writes_an_empty_table_for_an_encoder_and_fails_if_the_entry_insists(folders, score):
    folder = folders("bert", "AutoModelForMaskedLM")
    done, output = score(folder, causal=True)
    assert done.returncode != 0
    assert "is not a causal language model" in done.stderr.strip().splitlines()[-1]
    assert not output.exists()
    done, output = score(folder)
    assert done.returncode == 0, done.stderr
    assert pl.read_parquet(output).is_empty()
    assert "is not a causal language model" in tables.made_by(output)["not_scored"]
    assert "no scores: model 'm'" in done.stderr
    done, output = score(folders("llama", "AutoModelForCausalLM"))
    assert done.returncode == 0, done.stderr
    assert pl.read_parquet(output).height == 1
    assert tables.made_by(output)["selftest"]["causal"]


@pytest.mark.slow
def test_the_harness_writes_empty_results_for_an_encoder(folders, repository, tmp_path):
    folder = folders("bert", "AutoModelForMaskedLM")
    (tmp_path / "weights.json").write_text(
        json.dumps({"source": "local", "root": str(folder), "files": {}, "revision": None})
    )
    command = [
        *(sys.executable, str(repository / "workflow_scripts/harness.py"), "--device", "cpu"),
        *("--spec", spec_of("task", {"name": "h", "source": "local"}, folder)),
        *("--task", str(tmp_path / "h.yaml")),
        *("--weights", str(tmp_path / "weights.json"), "--results", str(tmp_path / "r.json")),
        *("--scores", str(tmp_path / "scores.parquet")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "is not a causal language model" in json.loads((tmp_path / "r.json").read_text())["not_scored"]
    assert pl.read_parquet(tmp_path / "scores.parquet").is_empty()


# ---- towers and tokens ----------------------------------------------------------------------------------------

TOWER = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 40}
EYES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16, "patch_size": 8}  # fmt: skip


@pytest.mark.parametrize("family", ["clip", "siglip", "siglip2", "blip", "chinese_clip"])
@pytest.mark.parametrize("pooling", ["mean", "last", "cls"])
def test_the_text_tower_of_a_pair_is_a_language_model(folders, family, pooling):
    eyes = EYES if family != "siglip2" else EYES | {"num_patches": 4}
    folder = folders(family, text_config=TOWER, vision_config=eyes)
    encoder = load(folder, pooling=pooling)
    from transformers import AutoModel

    whole = AutoModel.from_pretrained(folder).eval()
    items = encoder.tokenize(TEXTS)
    for row, (ids, mask) in enumerate(items):
        with torch.inference_mode():
            inputs = {"input_ids": ids[None], "attention_mask": torch.ones_like(mask)[None]}
            states = whole.text_model(**inputs, output_hidden_states=True).hidden_states
        pooled = {"mean": lambda s: s[0].mean(0), "last": lambda s: s[0, -1], "cls": lambda s: s[0, 0]}[pooling]
        for layer, state in zip(encoder.encode(items), states, strict=True):
            torch.testing.assert_close(layer[row], pooled(state), atol=1e-5, rtol=1e-4)


def test_a_token_beyond_the_embeddings_is_named(tmp_path):
    words = [*tokenizer().get_vocab(), *(f"new{i}" for i in range(40))]
    folder = model_folder(tmp_path / "m", "llama", "AutoModelForCausalLM", words=words)
    encoder = load(folder)
    with pytest.raises(ModelError, match=r"token 5\d for the text 'a new35 dog' and the model has vectors for 40"):
        encoder.tokenize(["a dog", "a new35 dog"])
    loaded = load_causal(entry(folder), folder)
    with pytest.raises(ValueError, match=r"token 5\d for the document 'a new35 dog' and the model has vectors for 40"):
        bits_per_byte(loaded.model, loaded.tokenizer, ["a dog", "a new35 dog"], window=8)
