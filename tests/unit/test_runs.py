"""A run holds its results against other runs."""

import json
import os
import subprocess
import sys

import pytest

from prh.io import addresses, files
from prh.jobs import lifeline, runs


def test_a_second_run_is_told_of_the_first(tmp_path):
    held = runs.hold(tmp_path / "results")
    with pytest.raises(
        files.BusyError, match=rf"results is in use by another run \(process {os.getpid()} on .*; wait until"
    ):
        runs.hold(tmp_path / "results")
    held.close()
    runs.hold(tmp_path / "results").close()


def test_programs_that_the_run_starts_do_not_hold_it(tmp_path):
    held = runs.hold(tmp_path)
    code = "import time; print(1, flush=True); time.sleep(60)"
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, close_fds=False)
    try:
        program.stdout.readline()  # until it is that program, it is a fork of this one with all its files
        held.close()
        runs.hold(tmp_path).close()
    finally:
        program.kill()
        program.wait()


def test_a_killed_run_holds_nothing(tmp_path):
    code = "import sys, time; from prh.jobs import runs; held = runs.hold(sys.argv[1]); print(1, flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
    other.stdout.readline()
    with pytest.raises(files.BusyError, match=f"process {other.pid} on"):
        runs.hold(tmp_path)
    other.kill()
    other.wait()
    runs.hold(tmp_path).close()


def test_a_lock_without_a_word_in_it_holds_as_well(tmp_path):
    held = runs.hold(tmp_path)
    (tmp_path / runs.LOCK).write_text("")
    with pytest.raises(files.BusyError, match=r"another run \(which one is unknown\)"):
        runs.hold(tmp_path)
    held.close()


def test_jobs_are_given_their_owner_the_secrets_and_threads_that_sleep():
    url = "https://me:hunter2@host/x"
    settings = runs.environment([url, "https://host/y"], {})
    assert str(os.getpid()) in settings[lifeline.OWNERS]
    assert json.loads(settings[addresses.ADDRESSES]) == {"https://***@host/x": url}
    assert settings["OMP_WAIT_POLICY"] == "passive"
    assert runs.environment([], {"OMP_WAIT_POLICY": "active"})["OMP_WAIT_POLICY"] == "active"
