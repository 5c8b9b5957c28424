"""Run programs as forks of one process that has imported their libraries: in milliseconds, where imports take seconds.

    python forkserver.py FD MODULES       answer on the listening socket with this file descriptor; see forkclient.py

The forkserver of multiprocessing, for programs: a fork takes over the arguments, folder, umask, environment and
standard files of the process that asks for it, and that one ends as the program ends. Only libraries are imported
before; the program and its own modules are read when it starts. For Linux, and for programs that use no CUDA (a fork
cannot, once its parent has looked for a GPU) and leave nothing to atexit (before Python 3.13 forks do not run it).
What libraries read from the environment when they are imported, they read from the server's.

A request is a shell command. One that needs no shell, ``python PROGRAM ARGUMENTS > LOG 2>&1`` with its arguments quoted
as by ``shlex.quote``, is run here; any other is left to bash.
"""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import socket
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from forkclient import FRESH, peer

PATIENCE = 10.0
"""Seconds within which a request must have come once its connection stands."""
CLIENT = os.fsencode(Path(__file__).with_name("forkclient.py"))
WORD = r"""(?:[\w@%+=:,./-]|'[^']*'|"[^"$`\\]*")+"""
"""A word of a command that means itself, whatever the shell: plain letters, and what is quoted."""
COMMAND = re.compile(rf"\s*python((?:[ \t]+{WORD})+?)(?:[ \t]+>[ \t]*({WORD})[ \t]+2>&1)?\s*", re.ASCII)


class Request(NamedTuple):
    """A program to run, and what it takes over from the process that waits for it at the other end of ``client``."""

    client: socket.socket
    files: list[int]  # standard input, output and error
    program: list[str]
    log: str | None  # where its output and errors go, if not there
    folder: str
    umask: int
    environment: dict[bytes, bytes]


class Job(NamedTuple):
    """A program that runs."""

    process: Any  # multiprocessing.Process
    ended: int  # file descriptor that is ready when the process, whatever its children do, has ended
    client: socket.socket  # ready when nobody waits for it any more


def serve(listener: socket.socket, modules: Mapping[str, Sequence[str]], owner: int = 0) -> None:
    """Fork for each connection to ``listener``, until the pipe ``owner`` is closed at its other end.

    ``modules``: for each file name of a program, what to import before it; others are not forked. A program is killed
    when the process that waits for it dies, and when the owner does.
    """
    from multiprocessing.connection import wait

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner and the programs
    jobs: list[Job] = []
    while True:
        waiting = [job.client for job in jobs if job.client.fileno() >= 0]
        ready = wait([owner, listener, *(job.ended for job in jobs), *waiting])
        if owner in ready:
            for job in jobs:
                job.process.kill()
            return
        for job in list(jobs):
            if job.ended in ready:
                job.process.join()
                reply(job.client, str(job.process.exitcode))
                os.close(job.ended)
                job.process.close()
                jobs.remove(job)
            elif job.client in ready:
                job.process.kill()
                job.client.close()
        if listener in ready and (request := receive(listener)):
            job = start(request, modules, [listener, request.client, *(job.client for job in jobs)])
            if job:
                jobs.append(job)
            else:
                reply(request.client, FRESH)
            for file in request.files:
                os.close(file)


def start(request: Request, modules: Mapping[str, Sequence[str]], sockets: Sequence[socket.socket]) -> Job | None:
    """A fork that runs the program of a request; None if it should be run without.

    ``sockets`` are all that the server holds.
    """
    from multiprocessing import get_context

    name = os.path.basename(request.program[0])
    if name not in modules:
        return None
    load(modules[name])
    process = get_context("fork").Process(target=become, args=(request, sockets, os.getpid()), name=name)
    try:
        if has_threads():
            warnings.warn("a library has started threads: programs are not forked from here on", stacklevel=1)
            return None
        process.start()
        return Job(process, os.pidfd_open(process.pid), request.client)
    except OSError:  # no memory, no process or no file descriptor left
        if process.pid:
            process.kill()
        return None


def receive(listener: socket.socket) -> Request | None:
    """The request of the next connection; None, and an answer to its client, if it does not come or makes no sense."""
    try:
        client, _ = listener.accept()
    except OSError:
        time.sleep(0.1)  # no file descriptor left: one may be soon
        return None
    client.settimeout(PATIENCE)
    files: list[int] = []
    try:
        process, user = peer(client)
        if user != os.getuid():
            raise ValueError
        _, files, _, _ = socket.recv_fds(client, 1, 3)
        if len(files) < 3:
            raise ValueError
        return Request(client, files, *described(process))
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, PermissionError):
            warnings.warn(f"programs are not forked, for the kernel does not say what to run: {error}", stacklevel=1)
        reply(client, FRESH)
        for file in files:
            os.close(file)
        return None


def described(process: int) -> tuple[list[str], str | None, str, int, dict[bytes, bytes]]:
    """What the kernel knows of a process: the program that it is to run and its log, folder, umask and environment.

    Raises ValueError if it is no client or its command needs a shell, OSError if it has ended or may not be read.
    """
    of = Path(f"/proc/{process}")
    arguments, environment = ((of / file).read_bytes().split(b"\0")[:-1] for file in ("cmdline", "environ"))
    match arguments[arguments.index(CLIENT) + 1 :]:
        case [b"-c", command]:
            program, log = words(os.fsdecode(command))
        case [file]:
            program, log = words(os.fsdecode((of / "cwd" / os.fsdecode(file)).read_bytes()))
        case _:
            raise ValueError
    umask = int(re.search(r"^Umask:\s*(\d+)", (of / "status").read_text(), re.MULTILINE)[1], base=8)
    settings = dict(entry.split(b"=", 1) for entry in reversed(environment) if b"=" in entry)  # the first counts
    return program, log, os.readlink(of / "cwd"), umask, settings


def words(command: str) -> tuple[list[str], str | None]:
    """The program of a command with its arguments, and the file that its output and errors go to, if one does.

    Raises ValueError for a command in which a shell has more to do.

    >>> words("python a.py --name 'two words' > a.log 2>&1")
    (['a.py', '--name', 'two words'], 'a.log')
    """
    parts = COMMAND.fullmatch(command)
    if parts is None:
        raise ValueError
    program, log = parts.groups()
    return [unquoted(word) for word in re.findall(WORD, program, re.ASCII)], log and unquoted(log)


def unquoted(word: str) -> str:
    """What a word means."""
    return re.sub(r"""'([^']*)'|"([^"]*)\"""", lambda part: part[1] if part[2] is None else part[2], word)


def reply(client: socket.socket, answer: str) -> None:
    """Send the last word to a client, if it still listens."""
    with suppress(OSError):
        client.sendall(answer.encode())
    client.close()


def load(modules: Sequence[str]) -> None:
    """Import ``modules``; what cannot be imported is left to the program, which can say why."""
    from importlib import import_module

    for module in modules:
        if module not in sys.modules:
            with suppress(Exception):
                import_module(module)
    gc.freeze()  # no fork need look through what it shares, which would copy it


def has_threads() -> bool:
    """Whether a library has started threads: what they hold locked when a process forks stays locked in the fork.

    Once one has, nothing is forked any more.
    """
    return len(os.listdir("/proc/self/task")) > 1


def become(request: Request, sockets: Sequence[socket.socket], server: int) -> None:
    """Run the program of a request in this process, a fork of the server, whose sockets these are."""
    import multiprocessing
    import tempfile
    from ctypes import CDLL
    from runpy import run_path

    set_for_process = CDLL(None).prctl
    set_for_process(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: die with the server
    if os.getppid() != server:
        return
    set_for_process(15, os.path.basename(request.program[0]).encode())  # PR_SET_NAME: what top shows
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for connection in sockets:
        connection.close()
    for source, target in zip(request.files, (0, 1, 2), strict=True):
        os.dup2(source, target)
        os.close(source)
    os.chdir(request.folder)
    os.umask(request.umask)
    if request.log is not None:
        write_to(request.log)
    loaded_for = os.environ.get("OMP_NUM_THREADS")
    os.environ.clear()
    os.environb.update(request.environment)
    tempfile.tempdir = None  # TMPDIR may be another
    multiprocessing.set_start_method(None, force=True)  # not the one that made this process
    sys.argv = request.program
    sys.path[0] = os.path.dirname(os.path.abspath(request.program[0]))
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads and threads != loaded_for:
        limit_threads(int(threads))
    run_path(request.program[0], run_name="__main__")


def write_to(log: str) -> None:
    """Send the output and the errors of this process to a file, which begins anew."""
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    except OSError as error:
        sys.exit(f"{log}: {error.strerror}")
    for target in (1, 2):
        os.dup2(file, target)
    os.close(file)


def limit_threads(count: int) -> None:
    """Set, for this thread, what libraries have read from OMP_NUM_THREADS when they were loaded."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(count)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    serve(socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2]))
    os._exit(0)  # to take all the libraries down takes a second
