"""Runs programs as forks of one process that has imported their libraries, which starts them in milliseconds.

    python forkserver.py FD MODULES       serve the listening socket with this file descriptor; see forkclient.py

This is like the forkserver of multiprocessing, but for programs: a fork takes over the arguments, folder, umask,
environment and standard files of the client that requests it, and the client ends when the program ends. Only libraries
are imported beforehand; the program and its own modules are read when it starts. It works on Linux, for programs that
do not use CUDA (which does not work in a fork once its parent has looked for a GPU) or atexit (which forks do not run
before Python 3.13). Libraries that read the environment at import see that of the server.

A request is a shell command. If it needs no shell, that is ``python PROGRAM ARGUMENTS > LOG 2>&1`` with arguments
quoted as by ``shlex.quote``, it is run here; any other command is left to bash.
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
"""Seconds to wait for the request of a new connection."""
CLIENT = os.fsencode(Path(__file__).with_name("forkclient.py"))
WORD = r"""(?:[\w@%+=:,./-]|'[^']*'|"[^"$`\\]*")+"""
"""A word that every shell takes literally: plain characters and quoted text."""
COMMAND = re.compile(rf"\s*python((?:[ \t]+{WORD})+?)(?:[ \t]+>[ \t]*({WORD})[ \t]+2>&1)?\s*", re.ASCII)


class Request(NamedTuple):
    """A program to run, and the state it takes over from the client process that waits for it."""

    client: socket.socket
    files: list[int]  # standard input, output and error
    program: list[str]
    log: str | None  # file for output and errors, instead of those of the client
    folder: str
    umask: int
    environment: dict[bytes, bytes]


class Job(NamedTuple):
    """A running program."""

    process: Any  # multiprocessing.Process
    ended: int  # file descriptor that is ready when the process has ended, even if its children have not
    client: socket.socket  # ready when the client has ended


def serve(listener: socket.socket, modules: Mapping[str, Sequence[str]], owner: int = 0) -> None:
    """Fork for each connection to ``listener``, until the other end of the pipe ``owner`` is closed.

    ``modules`` maps file names of programs to the modules to import before forking; other programs are not forked. A
    program is killed when its client or the owner ends.
    """
    from multiprocessing.connection import wait

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the owner and the programs
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
    """Fork to run the program of a request; None if the client must run it itself.

    ``sockets`` are all sockets of the server, which the fork closes.
    """
    from multiprocessing import get_context

    name = os.path.basename(request.program[0])
    if name not in modules:
        return None
    load(modules[name])
    process = get_context("fork").Process(target=become, args=(request, sockets, os.getpid()), name=name)
    try:
        if has_threads():
            warnings.warn("a library has started threads, so programs are not forked any more", stacklevel=1)
            return None
        process.start()
        return Job(process, os.pidfd_open(process.pid), request.client)
    except OSError:  # out of memory, processes or file descriptors
        if process.pid:
            process.kill()
        return None


def receive(listener: socket.socket) -> Request | None:
    """The request of the next connection; None if it is missing or invalid, after answering the client."""
    try:
        client, _ = listener.accept()
    except OSError:
        time.sleep(0.1)  # out of file descriptors; one may become free soon
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
            warnings.warn(
                f"programs are not forked, because their command cannot be read from /proc: {error}", stacklevel=1
            )
        reply(client, FRESH)
        for file in files:
            os.close(file)
        return None


def described(process: int) -> tuple[list[str], str | None, str, int, dict[bytes, bytes]]:
    """(program with arguments, log, folder, umask, environment) of a client process, read from /proc.

    Raises ValueError if it is not a client or its command needs a shell, OSError if it has ended or cannot be read.
    """
    facts = Path(f"/proc/{process}")
    arguments, environment = ((facts / file).read_bytes().split(b"\0")[:-1] for file in ("cmdline", "environ"))
    match arguments[arguments.index(CLIENT) + 1 :]:
        case [b"-c", command]:
            program, log = words(os.fsdecode(command))
        case [file]:
            program, log = words(os.fsdecode((facts / "cwd" / os.fsdecode(file)).read_bytes()))
        case _:
            raise ValueError
    umask = int(re.search(r"^Umask:\s*(\d+)", (facts / "status").read_text(), re.MULTILINE)[1], base=8)
    settings = dict(
        entry.split(b"=", 1) for entry in reversed(environment) if b"=" in entry
    )  # the first of duplicates counts
    return program, log, os.readlink(facts / "cwd"), umask, settings


def words(command: str) -> tuple[list[str], str | None]:
    """(program with arguments, file that output and errors are redirected to or None) of a command.

    Raises ValueError for a command that needs a shell.

    >>> words("python a.py --name 'two words' > a.log 2>&1")
    (['a.py', '--name', 'two words'], 'a.log')
    """
    parts = COMMAND.fullmatch(command)
    if parts is None:
        raise ValueError
    program, log = parts.groups()
    return [unquoted(word) for word in re.findall(WORD, program, re.ASCII)], log and unquoted(log)


def unquoted(word: str) -> str:
    """A word without its quotes."""
    return re.sub(r"""'([^']*)'|"([^"]*)\"""", lambda part: part[1] if part[2] is None else part[2], word)


def reply(client: socket.socket, answer: str) -> None:
    """Send the final answer to a client, if it is still there, and close the connection."""
    with suppress(OSError):
        client.sendall(answer.encode())
    client.close()


def load(modules: Sequence[str]) -> None:
    """Import ``modules``; errors are ignored, because the program will report them itself."""
    from importlib import import_module

    for module in modules:
        if module not in sys.modules:
            with suppress(Exception):
                import_module(module)
    gc.freeze()  # keeps garbage collection in forks from touching, and so copying, shared memory


def has_threads() -> bool:
    """Whether a library has started threads, which makes forking unsafe: locks they hold stay locked in the fork."""
    return len(os.listdir("/proc/self/task")) > 1


def become(request: Request, sockets: Sequence[socket.socket], server: int) -> None:
    """Run the program of a request in this process, which is a fork of the server; closes the server's ``sockets``."""
    import multiprocessing
    import tempfile
    from ctypes import CDLL
    from runpy import run_path

    set_for_process = CDLL(None).prctl
    set_for_process(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: die with the server
    if os.getppid() != server:
        return
    set_for_process(15, os.path.basename(request.program[0]).encode())  # PR_SET_NAME: the name that top shows
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
    server_threads = os.environ.get("OMP_NUM_THREADS")
    os.environ.clear()
    os.environb.update(request.environment)
    tempfile.tempdir = None  # forget the cached folder, as TMPDIR may differ
    multiprocessing.set_start_method(None, force=True)  # reset the method that created this process
    sys.argv = request.program
    sys.path[0] = os.path.dirname(os.path.abspath(request.program[0]))
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads and threads != server_threads:
        limit_threads(int(threads))
    run_path(request.program[0], run_name="__main__")


def write_to(log: str) -> None:
    """Redirect the output and errors of this process to a file, which is truncated."""
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    except OSError as error:
        sys.exit(f"{log}: {error.strerror}")
    for target in (1, 2):
        os.dup2(file, target)
    os.close(file)


def limit_threads(count: int) -> None:
    """Set the number of threads that libraries read from OMP_NUM_THREADS when they were loaded."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(count)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    serve(socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2]))
    os._exit(0)  # skip the teardown of all libraries, which takes a second
