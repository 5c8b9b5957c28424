"""The families of timm: one model of each module and of each spelling of a name, the smallest that can be told."""

import re
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import timm
import torch
import yaml

from prh import modalities
from tests.sweep.vision import entry, hooked_by_hand, pictures, same

RESOURCES = Path(__file__).resolve().parents[2] / "resources/models"
LARGEST = 140_000_000
"""Parameters above which a model is made shallower, where its constructor allows it, or not built."""
SIZE_WORDS = [
    "test",
    "zepto",
    "atto",
    "femto",
    "pico",
    "xxtiny",
    "nano",
    "xtiny",
    "mini",
    "tiny",
    "little",
    "wee",
    "dwee",
    "pwee",
    "xxs",
    "xs",
    "xxsmall",
    "xsmall",
    "micro",
    "n",
    "t",
    "s",
    "small",
    "m",
    "mediumd",
    "medium",
    "betwixt",
    "b",
    "base",
    "l",
    "large",
    "so150m",
    "so400m",
    "xl",
    "xxl",
    "x",
    "xlarge",
    "xx",
    "xxlarge",
    "h",
    "huge",
    "g",
    "giant",
    "giantopt",
    "gigantic",
    "enormous",
]


def families(*, every: bool = False) -> list[str]:
    """One model of each module of timm; with ``every``, of each name that differs in more than numbers and size words."""
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in timm.list_models():
        module = timm.models._registry._model_to_module[name]
        groups[(module, _spelling(name)) if every else (module,)].append(name)
    smallest = [min(names, key=_size) for names in groups.values()]
    tiny = [name for name in timm.list_models() if name.startswith("test_")]
    return sorted({*smallest, *tiny})


def _spelling(name: str) -> str:
    parts = [re.sub(r"\d+", "#", part) for part in name.split("_") if part not in SIZE_WORDS]
    return "_".join(part for part in parts if not re.fullmatch(r"(patch|window|w|ws|r|rw)?#[a-z]?|#x#[a-z]?", part))


def _size(name: str) -> tuple:
    words = [SIZE_WORDS.index(part) for part in name.split("_") if part in SIZE_WORDS]
    numbers = [int(number) for number in re.findall(r"\d+", name)]
    return (min(words, default=len(SIZE_WORDS)), sum(numbers), name)


def registered() -> dict[str, str | None]:
    """The timm models that the registries of the repository name, and the layers that are asked of each."""
    models = {}
    for registry in ("vision", "newer"):
        entries = yaml.safe_load((RESOURCES / f"{registry}.yaml").read_text())["models"]
        for one in entries:
            if one["modality"] == "vision" and one.get("library", "timm") == "timm":
                models[one["id"]] = one.get("layers")
    return dict(sorted(models.items()))


SHALLOW = ({}, {"depth": 3}, {"depth": 3, "embed_dim": 192, "num_heads": 3})


def _arguments(name: str, largest: int) -> dict | None:
    """Arguments that make a model small: images of 128 pixels where it takes them, few narrow blocks if it is large."""
    config = timm.get_pretrained_cfg(name)
    channels, height = (3, 224) if config is None else config.input_size[:2]
    overlay = {"pretrained_cfg_overlay": {"input_size": (3, 128, 128), "test_input_size": None}}
    for shallow in SHALLOW:
        for smaller in [overlay, {}] if height > 128 else [{}]:
            with torch.device("meta"), torch.inference_mode(), suppress(Exception):
                model = timm.create_model(name, **smaller, **shallow).eval()
                if sum(p.numel() for p in model.parameters()) > largest:
                    break
                size = 128 if smaller else height
                model(torch.empty(1, channels, size, size))
                return {**smaller, **shallow}
    return None


def check_registered(name: str) -> tuple[str, str]:
    """As `check`, with a model that is made as small as it goes."""
    from prh.models import architectures  # noqa: F401  (adds to timm's registry)

    largest = LARGEST // 5 if _arguments(name, LARGEST // 5) is not None else LARGEST
    return check(name, largest, registered()[name])


def check(name: str, largest: int = LARGEST, layers: str | None = None) -> tuple[str, str]:
    """Compare the mean over the image of every intermediate with our layers; where there is one, the class token too."""
    arguments = _arguments(name, largest)
    if arguments is None:
        return "not built", f"no variant below {largest} parameters runs"
    encoder = modalities.load(entry(library="timm", id=name, model_args=arguments, layers=layers), None)
    images = torch.stack([encoder.decode(picture) for picture in pictures()])
    kinds = sorted({str(layout) for layout in encoder.layouts})
    facts = f"{len(encoder.layer_names)} layers, {encoder.pooling}, {' | '.join(kinds)}"
    facts = f"{hooked_by_hand(encoder, images)}; {facts}"
    chosen, encoder.pooling = encoder.pooling, "gap"
    ours = encoder.encode(images)
    inputs = encoder.as_input(images)
    try:
        with torch.inference_mode():
            given = encoder.module.forward_intermediates(inputs, intermediates_only=True)
    except (AttributeError, TypeError, AssertionError, NotImplementedError) as error:
        return "equal", f"no intermediates ({type(error).__name__}: {str(error)[:60]}); {facts}"
    theirs = [_mean(state) for state in given]
    matched = [any(same(layer, state) for layer in ours) for state in theirs]
    words = f"{sum(matched)} of {len(matched)} intermediates are layers; {facts}"
    if type(encoder.layouts[0].class_token) is int and chosen == "cls":
        encoder.pooling = "cls"
        with torch.inference_mode(), suppress(TypeError):
            given = encoder.module.forward_intermediates(inputs, intermediates_only=True, return_prefix_tokens=True)
            classes = [prefix[:, 0].float() for _, prefix in given]
            ours = encoder.encode(images)
            assert all(any(same(layer, token) for layer in ours) for token in classes), "class tokens differ"
            words = f"class tokens too; {words}"
    return "equal", words


def _mean(state: torch.Tensor) -> torch.Tensor:
    """An intermediate is a map with the channels first, or tokens without those that are no place of the image."""
    return state.float().mean((2, 3) if state.ndim == 4 else 1)
