"""Images of the events of the idealised world: an informative disc on an uninformative pattern."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

TEXTURES = ("plain", "stripes", "checks", "dots", "noise")


def nuisance(rng: np.random.Generator, size: int, side: int) -> dict[str, np.ndarray]:
    """Random properties of ``size`` images of ``side`` pixels that do not depend on the event: arrays [size, ...]."""
    return {
        "texture": rng.integers(len(TEXTURES), size=size),
        "background_hue": rng.random(size),
        "second_hue": rng.normal(0, 0.06, size),  # of the pattern, relative to the background
        "disc_hue": rng.random(size),
        "saturation": rng.uniform(0.3, 1.0, (size, 3)),  # of background, pattern, disc
        # the pattern is the brightest and the background the darkest, so that both stand out more than the disc
        "brightness": np.sort(rng.uniform(0.2, 1.0, (size, 3)), axis=1)[:, [0, 2, 1]],
        "angle": rng.uniform(0, np.pi, size),
        "period": rng.uniform(3, 9, size) * side / 32,
        "phase": rng.random((size, 2)),
        "noise": rng.integers(2**31, size=size),
    }


def draw(position: np.ndarray, of: Mapping[str, Any], side: int) -> np.ndarray:
    """The image of the event at ``position`` [3], uint8 [side, side, 3]; ``of`` is its row of ``nuisance``.

    The centre of the disc is (x, y), and its radius grows with z.
    """
    hues = of["background_hue"], (of["background_hue"] + of["second_hue"]) % 1, of["disc_hue"]
    colours = zip(hues, of["saturation"], of["brightness"], strict=True)
    first, second, disc = (np.array(colorsys.hsv_to_rgb(*colour)) for colour in colours)
    rows, columns = np.mgrid[:side, :side] + 0.5
    pattern = _texture(TEXTURES[of["texture"]], rows, columns, of)[..., None]
    canvas = first * (1 - pattern) + second * pattern

    x, y, z = position
    centre_x, centre_y, radius = side * (0.5 + 0.27 * x), side * (0.5 + 0.27 * y), side * (0.13 + 0.06 * z)
    distance = np.hypot(columns - centre_x, rows - centre_y)
    outline = np.clip(radius + 0.8 * side / 32 - distance, 0, 1)[..., None]
    inside = np.clip(radius - distance, 0, 1)[..., None]
    canvas = canvas * (1 - outline)  # a black rim, visible on every background
    canvas = canvas * (1 - inside) + disc * inside
    return np.rint(canvas * 255).astype(np.uint8)


def _texture(kind: str, rows: np.ndarray, columns: np.ndarray, of: Mapping[str, Any]) -> np.ndarray:
    """Share of the second colour at each pixel, from 0 to 1: float64 of the shape of ``rows``."""
    along = (columns * np.cos(of["angle"]) + rows * np.sin(of["angle"])) / of["period"] + of["phase"][0]
    across = (rows * np.cos(of["angle"]) - columns * np.sin(of["angle"])) / of["period"] + of["phase"][1]
    if kind == "plain":
        return np.zeros_like(rows)
    if kind == "stripes":
        return (along % 1 < 0.5).astype(float)
    if kind == "checks":
        return ((along % 1 < 0.5) ^ (across % 1 < 0.5)).astype(float)
    if kind == "dots":
        return ((along % 1 - 0.5) ** 2 + (across % 1 - 0.5) ** 2 < 0.09).astype(float)
    return np.random.default_rng(of["noise"]).random(rows.shape)


def png(pixels: np.ndarray) -> bytes:
    """Encode an image as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
