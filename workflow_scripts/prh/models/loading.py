"""What all models share when they are loaded: device, dtype, configuration, placement, and counting parameters.

Only safetensors and ``weights_only`` PyTorch files are read, so that loading never runs code from a file of weights.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from prh.models import checkpoints, load_reports
from prh.models.repositories import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from prh.experiment.schema import LanguageModel, VisionModel

log = logging.getLogger(__name__)


def parameter_count(module: nn.Module) -> int:
    """The number of parameters in a module."""
    return sum(p.numel() for p in module.parameters())


def choose_device(wanted: str = "auto") -> str:
    """``cuda`` or ``cpu``; auto takes a GPU if there is one. Raises ModelError if cuda is wanted without a GPU."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ModelError("device 'cuda' is asked for and there is no GPU here; set compute.device: auto.")
    device = "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    log.info("device: %s (%s)", device, name)
    return device


def choose_dtype(wanted: str, device: str) -> torch.dtype:
    """The torch dtype for an entry's ``dtype``; auto means bfloat16 on a GPU that supports it, otherwise float32."""
    if wanted == "auto":
        return torch.bfloat16 if device == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    return getattr(torch, wanted)


class Loaded(NamedTuple):
    """A model as its library loaded it.

    placed: whether it is on its devices already, as with ``device_map`` or ``quantisation``. report: the input of
    `prh.models.weights.prove`; None for random weights.
    """

    model: nn.Module
    placed: bool
    report: load_reports.LoadReport | None


def load_timm(entry: VisionModel, root: Path | None) -> Loaded:
    """The timm model of an entry, with the weights in ``root``, a folder or a checkpoint file (None: random weights).

    Raises ModelError if the weights do not fit the architecture.
    """
    if root is None:
        return Loaded(timm_architecture(entry, root), placed=False, report=None)
    if root.is_file():
        model, naming = timm_architecture(entry, root), entry.checkpoint
        checkpoints.fill(model, root, state=naming.state, prefix=naming.prefix, drop=naming.drop)
        return Loaded(model, placed=False, report=load_reports.LoadReport(model, root))  # fill left nothing missing
    checkpoints.refuse_damaged(root)
    checkpoints.read_json(_required(root / "config.json"))
    with explained(entry.name, root), load_reports.recorded_loads(tolerant=entry.selftest) as loads:
        model = _built_by_timm(f"local-dir:{root}", entry.model_args, pretrained=True)
    load = next((load for load in reversed(loads) if load.module is model), None)
    if load is None:  # some architectures load .npz files without load_state_dict
        raise ModelError(f"model {entry.name!r}: timm did not load the weights in {root} as a state dict.")
    report = load_reports.LoadReport(
        model, root, load.missing, load.unexpected, chosen=bool(entry.model_args), strict=load.strict
    )
    return Loaded(model, placed=False, report=report)


def timm_architecture(entry: VisionModel, root: Path | None) -> nn.Module:
    """The timm model of an entry with random weights: what the config.json in ``root`` or else the entry's id names."""
    name = f"local-dir:{root}" if root is not None and root.is_dir() else entry.id
    return _built_by_timm(name, entry.model_args)


def _built_by_timm(name: str, model_args: Mapping[str, object], *, pretrained: bool = False) -> nn.Module:
    import timm

    from prh.models import architectures  # noqa: F401  (adds to timm's registry)

    return timm.create_model(name, pretrained=pretrained, **model_args)


def without_decoder(model: nn.Module) -> nn.Module:
    """The encoder of an encoder-decoder; any other model unchanged.

    The signature counts as well as the configuration: the saved encoder of a pair (T5EncoderModel) claims in its
    config.json not to be a pair, and transformers builds the pair from it all the same.
    """
    is_pair = getattr(model.config, "is_encoder_decoder", False) or (
        "decoder_input_ids" in inspect.signature(model.forward).parameters
    )
    return model.get_encoder() if is_pair and hasattr(model, "get_encoder") else model


def load_auto(
    entry: VisionModel | LanguageModel,
    root: Path | None,
    device: str,
    dtype: torch.dtype,
    *,
    kind: str = "AutoModel",
    cache: bool = False,
) -> Loaded:
    """The transformers model of an entry, with the weights in the folder ``root`` (None: random weights).

    kind: the transformers class that chooses the architecture, headless by default. cache: whether the model may keep
    keys and values, which speeds up generation. Raises ModelError if files are missing or damaged, or transformers
    cannot load them.
    """
    with explained(entry.name, root):
        config, trust = auto_config(entry, root), entry.trust_remote_code
        auto = _builder(config, kind)
        config.use_cache = cache
        placement = placing(entry, device, dtype)
        if root is None:
            torch.manual_seed(entry.seed)
            if hasattr(auto, "from_config"):
                model = auto.from_config(config=config, dtype=dtype, trust_remote_code=trust)
            else:  # the class of one architecture
                model = auto._from_config(config=config, dtype=dtype)
            return Loaded(model, placed=bool(placement), report=None)
        stored = checkpoints.stored_tensors(root)
        load_reports.refuse_integers(stored, config.to_dict(), root)
        model, info = auto.from_pretrained(
            root,
            config=config,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=trust,
            weights_only=True,
            key_mapping=load_reports.renames(stored) or None,
            ignore_mismatched_sizes=True,  # listed in the report, and refused by the proof
            output_loading_info=True,
            **placement,
        )
    shapes = {name: f"{tuple(file)} for {tuple(own)}" for name, file, own in info["mismatched_keys"]}
    report = load_reports.LoadReport(
        model,
        root,
        frozenset(info["missing_keys"]) | shapes.keys(),
        frozenset(info["unexpected_keys"]),
        shapes,
        chosen=bool(entry.model_args),
    )
    return Loaded(model, bool(placement), report)


def _builder(config: PreTrainedConfig, kind: str) -> type:
    """The transformers class that builds the architecture of ``config``.

    That is the auto class ``kind``, or the class named in the config if the auto class does not know the architecture
    (the text tower of SigLIP in a folder of its own). Raises ModelError if transformers has neither.
    """
    import transformers

    auto = getattr(transformers, kind)
    own_code = kind in (getattr(config, "auto_map", None) or {})
    if kind != "AutoModel" or own_code or type(config) in auto._model_mapping:
        return auto
    named = getattr(transformers, (config.architectures or [""])[0], None)
    if named is None:
        raise ModelError(f"transformers has no stand-alone model for model_type {config.model_type!r}; leave it out.")
    return named


def _required(path: Path) -> Path:
    if not path.is_file():
        raise ModelError(f"{path.parent} has no {path.name}, which says what the model is; fetch it as well.")
    return path


@contextmanager
def explained(name: str, root: str | Path | None) -> Iterator[None]:
    """Turn what a library raises while it loads the model ``name`` into a ModelError of one sentence.

    A ModelError, and an error for want of memory, pass as they are.
    """
    try:
        yield
    except (ModelError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # libraries raise errors of their own, some derived from Exception directly
        log.debug("the library's own error", exc_info=error)
        where = f" from {root}" if root is not None else ""
        raise ModelError(f"model {name!r} cannot be loaded{where}: {in_short(error)}") from error


def in_short(error: BaseException) -> str:
    """An error on one line: its type, unless that says nothing, and the first two lines of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:2])[:300] or "no reason is given"
    if isinstance(error, ValueError | OSError | ImportError):
        return f"{text.rstrip('.')}."
    ours = "" if isinstance(error, RuntimeError) else " (this may be a fault of prh)"
    return f"{type(error).__name__}: {text.rstrip('.')}{ours}."


def auto_config(entry: VisionModel | LanguageModel, root: Path | None) -> PreTrainedConfig:
    """The transformers configuration of an entry, with its ``model_args`` applied.

    Raises ModelError if config.json is missing, invalid, or names an architecture that transformers does not know.
    """
    from transformers import AutoConfig

    folder = Path(root or entry.path)
    settings = checkpoints.read_json(_required(folder / "config.json"))
    if "model_type" not in settings and not settings.get("auto_map"):
        raise ModelError(f"{folder / 'config.json'} has no model_type, so its architecture is unknown; fetch it again.")
    with explained(entry.name, root):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=entry.trust_remote_code)
    config.use_cache = False
    for key, value in entry.model_args.items():
        setattr(config, key, value)
    return config


def placing(entry: VisionModel | LanguageModel, device: str, dtype: torch.dtype) -> dict[str, object]:
    """Arguments of ``from_pretrained`` for an entry with device_map or quantisation; {} for any other.

    ``device_map`` auto spreads the blocks over the GPUs that the job holds (none if the device is "cpu"), then memory,
    then disk. Raises ModelError if quantisation is wanted and its library is not installed.
    """
    arguments: dict[str, object] = {}
    if entry.device_map is not None:
        from accelerate.utils import get_max_memory

        memory = {name: size for name, size in get_max_memory().items() if device != "cpu" or name == "cpu"}
        arguments |= {"device_map": entry.device_map, "max_memory": memory}
    if (bits := entry.quantisation) is not None:
        if not is_installed("bitsandbytes"):
            raise ModelError(
                f"model {entry.name!r}: quantisation {bits} needs the package bitsandbytes, which is not installed; "
                "install it (pip install bitsandbytes) or set quantisation: null."
            )
        from transformers import BitsAndBytesConfig

        four_bits = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
        settings = four_bits if bits == "4bit" else {"load_in_8bit": True}
        arguments["quantization_config"] = BitsAndBytesConfig(**settings)
        arguments.setdefault("device_map", {"": device})
    return arguments


def is_installed(package: str) -> bool:
    """Whether a package can be imported; it is not imported here."""
    return importlib.util.find_spec(package) is not None


def count_timm_parameters(architecture: str, model_args: Mapping[str, object]) -> int:
    """The number of parameters of a timm architecture with these constructor arguments, counted on the meta device."""
    with torch.device("meta"):
        return parameter_count(_built_by_timm(architecture, model_args))


def count_parameters(entry: VisionModel | LanguageModel, root: Path | None = None) -> int:
    """The number of parameters of an entry's model as it was released, heads included, counted on the meta device.

    ``root`` is the folder with config.json (None: the entry's ``path``, or, for timm, its ``id``). A transformers model
    is built as the class named in its config, so that quantised and headless models count as the model they come from.
    """
    import transformers

    with torch.device("meta"):
        if entry.library == "timm":
            return parameter_count(timm_architecture(entry, root))
        config = auto_config(entry, root)
        released = getattr(transformers, (config.architectures or [""])[0], None)
        if released is None:
            auto = transformers.AutoModel.from_config(config, trust_remote_code=entry.trust_remote_code)
            return parameter_count(auto)
        return parameter_count(released(config))
