"""Run programs as forks of one process that has imported their libraries: in milliseconds, where imports take seconds.

    python forkserver.py serve FD MODULES               answer on the listening socket with this file descriptor
    python forkserver.py run SOCKET features.py ...     run a program there as if it ran here

The forkserver of multiprocessing, for programs: a fork takes over the arguments, folder, environment and open files of
the process that asks for it, and that one ends as the program ends. Only libraries are imported before; the program and
its own modules are read when it starts. For Linux, and for programs that use no CUDA (a fork cannot, once its parent
has looked for a GPU) and leave nothing to atexit. What libraries read from the environment when they are imported, they
read from the server's.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

FRESH = "fresh"
"""What a server answers that will not fork for a program: run it yourself."""
PATIENCE = 10.0
"""Seconds within which a request must have come once its connection stands."""


def run(address: str, program: list[str]) -> int:
    """Run ``program`` (file name and arguments) at the server of ``address``, or become it where there is none.

    Returns its exit status, 128 + n if signal n ended it.
    """
    request = {"program": program, "folder": os.getcwd(), "umask": os.umask(0), "environment": dict(os.environ)}
    os.umask(request["umask"])
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(address)
            socket.send_fds(server, [b"\n"], [0, 1, 2])
            server.sendall(json.dumps(request).encode() + b"\n")
            answer = server.makefile().read()
        except (ConnectionError, FileNotFoundError):  # it is gone, or went before it had read all
            answer = FRESH
    if answer == FRESH:
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


def serve(listener: socket.socket, modules: Mapping[str, Sequence[str]], owner: int = 0) -> None:
    """Fork for each connection to ``listener``, until the pipe ``owner`` is closed at its other end.

    ``modules``: for each file name of a program, what to import before it; others are not forked. A program is killed
    when the process that waits for it dies, and when the owner does.
    """
    from multiprocessing import get_context

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner and the programs
    clients = {}  # by the process that runs their program
    while True:
        ended = [process.sentinel for process in clients]
        ready, _, _ = select.select([owner, listener, *ended, *clients.values()], [], [])
        for process, client in list(clients.items()):
            if owner in ready or client in ready:  # nobody waits for it any more
                process.kill()
            elif process.sentinel not in ready:
                continue
            process.join()
            reply(client, str(process.exitcode))
            process.close()
            del clients[process]
        if owner in ready:
            return
        if listener not in ready or (request := receive(listener)) is None:
            continue
        name = os.path.basename(request.program[0])
        load(modules.get(name, ()))
        if name not in modules or has_threads():
            reply(request.client, FRESH)
        else:
            inherited = [listener, request.client, *clients.values()]
            process = get_context("fork").Process(target=become, args=(request, inherited), name=name)
            process.start()
            clients[process] = request.client
        for file in request.files:
            os.close(file)


def receive(listener: socket.socket) -> Request | None:
    """The request of the next connection; None if it does not come, as when the process at the other end has died."""
    client, _ = listener.accept()
    client.settimeout(PATIENCE)
    files: list[int] = []
    try:
        _, files, _, _ = socket.recv_fds(client, 1, 3)
        return Request(client, files, **json.loads(client.makefile("rb").readline()))
    except (OSError, ValueError, TypeError):
        client.close()
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
    """Whether a library has started threads: what they hold locked when a process forks stays locked in the fork."""
    return len(os.listdir("/proc/self/task")) > 1


def become(request: Request, inherited: Sequence[socket.socket]) -> None:
    """Run the program of ``request`` in this process, a fork; ``inherited`` are sockets that only the server uses."""
    import tempfile
    from ctypes import CDLL
    from runpy import run_path

    CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: die with the server
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for connection in inherited:
        connection.close()
    for source, target in zip(request.files, (0, 1, 2), strict=True):
        os.dup2(source, target)
        os.close(source)
    os.chdir(request.folder)
    os.umask(request.umask)
    os.environ.clear()
    os.environ.update(request.environment)
    tempfile.tempdir = None  # TMPDIR may be another
    sys.argv = request.program
    sys.path[0] = os.path.dirname(os.path.abspath(request.program[0]))
    if threads := os.environ.get("OMP_NUM_THREADS"):
        limit_threads(int(threads))
    run_path(request.program[0], run_name="__main__")


def limit_threads(count: int) -> None:
    """Set what libraries have read from OMP_NUM_THREADS when they were loaded."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(count)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", address, *program] if program:
            sys.exit(run(address, program))
        case ["serve", listener, modules]:
            serve(socket.socket(fileno=int(listener)), json.loads(modules))
            os._exit(0)  # to take all the libraries down takes a second
        case _:
            sys.exit(__doc__)
