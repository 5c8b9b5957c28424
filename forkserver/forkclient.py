"""A shell that has programs run as forks of a server (forkserver.py) where it can, and is bash where it cannot.

    python -IS forkclient.py -c COMMAND
    python -IS forkclient.py FILE           commands that are too long for an argument

The server is the one that the environment names in FORKSERVER. This starts before every job, and so imports little: the
server reads the command, folder, environment and umask from what the kernel knows of this process, and is sent its
standard files.
"""

import os
import signal
import socket
import sys

FRESH = "fresh"
"""What a server answers that does not fork for a command: run it yourself."""
SHELL = ("bash", "-euo", "pipefail")
"""What runs it then, as strict as the shell that Snakemake gives to jobs."""


def peer(connection: socket.socket) -> tuple[int, int]:
    """The process that connected to, or first listened at, the other end of a local connection, and its user.

    Anyone may connect to an abstract name, or serve it when it is free.
    """
    credentials = memoryview(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)).cast("i")
    return credentials[0], credentials[1]


def run(arguments: list[str]) -> int:
    """Have a command, given by the arguments of a shell, run by the server; become bash where none forks for it.

    Returns its exit status, 128 + n if signal n ended it.
    """
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:  # standard files that were closed
        pass
    os.close(spare)
    interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the program too: see how it ends
    answer = ask(os.environ.get("FORKSERVER", ""))
    if answer == FRESH:
        signal.signal(signal.SIGINT, interrupted)
        os.execvp(SHELL[0], [*SHELL, *arguments])
    if not answer:
        sys.exit("error: a job ended with the process that it was forked from; run it again.")
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
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(run(sys.argv[1:]))
