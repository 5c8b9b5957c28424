"""A shell that runs programs as forks of a server (forkserver.py) if possible, and falls back to bash otherwise.

    python -IS forkclient.py -c COMMAND
    python -IS forkclient.py FILE           for commands that are too long for an argument

The environment variable FORKSERVER names the server. This program starts before every job, so it imports little: it
only sends its standard files, and the server reads its command, folder, environment and umask from /proc.
"""

import os
import signal
import socket
import sys

FRESH = "fresh"
"""Answer of a server that does not fork for a command, which the client must then run itself."""
SHELL = ("bash", "-euo", "pipefail")
"""The shell for that, with the strict options that Snakemake uses for jobs."""


def peer(connection: socket.socket) -> tuple[int, int]:
    """(process ID, user ID) of the other end of a local connection.

    The user must be checked, because any user can connect to an abstract socket name, or listen on it if it is free.
    """
    credentials = memoryview(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)).cast("i")
    return credentials[0], credentials[1]


def run(arguments: list[str]) -> int:
    """Run a command, given as the arguments of a shell, through the server; if that is impossible, become bash.

    Returns the exit status of the command; 128 + n if signal n ended it.
    """
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:  # reopen standard files that were closed
        pass
    os.close(spare)
    interrupted = signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the program too; wait for its exit status
    answer = ask(os.environ.get("FORKSERVER", ""))
    if answer == FRESH:
        signal.signal(signal.SIGINT, interrupted)
        os.execvp(SHELL[0], [*SHELL, *arguments])
    if not answer:
        sys.exit("error: the process that a job was forked from has ended, and the job with it; run it again.")
    status = int(answer)
    return status if status >= 0 else 128 - status


def ask(name: str) -> str:
    """The answer of the server ``name`` once the program has ended; "" if the server ended before it."""
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(f"\0{name}")  # an abstract name, which leaves no file behind
            if peer(server)[1] == os.getuid():
                socket.send_fds(server, [b"\n"], [0, 1, 2])
                return server.recv(16).decode()
        except ConnectionError:
            pass  # the server is gone, or ended before it received the request
    return FRESH


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(run(sys.argv[1:]))
