"""Which files are images: the formats that are opened, the names of such files, their bound. Quick to import."""

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
"""Pillow's names of the formats that are opened, each with the endings of its files. No other decoder is ever tried,
whatever a file is called: that of EPS starts Ghostscript."""
MAX_BYTES = 2**28
"""Bytes of an encoded image (256 MiB)."""
IMAGE_SUFFIXES = frozenset(suffix for suffixes in IMAGE_FORMATS.values() for suffix in suffixes)


def is_image_name(path: Path) -> bool:
    """Whether a file is called as images are."""
    return path.suffix.lower() in IMAGE_SUFFIXES
