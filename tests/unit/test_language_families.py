"""The families of text that transformers lists, small: none gives other features than the library itself."""

import pytest

from tests.sweep import language


def check(names, least):
    outcomes = language.sweep(names)
    faults = [o for o in outcomes if o.kind in ("different", "failed") or o.scored.startswith("failed")]
    assert not faults
    assert sum(o.kind == "equal" for o in outcomes) >= least, language.summary(outcomes)
    for outcome in outcomes:
        assert "\n" not in outcome.reason + outcome.scored


@pytest.mark.slow
def test_a_quarter_of_the_families_is_equal_or_refused_in_one_sentence():
    check(language.families()[::4], 60)


@pytest.mark.whole
@pytest.mark.parametrize("part", [1, 2, 3])
def test_so_are_the_others(part):
    check(language.families()[part::4], 60)
