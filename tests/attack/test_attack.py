"""A thousand changed experiments, and every kind of file with every damage. More: python -m tests.attack"""

import pytest

from tests.attack import configurations, damage


def test_a_thousand_changed_experiments_run_or_are_refused_in_sentences(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    counts = configurations.attack(tmp_path, 1000, seed=0)
    assert counts["runs"] > 20
    assert counts["refused"] > 500
    assert not list(tmp_path.rglob("PWNED"))


@pytest.mark.parametrize("kind", damage.KINDS, ids=lambda kind: kind.name)
def test_a_damaged_file_is_named_in_one_sentence(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(damage, "KINDS", [kind])
    rows = damage.attack(tmp_path)
    assert len(rows) >= len(damage.DAMAGES) - 1
    assert [row for row in rows if row.verdict.startswith("WRONG")] == []


@pytest.mark.parametrize("kind", damage.KINDS, ids=lambda kind: kind.name)
def test_a_sound_file_is_read(kind, tmp_path):
    kind.use(kind.make(tmp_path / "sound"))
