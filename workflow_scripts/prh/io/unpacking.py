"""How much a packed file may unpack to: one bound for archives and for Parquet files that others have made."""

from __future__ import annotations

FREELY = 100_000_000
"""Bytes that a file may unpack to, however small it is."""
RATIO = 100
"""How many times its own size a file may unpack to beyond that: text and tables reach 10 to 30, a bomb some 1,000."""


def is_bomb(packed: int, unpacked: int) -> bool:
    """Whether a file of ``packed`` bytes would unpack to more than any that is meant well."""
    return unpacked > max(FREELY, RATIO * packed)


def refusal(packed: int, unpacked: int) -> str:
    """Why a bomb is not unpacked, in the words of a message."""
    return f"its {packed:,} bytes unpack to {unpacked:,} or more, beyond {FREELY:,} and {RATIO} times as many"
