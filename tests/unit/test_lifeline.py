"""Programs die with the process that started them."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from prh.jobs import lifeline
from tests.waiting import wait_for

OWNER = """
import os, subprocess, sys, time
from prh.jobs import lifeline
program = "import os, sys, time; from prh.jobs import lifeline; lifeline.die_with(os.environ[lifeline.OWNERS]); print(os.getpid(), flush=True); time.sleep(300)"
environment = os.environ | {lifeline.OWNERS: lifeline.with_this_process("")}
# a shell in between, which survives its parent
subprocess.run(["bash", "-c", '"$@"; true', "bash", sys.executable, "-c", program], env=environment)
"""


def is_there(process):
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_program_dies_with_its_owner_although_a_shell_is_in_between():
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    program = int(owner.stdout.readline())
    assert is_there(program)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    wait_for(lambda: not is_there(program), 10, "the program lives on")


def test_an_owner_that_is_gone_already_is_noticed():
    ended = threading.Event()
    gone = subprocess.Popen(
        [sys.executable, "-c", "from prh.jobs import lifeline; print(lifeline.with_this_process())"],
        stdout=subprocess.PIPE,
        text=True,
    )
    owners = gone.communicate()[0].strip()
    lifeline.die_with(owners, ended.set)
    assert ended.wait(5)


def test_another_process_with_the_number_of_an_owner_is_not_the_owner():
    ended = threading.Event()
    machine, number, _ = lifeline.with_this_process().rsplit(":", 2)
    lifeline.die_with(f"{machine}:{number}:1", ended.set)
    assert ended.wait(5)


@pytest.mark.parametrize("owners", ["", "elsewhere:1:1", "nonsense", "a:b:c"])
def test_owners_on_other_machines_are_left_out(owners):
    ended = threading.Event()
    lifeline.die_with(owners, ended.set)
    assert not ended.wait(0.2)


def test_an_owner_that_lives_is_no_reason():
    ended = threading.Event()
    lifeline.die_with(lifeline.with_this_process(), ended.set)
    assert not ended.wait(0.2)


def test_a_run_inside_a_run_adds_itself_once():
    owners = lifeline.with_this_process("other:1:2")
    assert owners.startswith("other:1:2 ")
    assert lifeline.with_this_process(owners) == owners
    assert str(os.getpid()) in owners


def test_where_the_kernel_gives_no_descriptor_it_is_looked_up(monkeypatch):
    ended = threading.Event()
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    monkeypatch.setattr(lifeline, "POLL", 0.02)
    owner = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    machine = lifeline.with_this_process().rsplit(":", 2)[0]
    lifeline.die_with(f"{machine}:{owner.pid}:{lifeline._started(owner.pid)}", ended.set)
    assert not ended.wait(0.2)
    owner.kill()
    owner.wait()
    assert ended.wait(5)
