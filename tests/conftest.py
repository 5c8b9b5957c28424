"""Where the tests find the repository and, if it is there, the real data beside it."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
REAL = REPOSITORY.parent / "shared" / "real"


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder with real photographs and weights; tests that need it skip without it."""
    if not REAL.is_dir():
        pytest.skip("needs the real data and weights in ../shared/real, which are not part of the repository")
    return REAL
