"""Vision: images in, one pooled vector per block out.

A layer is the output of a block (of the transformer, or of a convolutional stage). It is pooled on the device by a hook
the moment it is computed, so that the full stack of hidden states never exists.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from prh import checkpoints
from prh.blocks import find_layers
from prh.folding import fold_norms
from prh.hooks import hooked
from prh.loading import auto_model, count_parameters, parameter_count, timm_model
from prh.models import ModelError

# These timm models add their class token after the blocks (ConViT: after most of them), so that blocks have none.
_LATE_CLASS_TOKEN = {"Cait", "ConVit", "VOLO", "Xcit"}


def _tensor(output: object) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def pool_image(output: Tensor, pooling: str, prefix: int, channels_last: bool) -> Tensor:
    """A block's output as one float32 vector per image, [batch, width].

    ``output`` is [batch, tokens, width] with ``prefix`` class and register tokens first, or a map [batch, width,
    height, width_px] (``channels_last``: the width of the features is last), or already [batch, width].
    """
    if output.ndim == 2:
        return output.float()
    if output.ndim == 4:
        return output.float().mean((1, 2) if channels_last else (2, 3))
    if output.ndim != 3:
        raise ModelError(
            f"a layer's output has shape {tuple(output.shape)}; only tokens, maps and vectors can be pooled."
        )
    if pooling == "cls":
        return output[:, 0].float()
    return output[:, prefix if pooling == "gap" else 0 :].float().mean(1)


class VisionEncoder:
    """Images in, one pooled vector per block out.

    ``transform`` maps a PIL image to a [3, H, W] tensor; ``decode`` applies it to encoded bytes and can run in
    other processes. A tensor of bytes (uint8) is a quarter of one of floats to pass on: it is normalised on the device,
    with ``mean`` and ``std`` of each channel (of values from 0 to 1). ``encode`` maps [batch, 3, H, W] to a list of
    float32 [batch, width_l]. ``placed``: the module lies on its devices, in its types. ``parameters``: their number,
    where those of the module are not to be counted.
    """

    def __init__(
        self,
        module: nn.Module,
        transform: Callable[[Image.Image], Tensor],
        *,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        pooling: str = "auto",
        layers: str | None = None,
        prefix: int = 0,
        class_token: bool = False,
        channels_last: bool = False,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        placed: bool = False,
        parameters: int | None = None,
    ) -> None:
        if pooling == "cls" and not class_token:
            raise ModelError("pooling 'cls' needs a class token and this model has none; use 'gap' or 'mean'.")
        self.parameters = parameter_count(module) if parameters is None else parameters
        self.pooling = ("cls" if class_token else "gap") if pooling == "auto" else pooling
        self.module = module.eval()
        if not placed:
            self.module.to(device=device, dtype=dtype, memory_format=torch.channels_last)
        self.transform, self.device, self.dtype = transform, device, dtype
        self._mean, self._std = (255 * torch.tensor(values, device=device).view(-1, 1, 1) for values in (mean, std))
        self._prefix, self._channels_last = prefix, channels_last
        self._layers = find_layers(self.module, layers)
        self.layer_names = [name for name, _ in self._layers]

    def decode(self, content: bytes) -> Tensor:
        """An encoded image as the tensor that the model wants."""
        with Image.open(io.BytesIO(content)) as image:
            return self.transform(image.convert("RGB"))

    @torch.inference_mode()
    def encode(self, images: Tensor) -> list[Tensor]:
        """Pooled outputs of every layer for a batch of decoded images."""
        pooled: list[Tensor] = []

        def take(_module: nn.Module, _inputs: object, output: object) -> None:
            vectors = pool_image(_tensor(output), self.pooling, self._prefix, self._channels_last)
            pooled.append(vectors.to(self.device))

        with hooked(module.register_forward_hook(take) for _, module in self._layers):
            self.module(self.as_input(images))
        return pooled

    def as_input(self, images: Tensor) -> Tensor:
        """Decoded images as the module takes them: on its device, normalised, in its type, channels last."""
        images = images.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        if images.dtype == torch.uint8:
            images = torch.sub(images, self._mean).div_(self._std)
        return images.to(self.dtype)


def load(entry: Mapping, root: Path | None, device: str, dtype: torch.dtype) -> VisionEncoder:
    """The encoder of a vision entry, with weights from ``root`` (None for random ones)."""
    if entry["library"] == "timm":
        return _load_timm(entry, root, device, dtype)
    return _load_transformers(entry, root, device, dtype)


def _load_timm(entry: Mapping, root: Path | None, device: str, dtype: torch.dtype) -> VisionEncoder:
    from timm.data import create_transform, resolve_model_data_config

    torch.manual_seed(entry["seed"])
    model = timm_model(entry, root, pretrained=True)
    if root is not None and root.is_file():
        checkpoints.fill(model, root, **entry.get("checkpoint", {}))
    size = entry["model_args"].get("img_size")
    preparation = resolve_model_data_config(model, args={} if size is None else {"img_size": size})
    prefix = 0 if type(model).__name__ in _LATE_CLASS_TOKEN else getattr(model, "num_prefix_tokens", 0)
    parameters = parameter_count(model)
    if device == "cpu":  # elsewhere it gains little, and types of 16 bits would round other weights
        image = torch.randn(1, *preparation["input_size"])
        model = fold_norms(model, image, [name for name, _ in find_layers(model, entry["layers"])])
    return VisionEncoder(
        model,
        create_transform(**preparation, is_training=False, normalize=False),
        mean=preparation["mean"],
        std=preparation["std"],
        pooling=entry["pooling"],
        layers=entry["layers"],
        prefix=prefix,
        class_token=prefix > 0 and getattr(model, "cls_token", None) is not None,
        channels_last=getattr(model, "output_fmt", "NCHW") == "NHWC",
        device=device,
        dtype=dtype,
        parameters=parameters,
    )


def _load_transformers(entry: Mapping, root: Path | None, device: str, dtype: torch.dtype) -> VisionEncoder:
    from transformers import AutoImageProcessor

    model, placed = auto_model(entry, root, device, dtype)
    model = getattr(model, "vision_model", model)
    embeddings = getattr(model, "embeddings", None)
    class_token = any(getattr(embeddings, name, None) is not None for name in ("cls_token", "class_embedding"))
    processor = AutoImageProcessor.from_pretrained(root or entry["path"], local_files_only=True)
    return VisionEncoder(
        model,
        _ProcessorTransform(processor),
        pooling=entry["pooling"],
        layers=entry["layers"],
        prefix=class_token + (getattr(model.config, "num_register_tokens", 0) or 0),
        class_token=class_token,
        device=device,
        dtype=dtype,
        placed=placed,
        parameters=count_parameters(entry, root),
    )


class _ProcessorTransform:
    """A transformers image processor as a transform of one image (a class, so that worker processes can load it)."""

    def __init__(self, processor: Callable) -> None:
        self.processor = processor

    def __call__(self, image: Image.Image) -> Tensor:
        return self.processor(image, return_tensors="pt")["pixel_values"][0]
