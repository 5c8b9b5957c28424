"""Models that a function of the user's builds: what it may return, what is proved of it, and how it can be wrong."""

import json
import math
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from prh.competence.causal_models import load_causal
from prh.experiment import code, costs, job_specs, loading
from prh.experiment.job_specs import JobSpecs
from prh.experiment.plan import Plan
from prh.experiment.schema import LanguageModel, VisionModel
from prh.modalities import load
from prh.models import factories, factory_files
from prh.models.repositories import ModelError
from prh.models.text_checks import NotCausal
from tests.small_models import TEXTS, model_folder

VISION = """
import torch
from torch import nn
from torchvision.transforms import v2


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(i, width, 3, 2, 1), nn.ReLU()) for i in (3, width))

    def forward(self, images):
        for block in self.blocks:
            images = block(images)
        return images.mean((2, 3))


TRANSFORM = v2.Compose([v2.Resize((32, 32)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def build(width=8):
    torch.manual_seed(0)
    return Net(width), TRANSFORM
"""
LANGUAGE = """
import torch
from torch import nn


class Net(nn.Module):
    vocab_size, max_tokens = 300, 200

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(300, 8)
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))

    def forward(self, input_ids):
        states = [self.table(input_ids)]
        for layer in self.layers:
            states.append(states[-1] + layer(states[-1]).cumsum(1).tanh())
        return states


def tokenize(texts):
    return [list(text.encode()) for text in texts]


def build():
    torch.manual_seed(0)
    return Net(), tokenize
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(factories, "_imported", {})
    return tmp_path


def write(folder, text, name="mine.py"):
    (folder / name).write_text(textwrap.dedent(text))


def vision(**more):
    return VisionModel(**{"name": "m", "modality": "vision", "source": "python", "factory": "mine.py:build"} | more)


def language(**more):
    return LanguageModel(**{"name": "m", "modality": "language", "source": "python", "factory": "mine.py:build"} | more)


def refused(entry, root=None):
    with pytest.raises(ModelError) as error:
        load(entry, root)
    message = str(error.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert "fault of prh" not in message
    return message


# ---- vision ---------------------------------------------------------------------------------------------------


def test_a_module_gives_its_layers(here):
    write(here, VISION)
    encoder = load(vision(factory_args={"width": 4}), None)
    assert encoder.layer_names == ["blocks.0", "blocks.1"]
    images = torch.rand(3, 3, 32, 32)
    module, _ = factories.build(vision(factory_args={"width": 4}), None)
    expected = module.blocks[0](images)
    layers = encoder.encode(images)
    assert torch.allclose(layers[0], expected.mean((2, 3)), atol=1e-6)
    assert torch.allclose(layers[1], module(images), atol=1e-6)
    assert encoder.parameters == sum(p.numel() for p in module.parameters())
    results = encoder.selftest.results
    assert results["weights"] == "from the factory mine.py:build, equal in two builds"
    assert {"pooled axis", "two passes", "an image alone and in a batch"} <= results.keys()


def test_layers_dtype_and_selftest_are_those_of_the_entry(here):
    write(here, VISION)
    encoder = load(vision(layers=r"blocks\.1", dtype="bfloat16", selftest=False), None)
    assert encoder.layer_names == ["blocks.1"]
    assert next(encoder.module.parameters()).dtype == torch.bfloat16
    assert "not proved" in encoder.selftest.results["weights"]


def test_a_factory_in_a_package_imports_what_lies_beside_it(here):
    (here / "own").mkdir()
    write(here, "", "own/__init__.py")
    write(here, VISION, "own/nets.py")
    write(here, "from own.nets import build\n", "own/models.py")
    assert load(vision(factory="own.models:build"), None).layer_names == ["blocks.0", "blocks.1"]


def test_the_path_of_an_entry_reaches_the_factory(here):
    write(here, VISION + """

def trained(path):
    net, transform = build()
    net.load_state_dict(torch.load(path, weights_only=True))
    return net, transform
""")  # fmt: skip
    weights = {key: value + 1 for key, value in factories.build(vision(), None)[0].state_dict().items()}
    torch.save(weights, here / "weights.pt")
    encoder = load(vision(factory="mine.py:trained", path="weights.pt"), here / "weights.pt")
    assert torch.equal(encoder.module.state_dict()["blocks.0.0.weight"], weights["blocks.0.0.weight"])


BROKEN = [
    ("def build():\n    x = 1\n    return x / 0\n", r"mine.py:build fails at mine.py, line 3 (ZeroDivisionError: division"),
    ("import nowhere_at_all\ndef build(): pass\n", "fails at mine.py, line 1 (ModuleNotFoundError"),
    ("def build():\n    raise SystemExit('bye')\n", "fails at mine.py, line 2 (SystemExit: bye)"),
    ("def build(width): pass\n", "does not take no arguments (missing a required argument: 'width')"),
    ("def build(): pass\n", "returns nothing; it must return (module, transform)"),
    ("def build(): return 1, 2, 3\n", "returns a tuple of 3; it must return (module, transform)"),
    ("def build(): return 1, print\n", "returns a int as its module, which is not a torch.nn.Module"),
    ("import torch\ndef build(): return torch.nn.ReLU(), print\n", "returns a ReLU without parameters"),
    ("import torch\ndef build(): return torch.nn.Linear(2, 2), 3\n", "returns a int as its transform"),
    ("import torch\ndef build(): return torch.nn.Linear(2, 2, device='meta'), print\n", "weight weight on the meta device"),
    ("def other(): pass\n", "is missing: mine.py defines no function build"),
    ("build = 3\n", "is missing: mine.py defines no function build"),
    ("def build(:\n", "fails at mine.py, line 1 (SyntaxError"),
    (VISION.replace("TRANSFORM =", "TRANSFORM = print #"), "its transform turns an image into a NoneType"),
    (VISION.replace("v2.Resize((32, 32))", "v2.Resize(32)"), "images of several shapes ([3, 32, 42] and [3, 42, 32])"),
    (VISION.replace("torch.float32", "torch.uint8"), "must return floating-point numbers"),
    (VISION.replace("torch.manual_seed(0)", ""), "two calls of its factory mine.py:build give different features"),
    (VISION.replace("return Net(width)", "return nn.Sequential(nn.Linear(2, 2))"), "cannot tell which modules of Sequential"),
    (VISION.replace("images = block(images)", "images = block(images) / 0"), "gives NaN or infinite numbers"),
    (VISION.replace("images = block(images)", "images = nn.functional.dropout(block(images))"), "two passes of the same"),
    (VISION.replace("images = block(images)", "images = block(images - images.mean(0))"), "alone and in a batch"),
    (VISION.replace("for block in self.blocks:", "for block in self.nothing:"), "does not take images of shape"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BROKEN, ids=range(len(BROKEN)))
def test_what_cannot_be_read_is_refused_in_one_sentence(here, text, message):
    write(here, text)
    assert message in refused(vision())


@pytest.mark.parametrize("factory", ["gone.py:build", "gone.models:build"])
def test_a_missing_factory_is_named(factory):
    assert f"its factory {factory} is missing: there is no gone" in refused(vision(factory=factory))


def test_an_image_that_the_transform_treats_differently_is_refused(here):
    write(here, VISION)
    encoder = load(vision(), None)
    encoder.transform.transform = lambda image: torch.zeros(3, image.height, 32)
    with pytest.raises(ModelError, match="several shapes"):
        encoder.transform(Image.new("RGB", (10, 10)))


# ---- language -------------------------------------------------------------------------------------------------


def test_a_module_of_ones_own_reads_text(here):
    write(here, LANGUAGE)
    encoder = load(language(pooling="last"), None)
    assert len(encoder.layer_names) == 3
    module, tokenize = factories.build(language(), None)
    items = encoder.tokenize(TEXTS)
    layers = encoder.encode(items)
    for number, text in enumerate(TEXTS):
        states = module(torch.tensor(tokenize([text])))
        for layer, state in zip(layers, states, strict=True):
            assert torch.allclose(layer[number], state[0, -1], atol=1e-5)
    assert "not proved" in encoder.selftest.results["tokenizer"]
    assert encoder.limit == 200
    with pytest.raises(NotCausal, match="only a causal language model of transformers"):
        load_causal(language(), None)


TRANSFORMERS = """
from transformers import {kind}, AutoTokenizer

def build(path):
    return {kind}.from_pretrained(path), AutoTokenizer.from_pretrained(path)
"""


def test_a_model_of_transformers_gives_what_it_gives_from_its_folder(here):
    folder = model_folder(here / "gpt2", "gpt2", "AutoModelForCausalLM", n_embd=16, n_layer=3, n_head=2)
    write(here, TRANSFORMERS.format(kind="AutoModelForCausalLM"))
    built = load(language(path="gpt2"), folder)
    plain = load(LanguageModel(name="m", modality="language", source="local", path=str(folder)), folder)
    assert built.layer_names == plain.layer_names
    for a, b in zip(built.encode(built.tokenize(TEXTS)), plain.encode(plain.tokenize(TEXTS)), strict=True):
        assert torch.equal(a, b)
    scored = load_causal(language(path="gpt2"), folder)
    assert scored.selftest.results["causal"] == "a later token changes no earlier prediction"
    assert scored.selftest.results["weights"] == "from the factory mine.py:build, equal in two builds"


def test_a_model_that_sees_later_tokens_is_not_scored(here):
    folder = model_folder(here / "bert", "bert", "AutoModelForMaskedLM")
    write(here, TRANSFORMERS.format(kind="AutoModelForMaskedLM"))
    with pytest.raises(NotCausal, match="changes its earlier predictions"):
        load_causal(language(path="bert"), folder)
    assert isinstance(AutoModel.from_pretrained(folder), torch.nn.Module)
    assert AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("return states", "return {}", "returns a dict; it must return a list of hidden states"),
        ("return states", "return states[-1]", "returns a Tensor; it must return a list of hidden states"),
        ("return states", "return [states[-1][:, 0]]", "does not give a hidden state [width] for each token"),
        ("torch.manual_seed(0)", "pass", "two calls of its factory mine.py:build give different features"),
        ("return states", "return [state * float('nan') for state in states]", "gives NaN or infinite numbers"),
        ("list(text.encode())", "text", "its tokenizer returns a list for 2 texts; it must return"),
        ("list(text.encode())", "text + 1", "its tokenizer fails for 2 texts (TypeError: can only"),
        ("return [list(text.encode()) for text in texts]", "return 3", "its tokenizer returns a int for 2 texts"),
    ],
)
def test_a_module_of_ones_own_that_cannot_be_read_is_refused(here, old, new, message):
    assert old in LANGUAGE
    write(here, LANGUAGE.replace(old, new))
    assert message in refused(language())


def test_special_tokens_are_known_to_tokenizers_of_transformers_only(here):
    write(here, LANGUAGE)
    assert "'special_tokens: false' needs a tokenizer of transformers" in refused(language(special_tokens=False))


# ---- entries --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"factory": None}, "source 'python' needs 'factory'"),
        ({"factory": "mine.py"}, "'mine.py' is not a factory; write file.py:function"),
        ({"id": "resnet18"}, "source 'python' takes no 'id'"),
        ({"revision": "main"}, "takes no 'revision'"),
        ({"quantisation": "4bit"}, "takes no 'quantisation'"),
        ({"library": "timm"}, "takes no 'library'"),
        ({"source": "random", "id": "test_vit"}, "'factory' is only for models of source python"),
        ({"factory_args": {"path": "x"}}, "'path' cannot be an argument of a factory; set 'path' itself"),
        ({"factory_args": {"a b": 1}}, "'a b' cannot be an argument of a factory"),
    ],
)
def test_keys_that_make_no_sense_are_refused(keys, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        vision(**keys)


def experiment(here, **more):
    (here / "data").mkdir(exist_ok=True)
    rows = [{"text": f"a caption {i}"} for i in range(40)]
    (here / "data/metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entry = {"name": "m", "modality": "language", "source": "python", "factory": "mine.py:build"} | more
    return {"datasets": [{"name": "d", "source": "local", "path": "data", "image": None}], "models": [entry]}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "models, entry 'm', factory: there is no file mine.py"),
        ({"mine.py": "def other(): pass"}, "models, entry 'm', factory: mine.py does not define build."),
        ({"mine.py": "x = 1\ndef build(:"}, "models, entry 'm', factory: mine.py, line 2 is not Python"),
        ({"mine.py": "import beside\ndef build(): pass", "beside.py": "("}, "factory: beside.py, line 1 is not Python"),
    ],
)
def test_what_is_wrong_with_a_factory_is_said_before_any_job(here, files, message):
    for name, text in files.items():
        write(here, text, name)
    with pytest.raises(loading.ConfigError) as error:
        loading.load(experiment(here), here)
    assert message in str(error.value)


def test_a_module_in_a_folder_without_init_is_refused_because_its_imports_are_not_watched(here):
    (here / "own").mkdir()
    write(here, "def build(): pass", "own/models.py")
    with pytest.raises(loading.ConfigError, match=r"in a folder without __init__\.py; add one"):
        loading.load(experiment(here, factory="own.models:build"), here)
    write(here, "", "own/__init__.py")
    assert loading.load(experiment(here, factory="own.models:build"), here)


def test_a_file_in_a_package_imports_only_what_is_watched(here):
    """The file beside it is part of the job only as a member of the package."""
    (here / "own").mkdir()
    write(here, "", "own/__init__.py")
    write(here, VISION, "own/nets_in_package.py")
    write(here, "from nets_in_package import build\n", "own/bare.py")
    write(here, "from own.nets_in_package import build\n", "own/whole.py")
    assert "ModuleNotFoundError" in refused(vision(factory="own/bare.py:build"))
    watched = code.modules([factory_files.find("own/whole.py:build")])
    assert [path.name for path in watched] == ["nets_in_package.py", "whole.py"]
    sys.modules.pop("own", None)
    assert load(vision(factory="own/whole.py:build"), None)


def test_an_adapter_that_a_factory_merges_gives_the_features_of_the_merged_model(here):
    peft = pytest.importorskip("peft", reason="needs the package peft")
    folder = model_folder(here / "base", "llama", "AutoModelForCausalLM")
    base = AutoModelForCausalLM.from_pretrained(folder)
    settings = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted = peft.get_peft_model(base, settings)
    adapted.save_pretrained(here / "adapter")
    write(here, """
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        def build(path, base):
            model = AutoModelForCausalLM.from_pretrained(base)
            return PeftModel.from_pretrained(model, path).merge_and_unload(), AutoTokenizer.from_pretrained(base)
    """)  # fmt: skip
    entry = language(path="adapter", factory_args={"base": "base"}, pooling="last")
    encoder = load(entry, here / "adapter")
    ids = encoder.tokenize(TEXTS)
    for number, (tokens, _) in enumerate(ids):
        expected = adapted(tokens[None], output_hidden_states=True).hidden_states
        for layer, state in zip(encoder.encode(ids), expected, strict=True):
            assert torch.allclose(layer[number], state[0, -1], atol=1e-4)
    assert load_causal(entry, here / "adapter").selftest.results["causal"]


GGUF = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "o_proj": "attn_output",
} | {
    f"{part}_proj": f"{kind}_{part}"
    for kind, parts in {"attn": "qkv", "ffn": ("gate", "up", "down")}.items()
    for part in parts
}
"""Names of the weights of a LLaMA, and what a GGUF file calls them."""


def write_gguf(path, model):
    gguf = pytest.importorskip("gguf", reason="needs the package gguf")
    config, writer = model.config, gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    for key, value in model.state_dict().items():
        name, heads = key.removesuffix(".weight"), config.num_attention_heads
        last = name.rpartition(".")[2]
        if last in ("q_proj", "k_proj"):  # the halves of a rotation lie beside each other in a GGUF file
            halves = value.reshape(heads, 2, -1, value.shape[1])
            value = halves.swapaxes(1, 2).reshape(value.shape)
        place = GGUF[name] if name in GGUF else f"blk.{name.split('.')[2]}.{GGUF[last]}"
        writer.add_tensor(f"{place}.weight", value.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_that_a_factory_loads_gives_the_features_of_the_model_in_it(here):
    folder = model_folder(here / "base", "llama", "AutoModelForCausalLM", tie_word_embeddings=False)
    write_gguf(here / "model.gguf", AutoModelForCausalLM.from_pretrained(folder))
    write(here, """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        def build(path, tokenizer):
            model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
            return model, AutoTokenizer.from_pretrained(tokenizer)
    """)  # fmt: skip
    built = load(language(path="model.gguf", factory_args={"tokenizer": "base"}), here / "model.gguf")
    plain = load(LanguageModel(name="m", modality="language", source="local", path=str(folder)), folder)
    for a, b in zip(built.encode(built.tokenize(TEXTS)), plain.encode(plain.tokenize(TEXTS)), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_an_encoder_decoder_is_read_by_its_encoder_and_not_scored(here):
    settings = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
    folder = model_folder(here / "t5", "t5", "AutoModelForSeq2SeqLM", **settings)
    write(here, TRANSFORMERS.format(kind="AutoModelForSeq2SeqLM"))
    built = load(language(path="t5"), folder)
    plain = load(LanguageModel(name="m", modality="language", source="local", path=str(folder)), folder)
    assert built.layer_names == plain.layer_names
    for a, b in zip(built.encode(built.tokenize(TEXTS)), plain.encode(plain.tokenize(TEXTS)), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(NotCausal, match="only a causal language model"):
        load_causal(language(path="t5"), folder)


def test_checking_an_experiment_runs_no_factory(here):
    write(here, "raise SystemExit('it ran')\ndef build(): pass\n")
    checked = loading.load(experiment(here), here)
    assert checked.models[0].factory == "mine.py:build"
    assert "features" in costs.report(checked, None, online=False, tflops=1.0, bandwidth=1e6)


def test_a_comment_changes_no_spec_and_code_does(here):
    write(here, "from beside import build\n")
    write(here, "SIZE = 3\ndef build(): return SIZE\n", "beside.py")
    settings = experiment(here)

    def specs():

        for cached in (code._parsed, code._digest_of_file, code._imported_files, job_specs._code):
            cached.cache_clear()
        of = JobSpecs(Plan(loading.load(settings, here)))
        return str(of.features("d", "m")), str(of.download_model("m"))

    before = specs()
    write(here, '"""Words."""\n# a comment\nSIZE = 3\ndef build(): return SIZE\n', "beside.py")
    assert specs() == before
    write(here, "SIZE = 4\ndef build(): return SIZE\n", "beside.py")
    after = specs()
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_an_installed_package_is_known_by_its_version():
    path = factory_files.find("torchvision.models:resnet18")
    assert factory_files.installed_version("torchvision.models:resnet18", path).startswith("torchvision ")
    assert factory_files.find("json.decoder:JSONDecoder").name == "decoder.py"
    assert factory_files.find("nowhere_at_all:build") is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_arguments_are_plain_values(value):
    with pytest.raises(ValueError, match=r"finite|JSON|number"):
        vision(factory_args={"rate": value})


# ---- docs/own.md ----------------------------------------------------------------------------------------------


def test_the_section_of_the_documentation_runs_as_it_stands(here, repository):
    text = (repository / "docs/own.md").read_text(encoding="utf-8")
    section = re.search(r"^## An architecture of your own$(.*?)^## ", text, re.MULTILINE | re.DOTALL)[1]
    for block in re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
        write(here, block, re.match(r"# (\S+)", block)[1])
    weights = """
        import torch
        from my_models import Net
        torch.save(Net(16).state_dict(), "weights.pt")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(weights)], check=True)
    blocks = re.findall(r"^```yaml\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    models = [entry for block in blocks for entry in yaml.safe_load(block)["models"]]
    checked = loading.load(experiment(here) | {"models": models}, here).models
    encoders = [load(entry, Path(entry.path) if entry.path else None) for entry in checked]
    assert encoders[0].layer_names == ["blocks.0", "blocks.1"]
    assert len(encoders[1].encode(encoders[1].tokenize(TEXTS))) == 2
