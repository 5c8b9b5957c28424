"""Which files are images: accepted formats, file name suffixes and the size limit. Does not import Pillow."""

from __future__ import annotations

from pathlib import Path

IMAGE_FORMATS = {
    "AVIF": (".avif",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "PNG": (".png", ".apng"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
"""Accepted formats, by Pillow's name, with their file name suffixes. No other decoder is tried, whatever a file is
called, because some are dangerous: the one for EPS runs Ghostscript."""
MAX_BYTES = 2**28
"""Largest size of an encoded image (256 MiB)."""
IMAGE_SUFFIXES = frozenset(suffix for suffixes in IMAGE_FORMATS.values() for suffix in suffixes)


def is_image_name(path: Path) -> bool:
    """Whether a file has the suffix of an accepted image format."""
    return path.suffix.lower() in IMAGE_SUFFIXES
