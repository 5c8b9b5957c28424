"""The first and last lines of a log."""

import os
import subprocess
import sys

import pytest

from prh.jobs.command import USAGE

PROGRAM = """
import sys
from prh.jobs.command import failing_in_one_sentence

with failing_in_one_sentence(job={job}):
    {body}
"""


def log_of(body, *, job=True):
    command = [sys.executable, "-c", PROGRAM.format(job=job, body=body), "--k", "a b"]
    # by a shell, which forks: what subprocess starts inherits the peak of this process
    shell = ["sh", "-c", '"$@"; exit $?', "sh", *command]
    done = subprocess.run(shell, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout.splitlines()


def peak_of(body):
    return float(USAGE.fullmatch(log_of(body)[1][-1])[3])


def test_a_log_begins_with_what_ran_and_ends_with_what_it_took():
    status, (versions, command, said, took) = log_of("print('working')")
    assert status == 0
    assert versions.startswith("prh ")
    assert "numpy" in versions
    assert command == "python -c --k 'a b'"
    assert said == "working"
    seconds, cpu, peak = map(float, USAGE.fullmatch(took).groups())
    assert 0 < seconds < 60
    assert 0 < cpu < 60
    assert 5 < peak < 300


def test_the_memory_is_the_peak_of_the_job_or_of_the_largest_of_its_children():
    child = "import subprocess; subprocess.run([sys.executable, '-c', 'bytearray(300_000_000)'])"
    little, much, childs = peak_of("pass"), peak_of("bytearray(300_000_000)"), peak_of(child)
    assert 295 < much - little < 310
    assert 290 < childs < 350


@pytest.mark.parametrize("error", ["ValueError", "OSError"])
def test_a_mistake_is_the_last_word(error):
    status, lines = log_of(f"raise {error}('the table is empty; make it again.')")
    assert status == 1
    assert lines[-1] == "error: the table is empty; make it again."
    assert USAGE.fullmatch(lines[-2])


@pytest.mark.parametrize(("module", "extra"), [("timm", "models"), ("matplotlib", "workflow")])
def test_a_library_that_is_not_installed_names_the_extra_that_brings_it(module, extra):
    status, lines = log_of(f"sys.modules['{module}'] = None; import {module}")
    assert status == 1
    assert lines[-1] == f"error: {module} is not installed; it comes with pip install 'prh[{extra}]'."
    assert not any("Traceback" in line for line in lines)


def test_a_part_of_a_library_that_is_missing_is_no_library_that_is_missing():
    _, lines = log_of("import numpy.nothing")
    assert "may be a fault of prh" in lines[-1]


def test_a_bug_keeps_its_traceback_and_ends_in_a_sentence():
    status, lines = log_of("raise KeyError('k')")
    assert status == 1
    assert "KeyError: 'k'" in lines
    assert lines[-1] == "error: -c: KeyError: 'k'; this may be a fault of prh (its traceback is above in the log)."
    assert USAGE.fullmatch(lines[-2])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("numpy.stack([])", "ValueError: need at least one array to stack"),
        ("int('seven')", "ValueError: invalid literal for int() with base 10: 'seven'"),
        (
            "json.loads('{')",
            "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        ("raise RuntimeError('two\\nlines  of words.')", "RuntimeError: two lines of words"),
        ("raise MemoryError", "MemoryError"),
        ("exec('raise OSError(chr(65))', {'__name__': 'numpy'})", "OSError: A"),
    ],
)
def test_an_error_that_was_not_written_for_users_says_what_it_was_about(body, said):
    block = f"import json, numpy\n    from prh.jobs.about import about\n    with about('model vit'), about('sample 7'):\n        {body}"
    status, lines = log_of(block)
    assert status == 1
    assert any(line.startswith("Traceback") for line in lines)
    assert lines[-1] == (
        f"error: model vit, sample 7: {said}; this may be a fault of prh (its traceback is above in the log)."
    )


@pytest.mark.parametrize(
    "body",
    [
        "raise ValueError('the table is empty.')",
        "\n    try:\n        int('x')\n    except ValueError:\n        raise ValueError('the table is empty.') from None",
        "from prh.experiment.messages import ConfigError; raise ConfigError('the table is empty.')",
    ],
)
def test_a_sentence_of_ours_is_left_as_it_is(body):
    assert log_of(body)[1][-1] == "error: the table is empty."
    assert not any(line.startswith("Traceback") for line in log_of(body)[1])


def test_a_sentence_of_ours_is_told_what_it_does_not_name():
    block = "from prh.jobs.about import about\n    with about(\"model 'vit'\"), about(\"task 'digits'\"):\n        "
    said = log_of(block + "raise ValueError('all samples are of one class.')")[1][-1]
    assert said == "error: model 'vit', task 'digits': all samples are of one class."
    said = log_of(block + "raise ValueError(\"model 'vit' is damaged.\")")[1][-1]
    assert said == "error: task 'digits': model 'vit' is damaged."


def test_the_system_names_the_file():
    assert log_of("open('/nowhere/x')")[1][-1] == "error: [Errno 2] No such file or directory: '/nowhere/x'"


def test_a_long_message_is_cut():
    status, lines = log_of("raise RuntimeError('word ' * 10_000)")
    assert status == 1
    assert len(lines[-1]) < 800


def test_where_nothing_else_is_known_the_output_tells_what_it_was_about():
    body = "sys.argv += ['--output', 'features/photos/vit.parquet']; raise KeyError('k')"
    assert log_of(body)[1][-1].startswith("error: -c, making features/photos/vit.parquet: KeyError: 'k'; this may be")


def test_a_job_reads_nothing_even_where_its_input_never_ends():
    reader, writer = os.pipe()
    try:
        command = [sys.executable, "-c", PROGRAM.format(job=True, body="print(repr(sys.stdin.read()))")]
        done = subprocess.run(command, stdin=reader, capture_output=True, text=True, timeout=60)
    finally:
        os.close(reader)
        os.close(writer)
    assert "\n''\n" in done.stdout


def test_neither_heading_nor_log_lines_nor_errors_hold_the_secrets_of_an_address():
    url = "https://me:hunter2@host/x.zip?X-Amz-Signature=5ecret&part=1"
    body = (
        f'sys.argv.append(\'{{"url": "{url}"}}\'); from prh.jobs import command; print(command.heading());'
        f"import logging; logging.getLogger('httpx').info('GET %s', '{url}'); raise RuntimeError('{url}')"
    )
    status, lines = log_of(body)
    log = "\n".join(lines)
    assert status == 1
    assert log.count("https://***@host/x.zip?X-Amz-Signature=***&part=1") == 4, log
    traceback = [line for line in lines if "raise RuntimeError" not in line]
    assert "hunter2" not in "\n".join(traceback)
    assert "5ecret" not in "\n".join(traceback)


def test_every_program_is_wrapped_and_reads_no_input(repository):
    for path in repository.glob("workflow_scripts/*.py"):
        text = path.read_text()
        assert "with failing_in_one_sentence(" in text, path.name
        assert "input(" not in text.replace("_input(", ""), path.name


def test_a_program_that_is_no_job_says_what_it_has_to_say():
    assert log_of("print('a table')", job=False) == (0, ["a table"])
