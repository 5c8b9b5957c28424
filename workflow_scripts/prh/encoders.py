"""Encoders: load a model, and pool every layer on the device the moment it is computed.

An encoder turns a batch into one [batch, width] float32 tensor per layer. Layers are taken by hooks that pool each
block's output as it appears, so the full stack of hidden states never exists.

Vision: a layer is the output of a block (of the transformer, or of a convolutional stage).
Language: the layers are Hugging Face's hidden states: the embeddings, the output of every block but the last, and
the last one after the final norm. Some models (Mamba, RWKV, SqueezeBERT) hand out other states, or have no blocks to
hook: their states are taken as the library gives them, hidden_state_0 and on, the stack of one batch at once.
"""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from prh import checkpoints, images, text_files
from prh.folding import fold_norms
from prh.hooks import hooked
from prh.models import ModelError

if TYPE_CHECKING:
    from PIL import Image
    from transformers import PreTrainedConfig

log = logging.getLogger(__name__)

# ---- layers and pooling ---------------------------------------------------------------------------------------

_TIMM_TRUNKS = ("blocks", "stages", "layers", "layer1", "s1", "features", "network", "trunk")
# These timm models add their class token after the blocks (ConViT: after most of them), so that blocks have none.
_LATE_CLASS_TOKEN = {"Cait", "ConVit", "VOLO", "Xcit"}
_NUMBERED = re.compile(r"^(layer|s)1$")


def named_blocks(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """The blocks inside ``module``: containers and stages are opened, anything else is a block."""
    for attribute in ("blocks", "layers"):
        inner = getattr(module, attribute, None)
        if isinstance(inner, nn.Sequential | nn.ModuleList):
            yield from named_blocks(inner, f"{name}.{attribute}")
            return
    children = dict(module.named_children())
    if isinstance(module, nn.Sequential | nn.ModuleList) or _is_numbered(children, "b"):
        for key, child in children.items():
            yield from named_blocks(child, f"{name}.{key}")
    else:
        yield name, module


def _is_numbered(children: Mapping[str, nn.Module], letter: str) -> bool:
    """Whether children are called b1, b2, ... as the blocks of a RegNet stage are."""
    return bool(children) and all(re.fullmatch(rf"{letter}\d+", key) for key in children)


def find_layers(model: nn.Module, pattern: str | None = None) -> list[tuple[str, nn.Module]]:
    """Names and modules of a vision model's layers, in order of depth.

    With ``pattern``, every module whose whole name matches it; else every block of the trunk. Raises ModelError
    where nothing is found: say then in the entry which modules are meant (``layers``).
    """
    if pattern is not None:
        found = [(name, module) for name, module in model.named_modules() if re.fullmatch(pattern, name)]
        if not found:
            raise ModelError(f"no module is named like layers: {pattern!r}; there are {_some_names(model)}.")
        return found
    for trunk in _TIMM_TRUNKS:
        part = getattr(model, trunk, None)
        if not isinstance(part, nn.Module):
            continue
        if _NUMBERED.match(trunk):
            prefix, number, stages = trunk[:-1], 1, []
            while isinstance(stage := getattr(model, f"{prefix}{number}", None), nn.Module):
                stages += named_blocks(stage, f"{prefix}{number}")
                number += 1
            return stages
        return list(named_blocks(part, trunk))
    for wrapped in ("encoder", "vision_model", "model", "backbone", "vision_tower"):
        inner = getattr(model, wrapped, None)
        if isinstance(inner, nn.Module):
            if isinstance(layer := getattr(inner, "layer", None), nn.ModuleList):
                return list(named_blocks(layer, f"{wrapped}.layer"))
            return [(f"{wrapped}.{name}", module) for name, module in find_layers(inner)]
    if isinstance(layer := getattr(model, "layer", None), nn.ModuleList):
        return list(named_blocks(layer, "layer"))
    raise ModelError(f"cannot tell the layers of {type(model).__name__}; give 'layers', one of {_some_names(model)}.")


def _some_names(model: nn.Module) -> str:
    names = [name for name, _ in model.named_modules() if name.count(".") <= 1 and name]
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


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


def pool_text(hidden: Tensor, mask: Tensor, lengths: Tensor, pooling: str) -> Tensor:
    """Hidden states [batch, tokens, width], padded on the right, as one float32 vector per text, [batch, width].

    ``mask`` [batch, tokens] is 1.0 for the tokens that enter the mean; ``lengths`` [batch] counts the real tokens.
    """
    if pooling == "cls":
        return hidden[:, 0].float()
    if pooling == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1].float()
    return torch.bmm((mask / mask.sum(1, keepdim=True))[:, None], hidden.float())[:, 0]


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# ---- encoders -------------------------------------------------------------------------------------------------


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
        self.parameters = _count(module) if parameters is None else parameters
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
        return self.transform(images.decode(content))

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


class LanguageEncoder:
    """Texts in, one pooled vector per hidden state out.

    Tokens are padded on the right whatever the tokenizer prefers: for causal models the real tokens then never see
    padding and keep their positions, for encoders the attention mask hides it, so a feature does not depend on its
    batch. ``placed`` and ``parameters`` are those of VisionEncoder: a module may lie on several devices, then each
    hidden state is pooled on its own.
    """

    def __init__(
        self,
        module: nn.Module,
        tokenizer: Callable,
        *,
        pooling: str = "mean",
        special_tokens: bool = True,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        placed: bool = False,
        parameters: int | None = None,
    ) -> None:
        self.parameters = _count(module) if parameters is None else parameters
        self.module = module.eval() if placed else module.eval().to(device=device, dtype=dtype)
        self.tokenizer, self.pooling, self.special_tokens, self.device = tokenizer, pooling, special_tokens, device
        self._blocks, states = _language_blocks(self.module, device)
        if self._blocks:
            self.layer_names = ["embeddings", *(f"block_{i}" for i in range(1, states - 1)), "last_hidden_state"]
        else:
            self.layer_names = [f"hidden_state_{i}" for i in range(states)]
        self._limit = longest_text(self.module)

    def tokenize(self, texts: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """For each text its token ids and the 0/1 mask of the tokens that enter the mean (int64, [length]).

        Raises ModelError for a text that gives no token to pool or more than the model has positions for.
        """
        encoded = self.tokenizer(
            list(texts), return_special_tokens_mask=not self.special_tokens, return_attention_mask=False
        )
        rows = encoded["input_ids"]
        lengths = [len(ids) for ids in rows]
        ids = torch.tensor(list(chain.from_iterable(rows)), dtype=torch.int64).split(lengths)
        if self.special_tokens:
            pooled = torch.ones(sum(lengths), dtype=torch.int64).split(lengths)
        else:
            special = torch.tensor(list(chain.from_iterable(encoded["special_tokens_mask"])), dtype=torch.int64)
            pooled = (1 - special).split(lengths)
        items = list(zip(ids, pooled, strict=True))
        for text, (tokens, counted) in zip(texts, items, strict=True):
            if not counted.any():
                raise ModelError(f"the tokenizer gives no token for the text {text!r}.")
            if self._limit is not None and len(tokens) > self._limit:
                raise ModelError(f"a text of {len(tokens)} tokens is above the model's {self._limit}: {text[:60]!r}...")
        return items

    @torch.inference_mode()
    def encode(self, items: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Pooled hidden states, a list of float32 [batch, width], for tokenized texts."""
        lengths = torch.tensor([len(ids) for ids, _ in items], device=self.device)
        ids = pad_sequence([ids for ids, _ in items], batch_first=True).to(self.device)
        mask = pad_sequence([mask for _, mask in items], batch_first=True).to(self.device, torch.float32)
        attention = (torch.arange(ids.shape[1], device=self.device) < lengths[:, None]).long()
        pooled: list[Tensor] = []

        def pool(hidden: Tensor) -> None:
            where = hidden.device
            vectors = pool_text(hidden, mask.to(where), lengths.to(where), self.pooling)
            pooled.append(vectors.to(self.device))

        def take(_module: nn.Module, args: tuple, kwargs: Mapping) -> None:
            pool(args[0] if args else kwargs["hidden_states"])

        if not self._blocks:
            for state in self.module(input_ids=ids, attention_mask=attention, output_hidden_states=True).hidden_states:
                pool(state)
            return pooled
        with hooked(block.register_forward_pre_hook(take, with_kwargs=True) for block in self._blocks):
            output = self.module(input_ids=ids, attention_mask=attention)
        pool(output.last_hidden_state)
        return pooled


@torch.inference_mode()
def _language_blocks(module: nn.Module, device: str) -> tuple[list[nn.Module], int]:
    """The blocks of a transformers model whose inputs are its hidden states but the last; and how many states it has.

    Which list of modules they are is tried on a short text, since neither its name nor its size tells. The list is
    empty where none is so. Raises ModelError for a model whose states cannot be pooled as one vector a token.
    """
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList)]
    seen: list[list[Tensor]] = [[] for _ in lists]

    def note(inputs: list[Tensor]) -> Callable:
        def take(_module: nn.Module, args: tuple, kwargs: Mapping) -> None:
            given = args[0] if args else kwargs.get("hidden_states")
            if isinstance(given, Tensor):
                inputs.append(given.clone())

        return take

    ids = torch.arange(4, device=device)[None]
    with hooked(
        part.register_forward_pre_hook(note(inputs), with_kwargs=True)
        for parts, inputs in zip(lists, seen, strict=True)
        for part in parts
    ):
        try:
            output = module(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
        except TypeError as error:  # code of a repository that knows no such argument, or a library that trips over it
            raise ModelError(
                f"{type(module).__name__} does not give its hidden states ({error}); leave it out."
            ) from error
    states = output.hidden_states or ()
    if not states or any(state.shape[:2] != ids.shape for state in states):
        raise ModelError(
            f"{type(module).__name__} does not give a hidden state for each token and layer; leave it out."
        )
    for parts, inputs in zip(lists, seen, strict=True):
        if _are_alike([*inputs, output.last_hidden_state], states):
            return list(parts), len(states)
    log.info("%s: no blocks have its hidden states as inputs; they are taken as it gives them", type(module).__name__)
    return [], len(states)


def _are_alike(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return len(some) == len(others) and all(
        a.shape == b.shape and torch.allclose(a.cpu(), b.cpu(), equal_nan=True)
        for a, b in zip(some, others, strict=True)
    )


def longest_text(module: nn.Module) -> int | None:
    """The tokens that a model has positions for; None without a bound. Those of RoBERTa begin after that of padding."""
    limit = getattr(module.config.get_text_config(), "max_position_embeddings", None)
    if limit is None or limit <= 0:
        return None
    for name, part in module.named_modules():
        if name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            return limit - part.padding_idx - 1
    return limit


class WordVectors:
    """A static baseline: the mean of the vectors of a text's known words (lower-cased, letters only)."""

    layer_names = ("mean_vector",)

    def __init__(self, vectors: Tensor, vocabulary: Sequence[str], device: str = "cpu") -> None:
        if len(vectors) != len(vocabulary):
            raise ModelError(f"{len(vectors)} word vectors and {len(vocabulary)} words: they must be as many.")
        self.parameters = vectors.numel()
        self.vectors, self.device = vectors.float().to(device), device
        self._row = {word: i for i, word in enumerate(vocabulary)}

    def tokenize(self, texts: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """For each text the rows of its known words and a mask of ones; ModelError for a text without any."""
        items = []
        for text in texts:
            rows = [self._row[word] for word in re.findall(r"[a-z]+", text.lower()) if word in self._row]
            if not rows:
                raise ModelError(f"none of the words of {text!r} has a vector.")
            items.append((torch.tensor(rows), torch.ones(len(rows))))
        return items

    @torch.inference_mode()
    def encode(self, items: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Mean vectors, one float32 [batch, width] in a list."""
        return [torch.stack([self.vectors[rows.to(self.device)].mean(0) for rows, _ in items])]


# ---- loading --------------------------------------------------------------------------------------------------


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


def load(entry: Mapping, root: Path | None, device: str = "cpu") -> VisionEncoder | LanguageEncoder | WordVectors:
    """The encoder of a model entry (see prh.config), with weights from ``root`` (None for random ones).

    Only safetensors and ``weights_only`` PyTorch files are read. Raises ModelError, or the library's own error,
    where the weights do not fit the architecture.
    """
    dtype = choose_dtype(entry["dtype"], device)
    match entry["modality"], entry["library"]:
        case "vision", "timm":
            return _load_timm(entry, root, device, dtype)
        case "vision", "transformers":
            return _load_transformers_vision(entry, root, device, dtype)
        case "language", "transformers":
            return _load_transformers_language(entry, root, device, dtype)
        case "language", "word_vectors":
            return _load_word_vectors(root, device)
    raise ModelError(f"cannot load {entry['modality']} models of library {entry['library']!r}.")


def _load_timm(entry: Mapping, root: Path | None, device: str, dtype: torch.dtype) -> VisionEncoder:
    from timm.data import create_transform, resolve_model_data_config

    torch.manual_seed(entry["seed"])
    model = _timm_model(entry, root, pretrained=True)
    if root is not None and root.is_file():
        checkpoints.fill(model, root, **entry.get("checkpoint", {}))
    size = entry["model_args"].get("img_size")
    preparation = resolve_model_data_config(model, args={} if size is None else {"img_size": size})
    prefix = 0 if type(model).__name__ in _LATE_CLASS_TOKEN else getattr(model, "num_prefix_tokens", 0)
    parameters = _count(model)
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


def _timm_model(entry: Mapping, root: Path | None, *, pretrained: bool) -> nn.Module:
    """The timm model of an entry; with the weights of ``root``, if that is a folder and they are wanted."""
    import timm

    from prh import architectures  # noqa: F401  (adds to timm's registry)

    if root is not None and root.is_dir():
        return timm.create_model(f"local-dir:{root}", pretrained=pretrained, **entry["model_args"])
    return timm.create_model(entry["id"], pretrained=False, **entry["model_args"])


def _load_transformers_vision(entry: Mapping, root: Path | None, device: str, dtype: torch.dtype) -> VisionEncoder:
    from transformers import AutoImageProcessor

    model, placed = _auto_model(entry, root, device, dtype)
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


def _load_transformers_language(entry: Mapping, root: Path | None, device: str, dtype: torch.dtype) -> LanguageEncoder:
    from transformers import AutoTokenizer

    model, placed = _auto_model(entry, root, device, dtype)
    tokenizer = AutoTokenizer.from_pretrained(
        root or entry["path"], local_files_only=True, trust_remote_code=entry["trust_remote_code"]
    )
    return LanguageEncoder(
        getattr(model, "language_model", model),
        tokenizer,
        pooling=entry["pooling"],
        special_tokens=entry["special_tokens"],
        device=device,
        dtype=dtype,
        placed=placed,
        parameters=count_parameters(entry, root),
    )


def _auto_model(entry: Mapping, root: Path | None, device: str, dtype: torch.dtype) -> tuple[nn.Module, bool]:
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
        if not _is_installed("bitsandbytes"):
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


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def count_parameters(entry: Mapping, root: Path | None = None) -> int:
    """Parameters of the released model of an entry, its heads included, counted without weights (on the meta device).

    ``root`` is the folder with config.json (None: the entry's ``path``, or, for timm, its ``id``). A transformers model
    is built as the class that its config names, so quantised and headless models count as what they come from.
    """
    import transformers

    with torch.device("meta"):
        if entry["library"] == "timm":
            return _count(_timm_model(entry, root, pretrained=False))
        config = auto_config(entry, root)
        released = getattr(transformers, (config.architectures or [""])[0], None)
        if released is None:
            auto = transformers.AutoModel.from_config(config, trust_remote_code=entry["trust_remote_code"])
            return _count(auto)
        return _count(released(config))


def _load_word_vectors(root: Path, device: str) -> WordVectors:
    from safetensors.torch import load_file

    for name in ("vectors.safetensors", "vocab.txt"):
        if not (root / name).is_file():
            raise ModelError(
                f"{root} has no {name}; word vectors are vectors.safetensors (tensor 'vectors') + vocab.txt."
            )
    vectors = load_file(root / "vectors.safetensors")["vectors"]
    return WordVectors(vectors, text_files.lines(root / "vocab.txt"), device)
