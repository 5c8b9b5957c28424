"""Programs run by a forkserver: as if they ran where they were called, and none outlives who waits for it."""

import importlib.util
import json
import os
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks of a process with these libraries need Linux")

NAMES = ["job.py", "second.py"]
SHOW = """
import json, os, sys
print(json.dumps({
    "parent": os.getppid(), "arguments": sys.argv, "folder": os.getcwd(), "name": __name__, "path": sys.path[0],
    "colour": os.environ.get("COLOUR"), "text": os.environ.get("TEXT"), "umask": os.umask(0),
    "loaded": "colorsys" in sys.modules,
}))
"""


class Forkserver:
    """A server that forks the programs called job.py and second.py, and the processes that ask it."""

    def __init__(self, folder: Path, program: Path, modules: list[str]) -> None:
        self.folder, self.client, self.name = folder, program.with_name("forkclient.py"), f"test-{uuid.uuid4()}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"\0{self.name}")
            listener.listen()
            self.process = subprocess.Popen(
                [sys.executable, program, str(listener.fileno()), json.dumps(dict.fromkeys(NAMES, modules))],
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )

    def start(self, code: str, *arguments: str, name: str = "job.py", **options) -> subprocess.Popen:
        """Run a program of this code; ``options`` are those of Popen."""
        script = self.folder / name
        if not script.is_file() or script.read_text() != code:
            script.write_text(code)
        return self.shell("-c", shlex.join(["python", str(script), *arguments]), **options)

    def shell(self, *arguments: str, **options) -> subprocess.Popen:
        """Call the shell of jobs, as Snakemake does; ``options`` are those of Popen."""
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        reach = {"PATH": path, "FORKSERVER": self.name, "FORKSERVER_PYTHON": sys.executable}
        environment = options.pop("env", os.environ) | reach
        return subprocess.Popen([self.client.with_name("forkshell"), *arguments], text=True, env=environment, **options)

    def run(self, code: str, *arguments: str, **options) -> tuple[int, str, str]:
        process = self.start(code, *arguments, **options)
        out, error = process.communicate(timeout=60)
        return process.returncode, out, error

    def forks(self) -> bool:
        """Whether a program is a fork of the server."""
        return json.loads(self.run(SHOW)[1])["parent"] == self.process.pid

    def end(self) -> str:
        """What the server had to say."""
        assert self.process.poll() is None, self.process.stderr.read()
        self.process.stdin.close()
        assert self.process.wait(timeout=60) == 0
        return self.process.stderr.read().decode()


@pytest.fixture
def program(repository):
    return repository / "forkserver/forkserver.py"


@pytest.fixture
def server(tmp_path, program):
    made = Forkserver(tmp_path, program, ["colorsys", "no_such_module"])
    yield made
    if made.process.poll() is None:
        assert made.end() == ""


def pid_in(file: Path) -> int:
    """The process that writes its number into ``file``, when it has."""
    wait_for(lambda: file.is_file() and file.read_text())
    return int(file.read_text())


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.is_file() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


ASLEEP = "import os, pathlib, time; pathlib.Path({file!r}).write_text(str(os.getpid())); time.sleep(600)"


def test_a_program_runs_as_if_it_ran_where_it_is_called(server, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    environment = {"COLOUR": "blue", "TEXT": "two\nlines \udcff", "PATH": os.environ["PATH"]}
    arguments = ["--k", "a b", "ü", "", "two\nlines", server.name, "x" * 100_000, ""]
    status, out, error = server.run(SHOW, *arguments, cwd=folder, env=environment, umask=0o027)
    assert (status, error) == (0, "")
    said = json.loads(out)
    assert said["parent"] == server.process.pid
    assert said["arguments"] == [str(tmp_path / "job.py"), *arguments]
    assert (said["folder"], said["path"], said["name"]) == (str(folder), str(tmp_path), "__main__")
    assert (said["colour"], said["text"], said["umask"]) == ("blue", environment["TEXT"], 0o027)
    assert said["loaded"], "the module was not there before the program was"


def test_other_programs_start_python_anew(server):
    status, out, _ = server.run(SHOW, name="another.py")
    said = json.loads(out)
    assert status == 0
    assert said["parent"] == os.getpid()
    assert not said["loaded"]
    assert server.forks()


def test_programs_run_at_once(server, tmp_path):
    go = str(tmp_path / "go")
    first = server.start(f"import pathlib, time\nwhile not pathlib.Path({go!r}).exists(): time.sleep(0.02)")
    assert server.run(f"import pathlib; pathlib.Path({go!r}).touch()", name="second.py")[0] == 0
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
    assert error.endswith(said) if said else error == ""
    assert out == ("late\n" if "late" in code else ""), "what is buffered is written, threads are waited for"


def test_a_program_is_killed_with_the_process_that_waits_for_it(server, tmp_path):
    client = server.start(ASLEEP.format(file=str(tmp_path / "pid")))
    job = pid_in(tmp_path / "pid")
    client.kill()
    wait_for(lambda: not is_alive(job))
    client.communicate()
    assert server.run("print('still here')")[1] == "still here\n"


def test_a_program_ends_though_a_child_of_it_does_not(server):
    """A helper process that is left behind, as of a DataLoader: whoever waits for the program need not wait for it."""
    began = time.monotonic()
    code = "import os, time\nif os.fork() == 0:\n  for f in (0, 1, 2): os.close(f)\n  time.sleep(20)\n  os._exit(0)\nraise SystemExit(3)"
    assert server.run(code)[0] == 3
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("how", ["owner gone", "killed"])
def test_no_program_outlives_the_server_and_later_ones_start_anew(server, tmp_path, how):
    client = server.start(ASLEEP.format(file=str(tmp_path / "pid")))
    job = pid_in(tmp_path / "pid")
    if how == "killed":
        server.process.kill()
        server.process.wait()
    else:
        server.end()
    wait_for(lambda: not is_alive(job))
    _, error = client.communicate(timeout=60)
    assert client.returncode == 1
    assert error == "error: the process that a job was forked from has ended, and the job with it; run it again.\n"
    assert not server.forks()


def test_an_interrupt_is_for_the_program_which_cleans_up(server, tmp_path):
    """Ctrl-C reaches all: the program ends in its own time, its client waits for it, the server goes on."""
    cleaned = tmp_path / "cleaned"
    code = ASLEEP.format(file=str(tmp_path / "pid")).replace("time.sleep(600)", "try: time.sleep(600)", 1)
    code = code.replace("; try:", "\ntry:") + f"\nfinally:\n  time.sleep(0.5)\n  pathlib.Path({str(cleaned)!r}).touch()"
    client = server.start(code)
    job = pid_in(tmp_path / "pid")
    for process in (client.pid, server.process.pid, job):
        os.kill(process, signal.SIGINT)
    _, error = client.communicate(timeout=60)
    assert cleaned.exists()
    assert client.returncode == 1
    assert error.count("Traceback") == 1
    assert error.endswith("KeyboardInterrupt\n")
    assert server.forks()


def test_a_program_may_choose_how_it_starts_processes(server):
    code = "import multiprocessing as m; m.set_start_method('spawn'); print(m.get_start_method())"
    assert server.run(code) == (0, "spawn\n", "")


def test_standard_files_may_be_closed(server, tmp_path):
    arguments = [sys.executable, "-IS", server.client, "-c", f"python {tmp_path}/job.py"]
    (tmp_path / "job.py").write_text(f"import os; open({str(tmp_path / 'out')!r}, 'w').write(str(os.getppid()))")
    command = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *map(str, arguments)]
    subprocess.run(command, env=os.environ | {"FORKSERVER": server.name}, check=True, timeout=60)
    assert (tmp_path / "out").read_text() == str(server.process.pid)


def test_where_no_more_can_be_forked_programs_start_anew(server, tmp_path):
    """With few file descriptors: those that were forked go on, the others are not lost."""
    assert server.forks()
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (24, 24))
    go = tmp_path / "go"
    code = (
        f"import os, pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.02)\nprint(os.getppid())"
    )
    clients = [server.start(code) for _ in range(12)]
    time.sleep(1)
    go.touch()
    parents = {client.communicate(timeout=60)[0].strip() for client in clients}
    assert {client.returncode for client in clients} == {0}
    assert parents == {str(server.process.pid), str(os.getpid())}
    assert server.forks()


@pytest.mark.parametrize("files", [None, [], [0, 1], [0, 1, 2]])
def test_a_request_that_makes_no_sense_is_refused(server, files):
    """Of a process that sends no standard files, or that is no client, as one that took the number of one that ended."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"\0{server.name}")
        if files is not None:
            socket.send_fds(client, [b"\n"], files)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b"fresh"
    assert server.run("print('still here')")[1] == "still here\n"


ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect(chr(0) + sys.argv[1])
    try:
        socket.send_fds(server, [b"?"], [0, 1, 2])
        print(server.recv(16).decode())
    except ConnectionError:
        print("fresh")  # it hung up before it was asked
"""


def answer(server: Forkserver, *arguments: str, before: str = "") -> str:
    """What the server says to a process that asks as a client does, but without looking who serves."""
    command = [sys.executable, "-c", f"{before}\n{ASK}", server.name, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout.strip()


def test_a_request_for_no_program_is_refused(server, tmp_path):
    (tmp_path / "job.py").touch()
    command = f"python {tmp_path}/job.py"
    client = str(server.client)
    for arguments in ([], [client], [client, "-c"], [client, "-c", ""], [client, "-x", command], ["-c", command]):
        assert answer(server, *arguments) == "fresh", arguments
    assert answer(server, client, "-c", command) == "0"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_other_users_are_refused(server, tmp_path):
    (tmp_path / "job.py").write_text(f"open({str(tmp_path / 'made')!r}, 'w')")
    request = [str(server.client), "-c", f"python {tmp_path}/job.py"]
    assert answer(server, *request, before="import os, socket; os.setuid(65534)") == "fresh"
    assert server.forks()
    assert not (tmp_path / "made").exists()


def test_a_library_that_starts_threads_is_not_forked(tmp_path, program):
    (tmp_path / "threaded.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    )
    for file in (program, program.with_name("forkclient.py"), program.with_name("forkshell")):
        shutil.copy(file, tmp_path)
    server = Forkserver(tmp_path, tmp_path / program.name, ["threaded"])
    assert not server.forks()
    assert not server.forks()
    assert server.end().count("UserWarning: a library has started threads") == 1


def test_threads_are_those_of_the_program(tmp_path, program):
    server = Forkserver(tmp_path, program, ["numpy", "torch"])
    code = """
import numpy, os, torch, threadpoolctl
(numpy.ones((600, 600)) @ numpy.ones((600, 600))), (torch.ones(600, 600) @ torch.ones(600, 600))
print(os.getppid(), torch.get_num_threads(), {pool["num_threads"] for pool in threadpoolctl.threadpool_info()})
"""
    for threads in ("3", "1", "2"):
        status, out, error = server.run(code, env=os.environ | {"OMP_NUM_THREADS": threads})
        assert (status, out) == (0, f"{server.process.pid} {threads} {{{threads}}}\n"), error
    server.end()


def test_programs_say_what_they_want_imported_beforehand(repository):
    sys.path.insert(0, str(repository / "forkserver"))
    from forklaunch import preload_of

    wanted = {path.name: preload_of(path) for path in repository.glob("workflow_scripts/*.py")}
    for path in repository.glob("workflow_scripts/*.py"):
        assert path.read_text().count("PRELOAD") == (wanted[path.name] is not None), f"{path} reads it"
    assert "torch" in wanted["features.py"]
    assert wanted["download_model.py"] is None  # the hub is read offline in forks
    assert len([names for names in wanted.values() if names]) > 10
    for name in {name for names in wanted.values() for name in names or ()}:
        assert importlib.util.find_spec(name), f"{name} cannot be imported"


PARENT = "import os, sys; print(os.getppid(), *sys.argv[1:])"


def test_a_command_that_needs_no_shell_is_forked_with_its_log(server, tmp_path):
    (tmp_path / "job.py").write_text(PARENT + "; print('to errors', file=sys.stderr)")
    log = tmp_path / "a log's own.txt"
    log.write_text("of an earlier attempt, which was longer than this one\n" * 9)
    words = ["--spec", '{"name": "it\'s", "k": [1, 2]}', "$HOME `id` \\", "a\nb", ""]
    command = f"\n  {shlex.join(['python', 'job.py', *words])} > {shlex.quote(log.name)} 2>&1 "
    assert server.shell("-c", command, cwd=tmp_path, umask=0o027).communicate(timeout=60) == ("", "")
    assert log.read_text() == f"{server.process.pid} {' '.join(words)}\nto errors\n"


def test_a_log_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "job.py").write_text(PARENT)
    client = server.shell("-c", f"python {tmp_path}/job.py > {tmp_path}/none/log 2>&1")
    assert client.communicate(timeout=60) == ("", f"{tmp_path}/none/log: No such file or directory\n")
    assert client.returncode == 1


@pytest.mark.parametrize("command", ["python job.py x > out 2>&1", "python job.py x | cat > out", "echo no fork > out"])
def test_commands_too_long_for_an_argument_come_in_a_file(server, tmp_path, command):
    """As Snakemake writes them from 64 KiB on: a script that is called by the shell by its path."""
    (tmp_path / "job.py").write_text(PARENT)
    (tmp_path / "script.sh").write_text(f"{command}\n")
    client = server.shell("-c", f'"{server.client.with_name("forkshell")}" "{tmp_path}/script.sh"', cwd=tmp_path)
    client.communicate(timeout=60)
    assert client.returncode == 0
    said = (tmp_path / "out").read_text().split()
    assert said[1:] == (["x"] if "job.py" in command else ["fork"])
    assert (said[0] == str(server.process.pid)) == ("2>&1" in command)


@pytest.mark.parametrize(
    ("command", "status", "says"),
    [
        ("echo one two", 0, "one two\n"),
        ("exit 3", 3, ""),
        ("false | true; echo on", 1, ""),
        ("echo $UNSET", 1, ""),
        ("false; echo on", 1, ""),
        ("python -c 'print(6 * 7)' | tr 4 5", 0, "52\n"),
        ("python job.py *.py", 0, "anew job.py\n"),
        ("python job.py {a,b}", 0, "anew a b\n"),
        ("python job.py $((1 + 1))", 0, "anew 2\n"),
        ('python job.py "$WORD"', 0, "anew word\n"),
        ("python job.py a\\ b", 0, "anew a b\n"),
        ("python job.py a # b", 0, "anew a\n"),
        ("python job.py a; echo b", 0, "anew a\nb\n"),
        ("python job.py a\necho b", 0, "anew a\nb\n"),
        ("python job.py a && false", 1, "anew a\n"),
        ("X=1 python job.py a", 0, "anew a\n"),
        ("python job.py a 2>&1 >/dev/null", 0, ""),
        ("python job.py 2> /dev/null a", 0, "anew a\n"),
        ("python job.py 'a' \"b'c\" d'e f'g", 0, "forked a b'c de fg\n"),
        ("python  job.py\t2 1", 0, "forked 2 1\n"),
    ],
)
def test_what_needs_a_shell_is_run_by_a_bash_that_stops_at_what_fails(server, tmp_path, command, status, says):
    (tmp_path / "job.py").write_text(
        f"import os, sys; print('forked' if os.getppid() == {server.process.pid} else 'anew', *sys.argv[1:])"
    )
    client = server.shell("-c", command, cwd=tmp_path, env=os.environ | {"WORD": "word"})
    said, error = client.communicate(timeout=60)
    assert (client.returncode, said) == (status, says), error
