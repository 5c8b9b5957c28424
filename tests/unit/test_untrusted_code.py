"""No code of a model's repository runs unless its entry says so: every call that could run some is told."""

import ast
import inspect

TAKES_THE_FLAG = {"from_pretrained", "from_config", "pipeline"}


def calls(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield name, node


def flagged(node, tree):
    """Whether a call is given trust_remote_code: by its name, or in a dict of the function that is unpacked into it."""
    if any(keyword.arg == "trust_remote_code" for keyword in node.keywords):
        return True
    unpacked = {
        keyword.value.id for keyword in node.keywords if keyword.arg is None and isinstance(keyword.value, ast.Name)
    }
    named = {}
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            keys = {key.value for key in statement.value.keys if isinstance(key, ast.Constant)}
            keys |= {
                f"**{value.id}"
                for key, value in zip(statement.value.keys, statement.value.values, strict=True)
                if key is None and isinstance(value, ast.Name)
            }
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    named.setdefault(target.id, set()).update(keys)
    return any(
        "trust_remote_code" in named.get(name, ())
        or any("trust_remote_code" in named.get(key[2:], ()) for key in named.get(name, ()) if key.startswith("**"))
        for name in unpacked
    )


def test_every_call_that_can_load_code_says_whether_it_may(repository):
    found, lacking = 0, []
    for path in sorted(repository.glob("workflow_scripts/**/*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name, node in calls(path):
            if name in TAKES_THE_FLAG:
                found += 1
                if not flagged(
                    node,
                    next(
                        (
                            f
                            for f in ast.walk(tree)
                            if isinstance(f, ast.FunctionDef) and f.lineno <= node.lineno <= f.end_lineno
                        ),
                        tree,
                    ),
                ):
                    lacking.append(f"{path.name}:{node.lineno}")
    assert not lacking
    assert found >= 8, "the calls have other names now: change TAKES_THE_FLAG"


def test_the_datasets_library_runs_no_code_of_a_data_set():
    import datasets

    for function in (datasets.load_dataset, datasets.load_dataset_builder):
        assert "trust_remote_code" not in inspect.signature(function).parameters, "it can run code again: pass the flag"


def test_an_image_processor_with_code_is_refused_and_asks_nothing(tmp_path):
    import json

    import pytest
    from transformers import AutoImageProcessor

    marker = tmp_path / "PWNED"
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "Evil", "auto_map": {"AutoImageProcessor": "evil.Evil"}})
    )
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil: pass\n")
    with pytest.raises(ValueError, match="trust_remote_code"):
        AutoImageProcessor.from_pretrained(tmp_path, local_files_only=True, trust_remote_code=False)
    assert not marker.exists()
