"""The first and last lines of a log."""

import subprocess
import sys

import pytest

from prh.command import USAGE

PROGRAM = """
import sys
from prh.command import failing_in_one_sentence

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


def test_a_bug_keeps_its_traceback_and_its_time():
    status, lines = log_of("raise KeyError('k')")
    assert status == 1
    assert lines[-1] == "KeyError: 'k'"
    assert any(map(USAGE.fullmatch, lines))


def test_a_program_that_is_no_job_says_what_it_has_to_say():
    assert log_of("print('a table')", job=False) == (0, ["a table"])
