"""Starts a forkserver for the programs of a folder.

A program opts in by a constant that lists the modules to import before it is forked::

    PRELOAD = ["torch", "timm"]
"""

from __future__ import annotations

import ast
import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
SHELL = HERE / "forkshell"
"""The shell that sends commands to the server."""
ONE_THREAD = (
    "OMP",
    "OPENBLAS",
    "GOTO",
    "MKL",
    "NUMEXPR",
)  # a process with more threads cannot fork safely; each fork sets its own number


class Launched(NamedTuple):
    """A running server, and the environment variables that a command needs to reach it through `SHELL`."""

    server: subprocess.Popen
    environment: dict[str, str]


def launch(programs: Path, anew: Collection[str] = ()) -> Launched:
    """Start a server that forks for the programs in a folder, except those named in ``anew``.

    It ends when this process ends, for whatever reason. Raises OSError if it cannot be started.
    """
    modules = {path.name: names for path in programs.glob("*.py") if (names := preload_of(path)) is not None}
    modules = {name: names for name, names in modules.items() if name not in anew}
    settings = {
        **{f"{library}_NUM_THREADS": "1" for library in ONE_THREAD},
        "JE_ARROW_MALLOC_CONF": "background_thread:false",  # likewise for pyarrow, which sklearn imports
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        # A fork copies the page table and unmaps it at its end, which takes little more than half the time with huge
        # pages, if the system allows programs to request them. Forks inherit this setting.
        "GLIBC_TUNABLES": ":".join(filter(None, ["glibc.malloc.hugetlb=1", os.environ.get("GLIBC_TUNABLES")])),
    }
    name = f"prh-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        server = subprocess.Popen(
            [sys.executable, str(HERE / "forkserver.py"), str(listener.fileno()), json.dumps(modules)],
            stdin=subprocess.PIPE,  # the server ends when this is closed, which happens when this process ends
            pass_fds=[listener.fileno()],
            env=os.environ | settings,
        )
    return Launched(server, {"FORKSERVER": name, "FORKSERVER_PYTHON": sys.executable})


def preload_of(program: Path) -> list[str] | None:
    """The modules to import before forking a program, read without running it; None if it has not opted in."""
    for statement in ast.parse(program.read_bytes()).body:
        if isinstance(statement, ast.Assign) and [ast.unparse(target) for target in statement.targets] == ["PRELOAD"]:
            return ast.literal_eval(statement.value)
    return None
