"""Vision: images in, one pooled vector per block out.

A layer is the output of a block of the transformer or convolutional stage. A hook pools it on its device as soon as it
is computed, so that the full stack of hidden states never exists. How each layer is pooled is proved when the model is
loaded.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor, nn

from prh.io import images
from prh.models import vision_loading, vision_proofs
from prh.models.blocks import find_layers
from prh.models.hooks import hooked
from prh.models.layouts import prove_layouts
from prh.models.loading import parameter_count
from prh.models.pooling import Layout, pool
from prh.models.repositories import ModelError
from prh.models.selftest import SelfTest

if TYPE_CHECKING:
    from prh.experiment.schema import VisionModel


class VisionEncoder:
    """Images in, one pooled vector per block out.

    ``module`` is on its devices already, in its dtype. ``transform`` maps a PIL image to a [3, H, W] tensor; ``decode``
    applies it to encoded bytes and can run in other processes. It may return bytes (uint8), a quarter of the size of
    floats: they are normalised on the device, with the ``mean`` and ``std`` of each channel for values from 0 to 1.
    ``encode`` maps [batch, 3, H, W] to a list of float32 [batch, width_l] per layer. ``layouts``: how to pool each of
    the layers that ``layers`` matches (`prh.models.layouts`). ``parameters``: their number, if the module's own are not
    to be counted. ``selftest``: what the model has proved.
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
        self.selftest = SelfTest()

    def decode(self, content: bytes) -> Tensor:
        """The tensor that the model takes for an encoded image."""
        return self.transform(images.decode(content))

    @torch.inference_mode()
    def encode(self, images: Tensor) -> list[Tensor]:
        """Pooled outputs of a batch of decoded images, a list of float32 [batch, width_l] per layer."""
        pooled: dict[int, Tensor] = {}

        def take(number: int) -> Callable:
            def hook(_module: nn.Module, _inputs: object, output: object) -> None:
                pooled[number] = pool(output, self.layouts[number], self.pooling, len(images)).to(self.device)

            return hook

        with hooked(module.register_forward_hook(take(number)) for number, (_, module) in enumerate(self._layers)):
            self.module(self.as_input(images))
        return [pooled[number] for number in range(len(self._layers))]

    def encode_in_double(self, images: Tensor) -> list[Tensor]:
        """`encode` with a float64 copy of the module."""
        double = copy.copy(self)
        double.module, double.dtype = copy.deepcopy(self.module).double(), torch.float64
        double._layers = [(name, double.module.get_submodule(name)) for name in self.layer_names]
        return double.encode(images)

    def as_input(self, images: Tensor) -> Tensor:
        """Decoded images as the module takes them: on its device, normalised, in its dtype, channels last."""
        return normalised(images, self._colours, self.device, self.dtype)


Colours = tuple[Tensor, Tensor]
"""Shift and scale that normalise bytes, [channels, 1, 1] each."""


def colours_of(mean: Sequence[float], std: Sequence[float], device: str) -> Colours:
    """``mean`` and ``std`` of each channel, given for values from 0 to 1, as `Colours` for bytes on ``device``."""
    shift, scale = (255 * torch.tensor(values, device=device).view(-1, 1, 1) for values in (mean, std))
    return shift, scale


def normalised(images: Tensor, colours: Colours, device: str, dtype: torch.dtype) -> Tensor:
    """Images on ``device`` in ``dtype``, channels last; bytes are normalised with ``colours``."""
    images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
    if images.dtype == torch.uint8:
        images = torch.sub(images, colours[0]).div_(colours[1])
    return images.to(dtype)


def choose_pooling(wanted: str, names: Sequence[str], layouts: Sequence[Layout]) -> str:
    """``wanted``, or for ``auto`` the class token if every layer of tokens has one, otherwise the mean over the image.

    Raises ModelError if ``cls`` is wanted and a layer of tokens has no class token, or no layer has tokens.
    """
    tokens = [(name, layout) for name, layout in zip(names, layouts, strict=True) if len(layout.places) == 1]
    without = [name for name, layout in tokens if layout.class_token is None]
    if wanted == "auto":
        return "cls" if tokens and not without else "gap"
    if wanted == "cls" and (without or not tokens):
        where = f"layer {without[0]}" if tokens and len(without) < len(tokens) else "this model"
        raise ModelError(f"pooling 'cls' needs a class token and {where} has none; use 'gap' or 'mean'.")
    return wanted


def load(entry: VisionModel, root: Path | None, device: str, dtype: torch.dtype) -> VisionEncoder:
    """The encoder of a vision entry, self-tested, with weights from ``root`` (None: random weights).

    Raises ModelError if files are missing or damaged, if the layout of a layer cannot be proved, or if the model fails
    its self-test.
    """
    build = vision_loading.from_timm if entry.library == "timm" else vision_loading.from_transformers
    return proved(entry, build(entry, root, device, dtype), device, dtype)


def proved(entry: VisionModel, parts: vision_loading.Parts, device: str, dtype: torch.dtype) -> VisionEncoder:
    """The encoder of an entry made of ``parts``, self-tested. Raises ModelError like `load`."""
    model = f"model {entry.name!r}"
    examples = vision_proofs.example_images(parts.transform, model)
    # noise, because padding by the preprocessing would be the same in both images, just as learned tokens are
    noise = torch.randn(examples.shape, generator=torch.Generator().manual_seed(0))
    images = normalised(noise, colours_of(parts.mean, parts.std, device), device, dtype)
    layers, asked = find_layers(parts.module, entry.layers), entry.layers is not None
    layouts = prove_layouts(
        parts.module,
        layers,
        images,
        parts.twin,
        declared_widths(parts.module),
        whole=not asked,
        model=model,
    )
    encoder = VisionEncoder(
        parts.module,
        parts.transform,
        layouts,
        mean=parts.mean,
        std=parts.std,
        pooling=entry.pooling,
        layers=entry.layers,
        device=device,
        dtype=dtype,
        parameters=parts.parameters,
    )
    results = {
        "weights": parts.weights,
        "pooled axis": vision_proofs.layouts_in_words(encoder.layer_names, layouts),
    }
    if entry.selftest:
        results |= vision_proofs.prove_repeatable(
            encoder.encode, examples, encoder.layer_names, model=model, dtype=dtype, exact=encoder.encode_in_double
        )
    encoder.selftest = SelfTest(results)
    return encoder


def declared_widths(module: nn.Module) -> set[int]:
    """The widths that a model declares for its layers."""
    stages = getattr(module, "feature_info", None) or []
    stages = getattr(stages, "info", stages)
    widths = {stage["num_chs"] for stage in stages if isinstance(stage, Mapping) and "num_chs" in stage}
    config = getattr(module, "config", None)
    for source, names in ((module, ("num_features", "embed_dim")), (config, ("hidden_size", "hidden_sizes", "dims"))):
        for name in names:
            value = getattr(source, name, None)
            widths |= set(value) if isinstance(value, list | tuple) else {value}
    return {width for width in widths if isinstance(width, int)}
