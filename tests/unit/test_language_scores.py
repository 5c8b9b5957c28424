import json
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.decoders import ByteLevel
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from prh.competence import bits_per_byte as scoring
from prh.competence.bits_per_byte import Window, bits_per_byte, windows
from prh.competence.causal_models import fitting_batch, load_causal
from prh.competence.harness import harness_scores, run_harness, score_task
from prh.experiment.schema import LanguageModel, LocalTask, LocalText
from prh.modalities.language import longest_text
from prh.models.repositories import ModelError
from prh.models.tokenizer_files import tokenize
from tests import sentencepiece_models

REAL = Path(__file__).resolve().parents[3] / "shared" / "real"
STORIES = REAL / "weights" / "language" / "stories260K"
needs_stories = pytest.mark.skipif(not STORIES.exists(), reason="the weights of stories260K are not here")


def byte_tokenizer(bos: bool = True, eos: bool = False, lower: bool = False) -> PreTrainedTokenizerFast:
    """One token per byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevel()
    if lower:
        tokenizer.normalizer = normalizers.Lowercase()
    special = {"bos_token": "<s>"} if bos else {}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special, **({"eos_token": "</s>"} if eos else {}))


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=258, n_positions=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=1)
    model = GPT2LMHeadModel(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)  # far from uniform predictions
    return model


@torch.no_grad()
def direct_bits(model, tokens: list[int], scored: int) -> float:
    """Bits of the last ``scored`` of ``tokens``, one call per token."""
    total = 0.0
    for end in range(len(tokens) - scored, len(tokens)):
        logits = model(torch.tensor([tokens[:end]])).logits[0, -1]
        total -= float(logits.float().log_softmax(-1)[tokens[end]]) / math.log(2)
    return total


DOCUMENTS = ["A small text.", "é", "Another document, longer than the first one: it needs windows.", "x"]


def test_bits_are_the_direct_sum_over_tokens(model):
    tokenizer = byte_tokenizer()
    result = bits_per_byte(model, tokenizer, DOCUMENTS, window=9, stride=3)
    bits = 0.0
    for document in DOCUMENTS:
        tokens = [2 + sorted(pre_tokenizers.ByteLevel.alphabet()).index(c) for c in byte_alphabet(document)]
        bits += direct_bits(model, [0, *tokens[:8]], len(tokens[:8]))
        for start in range(8, len(tokens), 3):  # three new tokens, five before them, the prefix in front
            end = min(start + 3, len(tokens))
            bits += direct_bits(model, [0, *tokens[end - 8 : end]], end - start)
    size = sum(len(d.encode()) for d in DOCUMENTS)
    assert result.bytes == result.tokens == size
    assert result.value == pytest.approx(bits / size, rel=1e-5)
    assert (result.documents, result.altered) == (4, 0)


def byte_alphabet(text: str) -> str:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)[0][0]


@pytest.mark.parametrize("batch_size", [2, 3, 100])
def test_value_does_not_depend_on_batch_size_or_padding(model, batch_size):
    one = bits_per_byte(model, byte_tokenizer(), DOCUMENTS, window=16, stride=4, batch_size=1)
    many = bits_per_byte(model, byte_tokenizer(), DOCUMENTS, window=16, stride=4, batch_size=batch_size)
    assert many.value == pytest.approx(one.value, rel=1e-6)
    assert many.stderr == pytest.approx(one.stderr, rel=1e-5)


def test_a_batch_that_does_not_fit_is_halved_until_it_does(model, monkeypatch, caplog):
    whole, window_nats = bits_per_byte(model, byte_tokenizer(), DOCUMENTS, window=16), scoring._window_nats

    def short_of_memory(model, ids, batch, *rest):
        if len(batch) > limit:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return window_nats(model, ids, batch, *rest)

    monkeypatch.setattr(scoring, "_window_nats", short_of_memory)
    limit = 2
    halved = bits_per_byte(model, byte_tokenizer(), DOCUMENTS, window=16, batch_size=9)
    assert halved.value == pytest.approx(whole.value, rel=1e-6)
    assert [record.args for record in caplog.records] == [(9,), (4,)], "and it stays at what fits"
    limit = 0
    with pytest.raises(RuntimeError, match="can't allocate"):
        bits_per_byte(model, byte_tokenizer(), DOCUMENTS, window=16)


def test_tasks_begin_again_with_smaller_batches_when_memory_runs_out(model, monkeypatch, tmp_path):
    tried = []

    def evaluate(**options):
        tried.append(options["model"].batch_size)
        if len(tried) < 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"results": {}}

    (tmp_path / "t.yaml").write_text("task: t\n")
    monkeypatch.setattr("lm_eval.simple_evaluate", evaluate)
    settings = {"include_path": tmp_path, "out_json": tmp_path / "t.json"}
    run_harness(model, byte_tokenizer(), ["t"], batch_size=16, **settings)
    assert tried == [16, 8, 4]


def fetch_task(repository, source, output):
    spec = json.dumps({"task": {"name": "mine", "source": "local", "path": str(source)}})
    command = [
        sys.executable,
        str(repository / "workflow_scripts/download_task.py"),
        "--spec",
        spec,
        "--output",
        output,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_local_task_is_there_when_all_its_files_are(repository, tmp_path):
    source, output = tmp_path / "source", tmp_path / "tasks/mine/mine.yaml"
    source.mkdir()
    output.parent.mkdir(parents=True)
    assert f"{source} has no mine.yaml, the file of task 'mine'" in fetch_task(repository, source, output).stderr
    (source / "mine.yaml").write_text("task: mine\n")
    (source / "questions.jsonl").symlink_to("not_there.jsonl")
    assert fetch_task(repository, source, output).returncode != 0
    assert not output.exists(), "the copy broke off"
    (source / "not_there.jsonl").write_text("{}\n")
    assert fetch_task(repository, source, output).returncode == 0
    assert {path.name for path in output.parent.iterdir()} == {"mine.yaml", "questions.jsonl", "not_there.jsonl"}
    assert [path.name for path in (tmp_path / "tasks").iterdir()] == ["mine"]


def test_batches_are_cut_so_that_their_logits_fit():
    wide = GPT2LMHeadModel(GPT2Config(vocab_size=250_880, n_positions=512, n_embd=2, n_layer=1, n_head=1))
    assert fitting_batch(wide, 512) == 4  # 2 GiB at 0.5 GB each
    assert fitting_batch(wide, 16) == 8
    assert fitting_batch(wide, 10**6) == 1


def test_value_does_not_depend_on_the_order_of_documents_or_on_empty_ones(model):
    plain = bits_per_byte(model, byte_tokenizer(), DOCUMENTS, window=16)
    other = bits_per_byte(model, byte_tokenizer(), iter([*DOCUMENTS[::-1], ""]), window=16)
    assert other.value == pytest.approx(plain.value, rel=1e-6)
    assert other.tokens == plain.tokens


def test_eos_stands_in_for_a_missing_bos(model):
    eos = bits_per_byte(model, byte_tokenizer(bos=False, eos=True), "ab", window=8)
    ids = [2 + sorted(pre_tokenizers.ByteLevel.alphabet()).index(c) for c in "ab"]
    assert eos.value == pytest.approx(direct_bits(model, [1, *ids], 2) / 2, rel=1e-5)


def test_without_bos_and_eos_the_first_token_is_scored_against_a_uniform_guess(model):
    result = bits_per_byte(model, byte_tokenizer(bos=False), "ab", window=8)
    ids = [2 + sorted(pre_tokenizers.ByteLevel.alphabet()).index(c) for c in "ab"]
    assert result.value == pytest.approx((math.log2(258) + direct_bits(model, ids, 1)) / 2, rel=1e-5)
    single = bits_per_byte(model, byte_tokenizer(bos=False), "a", window=8)
    assert single.value == pytest.approx(math.log2(258))


def test_text_that_spells_a_special_token_costs_its_bytes(model):
    result = bits_per_byte(model, byte_tokenizer(), "<s>", window=8)
    assert result.tokens == 3


def test_a_uniform_model_needs_the_logarithm_of_its_vocabulary(model):
    silent = GPT2LMHeadModel(model.config).eval()
    with torch.no_grad():
        for parameter in silent.parameters():
            parameter.zero_()
    assert bits_per_byte(silent, byte_tokenizer(), DOCUMENTS, window=8).value == pytest.approx(math.log2(258))


def test_a_tokenizer_that_alters_text_is_noticed(model):
    long = "a lower text of more than a hundred letters " * 3
    with pytest.warns(UserWarning, match=r"alters 1 of 2 documents \(0.74% .*'Upper' becomes 'upper'"):
        result = bits_per_byte(model, byte_tokenizer(lower=True), ["Upper", long], window=8)
    assert result.altered == 1
    assert result.altered_share == pytest.approx(1 / (5 + len(long.strip())))


@pytest.mark.filterwarnings("ignore:The tokenizer alters")
def test_a_tokenizer_that_alters_too_much_gives_no_score(model):
    with pytest.raises(
        ModelError, match=r"model 'm': its tokenizer .* alters 10.0% of the characters .*'Upper' becomes"
    ):
        bits_per_byte(model, byte_tokenizer(lower=True), ["Upper", "lower"], window=8, name="m")


def test_stderr_is_the_spread_over_documents(model):
    same = bits_per_byte(model, byte_tokenizer(), ["same text"] * 5, window=16)
    assert same.stderr == pytest.approx(0, abs=1e-9)
    assert math.isnan(bits_per_byte(model, byte_tokenizer(), "one text", window=16).stderr)


@given(st.lists(st.integers(0, 40), max_size=5), st.integers(1, 12), st.data())
def test_windows_score_each_token_once_with_as_much_before_it_as_fits(lengths, room, data):
    stride = data.draw(st.integers(1, room))
    pieces = list(windows(lengths, room, stride))
    for document, length in enumerate(lengths):
        own = [p for p in pieces if p.document == document]
        assert [i for p in own for i in range(p.scored_from, p.stop)] == list(range(length))
        assert all(p.start <= p.scored_from < p.stop <= p.start + room for p in own)
        assert all(b.stop - b.start == room for _, b in pairwise(own))


def test_windows_by_hand():
    assert list(windows([5], 3, 1)) == [Window(0, 0, 0, 3), Window(0, 1, 3, 4), Window(0, 2, 4, 5)]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "text to score is empty"),
        ([], {}, "text to score is empty"),
        ("text", {"window": 33}, "window of 33 tokens is more than the 32"),
        ("text", {"window": 1}, "stride must lie between 1 and 0"),
        ("text", {"window": 8, "stride": 8}, "stride must lie between 1 and 7"),
        ("text", {"window": 8, "batch_size": 0}, "batch size"),
    ],
)
def test_bad_input_is_refused_in_words(model, text, options, message):
    with pytest.raises(ValueError, match=message):
        bits_per_byte(model, byte_tokenizer(), text, **{"window": 16, **options})


@pytest.mark.parametrize(
    ("family", "sizes", "longest"),
    [
        ("roberta", {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}, 10),
        ("xlnet", {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 8}, None),
    ],
)
def test_a_window_is_as_long_as_the_positions_of_a_model(family, sizes, longest):
    """RoBERTa counts positions from the one after padding; XLNet, which has no bound, says -1."""
    bounded = {"max_position_embeddings": 12, "pad_token_id": 1, "is_decoder": True} if longest else {}
    config = AutoConfig.for_model(family, vocab_size=258, **sizes, **bounded)
    model = AutoModelForCausalLM.from_config(config).eval()
    assert bits_per_byte(model, byte_tokenizer(), "a text of a few words", window=longest or 16).value > 0
    if longest:
        with pytest.raises(ValueError, match=f"more than the {longest} that this model sees"):
            bits_per_byte(model, byte_tokenizer(), "text", window=longest + 1)


def test_a_model_that_gives_nan_is_refused(model):
    broken = GPT2LMHeadModel(model.config).eval()
    with torch.no_grad():
        broken.lm_head.weight.fill_(math.nan)
    with pytest.raises(ValueError, match="NaN or infinity"):
        bits_per_byte(broken, byte_tokenizer(), "text", window=8)


@needs_stories
def test_stories260k_on_captions():
    """2.653 bits per byte on the first captions of the first 40 photographs, as measured independently."""
    lines = (REAL / "flickr1k" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()[:40]
    captions = [json.loads(line)["text"][0] for line in lines]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(STORIES), AutoTokenizer.from_pretrained(STORIES)
    result = bits_per_byte(model, tokenizer, captions, window=512)
    assert result.value == pytest.approx(2.653, abs=0.001)
    assert result.altered == 0
    assert 0.02 < result.stderr < 0.2


RESULTS = {
    "results": {
        "endings": {"alias": "endings", "acc,none": 0.25, "acc_stderr,none": 0.05, "acc_norm,none": 0.5},
        "sums": {"alias": "sums", "exact_match,strict-match": 0.1, "exact_match_stderr,strict-match": "N/A"},
    },
    "versions": {"endings": 1.0, "sums": 3},
    "n-shot": {"endings": 0, "sums": 5},
    "n-samples": {"endings": {"original": 60, "effective": 50}, "sums": {"original": 9, "effective": 9}},
}


def test_harness_results_become_rows(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS))
    scores = harness_scores(path)
    assert scores.columns == ["task", "metric", "value", "stderr", "n", "version", "shots"]
    assert scores.rows() == [
        ("endings", "acc", 0.25, 0.05, 50, "1.0", 0),
        ("endings", "acc_norm", 0.5, None, 50, "1.0", 0),
        ("sums", "exact_match,strict-match", 0.1, None, 9, "3", 5),
    ]
    assert harness_scores(RESULTS).equals(scores)


def test_a_file_that_is_no_harness_result_is_refused(tmp_path):
    path = tmp_path / "other.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"other\.json holds no lm-eval results"):
        harness_scores(path)


@pytest.fixture
def endings(tmp_path) -> Path:
    """A local task in the form of HellaSwag: which ending belongs to the beginning?"""
    rows = [
        {"query": "Once upon a", "choices": ["time, there was a girl.", "xq zj kk vv"], "gold": 0},
        {"query": "She was very", "choices": ["qqq zz jj", "happy and played."], "gold": 1},
    ] * 3
    (tmp_path / "endings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "endings.yaml").write_text(
        f"""
task: endings
dataset_path: json
dataset_kwargs: {{data_files: {{validation: {tmp_path}/endings.jsonl}}}}
output_type: multiple_choice
validation_split: validation
doc_to_text: "{{{{query}}}}"
doc_to_target: "{{{{gold}}}}"
doc_to_choice: choices
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 2}}
"""
    )
    return tmp_path


def stories(**changes):
    return LanguageModel(name="m", modality="language", source="local", path=str(STORIES), **changes)


@needs_stories
def test_a_model_is_scored_as_its_entry_says():
    """Whole, without its last blocks, or with random weights: the fewer it keeps, the more bits a byte costs."""
    entries = [stories(), stories(model_args={"num_hidden_layers": 4}), stories()]
    values = [
        bits_per_byte(*load_causal(entry, root)[:2], DOCUMENTS, window=64).value
        for entry, root in zip(entries, [STORIES, STORIES, None], strict=True)
    ]
    assert values == sorted(values)
    assert values[2] == bits_per_byte(*load_causal(stories(), None)[:2], DOCUMENTS, window=64).value, "seeded"


@needs_stories
def test_the_scores_of_a_text_are_a_row_of_their_table():
    text = LocalText(name="t", source="local", path="t.jsonl", window=10**6, stride=8)
    scored = scoring.score_text(stories(), STORIES, text, DOCUMENTS, batch_size=2)
    (row,) = scored.table.to_pylist()
    model, tokenizer = load_causal(stories(), STORIES, texts=DOCUMENTS)[:2]
    expected = bits_per_byte(model, tokenizer, DOCUMENTS, window=longest_text(model), stride=8)
    assert (row["task"], row["metric"], row["source"], row["n"]) == ("t", "bits_per_byte", "measured", expected.bytes)
    assert (row["value"], row["stderr"]) == pytest.approx((expected.value, expected.stderr))
    assert (row["altered"], row["shots"], row["version"]) == (expected.altered_share, None, None)
    assert set(scored.facts) == {"selftest"}


@pytest.mark.slow
@needs_stories
def test_the_scores_of_a_task_are_rows_of_their_table(endings, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(endings / "cache"))
    task = LocalTask(name="endings", source="local", path=str(endings), shots=0, limit=4)
    out = endings / "results.json"
    scored = score_task(stories(), STORIES, task, endings / "endings.yaml", out)
    (row,) = scored.table.to_pylist()
    assert (row["model"], row["task"], row["value"], row["n"]) == (stories().name, "endings", 1.0, 4)
    assert (row["source"], row["shots"], row["version"], row["altered"]) == ("measured", 0, "2", None)
    assert set(scored.facts) == {"selftest"}
    assert json.loads(out.read_text())["results"]["endings"]


@pytest.mark.slow
@needs_stories
def test_harness_runs_a_local_task_without_the_network(endings, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(endings / "cache"))
    out = endings / "results.json"
    run_harness(
        *load_causal(stories(), STORIES)[:2], ["endings"], include_path=endings, num_fewshot=0, limit=4, out_json=out
    )
    (row,) = harness_scores(out).rows(named=True)
    assert row["value"] == 1.0
    assert (row["n"], row["version"], row["shots"]) == (4, "2", 0)


@pytest.mark.slow
def test_a_model_with_sentencepiece_only_is_scored_by_both(endings, tmp_path):
    """As OpenLLaMA is published: no tokenizer.json, and spaces merge."""
    folder = tmp_path / "m"
    folder.mkdir()
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    LlamaForCausalLM(LlamaConfig(vocab_size=900, **sizes)).save_pretrained(folder)
    sentencepiece_models.write("OpenLLaMA", folder, config=False)
    entry = LanguageModel(name="m", modality="language", source="local", path=str(folder))
    documents = ["two spaces at  one place only", "one space between each word and the next, " * 3]
    model, tokenizer = load_causal(entry, folder, texts=documents)[:2]
    result = bits_per_byte(model, tokenizer, documents, window=32)
    assert (result.altered, result.tokens) == (1, sum(map(len, tokenize(tokenizer, documents))))
    out = tmp_path / "r.json"
    results = run_harness(model, tokenizer, ["endings"], include_path=endings, num_fewshot=1, out_json=out)
    assert harness_scores(results)["n"].to_list() == [6]


@pytest.mark.slow
def test_the_harness_proves_its_questions(endings, model):
    words = Tokenizer(models.WordLevel({"<s>": 0, "<unk>": 1, "time": 2}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", unk_token="<unk>")
    out = endings / "r.json"
    with pytest.raises(ModelError, match=r"model 'm': 100% of the tokens of \d+ texts are unknown to its tokenizer"):
        run_harness(model, tokenizer, ["endings"], include_path=endings, num_fewshot=0, name="m", out_json=out)
    assert not out.exists()


@pytest.mark.slow
def test_harness_refuses_a_task_it_does_not_know(endings):
    with pytest.raises(ValueError, match="has no task endigns"):
        run_harness(None, None, ["endigns"], include_path=endings, out_json=endings / "out.json")
