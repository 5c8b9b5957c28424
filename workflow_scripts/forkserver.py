"""Run programs as forks of one process that has imported their libraries: in milliseconds, where imports take seconds.

    python forkserver.py serve FD MODULES             answer on the listening socket with this file descriptor
    python forkserver.py run NAME features.py ...     run a program there as if it ran here

The forkserver of multiprocessing, for programs: a fork takes over the arguments, folder, environment and open files of
the process that asks for it, and that one ends as the program ends. Only libraries are imported before; the program and
its own modules are read when it starts. For Linux, and for programs that use no CUDA (a fork cannot, once its parent
has looked for a GPU) and leave nothing to atexit (before Python 3.13 forks do not run it). What libraries read from the
environment when they are imported, they read from the server's.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import struct
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

FRESH = "fresh"
"""What a server answers that does not fork for a program: run it yourself."""
PATIENCE = 10.0
"""Seconds within which a request must have come once its connection stands."""


def is_mine(connection: socket.socket) -> bool:
    """Whether this user has the other end too; anyone may connect to an abstract name."""
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _process, user, _group = struct.unpack("3i", peer)
    return user == os.getuid()


def run(name: str, program: list[str]) -> int:
    """Run ``program`` (file name and arguments) at the server called ``name``, or become it where there is none.

    Returns its exit status, 128 + n if signal n ended it.
    """
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:  # standard files that were closed
        pass
    os.close(spare)
    interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the program too: see how it ends
    request = {"program": program, "folder": os.getcwd(), "umask": os.umask(0), "environment": dict(os.environ)}
    os.umask(request["umask"])
    answer = FRESH
    with socket.socket(socket.AF_UNIX) as server, suppress(ConnectionError):  # it is gone, or went before it read all
        server.connect(f"\0{name}")  # an abstract name: it leaves nothing on a disk
        if is_mine(server):
            socket.send_fds(server, [b"\n"], [0, 1, 2])
            server.sendall(json.dumps(request).encode() + b"\n")
            answer = server.makefile().read()
    if answer == FRESH:
        signal.signal(signal.SIGINT, interrupted)
        os.execvp("python", ["python", *program])
    if not answer:
        sys.exit(f"error: {program[0]} ended with the process that it was forked from; run it again.")
    status = int(answer)
    return status if status >= 0 else 128 - status


class Request(NamedTuple):
    """A program to run, and what it takes over from the process that waits for it at the other end of ``client``."""

    client: socket.socket
    files: list[int]  # standard input, output and error
    program: list[str]
    folder: str
    umask: int
    environment: dict[str, str]


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
        if not is_mine(client):
            raise ValueError
        _, files, _, _ = socket.recv_fds(client, 1, 3)
        if len(files) < 3:
            raise ValueError
        return Request(client, files, **json.loads(client.makefile("rb").readline()))
    except (OSError, ValueError, TypeError):
        reply(client, FRESH)
        for file in files:
            os.close(file)
        return None


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
    os.environ.clear()
    os.environ.update(request.environment)
    tempfile.tempdir = None  # TMPDIR may be another
    multiprocessing.set_start_method(None, force=True)  # not the one that made this process
    sys.argv = request.program
    sys.path[0] = os.path.dirname(os.path.abspath(request.program[0]))
    if threads := os.environ.get("OMP_NUM_THREADS"):
        limit_threads(int(threads))
    run_path(request.program[0], run_name="__main__")


def limit_threads(count: int) -> None:
    """Set, for this thread, what libraries have read from OMP_NUM_THREADS when they were loaded."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(count)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", name, *program] if program:
            sys.exit(run(name, program))
        case ["serve", listener, modules]:
            serve(socket.socket(fileno=int(listener)), json.loads(modules))
            os._exit(0)  # to take all the libraries down takes a second
        case _:
            sys.exit(__doc__)
