"""Programs run by a forkserver: as if they ran where they were called, and none outlives who waits for it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks of a process with these libraries need Linux")

SHOW = """
import json, os, sys
print(json.dumps({
    "parent": os.getppid(), "arguments": sys.argv, "folder": os.getcwd(), "name": __name__, "path": sys.path[0],
    "colour": os.environ.get("COLOUR"), "umask": os.umask(0), "loaded": "colorsys" in sys.modules,
}))
"""


class Forkserver:
    """A server that forks the programs called job.py, and the processes that ask it."""

    def __init__(self, folder: Path, program: Path, modules: list[str]) -> None:
        self.folder, self.program, self.address = folder, program, str(folder / "socket")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen()
            self.process = subprocess.Popen(
                [sys.executable, program, "serve", str(listener.fileno()), json.dumps({"job.py": modules})],
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )

    def start(self, code: str, *arguments: str, name: str = "job.py", **options) -> subprocess.Popen:
        """Run a program of this code; ``options`` are those of Popen."""
        script = self.folder / name
        script.write_text(code)
        options.setdefault("env", os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"})
        return subprocess.Popen(
            [sys.executable, "-IS", self.program, "run", self.address, str(script), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, code: str, *arguments: str, **options) -> tuple[int, str, str]:
        process = self.start(code, *arguments, **options)
        out, error = process.communicate(timeout=60)
        return process.returncode, out, error

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)


@pytest.fixture
def server(tmp_path, repository):
    made = Forkserver(tmp_path, repository / "workflow_scripts/forkserver.py", ["colorsys", "no_such_module"])
    yield made
    made.end()


def wait_for(file: Path) -> str:
    deadline = time.monotonic() + 60
    while not (file.is_file() and file.read_text()):
        assert time.monotonic() < deadline, f"{file} does not come"
        time.sleep(0.02)
    return file.read_text()


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.is_file() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 60
    while is_alive(pid):
        assert time.monotonic() < deadline, f"{pid} does not end"
        time.sleep(0.02)


ASLEEP = "import os, pathlib, time; pathlib.Path({file!r}).write_text(str(os.getpid())); time.sleep(600)"


def test_a_program_runs_as_if_it_ran_where_it_is_called(server, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    environment = {"COLOUR": "blue", "TEXT": "two\nlines \udcff", "PATH": os.environ["PATH"]}
    status, out, error = server.run(SHOW, "--k", "a b", "ü", cwd=folder, env=environment, umask=0o027)
    assert (status, error) == (0, "")
    said = json.loads(out)
    assert said["parent"] == server.process.pid
    assert said["arguments"] == [str(tmp_path / "job.py"), "--k", "a b", "ü"]
    assert (said["folder"], said["path"], said["name"]) == (str(folder), str(tmp_path), "__main__")
    assert (said["colour"], said["umask"]) == ("blue", 0o027)
    assert said["loaded"], "the module was not there before the program was"


def test_other_programs_start_python_anew(server):
    status, out, _ = server.run(SHOW, name="another.py")
    said = json.loads(out)
    assert status == 0
    assert said["parent"] == os.getpid()
    assert not said["loaded"]


def test_programs_run_at_once(server, tmp_path):
    first = server.start(
        f"import time, pathlib\nwhile not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.02)"
    )
    assert server.run(f"import pathlib; pathlib.Path({str(tmp_path / 'go')!r}).touch()")[0] == 0
    assert first.wait(timeout=60) == 0
    first.communicate()


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("", 0, ""),
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('error: no such table')", 1, "error: no such table\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("import argparse; argparse.ArgumentParser(prog='p').parse_args(['--x'])", 2, "unrecognized arguments: --x\n"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137, ""),
        ("import os; os.abort()", 134, ""),
        ("import threading, time; threading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()", 0, ""),
    ],
)
def test_the_status_and_last_words_are_those_of_the_program(server, code, status, said):
    found, out, error = server.run(code)
    assert found == status
    assert error.endswith(said)
    assert out == ("late\n" if "late" in code else ""), "what is buffered is written, threads are waited for"


def test_a_program_is_killed_with_the_process_that_waits_for_it(server, tmp_path):
    client = server.start(ASLEEP.format(file=str(tmp_path / "pid")))
    job = int(wait_for(tmp_path / "pid"))
    client.kill()
    wait_for_end(job)
    client.communicate()
    assert server.run("print('still here')")[1] == "still here\n"


@pytest.mark.parametrize("how", ["owner gone", "killed"])
def test_no_program_outlives_the_server_and_later_ones_start_anew(server, tmp_path, how):
    client = server.start(ASLEEP.format(file=str(tmp_path / "pid")))
    job = int(wait_for(tmp_path / "pid"))
    if how == "killed":
        server.process.kill()
    server.end()
    wait_for_end(job)
    _, error = client.communicate(timeout=60)
    assert client.returncode == (1 if how == "killed" else 137)
    assert ("job.py ended with the process that it was forked from; run it again." in error) == (how == "killed")
    assert json.loads(server.run(SHOW)[1])["parent"] == os.getpid()


def test_an_interrupt_is_for_the_program_alone(server, tmp_path):
    client = server.start(ASLEEP.format(file=str(tmp_path / "pid")))
    job = int(wait_for(tmp_path / "pid"))
    os.kill(server.process.pid, signal.SIGINT)
    os.kill(job, signal.SIGINT)
    _, error = client.communicate(timeout=60)
    assert client.returncode == 1
    assert error.endswith("KeyboardInterrupt\n")
    assert server.run("print('still here')")[1] == "still here\n"


@pytest.mark.parametrize("message", [b"", b"\n", b"\nnonsense\n", b'\n{"program": ["job.py"]}\n', b"\n[]\n"])
def test_a_request_that_makes_no_sense_is_dropped(server, message):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(server.address)
        if message:
            socket.send_fds(client, [message], [0, 1, 2])
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert server.run("print('still here')")[1] == "still here\n"


def test_a_library_that_starts_threads_is_not_forked(tmp_path, repository):
    (tmp_path / "threaded.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    )
    (tmp_path / "forkserver.py").write_text((repository / "workflow_scripts/forkserver.py").read_text())
    server = Forkserver(tmp_path, tmp_path / "forkserver.py", ["threaded"])
    assert json.loads(server.run(SHOW)[1])["parent"] == os.getpid()
    server.end()


def test_threads_are_those_of_the_program(tmp_path, repository):
    server = Forkserver(tmp_path, repository / "workflow_scripts/forkserver.py", ["numpy", "torch"])
    code = """
import numpy, torch, threadpoolctl
(numpy.ones((600, 600)) @ numpy.ones((600, 600))), (torch.ones(600, 600) @ torch.ones(600, 600))
print(torch.get_num_threads(), {pool["num_threads"] for pool in threadpoolctl.threadpool_info()})
"""
    for threads in ("3", "1", "2"):
        status, out, error = server.run(code, env=os.environ | {"OMP_NUM_THREADS": threads})
        assert (status, out) == (0, f"{threads} {{{threads}}}\n"), error
    server.end()
