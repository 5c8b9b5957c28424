"""Progress in a log file: plain lines, whole units, and nothing where it is not wanted."""

from prh.jobs.progress import Progress


def test_parts_of_a_unit_are_counted_as_whole_ones(capsys):
    with Progress("features of vit", total=10, unit="sample") as progress:
        progress.skip(4)
        for _ in range(4):
            progress.advance(1.5)
    said = capsys.readouterr().err
    assert all(line.startswith("features of vit: ") and line.count("/10 ") == 1 for line in said.splitlines())
    assert "10/10" in said.splitlines()[-1]
    assert "\r" not in said
    assert said.endswith("\n")


def test_what_is_not_shown_can_be_advanced(capsys):
    with Progress("bits per byte", total=2, shown=False) as progress:
        progress.advance(2)
    assert capsys.readouterr().err == ""
