"""What loading has in common for all models: device, type of numbers, configuration and placement.

Only safetensors and ``weights_only`` PyTorch files are read.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from prh.models import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

log = logging.getLogger(__name__)


def parameter_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def choose_device(wanted: str = "auto") -> str:
    """``cuda`` or ``cpu``; auto takes a GPU where there is one. Raises ModelError for cuda where there is none."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ModelError("device 'cuda' is asked for and there is no GPU here; set compute.device: auto.")
    device = "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    log.info("device: %s (%s)", device, name)
    return device


def choose_dtype(wanted: str, device: str) -> torch.dtype:
    """The torch dtype of an entry; auto: bfloat16 on a GPU that has it, else float32."""
    if wanted == "auto":
        return torch.bfloat16 if device == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    return getattr(torch, wanted)


def timm_model(entry: Mapping, root: Path | None, *, pretrained: bool) -> nn.Module:
    """The timm model of an entry; with the weights of ``root``, if that is a folder and they are wanted."""
    import timm

    from prh import architectures  # noqa: F401  (adds to timm's registry)

    if root is not None and root.is_dir():
        return timm.create_model(f"local-dir:{root}", pretrained=pretrained, **entry["model_args"])
    return timm.create_model(entry["id"], pretrained=False, **entry["model_args"])


def auto_model(entry: Mapping, root: Path | None, device: str, dtype: torch.dtype) -> tuple[nn.Module, bool]:
    """The headless model of a transformers folder, without a cache of keys and values; encoders only of pairs.

    Also says whether it lies on its devices already, as it does with ``device_map`` or ``quantisation``.
    """
    from transformers import AutoModel

    config, trust = auto_config(entry, root), entry["trust_remote_code"]
    placement = placing(entry, device, dtype)
    if root is None:
        torch.manual_seed(entry["seed"])
        model = AutoModel.from_config(config, dtype=dtype, trust_remote_code=trust)
    else:
        settings = {"local_files_only": True, "trust_remote_code": trust, "weights_only": True, **placement}
        model = AutoModel.from_pretrained(root, config=config, dtype=dtype, **settings)
    return model.get_encoder() if getattr(config, "is_encoder_decoder", False) else model, bool(placement)


def auto_config(entry: Mapping, root: Path | None) -> PreTrainedConfig:
    """The transformers configuration of an entry, its ``model_args`` put in."""
    from transformers import AutoConfig

    folder = root or entry["path"]
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=entry["trust_remote_code"])
    config.use_cache = False
    for key, value in entry["model_args"].items():
        setattr(config, key, value)
    return config


def placing(entry: Mapping, device: str, dtype: torch.dtype) -> dict[str, object]:
    """Arguments of ``from_pretrained`` for models that do not fit one device: {} without device_map and quantisation.

    ``device_map`` auto spreads the blocks over the GPUs that the job holds (none, for device "cpu"), then memory, then
    disk. Raises ModelError for a quantisation where its library is not installed.
    """
    arguments: dict[str, object] = {}
    if entry.get("device_map") is not None:
        from accelerate.utils import get_max_memory

        memory = {place: size for place, size in get_max_memory().items() if device != "cpu" or place == "cpu"}
        arguments |= {"device_map": entry["device_map"], "max_memory": memory}
    if (bits := entry.get("quantisation")) is not None:
        if not is_installed("bitsandbytes"):
            raise ModelError(
                f"model '{entry['name']}': quantisation {bits} needs the package bitsandbytes, which is not installed; "
                "install it (pip install bitsandbytes) or set quantisation: null."
            )
        from transformers import BitsAndBytesConfig

        fours = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
        settings = fours if bits == "4bit" else {"load_in_8bit": True}
        arguments["quantization_config"] = BitsAndBytesConfig(**settings)
        arguments.setdefault("device_map", {"": device})
    return arguments


def is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def count_parameters(entry: Mapping, root: Path | None = None) -> int:
    """Parameters of the released model of an entry, its heads included, counted without weights (on the meta device).

    ``root`` is the folder with config.json (None: the entry's ``path``, or, for timm, its ``id``). A transformers model
    is built as the class that its config names, so quantised and headless models count as what they come from.
    """
    import transformers

    with torch.device("meta"):
        if entry["library"] == "timm":
            return parameter_count(timm_model(entry, root, pretrained=False))
        config = auto_config(entry, root)
        released = getattr(transformers, (config.architectures or [""])[0], None)
        if released is None:
            auto = transformers.AutoModel.from_config(config, trust_remote_code=entry["trust_remote_code"])
            return parameter_count(auto)
        return parameter_count(released(config))
