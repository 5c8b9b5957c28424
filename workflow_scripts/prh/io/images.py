"""Decoding of images; the only place where images are opened.

Shards store images as they were downloaded. All code that needs pixels calls `decode`, so that it sees exactly what
`inspect` checked when the data set was sharded.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import numpy as np
from PIL import ExifTags, Image, ImageCms

from prh.io.image_files import IMAGE_FORMATS, MAX_BYTES
from prh.io.text_files import GIT_LFS

MAX_PIXELS = 89_478_485
"""Most pixels of an image: 256 MB of RGB, the limit above which Pillow suspects a decompression bomb too."""
MAX_ASPECT = 100
"""Largest ratio of the sides of an image. Transforms of models scale the short side to about 200 pixels and the long
side with it, which takes seconds and gigabytes for an image of 1 x 20,000 pixels."""

TURNED = "turned upright, as their EXIF says"
UNTURNED = "with an EXIF that cannot be read, taken as upright"
FLATTENED = "with transparency, laid on white"
SCALED = "of more than 8 bits, scaled to 8"
FIRST_FRAME = "of several frames, of which the first is taken"

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that turns an image of each EXIF orientation upright, as in PIL.ImageOps.exif_transpose."""

_ADDRESS = re.compile(r"(?: object)? at 0x[0-9A-Fa-f]+")
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2


class ImageError(ValueError):
    """An image cannot be read, or its pixels are ambiguous; the message says why in a few words."""


def decode(content: bytes) -> Image.Image:
    """Decode an image to upright RGB pixels.

    Parameters
    ----------
    content : bytes
        A file in one of the formats of `prh.io.image_files`.

    Returns
    -------
    PIL.Image.Image
        Mode RGB, upright as the EXIF orientation says, transparency laid on white, 16 bits scaled to 8, the first of
        several frames. Colour profiles are not applied.

    Raises
    ------
    ImageError
        If the image is damaged, of another format, exceeds ``MAX_BYTES``, ``MAX_PIXELS`` or ``MAX_ASPECT``, or has
        pixel values for which the value of white is unknown (floating-point numbers among them).
    """
    return _decoded(content)[0]


def inspect(content: bytes) -> tuple[str, ...]:
    """What `decode` does to an image besides reading it (TURNED, FLATTENED ...); raises ImageError as it does."""
    return tuple(_decoded(content)[1])


def _decoded(content: bytes) -> tuple[Image.Image, list[str]]:
    if len(content) > MAX_BYTES:
        raise ImageError(f"it has {len(content):,} bytes, more than {MAX_BYTES:,}; store it smaller")
    try:
        with Image.open(io.BytesIO(content), formats=tuple(IMAGE_FORMATS)) as image:
            return _pixels(image)
    except ImageError:
        raise
    except Image.UnidentifiedImageError:
        raise ImageError(_unidentified(content)) from None
    except Exception as error:  # decoders raise whatever they stumble on: struct.error, IndexError, TypeError ...
        raise ImageError(_reason(error)) from error


def _pixels(image: Image.Image) -> tuple[Image.Image, list[str]]:
    _check_size(*image.size)
    notes = [FIRST_FRAME] if _has_more_frames(image) else []
    transparent = _transparent_colour(image)
    if (
        image.format == "TIFF"
    ):  # Pillow turns TIFFs while loading; for other formats it may find the EXIF only after loading
        _turn(image, notes)
        image.load()
    else:
        image.load()
        turn = _turn(image, notes)
        image = image if turn is None else image.transpose(turn)
    if transparent is not None:
        image.info["transparency"] = transparent
    if image.mode == "F":
        raise ImageError("its pixels are floating-point numbers, whose white is not known; save it in 8 bits")
    if image.mode.startswith("I"):
        notes.append(SCALED)
        return _scaled(image, notes).convert("RGB"), notes
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB"), notes
    if image.has_transparency_data:
        return _on_white(image, notes), notes
    return image.convert("RGB"), notes


def _check_size(width: int, height: int) -> None:
    if min(width, height) < 1:
        raise ImageError(f"it has {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise ImageError(f"it has {width:,} x {height:,} pixels, more than {MAX_PIXELS:,}; scale it down")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(f"it has {width:,} x {height:,} pixels, one side above {MAX_ASPECT} times the other; crop it")


def _has_more_frames(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # there is a further frame, but it is damaged and not needed
        image.seek(0)
        return True


def _turn(image: Image.Image, notes: list[str]) -> Image.Transpose | None:
    """The transposition that the EXIF orientation asks for, if any; appends what happened to ``notes``."""
    try:
        turn = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # cameras and editors often write broken EXIF next to intact pixels
        notes.append(UNTURNED)
        return None
    if turn is not None:
        notes.append(TURNED)
    return turn


def _transparent_colour(image: Image.Image) -> int | tuple[int, ...] | None:
    """The transparent colour of a PNG, scaled to the pixel range that Pillow decodes to; None if no scaling is needed.

    A PNG stores it in the bit depth of the file, but Pillow scales 2 and 4 bits to 8 and keeps 8 of the 16 bits of a
    colour.
    """
    colour = image.info.get("transparency")
    if image.format != "PNG" or colour is None or not image.tile:
        return None
    match image.tile[0][3], colour:
        case "L;2", int():
            return colour * 85
        case "L;4", int():
            return colour * 17
        case "RGB;16B", tuple():
            return tuple(value >> 8 for value in colour)
    return None


def _on_white(image: Image.Image, notes: list[str]) -> Image.Image:
    if image.mode == "La":  # Pillow cannot convert premultiplied grey to RGBA directly
        image = image.convert("LA")
    rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema()[0] == 255:
        return rgba.convert("RGB")
    notes.append(FLATTENED)
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _scaled(image: Image.Image, notes: list[str]) -> Image.Image:
    """Scale grey of more than 8 bits (modes I and I;16 in any byte order) to mode L."""
    values = np.asarray(image).astype(np.int64)
    white, inverted = _white(image, values)
    grey = (values * 255 + white // 2) // white
    if inverted:
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if isinstance(transparent, int) and (values == transparent).any():
        notes.append(FLATTENED)
        grey[values == transparent] = 255
    return Image.fromarray(grey.astype(np.uint8))


def _white(image: Image.Image, values: np.ndarray) -> tuple[int, bool]:
    """(value of white, whether a TIFF uses it for black instead); ImageError if that is ambiguous."""
    low, high = int(values.min()), int(values.max())
    tags: Callable = getattr(image, "tag_v2", {}).get
    bits = (tags(_BITS_PER_SAMPLE) or (16,))[0]
    signed = (tags(_SAMPLE_FORMAT) or (1,))[0] == _SIGNED
    white = 2 ** (min(bits, 16) - (signed and bits <= 16)) - 1
    if low < 0 or high > white:
        raise ImageError(f"its pixels are numbers from {low} to {high}, whose white is not known; save it in 8 bits")
    if bits >= 16 and 0 < high <= 255:
        raise ImageError(f"its {bits}-bit pixels end at {high}, so that 255 or {white} may be white; save it in 8 bits")
    return white, tags(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _unidentified(content: bytes) -> str:
    if not content:
        return "the file is empty"
    if content.startswith(GIT_LFS):
        return "it is a pointer of git-lfs; fetch the file itself with `git lfs pull`"
    return f"it is not, or not wholly, one of {', '.join(IMAGE_FORMATS)}"


def _reason(error: Exception) -> str:
    """The first line of a decoder's exception, without memory addresses, so that it is the same in every run."""
    lines = str(error).splitlines()
    return _ADDRESS.sub("", lines[0]).rstrip(".") if lines and lines[0] else type(error).__name__
