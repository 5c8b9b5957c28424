"""Proof that every weight that a model computes with came from its checkpoint.

Libraries fill weights that a checkpoint lacks with random numbers, and at most log it. `prove` compares what they
report while loading (`LoadReport`) with what a pass of the model really reads: a pooler or head that the pass does not
read may be missing, but nothing else.
"""

from __future__ import annotations

import copy
import logging
import math
import re
from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from prh.models.checkpoints import few, some
from prh.models.hooks import first_tensor, hooked
from prh.models.load_reports import LoadReport
from prh.models.repositories import ModelError
from prh.models.selftest import Pass, distance

log = logging.getLogger(__name__)

_QUANTISATION = re.compile(
    r"\.(weight_scale(_inv)?|scales?|qweight|qzeros|g_idx|SCB|absmax|quant_map|quant_state\..*)$"
)
_ADAPTER = re.compile(r"(^|\.)(lora_[AB]|lora_embedding_[AB]|lora_magnitude_vector|modules_to_save)\.")


def prove(report: LoadReport | None, used: nn.Module, run: Pass, name: str, *, hint: str = "") -> str:
    """Prove that every weight read by ``run``, a pass of ``used``, came from the checkpoint; the result in words.

    Without a ``report`` the weights are random and there is nothing to prove. ``used`` is ``report.model`` or a part of
    it; ``name`` (of the entry) and ``hint`` are for messages. Raises ModelError, naming the weights, if one is missing,
    has the wrong shape, was never filled, or is NaN or infinite, or if a whole block is zero; and if the checkpoint has
    weights that the pass should read (blocks, biases, adapters, quantisation scales) but the architecture lacks.
    """
    if report is None:
        return "random, as the entry says"
    with torch.inference_mode():
        read = _read_by(report.missing, report.model, used, run)
    if read:
        shapes = [f"{key} ({report.shapes[key]})" for key in sorted(read) if key in (report.shapes or {})]
        fault = f"has the wrong shape for {', '.join(shapes[:4])}" if shapes else few("lacks", read)
        besides = f"; it also has {some(report.unexpected)}" if report.unexpected else ""
        raise ModelError(
            f"model {name!r}: the checkpoint {report.root} {fault}, which {type(report.model).__name__} uses and "
            f"would fill with random numbers{besides}{_remedy(read, report.unexpected, hint)}."
        )
    _refuse_lost(report, used, name)
    _refuse_damaged(used, name)
    count = sum(1 for _ in used.parameters())
    unread = f", {some(report.missing)} not in it and not read" if report.missing else ""
    return f"{count} tensors from the checkpoint{unread}"


def _remedy(lacking: Collection[str], unexpected: Collection[str], hint: str) -> str:
    """What to do about ``lacking`` weights, for a message; ``hint`` is for weights of a head, outside blocks."""
    last = max(lacking, key=len)
    for prefix in {key.removesuffix(last) for key in unexpected if key.endswith(f".{last}")}:
        renamed = sum(prefix + key in unexpected for key in lacking)
        if renamed > len(lacking) / 2 and not re.search(r"\.\d+\.", prefix):
            return f": its names begin with {prefix!r}; save it with the names of the model alone"
    if hint and not any(re.search(r"\.\d+\.", key) for key in lacking):
        return hint
    return "; save or fetch it whole, with the config.json that it was trained with"


def prove_blocks(
    report: LoadReport | None, used: nn.Module, blocks: Sequence[nn.Module], run: Callable[[], object], name: str
) -> str:
    """`prove` for the outputs of ``blocks`` in a pass ``run`` of ``used``.

    Weights after the last block (of a head or pooler) do not count as read.
    """
    outputs: list[Tensor] = []

    def take(_module: nn.Module, _inputs: object, output: object) -> None:
        outputs.append(first_tensor(output))

    def outputs_of_pass() -> list[Tensor]:
        outputs.clear()
        with hooked(block.register_forward_hook(take) for block in blocks):
            run()
        return list(outputs)

    return prove(report, used, outputs_of_pass, name)


def _read_by(names: Collection[str], model: nn.Module, used: nn.Module, run: Pass) -> list[str]:
    """The weights among ``names`` of ``model`` that a pass of ``used`` reads: setting one to NaN changes the result.

    A weight of a block or expert counts as read if any block like it was called, since other inputs may reach it.
    Weights that are computed and not learned (sinusoidal positions, counters) need not be in a checkpoint.
    """
    if not names:
        return []
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    inside = {id(tensor) for tensor in (*used.parameters(), *used.buffers())}
    before, called = _called(model, run)

    def is_read(name: str) -> bool:
        if name not in tensors:
            return True
        tensor = tensors[name]
        if id(tensor) not in inside or _is_computed(name, tensor, model):
            return False
        if not tensor.is_floating_point() or tensor.device.type == "meta":
            return True
        return _is_in_called_block(name, model, called) or _changes(tensor, before, run)

    return [name for name in names if is_read(name)]


def _is_computed(name: str, tensor: Tensor, model: nn.Module) -> bool:
    """Whether a missing weight holds values that the architecture itself computes.

    Those are the same for every seed, and not constant like the ones and zeros that norms and biases start from.
    """
    if not tensor.is_floating_point():
        return not isinstance(tensor, nn.Parameter)  # counters and positions
    initialise, (owner, _, own) = getattr(model, "_init_weights", None), name.rpartition(".")
    if initialise is None or tensor.device.type == "meta":
        return False
    values = [tensor.detach().float().cpu()]
    for seed in (0, 1):
        module = copy.deepcopy(model.get_submodule(owner))
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            initialise(module)
        values.append(getattr(module, own).detach().to(tensor.dtype).float().cpu())
    same = all(torch.allclose(values[0], value) for value in values[1:])
    return same and values[0].unique().numel() > 1


def _called(model: nn.Module, run: Pass) -> tuple[list[Tensor], set[nn.Module]]:
    """The result of a pass, and the modules that it called."""
    called: set[nn.Module] = set()

    def note(module: nn.Module, _inputs: object) -> None:
        called.add(module)

    with hooked(module.register_forward_pre_hook(note) for module in model.modules()):
        result = [layer.clone() for layer in run()]
    return result, called


def _is_in_called_block(name: str, model: nn.Module, called: Collection[nn.Module]) -> bool:
    parts = name.split(".")
    for depth in range(1, len(parts)):
        container = model.get_submodule(".".join(parts[:depth]))
        if isinstance(container, nn.ModuleList) and any(
            module in called for like in container for module in like.modules()
        ):
            return True
    return False


def _changes(tensor: Tensor, before: list[Tensor], run: Pass) -> bool:
    """Whether a pass gives another result, or fails, while ``tensor`` is NaN."""
    kept = tensor.detach().clone()
    tensor.data.fill_(math.nan)
    try:
        return distance(before, run()) > 0.01  # a NaN gives infinity, rounding far less than this
    except Exception:  # a failure because of the NaN means that it was read
        return True
    finally:
        tensor.data.copy_(kept)


def _refuse_lost(report: LoadReport, used: nn.Module, name: str) -> None:
    """Raise ModelError for weights of the checkpoint that a pass should read but the architecture lacks."""
    if not report.unexpected:
        return
    where = f"model {name!r}: the checkpoint {report.root}"
    if adapters := [key for key in report.unexpected if _ADAPTER.search(key)]:
        raise ModelError(f"{where} has the weights of an adapter ({some(adapters)}), left out: merge it.")
    if scales := [key for key in report.unexpected if _QUANTISATION.search(key)]:
        raise ModelError(
            f"{where} has scales of quantised weights ({some(scales)}) that would be left out; give the "
            "full weights, or a config.json with its quantization_config."
        )
    blocks, biases = _left_out_blocks(report), _left_out_weights(report, used)
    if lost := [*blocks, *biases]:
        what = "blocks" if blocks else "weights"
        if not report.chosen:
            raise ModelError(
                f"{where} has {what} that its config.json has no place for: {some(lost)}; fix config.json, "
                "or say in 'model_args' that they are to be left out."
            )
        log.warning("%s has %s that model_args leaves out: %s", where, what, some(lost))
    elif report.strict:
        raise ModelError(
            f"{where} has weights that {type(report.model).__name__} has no place for: {some(report.unexpected)}; fix "
            "config.json, or give the checkpoint of this architecture."
        )
    elif rest := [key for key in report.unexpected if re.search(r"\.\d+\.", key)]:
        log.warning("%s has weights that are not used: %s", where, some(rest))


def _left_out_blocks(report: LoadReport) -> list[str]:
    """Names in the checkpoint that belong to a block beyond the last one of a list or sequence in the model."""
    shared = _shared_prefix(report.model)
    known = {key.removeprefix(shared) for key in report.model.state_dict()}
    lost = []
    for name, part in report.model.named_modules():
        if not isinstance(part, nn.ModuleList | nn.Sequential) or not len(part):
            continue
        prefix = f"{name}.".removeprefix(shared)
        tails = {key.removeprefix(prefix).split(".", 1)[-1] for key in known if key.startswith(prefix)}
        further: dict[str, list[str]] = {}
        for key in report.unexpected:
            number, _, tail = key.removeprefix(shared).removeprefix(prefix).partition(".")
            if key.removeprefix(shared).startswith(prefix) and number.isdigit() and int(number) >= len(part):
                further.setdefault(number, []).append(tail)
        for number, names in further.items():  # blocks for multi-token prediction have other weights, and do not count
            if all(tail in tails or ".experts." in f".{tail}" for tail in names):
                lost += [f"{prefix}{number}.{tail}" for tail in names]
    return lost


def _shared_prefix(model: nn.Module) -> str:
    """The prefix of the headless part's names in a model with a head; for other models a prefix that no name has."""
    return f"{getattr(model, 'base_model_prefix', '') or '-'}."


def _left_out_weights(report: LoadReport, used: nn.Module) -> list[str]:
    """Weights and biases in the checkpoint of modules that are part of the pass but have no such parameter."""
    shared = _shared_prefix(report.model)
    inside = set(used.modules())
    leaves = {
        name.removeprefix(shared): module
        for name, module in report.model.named_modules()
        if module in inside and not any(True for _ in module.children()) and any(True for _ in module.parameters())
    }
    split = {key: key.removeprefix(shared).rpartition(".") for key in report.unexpected}
    return [key for key, (module, _, kind) in split.items() if module in leaves and kind in ("weight", "bias")]


def _refuse_damaged(used: nn.Module, name: str) -> None:
    """Raise ModelError for weights that are unfilled, NaN or infinite, and for a block or embedding of zeros."""
    empty: dict[str, list[bool]] = {}
    for key, weight in used.named_parameters():
        if weight.device.type == "meta":
            if not _is_offloaded(used, key):
                raise ModelError(f"model {name!r}: the weight {key} was never filled (it is on the meta device).")
            continue
        if not weight.is_floating_point() or weight.numel() == 0 or weight.element_size() < 2:
            continue
        low, high = (float(bound) for bound in torch.aminmax(weight.detach()))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ModelError(f"model {name!r}: the weight {key} of the checkpoint holds NaN or infinite numbers.")
        if weight.ndim > 1 and weight.numel() > 1:
            block = re.match(r".*?\.\d+(?=\.)", f".{key}")
            empty.setdefault(block.group()[1:] if block else key, []).append(low == high == 0)
    embeddings = {key for key, part in used.named_modules() if isinstance(part, nn.Embedding)}
    table = input_embeddings(used)
    for part, zeros in empty.items():
        owner = part.rpartition(".")[0]
        vital = part.rpartition(".")[2].isdigit() or (owner in embeddings and used.get_submodule(owner) is table)
        if vital and all(zeros):
            raise ModelError(
                f"model {name!r}: all weights of {part} in the checkpoint are zero; it was not saved whole."
            )


def input_embeddings(module: nn.Module) -> nn.Module | None:
    """The module that embeds the vocabulary, or None if the model does not say which it is."""
    try:
        return module.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None


def _is_offloaded(module: nn.Module, key: str) -> bool:
    """Whether accelerate has offloaded the weight ``key`` and loads it when it is needed."""
    return getattr(module.get_submodule(key.rpartition(".")[0]), "_hf_hook", None) is not None
