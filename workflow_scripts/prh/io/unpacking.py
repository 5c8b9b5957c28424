"""Limit on the unpacked size of archives and of Parquet files from others, against decompression bombs."""

from __future__ import annotations

FREELY = 100_000_000
"""Bytes that any file may unpack to, however small it is."""
RATIO = 100
"""Largest ratio of unpacked to packed size above that; text and tables reach 10 to 30, bombs about 1,000."""


def is_bomb(packed: int, unpacked: int) -> bool:
    """Whether ``unpacked`` bytes are more than a file of ``packed`` bytes may unpack to."""
    return unpacked > max(FREELY, RATIO * packed)


def refusal(packed: int, unpacked: int) -> str:
    """The reason for refusing a bomb, as part of a message."""
    return f"its {packed:,} bytes unpack to {unpacked:,} or more, above {FREELY:,} and {RATIO} times its size"
