"""Weights that did not come from the checkpoint are never computed with: each fault of a folder is one sentence."""

import json
import logging
import math
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from prh import modalities
from prh.competence.causal_models import load_causal
from prh.experiment.schema import VisionModel
from prh.models import checkpoints, load_reports, loading, weights
from prh.models.repositories import ModelError
from tests.small_models import TEXTS, entry, model_folder, rewritten

FP8 = torch.float8_e4m3fn


@pytest.fixture
def llama(tmp_path):
    return model_folder(tmp_path / "llama", "llama", "AutoModelForCausalLM", tie_word_embeddings=False)


@pytest.fixture
def bert(tmp_path):
    return model_folder(tmp_path / "bert", "bert")


def load(folder, **changes):
    return modalities.load(entry(folder, **changes), folder)


def features(folder, **changes):
    encoder = load(folder, **changes)
    return encoder.encode(encoder.tokenize(TEXTS))


def prefixed(prefix):
    return lambda found: {f"{prefix}{name}": value for name, value in found.items()}


def without(*parts):
    return lambda found: {name: value for name, value in found.items() if not any(part in name for part in parts)}


def renamed(old, new):
    return lambda found: {name.replace(old, new): value for name, value in found.items()}


def also(**added):
    return lambda found: found | {name.replace("__", "."): value for name, value in added.items()}


def changed(part, change):
    return lambda found: {name: change(value) if part in name else value for name, value in found.items()}


# ---- names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        prefixed("_orig_mod."),
        prefixed("module."),
        prefixed("module._orig_mod."),
        prefixed("_orig_mod.module."),
        prefixed("_fsdp_wrapped_module."),
        renamed("layers.1.", "layers.1._checkpoint_wrapped_module."),
        renamed("layers.2.self_attn.", "layers.2._orig_mod.self_attn._orig_mod."),
        renamed("model.", ""),  # saved without the head's class around it
    ],
)
def test_names_that_wrappers_changed_are_resolved(llama, change, caplog):
    expected = features(llama)
    rewritten(llama, change)
    torch.testing.assert_close(features(llama), expected, rtol=0, atol=0)
    if not change(dict.fromkeys(["model.layers.1.self_attn.x"])).keys() & {"layers.1.self_attn.x"}:
        assert "removing the prefixes of wrappers" in caplog.text


@pytest.mark.parametrize("prefix", ["net.", "0.auto_model.", "base_model.model.", "model.model."])
def test_other_names_are_refused(llama, prefix):
    rewritten(llama, lambda found: prefixed(prefix)(renamed("model.", "model.x.")(found)))
    with pytest.raises(ModelError, match=r"model 'm': the checkpoint .*llama lacks .* and \d+ more, which LlamaModel"):
        load(llama)


@pytest.mark.parametrize("prefix", ["model.module.", "student.backbone.", "ema_model.", "net."])
def test_a_prefix_that_is_not_known_is_told(bert, prefix):
    rewritten(bert, prefixed(prefix))
    with pytest.raises(ModelError, match=rf"its names begin with '{re.escape(prefix)}'; save it with"):
        load(bert)


def test_a_missing_block_is_no_missing_head(llama):
    rewritten(llama, without("layers.1."))
    with pytest.raises(ModelError, match="save or fetch it whole") as caught:
        load_causal(entry(llama), llama)
    assert "causal: false" not in str(caught.value)


def test_the_scored_model_is_freed_of_wrappers_too(llama):
    rewritten(llama, prefixed("module."))
    loaded = load_causal(entry(llama), llama)
    assert torch.equal(loaded.model.lm_head.weight, load_file(llama / "model.safetensors")["module.lm_head.weight"])


# ---- missing and left out -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("layers.1."), r"lacks layers\.1\.input_layernorm\.weight, .* and 5 more"),
        (without("embed_tokens"), r"lacks embed_tokens\.weight"),
        (without("model.norm"), r"lacks norm\.weight"),
        (without("layers.2.mlp.up_proj"), r"lacks layers\.2\.mlp\.up_proj\.weight, which LlamaModel uses"),
        (changed("layers.0.mlp.up", lambda w: w[:5]), r"the wrong shape for layers\.0\.mlp\.up_proj.* \(\(5, 16\) for \(32, 16\)\)"),
        (changed("embed_tokens", lambda w: w[:7]), r"the wrong shape for embed_tokens\.weight \(\(7, 16\) for \(40, 16\)\)"),
        (changed("layers.1.self_attn.q", lambda w: w * math.nan), r"layers\.1\.self_attn\.q_proj\.weight .* NaN or infinite"),
        (changed("layers.1.self_attn.q", lambda w: w + math.inf), "NaN or infinite"),
        (changed("layers.1.", torch.zeros_like), r"all weights of layers\.1 in the checkpoint are zero"),
        (changed("embed_tokens", torch.zeros_like), r"all weights of embed_tokens\.weight in the checkpoint are zero"),
        (also(model__layers__0__self_attn__q_proj__bias=torch.ones(16)), r"weights that its config\.json has no place for: .*q_proj\.bias"),
        (also(model__layers__0__self_attn__q_proj__lora_A__weight=torch.ones(2, 16)), r"adapter \(.*lora_A.*\), left out"),
        (also(model__layers__0__mlp__up_proj__weight_scale=torch.ones(1)), r"scales of quantised weights \(.*weight_scale\)"),
        (changed("layers.0.mlp.up", lambda w: w.to(FP8)), r"quantised weights \(F8_E4M3: .*up_proj\.weight\).*no quantization_config"),
        (changed("layers.0.mlp.up", lambda w: w.mul(9).to(torch.int8)), r"quantised weights \(I8: "),
        (changed("embed_tokens", lambda w: w.mul(9).to(torch.int64)), r"quantised weights \(I64: "),
    ],
)  # fmt: skip
def test_weights_that_are_not_the_models_are_refused(llama, change, message):
    rewritten(llama, change)
    with pytest.raises(ModelError, match=message) as caught:
        load(llama)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError):
        load_causal(entry(llama), llama)


def test_blocks_that_the_config_leaves_out_are_refused_unless_the_entry_says_so(llama, caplog):
    expected = features(llama)
    rewritten(llama, lambda found: found, num_hidden_layers=2)
    with pytest.raises(
        ModelError, match=r"has blocks that its config\.json has no place for: .*layers\.2\..*model_args"
    ):
        load(llama)
    rewritten(llama, lambda found: found, num_hidden_layers=3)
    shorter = features(llama, model_args={"num_hidden_layers": 2})
    torch.testing.assert_close(shorter[:2], expected[:2])
    assert "has blocks that model_args leaves out" in caplog.text


def test_a_block_for_further_tokens_is_said_and_not_refused(llama, caplog):
    """DeepSeek and GLM keep a block for predicting the token after the next, with weights that others lack."""

    def with_further(found):
        own = {name.replace("layers.2.", "layers.3."): value for name, value in found.items() if "layers.2." in name}
        return found | own | {"model.layers.3.eh_proj.weight": torch.ones(16, 32)}

    rewritten(llama, with_further)
    load(llama)
    assert "has weights that are not used: model.layers.3.eh_proj.weight" in caplog.text


def test_what_a_pass_does_not_read_may_be_missing(bert):
    expected = features(bert)
    rewritten(bert, without("pooler"))
    encoder = load(bert)
    torch.testing.assert_close(encoder.encode(encoder.tokenize(TEXTS)), expected, rtol=0, atol=0)
    assert encoder.selftest.as_footer()["weights"].endswith(
        "pooler.dense.bias, pooler.dense.weight not in it and not read"
    )


def test_a_head_of_another_task_may_be_left_over(tmp_path):
    folder = model_folder(tmp_path / "bert", "bert", "AutoModelForSequenceClassification")
    assert "from the checkpoint" in load(folder).selftest.as_footer()["weights"]


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_that_is_scored_must_be_in_the_checkpoint(tmp_path, tied):
    folder = model_folder(tmp_path / "m", "llama", "AutoModelForCausalLM", tie_word_embeddings=tied)
    rewritten(folder, lambda found: renamed("model.", "")(without("lm_head")(found)), architectures=["LlamaModel"])
    load(folder)
    if tied:
        load_causal(entry(folder), folder)
        return
    with pytest.raises(ModelError, match=r"lacks lm_head\.weight, which LlamaForCausalLM uses.*'causal: false'"):
        load_causal(entry(folder), folder)


def test_tied_embeddings_that_are_lost_are_refused(tmp_path):
    folder = model_folder(tmp_path / "m", "llama", "AutoModelForCausalLM", tie_word_embeddings=True)
    rewritten(folder, without("embed_tokens"))
    with pytest.raises(ModelError, match=r"lacks lm_head\.weight, model\.embed_tokens\.weight"):
        load_causal(entry(folder), folder)


def test_a_missing_expert_is_refused_though_no_token_of_the_test_may_choose_it(tmp_path):
    folder = model_folder(tmp_path / "m", "mixtral", num_key_value_heads=1, num_local_experts=8, num_experts_per_tok=1)
    rewritten(folder, without("experts.7."))
    with pytest.raises(ModelError):
        load(folder)


def test_the_encoder_of_a_pair_needs_no_decoder(tmp_path):
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": 40}
    folder = model_folder(tmp_path / "t5", "t5", "AutoModel", decoder_start_token_id=0, **sizes)
    expected = features(folder)
    rewritten(folder, without("decoder."))
    torch.testing.assert_close(features(folder), expected)
    rewritten(folder, without("encoder.block.1."))
    with pytest.raises(ModelError, match=r"lacks encoder\.block\.1"):
        load(folder)


def test_the_folder_of_an_encoder_alone_is_that_of_the_encoder_of_its_pair(tmp_path):
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": 40}
    folder = model_folder(tmp_path / "t5", "t5", "AutoModel", decoder_start_token_id=0, **sizes)
    expected = features(folder)
    from transformers import T5EncoderModel

    T5EncoderModel.from_pretrained(folder).save_pretrained(folder)
    assert not json.loads((folder / "config.json").read_text())["is_encoder_decoder"]
    torch.testing.assert_close(features(folder), expected)


def test_positions_that_are_computed_need_not_be_in_the_checkpoint(tmp_path):
    """FSMT and Marian do not save their sinusoids; a norm at its first values was lost all the same."""
    sizes = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
             "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "src_vocab_size": 40,
             "tgt_vocab_size": 40, "langs": ["en", "de"], "pad_token_id": 1}  # fmt: skip
    folder = model_folder(tmp_path / "fsmt", "fsmt", **sizes)
    expected = features(folder)
    rewritten(folder, without("embed_positions"))
    torch.testing.assert_close(features(folder), expected)
    rewritten(folder, without("encoder.layers.0.final_layer_norm"))
    with pytest.raises(ModelError, match=r"lacks encoder\.layers\.0\.final_layer_norm\.bias"):
        load(folder)


# ---- files ----------------------------------------------------------------------------------------------------


def pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:aaaa\nsize 123\n")


def cut(path, keep=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])


def damaged_header(path):
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"shape":[40,16]', b'"shape":[41,16]'))


def as_bin(path, content=None):
    torch.save(load_file(path) if content is None else content, path.with_name("pytorch_model.bin"))
    path.unlink()


class Trainer:
    """Something that only code can restore."""


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (pointer, r"model\.safetensors is a pointer of git-lfs and not the file itself"),
        (lambda path: pointer(path.with_name("tokenizer.json")), r"tokenizer\.json is a pointer of git-lfs"),
        (cut, r"model\.safetensors is not a whole safetensors file"),
        (lambda path: cut(path, 0), r"model\.safetensors is not a whole safetensors file"),
        (damaged_header, r"model\.safetensors is not a whole safetensors file \(.*shape"),
        (lambda path: path.unlink(), r"has no weights \(model\.safetensors or pytorch_model\.bin\); it has config\.json"),
        (lambda path: path.rename(path.with_name("x.gguf")), r"weights of GGUF are not read"),
        (lambda path: as_bin(path, {"epoch": 1, "model": load_file(path)}), r"pytorch_model\.bin is not a mapping of names to tensors \(its keys are epoch, model\)"),
        (lambda path: as_bin(path, Trainer()), r"pytorch_model\.bin holds more than weights"),
        (lambda path: as_bin(path, [1, 2]), r"pytorch_model\.bin is not a mapping .*it is a list"),
        (lambda path: (as_bin(path), cut(path.with_name("pytorch_model.bin"))), r"pytorch_model\.bin is not a whole PyTorch file"),
        (lambda path: path.with_name("adapter_config.json").write_text("{}"), r"holds a PEFT adapter"),
        (lambda path: path.with_name("config.json").unlink(), r"has no config\.json"),
        (lambda path: path.with_name("config.json").write_text("{"), r"config\.json is not valid JSON"),
        (lambda path: path.with_name("config.json").write_bytes(b"\xff\xfe{"), r"config\.json is not valid JSON"),
        (lambda path: path.with_name("config.json").write_text("[]"), r"config\.json is not a JSON object"),
        (lambda path: path.with_name("config.json").write_text("{}"), r"config\.json has no model_type"),
        (lambda path: path.with_name("config.json").write_text('{"model_type": "llama9"}'), r"model 'm' cannot be loaded from .*llama9"),
        (lambda path: path.with_name("config.json").write_text('{"model_type": "llama", "hidden_size": "wide"}'), r"model 'm' cannot be loaded from .*hidden_size"),
    ],
)  # fmt: skip
def test_files_that_are_not_whole_are_named_in_one_sentence(llama, damage, message):
    damage(llama / "model.safetensors")
    with pytest.raises(ModelError, match=message) as caught:
        load(llama)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=message):
        load_causal(entry(llama), llama)


def test_weights_in_a_pickle_of_tensors_are_read(llama):
    expected = features(llama)
    as_bin(llama / "model.safetensors")
    torch.testing.assert_close(features(llama), expected, rtol=0, atol=0)


@pytest.fixture
def sharded(tmp_path):
    import transformers

    folder = model_folder(tmp_path / "sharded", "llama", "AutoModelForCausalLM")
    transformers.AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder, max_shard_size="8KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    return folder


def test_shards_must_all_be_there(sharded):
    features(sharded)
    second = sorted(sharded.glob("model-*.safetensors"))[1]
    kept = load_file(second)
    save_file(dict(list(kept.items())[:-1]), second, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"index\.json lists .*, which its files do not hold"):
        load(sharded)
    second.unlink()
    with pytest.raises(ModelError, match=rf"model\.safetensors\.index\.json lists: {second.name}; fetch"):
        load(sharded)
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}}))
    with pytest.raises(ModelError, match="lists no weight files"):
        load(sharded)


# ---- timm -----------------------------------------------------------------------------------------------------


@pytest.fixture
def resnet(tmp_path):
    """A folder as timm saves it for the hub."""
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=7)
    save_for_hf(model, tmp_path / "resnet", model_args={"num_classes": 7}, safe_serialization=True)
    return tmp_path / "resnet"


def timm_entry(**changes):
    return VisionModel(name="m", modality="vision", source="local", path=".", **changes)


def proved(loaded):
    """What the proof says of a loaded timm model; its last map is its features."""
    images = torch.rand(1, 3, 64, 64)
    model = loaded.model.eval()
    return weights.prove(loaded.report, model, lambda: [model.forward_features(images)], "m")


def test_a_folder_of_timm_is_proved(resnet):
    assert proved(loading.load_timm(timm_entry(), resnet)).endswith("from the checkpoint")


def test_a_head_of_another_size_is_not_read_and_anything_else_is_missed(resnet):
    """With another number of classes timm loads leniently: it must not let a block go by."""
    settings = timm_entry(model_args={"num_classes": 3})
    assert "fc.bias, fc.weight not in it and not read" in proved(loading.load_timm(settings, resnet))
    rewritten(resnet, without("layer2.0.conv1"))
    with pytest.raises(ModelError, match=r"lacks layer2\.0\.conv1\.weight"):
        proved(loading.load_timm(settings, resnet))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("layer2.0.conv1"), r"model 'm': the checkpoint .* lacks layer2\.0\.conv1\.weight"),
        (without("bn1.running_mean"), r"lacks bn1\.running_mean"),
        (changed("layer2.0.conv1", lambda w: w[:3]), "size mismatch"),
        (prefixed("encoder."), r"its names begin with 'encoder\.'; save it with the names of the model alone"),
        (also(layer9__weight=torch.ones(2)), r"has weights that ResNet has no place for: layer9\.weight"),
    ],
)
def test_weights_that_do_not_fit_timm_are_refused(resnet, change, message):
    rewritten(resnet, change)
    with pytest.raises(ModelError, match=message) as caught:
        proved(loading.load_timm(timm_entry(), resnet))
    assert "\n" not in str(caught.value)


def test_a_head_that_no_layer_reads_may_lack_in_a_folder_of_timm(resnet):
    rewritten(resnet, without("fc."))
    assert "fc.bias, fc.weight not in it and not read" in proved(loading.load_timm(timm_entry(), resnet))
    with pytest.raises(ModelError, match="Missing key"):  # nothing would prove that it is not read
        loading.load_timm(timm_entry(selftest=False), resnet)


def test_blocks_of_timm_beyond_those_of_its_config_are_missed(tmp_path):
    import timm
    from timm.models import save_for_hf

    save_for_hf(timm.create_model("test_vit", depth=4), tmp_path / "vit", safe_serialization=True)
    loaded = loading.load_timm(timm_entry(model_args={"depth": 3}), tmp_path / "vit")
    assert "blocks.3.attn.qkv.weight" in loaded.report.unexpected
    settings = json.loads((tmp_path / "vit" / "config.json").read_text())
    (tmp_path / "vit" / "config.json").write_text(json.dumps(settings | {"model_args": {"depth": 3}}))
    with pytest.raises(ModelError, match=r"has blocks that its config.json has no place for: blocks\.3\.attn"):
        proved(loading.load_timm(timm_entry(), tmp_path / "vit"))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_wrappers_in_names_of_timm_are_resolved(resnet, prefix):
    rewritten(resnet, prefixed(prefix))
    assert proved(loading.load_timm(timm_entry(), resnet)).endswith("from the checkpoint")


def test_a_damaged_batch_norm_is_refused(resnet):
    rewritten(resnet, changed("bn1.weight", lambda w: w * math.nan))
    with pytest.raises(ModelError, match="NaN or infinite"):
        proved(loading.load_timm(timm_entry(), resnet))


@pytest.mark.parametrize(("damage", "message"), [(pointer, "pointer of git-lfs"), (cut, r"model\.safetensors is not a whole safetensors file"),
                                                 (lambda path: path.with_name("config.json").write_text("{"), "is not valid JSON"),
                                                 (lambda path: path.with_name("config.json").unlink(), "has no config.json")])  # fmt: skip
def test_files_of_timm_that_are_not_whole_are_named(resnet, damage, message):
    damage(resnet / "model.safetensors")
    with pytest.raises(ModelError, match=message):
        loading.load_timm(timm_entry(), resnet)


@pytest.mark.parametrize(
    ("error", "where", "message"),
    [
        (KeyError("x"), "here", r"from here: KeyError: 'x' \(this may be a fault of prh\)\."),
        (RuntimeError("size mismatch."), "here", r"from here: RuntimeError: size mismatch\."),
        (ImportError("first line\n\nsecond line\nthird"), None, r": first line second line\."),
        (ValueError(), None, r": no reason is given\."),
    ],
)
def test_an_error_that_nobody_foresaw_names_the_model_and_its_cause(error, where, message):
    with (
        pytest.raises(ModelError, match=rf"^model 'm' cannot be loaded ?{message}$"),
        loading.explained("m", where),
    ):
        raise error


def test_an_interrupt_stays_one():
    with pytest.raises(KeyboardInterrupt), loading.explained("m", None):
        raise KeyboardInterrupt


# ---- parts ----------------------------------------------------------------------------------------------------


def test_names_without_wrappers_stay(caplog):
    with caplog.at_level(logging.WARNING):
        assert load_reports.renames(["module.a", "b"]) == {}
        assert load_reports.renames([]) == {}
    assert not caplog.records


def test_stored_tensors_are_those_of_the_file(llama):
    stored = checkpoints.stored_tensors(llama)
    found = load_file(llama / "model.safetensors")
    assert {name: tensor.shape for name, tensor in stored.items()} == {n: tuple(v.shape) for n, v in found.items()}
    assert {tensor.dtype for tensor in stored.values()} == {"F32"}
