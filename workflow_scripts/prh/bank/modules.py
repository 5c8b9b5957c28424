"""Features of a torch module that is in memory, such as one that is being trained: its layers on the bank's samples.

Images go the way of the workflow's vision models: blocks are found by structure, and how an output is pooled is proved
by passing images. Texts go the way of its language models. Anything else has no proof: outputs must be [batch, width],
[batch, tokens, width] or [batch, channels, height, width], and layers without a block structure must be named.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from prh.bank.folder import Bank
from prh.models.blocks import find_layers
from prh.models.hooks import hooked
from prh.models.pooling import tensors_in
from prh.models.repositories import ModelError

log = logging.getLogger(__name__)

POOLINGS = ("mean", "last", "cls")
"""Ways to pool [batch, tokens, width]."""


def layers_of(
    module: nn.Module,
    bank: Bank,
    *,
    data: Iterable[Any] | None = None,
    tokenizer: Callable | None = None,
    texts: Sequence[str] | None = None,
    layers: str | Sequence[str] | None = None,
    pooling: str | None = None,
    name: str = "mine",
) -> dict[str, np.ndarray]:
    """Pooled features of a module by the names of its layers: float32 [rows, width_l] each, in order of depth.

    See `prh.score` for the arguments. The module is left as it was, in training mode or not.
    Raises ValueError if there is neither data nor tokenizer, or both, or if layers or pooling cannot be determined.
    """
    if (data is None) == (tokenizer is None):
        raise ValueError(
            "to score a module, pass either data (a DataLoader with its inputs) or, for a transformers model that "
            "reads text, its tokenizer."
        )
    with as_in_use(module):
        if tokenizer is not None:
            if layers is not None:
                raise ValueError("layers of a model with a tokenizer are all its hidden states; leave layers out.")
            return _of_texts(module, tokenizer, bank.captions() if texts is None else texts, pooling or "mean", name)
        return _of_batches(module, data, layers, pooling, name)


@contextmanager
def as_in_use(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode without gradients for a block, and each of its parts back afterwards."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad():  # buffers that a pass makes must stay usable for training
            yield
    finally:
        for part in training:
            part.training = True


def _of_texts(
    module: nn.Module, tokenizer: Callable, texts: Sequence[str], pooling: str, name: str
) -> dict[str, np.ndarray]:
    from prh.modalities.language import LanguageEncoder, text_part
    from prh.modalities.text_batches import TOKENS, encode_texts

    if pooling not in POOLINGS:
        raise ValueError(f"pooling is {pooling!r}; for texts it must be one of {', '.join(POOLINGS)}.")
    device, dtype = _device_and_dtype(module)
    if device.type not in TOKENS:
        raise ValueError(f"the model is on {device}; move it to cpu or cuda to score it.")
    part = text_part(module)
    encoder = LanguageEncoder(
        part, tokenizer, pooling=pooling, device=device.type, dtype=dtype, placed=True, name=f"model {name!r}"
    )
    return dict(zip(encoder.layer_names, encode_texts(encoder, list(texts)), strict=True))


def _of_batches(
    module: nn.Module, data: Iterable[Any], layers: str | Sequence[str] | None, pooling: str | None, name: str
) -> dict[str, np.ndarray]:
    """Features of all batches; how to pool is decided on the first one."""
    _require_order(data)
    device, dtype = _device_and_dtype(module)
    pattern = _pattern(layers, module)
    blocks = find_layers(module, pattern)
    encode, parts = None, []
    for number, batch in enumerate(data):
        positional, named = _inputs(batch, device, dtype)
        if encode is None:
            encode = _encoder(module, blocks, pattern, positional, named, pooling, name)
        features = encode(positional, named)
        for (label, _), layer in zip(blocks, features, strict=True):
            if not bool(torch.isfinite(layer).all()):
                raise ValueError(f"{name}, layer {label}: NaN or infinite feature in batch {number} of data.")
        parts.append([layer.float().cpu().numpy() for layer in features])
    if not parts:
        raise ValueError("data has no batches; pass a DataLoader with the inputs of the bank's samples.")
    return {label: np.concatenate(rows) for (label, _), rows in zip(blocks, zip(*parts, strict=True), strict=True)}


def _require_order(data: Iterable[Any]) -> None:
    """Raise ValueError for a DataLoader that shuffles: its rows would belong to other samples."""
    sampler = getattr(data, "sampler", None)
    if isinstance(sampler, torch.utils.data.RandomSampler):
        raise ValueError("data shuffles its samples; pass a DataLoader with shuffle=False, in the bank's order.")
    if getattr(data, "drop_last", False):
        raise ValueError("data drops its last batch; pass a DataLoader with drop_last=False.")


def _device_and_dtype(module: nn.Module) -> tuple[torch.device, torch.dtype]:
    parameter = next((one for one in module.parameters() if one.is_floating_point()), torch.empty(0))
    return parameter.device, parameter.dtype


def _pattern(layers: str | Sequence[str] | None, module: nn.Module) -> str | None:
    """One regular expression for ``layers``. Raises ModelError if it is none, and for a name that no module has."""
    if isinstance(layers, str):
        try:
            re.compile(layers)
        except re.error as error:
            raise ModelError(f"layers is {layers!r}, which is no regular expression: {error}.") from None
    if layers is None or isinstance(layers, str):
        return layers
    names = {name for name, _ in module.named_modules()}
    missing = [name for name in layers if name not in names]
    if missing or not layers:
        raise ModelError(f"the model has no module {missing[0]!r}." if missing else "layers is empty.")
    return "|".join(map(re.escape, layers))


def _inputs(batch: Any, device: torch.device, dtype: torch.dtype) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """Positional and named arguments of a batch, on the device; of a tuple only its first part is an input."""
    if isinstance(batch, list | tuple) and batch:
        batch = batch[0]
    if isinstance(batch, Tensor):
        return (_placed(batch, device, dtype),), {}
    if isinstance(batch, Mapping):
        named = {key: _placed(value, device, dtype) for key, value in batch.items() if key not in ("labels", "label")}
        return (), named
    raise ValueError(f"a batch of data is a {type(batch).__name__}; it must be a tensor, a mapping or (inputs, ...).")


def _placed(value: Any, device: torch.device, dtype: torch.dtype) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.to(device, dtype if value.is_floating_point() else None)


Encode = Callable[[tuple[Tensor, ...], Mapping[str, Any]], list[Tensor]]


def _encoder(
    module: nn.Module,
    layers: Sequence[tuple[str, nn.Module]],
    pattern: str | None,
    positional: tuple[Tensor, ...],
    named: Mapping[str, Any],
    pooling: str | None,
    name: str,
) -> Encode:
    """The function that turns a batch into a pooled tensor [batch, width_l] for each layer."""
    images = positional[0] if positional else named.get("pixel_values")
    if images is not None and images.ndim == 4 and images.is_floating_point():
        return _image_encoder(module, layers, pattern, images, bool(positional), pooling or "auto", name)
    if (pooling or "mean") not in POOLINGS:
        raise ValueError(f"pooling is {pooling!r}; for these inputs it must be one of {', '.join(POOLINGS)}.")

    def encode(positional: tuple[Tensor, ...], named: Mapping[str, Any]) -> list[Tensor]:
        tensors = (*positional, *(one for one in named.values() if isinstance(one, Tensor)))
        how = {"mask": named.get("attention_mask"), "pooling": pooling or "mean", "count": len(tensors[0])}
        outputs = _outputs(module, layers, positional, named)
        return [
            _pooled(output, label=f"{name}, layer {label}", **how)
            for (label, _), output in zip(layers, outputs, strict=True)
        ]

    return encode


def _outputs(
    module: nn.Module, layers: Sequence[tuple[str, nn.Module]], positional: tuple, named: Mapping[str, Any]
) -> list[Any]:
    """What each of the layers returns in one pass."""
    outputs: dict[int, Any] = {}

    def take(number: int) -> Callable:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if number in outputs:
                raise ModelError(
                    f"layer {layers[number][0]} runs several times in one pass, so it has no single output; set layers "
                    "to modules that run once."
                )
            outputs[number] = output

        return hook

    with hooked(layer.register_forward_hook(take(number)) for number, (_, layer) in enumerate(layers)):
        module(*positional, **named)
    missing = [label for number, (label, _) in enumerate(layers) if number not in outputs]
    if missing:
        raise ModelError(f"layer {missing[0]} does not run when the model is called; set layers to modules that do.")
    return [outputs[number] for number in range(len(layers))]


def _pooled(output: object, mask: Tensor | None, pooling: str, count: int, label: str) -> Tensor:
    """The first tensor of an output as [batch, width]; images and sequences are pooled over their places."""
    tensor = next((one for _, one in tensors_in(output) if one.is_floating_point()), None)
    shape = None if tensor is None else list(tensor.shape)
    if tensor is None or tensor.ndim not in (2, 3, 4) or len(tensor) != count:
        raise ModelError(
            f"{label} gives {'no tensor' if shape is None else shape} for {count} inputs; set layers to modules that "
            "return [batch, width], [batch, tokens, width] or [batch, channels, height, width]."
        )
    tensor = tensor.float()
    if tensor.ndim == 2:
        return tensor
    if tensor.ndim == 4:
        return tensor.mean((2, 3))
    if mask is None:
        mask = torch.ones(tensor.shape[:2], device=tensor.device)
    elif mask.shape != tensor.shape[:2]:
        raise ModelError(f"{label} gives {shape} for an attention_mask of {list(mask.shape)}; set other layers.")
    mask = mask.to(tensor.device, torch.float32)
    if pooling == "mean":
        return (tensor * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    place = mask.argmax(1) if pooling == "cls" else (mask * places).argmax(1)
    return tensor[torch.arange(count, device=tensor.device), place]


def _image_encoder(
    module: nn.Module,
    layers: Sequence[tuple[str, nn.Module]],
    pattern: str | None,
    images: Tensor,
    is_positional: bool,
    pooling: str,
    name: str,
) -> Encode:
    """The workflow's own encoder of images, with layouts proved on noise of the size of ``images``."""
    from prh.modalities.vision import VisionEncoder, declared_widths
    from prh.models.layouts import prove_layouts

    noise = torch.randn((2, *images.shape[1:]), generator=torch.Generator().manual_seed(0)).to(images)

    def twin(size: tuple[int, int] | None) -> nn.Module | None:
        return _without_weights(module) if size is None else None

    layouts = prove_layouts(
        module, layers, noise, twin, declared_widths(module), whole=pattern is None, model=f"model {name!r}"
    )
    device, dtype = _device_and_dtype(module)
    encoder = VisionEncoder(
        module, _no_transform, layouts, pooling=pooling, layers=pattern, device=str(device), dtype=dtype
    )

    def encode(positional: tuple[Tensor, ...], named: Mapping[str, Any]) -> list[Tensor]:
        return encoder.encode(positional[0] if is_positional else named["pixel_values"])

    return encode


def _without_weights(module: nn.Module) -> nn.Module | None:
    """A copy on the meta device, for which no weight is copied; None for a module that cannot be copied."""
    weights = {id(one): nn.Parameter(torch.empty_like(one, device="meta"), False) for one in module.parameters()}
    weights |= {id(one): torch.empty_like(one, device="meta") for one in module.buffers()}
    try:
        return copy.deepcopy(module, weights)
    except Exception as error:  # handles of other processes or of files, which only its own code knows
        log.debug("no copy of %s: %s", type(module).__name__, error)
        return None


def _no_transform(image: object) -> Tensor:
    raise TypeError(f"a module in memory takes tensors, not {type(image).__name__}")
