"""Run a program as a fork of the process that serves NAME (forkserver.py), as if it ran here.

python -IS forkclient.py NAME features.py ...

It starts before every job, and so imports little: the server reads the arguments, folder, environment and umask from
what the kernel knows of this process, and is sent its standard files.
"""

import os
import signal
import socket
import sys

FRESH = "fresh"
"""What a server answers that does not fork for a program: run it yourself."""


def peer(connection: socket.socket) -> tuple[int, int]:
    """The process that connected to, or first listened at, the other end of a local connection, and its user.

    Anyone may connect to an abstract name, or serve it when it is free.
    """
    credentials = memoryview(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)).cast("i")
    return credentials[0], credentials[1]


def run(name: str, program: list[str]) -> int:
    """Run ``program`` (file name and arguments) at the server called ``name``, or become it where there is none.

    Returns its exit status, 128 + n if signal n ended it.
    """
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:  # standard files that were closed
        pass
    os.close(spare)
    interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the program too: see how it ends
    answer = ask(name)
    if answer == FRESH:
        signal.signal(signal.SIGINT, interrupted)
        os.execvp("python", ["python", *program])
    if not answer:
        sys.exit(f"error: {program[0]} ended with the process that it was forked from; run it again.")
    status = int(answer)
    return status if status >= 0 else 128 - status


def ask(name: str) -> str:
    """What the server called ``name`` answers when the program has ended; nothing if the server ended before it."""
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(f"\0{name}")  # an abstract name: it leaves nothing on a disk
            if peer(server)[1] == os.getuid():
                socket.send_fds(server, [b"\n"], [0, 1, 2])
                return server.recv(16).decode()
        except ConnectionError:
            pass  # it is gone, or went before it heard of the program
    return FRESH


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(run(sys.argv[1], sys.argv[2:]))
