"""Loading vision models of timm and transformers: the module, its image preprocessing, and a twin for other sizes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor, nn

from prh.models import companion_files, vision_proofs, weights
from prh.models.blocks import find_layers, vision_part
from prh.models.folding import fold_norms
from prh.models.layouts import Twin
from prh.models.loading import (
    Loaded,
    auto_config,
    count_parameters,
    load_auto,
    load_timm,
    parameter_count,
    timm_architecture,
    without_decoder,
)
from prh.models.repositories import ModelError, first_line

if TYPE_CHECKING:
    from prh.experiment.schema import VisionModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What a `VisionEncoder` is made of, with ``module`` on its devices in its dtype.

    ``twin`` builds the module again without weights for another image size (`prh.models.layouts.Twin`). ``weights``:
    what was proved of the weights, in words.
    """

    module: nn.Module
    transform: Callable[[Image.Image], Tensor]
    twin: Twin
    parameters: int
    weights: str
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)


def from_timm(entry: VisionModel, root: Path | None, device: str, dtype: torch.dtype) -> Parts:
    """A timm model with weights from ``root``, a folder or a checkpoint file (None: random weights)."""
    from timm.data import create_transform, resolve_model_data_config

    torch.manual_seed(entry.seed)
    loaded = load_timm(entry, root)
    model = loaded.model.eval()
    size = entry.model_args.get("img_size")
    preparation = resolve_model_data_config(model, args={} if size is None else {"img_size": size})
    parameters = parameter_count(model)
    image = torch.randn(1, *preparation["input_size"])
    proved = _proved_weights(loaded, model, entry, image)  # before folding, which changes the weights
    if device == "cpu":  # on a GPU it gains little, and 16-bit dtypes would round differently
        model = _folded(model, image, entry)

    def twin(size: tuple[int, int] | None) -> nn.Module | None:
        changed = {} if size is None else {"img_size": size}
        other = entry.model_copy(update={"model_args": {**entry.model_args, **changed}})
        built = _without_weights(lambda: timm_architecture(other, root), size)
        return None if built is None else built.eval()

    return Parts(
        module=place(model, device, dtype),
        transform=create_transform(**preparation, is_training=False, normalize=False),
        twin=twin,
        parameters=parameters,
        weights=proved,
        mean=preparation["mean"],
        std=preparation["std"],
    )


def _folded(model: nn.Module, image: Tensor, entry: VisionModel) -> nn.Module:
    names = [name for name, _ in find_layers(model, entry.layers)]
    try:
        return fold_norms(model, image, names)
    except Exception as error:  # the model does not take such an image, as the self-test will report
        log.debug("no norms folded: %s", error)
        return model.eval()


def place(model: nn.Module, device: str, dtype: torch.dtype) -> nn.Module:
    """``model`` on ``device`` in ``dtype``, with channels last unless a kernel has a third axis (time)."""
    flat = all(parameter.ndim <= 4 for parameter in model.parameters())
    return model.to(device=device, dtype=dtype, memory_format=torch.channels_last if flat else torch.preserve_format)


def from_transformers(entry: VisionModel, root: Path | None, device: str, dtype: torch.dtype) -> Parts:
    """A transformers model with weights from the folder ``root`` (None: random weights), reduced to its image tower."""
    loaded = load_auto(entry, root, device, dtype)
    model = _without_mask(vision_part(without_decoder(loaded.model)), entry).eval()
    if not loaded.placed:
        place(model, device, dtype)
    transform = ProcessorTransform(_processor(entry, root))
    image = vision_proofs.example_images(transform, f"model {entry.name!r}")[:1].to(device, dtype)

    def twin(size: tuple[int, int] | None) -> nn.Module | None:
        from transformers import AutoModel

        config = auto_config(entry, root)
        if size is not None and not list(_resize(config, size)):
            return None
        trust = entry.trust_remote_code
        built = _without_weights(lambda: AutoModel.from_config(config, trust_remote_code=trust), size)
        return None if built is None else _without_mask(vision_part(without_decoder(built)), entry).eval()

    return Parts(
        module=model,
        transform=transform,
        twin=twin,
        parameters=count_parameters(entry, root),
        weights=_proved_weights(loaded, model, entry, image),
    )


def _without_weights(build: Callable[[], nn.Module], size: tuple[int, int] | None) -> nn.Module | None:
    """What ``build`` returns on the meta device; None if the model cannot be built there or for this image ``size``."""
    try:
        with torch.device("meta"):
            return build()
    except Exception as error:  # one fixed size, a constructor that takes no size, or one that needs weights
        log.debug("no model for images of %s: %s", size, error)
        return None


def _proved_weights(loaded: Loaded, model: nn.Module, entry: VisionModel, image: Tensor) -> str:
    """Prove, in a pass over ``image``, that all weights up to the last layer came from the checkpoint; in words."""
    if not entry.selftest:
        return "not proved, by selftest: false of the entry"
    blocks = [block for _, block in find_layers(model, entry.layers)]
    return weights.prove_blocks(loaded.report, model, blocks, lambda: model(image), entry.name)


def _resize(config: object, size: tuple[int, int]) -> Iterator[object]:
    """Set the image size in a configuration and its nested ones; yields each that has an image size."""
    for name in ("image_size", "img_size", "input_size"):
        old = getattr(config, name, None)
        if isinstance(old, list | tuple) and len(old) == 2:
            setattr(config, name, type(old)(size))
            yield config
        elif isinstance(old, int):
            setattr(config, name, size[0])
            yield config
    for name in getattr(config, "sub_configs", {}):
        if (inner := getattr(config, name, None)) is not None:
            yield from _resize(inner, size)


def _without_mask(model: nn.Module, entry: VisionModel) -> nn.Module:
    """``model``, changed so that a masked autoencoder (ViTMAE) sees all patches of an image in order.

    As published, it drops three quarters of the patches at random and shuffles the rest, even in evaluation mode. A
    mask_ratio in the entry's model_args is kept; the model is then refused if two passes differ.
    """
    ratio = getattr(getattr(model, "config", None), "mask_ratio", None)
    embeddings = getattr(model, "embeddings", None)
    if ratio is None or not hasattr(embeddings, "random_masking") or entry.model_args.get("mask_ratio"):
        return model
    for config in (model.config, embeddings.config):
        config.mask_ratio = 0.0

    def in_order(module: nn.Module, arguments: tuple, named: dict) -> tuple[tuple, dict]:
        images = arguments[0] if arguments else named["pixel_values"]
        order = torch.arange(module.patch_embeddings.num_patches, device=images.device, dtype=torch.float32)
        return arguments[:1], {**named, "noise": order.expand(len(images), -1)}

    embeddings.register_forward_pre_hook(in_order, with_kwargs=True)
    return model


def _processor(entry: VisionModel, root: Path | None) -> Callable:
    from transformers import AutoImageProcessor

    folder = root or entry.path
    companion_files.require_whole(Path(folder))
    try:
        return AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=entry.trust_remote_code
        )
    except (OSError, ValueError) as error:
        missing = (
            "no preprocessor_config.json"
            if not _has_processor(folder)
            else "no image processor that loads (preprocessor_config.json)"
        )
        raise ModelError(
            f"{folder} has {missing}, so it is unknown how to prepare its images; add the file that the model was "
            f"published with ({first_line(error)})."
        ) from error


def _has_processor(folder: Path | str) -> bool:
    return any((Path(folder) / name).is_file() for name in ("preprocessor_config.json", "processor_config.json"))


class ProcessorTransform:
    """A transformers image processor as a transform of one image; a class, so that worker processes can unpickle it."""

    def __init__(self, processor: Callable) -> None:
        self.processor = processor

    def __call__(self, image: Image.Image) -> Tensor:
        """The pixels of one image as the model takes them. Raises ModelError if the processor returns no pixels."""
        prepared = self.processor(image, return_tensors="pt")
        if not isinstance(prepared, Mapping) or "pixel_values" not in prepared:
            names = ", ".join(prepared) if isinstance(prepared, Mapping) else f"a {type(prepared).__name__}"
            raise ModelError(
                f"{type(self.processor).__name__} gives {names} and no pixel_values; only models that take pixels can "
                "be read."
            )
        return prepared["pixel_values"][0]
