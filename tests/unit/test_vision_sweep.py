"""A slice of the sweep over all families; whole: `python -m tests.sweep vision`."""

import pytest

from tests.sweep import vision


@pytest.mark.slow
@pytest.mark.parametrize(("library", "least"), [("timm", 5), ("transformers", 4), ("registries", 3)])
def test_a_slice_of_each_library_is_equal_or_refused_in_one_sentence(library, least):
    outcomes = list(vision.sweep("3/12", library))
    faults = [f"{one.family}: {one.reason}" for one in outcomes if one.kind in ("failed", "different")]
    assert not faults
    assert sum(one.kind == "equal" for one in outcomes) >= least
