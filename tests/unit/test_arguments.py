"""The command line of programs."""

import json

import pytest

from prh.experiment.arguments import ProgramParser, expanded, matched


def test_arguments_from_a_file_stand_where_it_is_named(tmp_path):
    path = tmp_path / "a b.json"
    path.write_text(json.dumps(["--rows", "x y", "@z"]))
    assert expanded(["a", "--arguments", str(path), "b"]) == ["a", "--rows", "x y", "@z", "b"]
    with pytest.raises(ValueError, match="--arguments needs a file"):
        expanded(["--arguments"])


def test_a_program_says_by_which_settings_and_code_it_runs(capsys, tmp_path):
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(["--spec", '{"code": "0123456789abcdef", "k": 3}']))
    arguments = ProgramParser("A program.", spec="k").parse_args(["--arguments", str(path)])
    assert arguments.spec.settings == {"k": 3}
    assert capsys.readouterr().out == f"settings {arguments.spec.digest}, code 0123456789abcdef\n"


def test_tables_have_as_many_digests_or_none():
    assert matched(["a", "b"], []) == [("a", None), ("b", None)]
    assert matched(["a", "b"], ["1", "2"]) == [("a", "1"), ("b", "2")]
    with pytest.raises(ValueError, match="1 digests for 2 tables"):
        matched(["a", "b"], ["1"])
