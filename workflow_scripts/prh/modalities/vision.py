"""Vision: images in, one pooled vector per block out.

A layer is the output of a block (of the transformer, or of a convolutional stage). It is pooled on the device by a hook
the moment it is computed, so that the full stack of hidden states never exists. How each one is pooled is proved when
the model is loaded.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from prh import checkpoints, vision_proofs
from prh.blocks import find_layers, vision_part
from prh.folding import fold_norms
from prh.hooks import hooked
from prh.layouts import Twin, prove_layouts
from prh.loading import auto_config, auto_model, count_parameters, parameter_count, timm_model
from prh.models import ModelError
from prh.pooling import Layout, pool, pool_image

__all__ = ["VisionEncoder", "load", "pool_image"]

log = logging.getLogger(__name__)


class VisionEncoder:
    """Images in, one pooled vector per block out.

    ``module`` lies on its devices, in its types. ``transform`` maps a PIL image to a [3, H, W] tensor; ``decode``
    applies it to encoded bytes and can run in other processes. A tensor of bytes (uint8) is a quarter of one of floats
    to pass on: it is normalised on the device, with ``mean`` and ``std`` of each channel (of values from 0 to 1).
    ``encode`` maps [batch, 3, H, W] to a list of float32 [batch, width_l]. ``layouts``: how each layer that ``layers``
    matches is pooled, see `prh.layouts`. ``parameters``: their number, where those of the module are not to be counted.
    ``selftest``: what the model has proved, by name.
    """

    def __init__(
        self,
        module: nn.Module,
        transform: Callable[[Image.Image], Tensor],
        layouts: Sequence[Layout],
        *,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        pooling: str = "auto",
        layers: str | None = None,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        parameters: int | None = None,
    ) -> None:
        self.parameters = parameter_count(module) if parameters is None else parameters
        self.module = module.eval()
        self.transform, self.device, self.dtype = transform, device, dtype
        self._colours = colours_of(mean, std, device)
        self._layers = find_layers(self.module, layers)
        self.layer_names = [name for name, _ in self._layers]
        if len(layouts) != len(self._layers):
            raise ModelError(f"{len(layouts)} layouts for {len(self._layers)} layers.")
        self.layouts = list(layouts)
        self.pooling = choose_pooling(pooling, self.layer_names, self.layouts)
        self.selftest: dict[str, str] = {}

    def decode(self, content: bytes) -> Tensor:
        """An encoded image as the tensor that the model wants."""
        with Image.open(io.BytesIO(content)) as image:
            return self.transform(image.convert("RGB"))

    @torch.inference_mode()
    def encode(self, images: Tensor) -> list[Tensor]:
        """Pooled outputs of every layer for a batch of decoded images."""
        pooled: dict[int, Tensor] = {}

        def take(number: int) -> Callable:
            def hook(_module: nn.Module, _inputs: object, output: object) -> None:
                pooled[number] = pool(output, self.layouts[number], self.pooling, len(images)).to(self.device)

            return hook

        with hooked(module.register_forward_hook(take(number)) for number, (_, module) in enumerate(self._layers)):
            self.module(self.as_input(images))
        return [pooled[number] for number in range(len(self._layers))]

    def as_input(self, images: Tensor) -> Tensor:
        """Decoded images as the module takes them: on its device, normalised, in its type, channels last."""
        return normalised(images, self._colours, self.device, self.dtype)


Colours = tuple[Tensor, Tensor]
"""What is subtracted from bytes, and what they are divided by: [channels, 1, 1] each."""


def colours_of(mean: Sequence[float], std: Sequence[float], device: str) -> Colours:
    """``mean`` and ``std`` of each channel (of values from 0 to 1) for bytes, on ``device``."""
    shift, scale = (255 * torch.tensor(values, device=device).view(-1, 1, 1) for values in (mean, std))
    return shift, scale


def normalised(images: Tensor, colours: Colours, device: str, dtype: torch.dtype) -> Tensor:
    """Images on ``device`` in ``dtype``, channels last; bytes become numbers of mean 0 and deviation 1."""
    images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
    if images.dtype == torch.uint8:
        images = torch.sub(images, colours[0]).div_(colours[1])
    return images.to(dtype)


def choose_pooling(wanted: str, names: Sequence[str], layouts: Sequence[Layout]) -> str:
    """``wanted``, or for ``auto`` the class token where every layer of tokens has one, else the mean over the image.

    Raises ModelError for ``cls`` where a layer of tokens, or every layer, has no class token.
    """
    tokens = [(name, layout) for name, layout in zip(names, layouts, strict=True) if len(layout.places) == 1]
    without = [name for name, layout in tokens if layout.class_token is None]
    if wanted == "auto":
        return "cls" if tokens and not without else "gap"
    if wanted == "cls" and (without or not tokens):
        where = f"layer {without[0]}" if tokens and len(without) < len(tokens) else "this model"
        raise ModelError(f"pooling 'cls' needs a class token and {where} has none; use 'gap' or 'mean'.")
    return wanted


def load(entry: Mapping, root: Path | None, device: str, dtype: torch.dtype) -> VisionEncoder:
    """The encoder of a vision entry, with weights from ``root`` (None for random ones), proved."""
    if entry["library"] == "timm":
        return _load_timm(entry, root, device, dtype)
    return _load_transformers(entry, root, device, dtype)


def _proved(
    module: nn.Module,
    transform: Callable[[Image.Image], Tensor],
    entry: Mapping,
    twin: Twin,
    *,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    device: str,
    dtype: torch.dtype,
    parameters: int,
) -> VisionEncoder:
    """The encoder of ``module``, after it has proved how its layers are pooled and that it repeats itself."""
    model = f"model '{entry['name']}'" if "name" in entry else type(module).__name__
    module.eval()
    examples = vision_proofs.example_images(transform, model)
    # noise, since a preparation may pad images: what it pads with would be the same for both, as learned tokens are
    noise = torch.randn(examples.shape, generator=torch.Generator().manual_seed(0))
    images = normalised(noise, colours_of(mean, std, device), device, dtype)
    layers = find_layers(module, entry["layers"])
    layouts = prove_layouts(module, layers, images, twin, _widths(module), whole=entry["layers"] is None)
    encoder = VisionEncoder(
        module,
        transform,
        layouts,
        mean=mean,
        std=std,
        pooling=entry["pooling"],
        layers=entry["layers"],
        device=device,
        dtype=dtype,
        parameters=parameters,
    )
    encoder.selftest = {"pooled axis": vision_proofs.layouts_in_words(encoder.layer_names, layouts)}
    encoder.selftest |= vision_proofs.prove_repeatable(
        encoder.encode, examples, encoder.layer_names, model=model, dtype=dtype
    )
    log.info("%s, pooled by %s: %s", model, encoder.pooling, encoder.selftest)
    return encoder


def _place(model: nn.Module, device: str, dtype: torch.dtype) -> nn.Module:
    """``model`` on ``device`` in ``dtype``, its kernels channels last, where they have no third axis for time."""
    flat = all(parameter.ndim <= 4 for parameter in model.parameters())
    return model.to(device=device, dtype=dtype, memory_format=torch.channels_last if flat else torch.preserve_format)


def _widths(module: nn.Module) -> set[int]:
    """The widths that a model says its layers have."""
    stages = getattr(module, "feature_info", None) or []
    stages = getattr(stages, "info", stages)
    widths = {stage["num_chs"] for stage in stages if isinstance(stage, Mapping) and "num_chs" in stage}
    config = getattr(module, "config", None)
    for source, names in ((module, ("num_features", "embed_dim")), (config, ("hidden_size", "hidden_sizes", "dims"))):
        for name in names:
            value = getattr(source, name, None)
            widths |= set(value) if isinstance(value, list | tuple) else {value}
    return {width for width in widths if isinstance(width, int)}


def _load_timm(entry: Mapping, root: Path | None, device: str, dtype: torch.dtype) -> VisionEncoder:
    from timm.data import create_transform, resolve_model_data_config

    torch.manual_seed(entry["seed"])
    model = timm_model(entry, root, pretrained=True)
    if root is not None and root.is_file():
        checkpoints.fill(model, root, **entry.get("checkpoint", {}))
    size = entry["model_args"].get("img_size")
    preparation = resolve_model_data_config(model, args={} if size is None else {"img_size": size})
    parameters = parameter_count(model)
    if device == "cpu":  # elsewhere it gains little, and types of 16 bits would round other weights
        image = torch.randn(1, *preparation["input_size"])
        model = fold_norms(model, image, [name for name, _ in find_layers(model, entry["layers"])])

    def twin(size: tuple[int, int] | None) -> nn.Module | None:
        changed = {} if size is None else {"img_size": size}
        with torch.device("meta"):
            try:
                return timm_model(
                    {**entry, "model_args": {**entry["model_args"], **changed}}, root, pretrained=False
                ).eval()
            except (TypeError, AssertionError, ValueError, RuntimeError) as error:  # of one size, or of any
                log.debug("no model for images of %s: %s", size, error)
                return None

    return _proved(
        _place(model, device, dtype),
        create_transform(**preparation, is_training=False, normalize=False),
        entry,
        twin,
        mean=preparation["mean"],
        std=preparation["std"],
        device=device,
        dtype=dtype,
        parameters=parameters,
    )


def _load_transformers(entry: Mapping, root: Path | None, device: str, dtype: torch.dtype) -> VisionEncoder:
    model, placed = auto_model(entry, root, device, dtype)
    model = _without_mask(vision_part(model), entry)
    if not placed:
        _place(model, device, dtype)

    def twin(size: tuple[int, int] | None) -> nn.Module | None:
        from transformers import AutoModel

        config = auto_config(entry, root)
        if size is not None and not list(_resize(config, size)):
            return None
        with torch.device("meta"):
            try:
                built = AutoModel.from_config(config, trust_remote_code=entry["trust_remote_code"])
            except (TypeError, AssertionError, ValueError, RuntimeError) as error:
                log.debug("no model for images of %s: %s", size, error)
                return None
        if getattr(config, "is_encoder_decoder", False):
            built = built.get_encoder()
        return _without_mask(vision_part(built), entry).eval()

    return _proved(
        model,
        _ProcessorTransform(_processor(entry, root)),
        entry,
        twin,
        device=device,
        dtype=dtype,
        parameters=count_parameters(entry, root),
    )


def _resize(config: object, size: tuple[int, int]) -> Iterator[object]:
    """Set the size of images in a configuration and those inside it; gives each that has one."""
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


def _without_mask(model: nn.Module, entry: Mapping) -> nn.Module:
    """A masked autoencoder of transformers (ViTMAE) that sees the whole image, its patches in order.

    As published it leaves out three quarters of the patches at random and shuffles the others, in evaluation too. An
    entry that asks for a ratio of its own keeps it, and is refused if two passes differ.
    """
    ratio = getattr(getattr(model, "config", None), "mask_ratio", None)
    embeddings = getattr(model, "embeddings", None)
    if ratio is None or not hasattr(embeddings, "random_masking") or entry["model_args"].get("mask_ratio"):
        return model
    for config in (model.config, embeddings.config):
        config.mask_ratio = 0.0

    def in_order(module: nn.Module, arguments: tuple, named: dict) -> tuple[tuple, dict]:
        images = arguments[0] if arguments else named["pixel_values"]
        order = torch.arange(module.patch_embeddings.num_patches, device=images.device, dtype=torch.float32)
        return arguments[:1], {**named, "noise": order.expand(len(images), -1)}

    embeddings.register_forward_pre_hook(in_order, with_kwargs=True)
    return model


def _processor(entry: Mapping, root: Path | None) -> Callable:
    from transformers import AutoImageProcessor

    folder = root or entry["path"]
    try:
        return AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=entry["trust_remote_code"]
        )
    except (OSError, ValueError) as error:
        missing = "no preprocessor_config.json" if not _has_processor(folder) else "no image processor that loads"
        reason = next(iter(str(error).strip().splitlines()), "")
        raise ModelError(
            f"{folder} has {missing}, so that it is unknown how its images are prepared; add the file that its model "
            f"was published with ({reason[:200]})."
        ) from error


def _has_processor(folder: Path | str) -> bool:
    return any((Path(folder) / name).is_file() for name in ("preprocessor_config.json", "processor_config.json"))


class _ProcessorTransform:
    """A transformers image processor as a transform of one image (a class, so that worker processes can load it)."""

    def __init__(self, processor: Callable) -> None:
        self.processor = processor

    def __call__(self, image: Image.Image) -> Tensor:
        prepared = self.processor(image, return_tensors="pt")
        if not isinstance(prepared, Mapping) or "pixel_values" not in prepared:
            names = ", ".join(prepared) if isinstance(prepared, Mapping) else f"a {type(prepared).__name__}"
            raise ModelError(
                f"{type(self.processor).__name__} gives {names} and no pixel_values; a vision model must take images as "
                "pixels."
            )
        return prepared["pixel_values"][0]
