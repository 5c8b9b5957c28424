"""Versions of prh and its libraries, recorded in logs and in the footers of tables."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

LIBRARIES = ("numpy", "torch", "timm", "transformers", "tokenizers", "pillow", "scipy", "pyarrow")


def of(distribution: str) -> str | None:
    """The installed version of a distribution; None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def libraries() -> dict[str, str | None]:
    """The versions of the libraries that influence numbers."""
    return {name: of(name) for name in LIBRARIES}
