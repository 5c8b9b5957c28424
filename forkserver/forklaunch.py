"""Start a forkserver for the programs of a folder, and say by which shell commands reach it.

A program that is to be forked says what it wants imported beforehand, in a constant at its top::

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
"""A shell that asks the server to fork for a command."""
ONE_THREAD = ("OMP", "OPENBLAS", "GOTO", "MKL", "NUMEXPR")  # more would forbid forks; each gets its own number


class Launched(NamedTuple):
    """A server that runs, and what the environment of a command must hold that is to reach it by `SHELL`."""

    server: subprocess.Popen
    environment: dict[str, str]


def launch(programs: Path, anew: Collection[str] = ()) -> Launched:
    """Start a server that forks for the programs in a folder, but for those named in ``anew``.

    It ends when this process does, however it does. Raises OSError where there can be none.
    """
    modules = {path.name: names for path in programs.glob("*.py") if (names := preload_of(path)) is not None}
    modules = {name: names for name, names in modules.items() if name not in anew}
    settings = {
        **{f"{library}_NUM_THREADS": "1" for library in ONE_THREAD},
        "JE_ARROW_MALLOC_CONF": "background_thread:false",  # likewise; sklearn imports pandas, which imports pyarrow
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        # A fork copies the page table, and unmaps it when it ends: with huge pages, where programs may ask for them, in
        # little more than half the time. Forks ask for them too.
        "GLIBC_TUNABLES": ":".join(filter(None, ["glibc.malloc.hugetlb=1", os.environ.get("GLIBC_TUNABLES")])),
    }
    name = f"prh-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        server = subprocess.Popen(
            [sys.executable, str(HERE / "forkserver.py"), str(listener.fileno()), json.dumps(modules)],
            stdin=subprocess.PIPE,  # the server ends when this is closed: when this process ends
            pass_fds=[listener.fileno()],
            env=os.environ | settings,
        )
    return Launched(server, {"FORKSERVER": name, "FORKSERVER_PYTHON": sys.executable})


def preload_of(program: Path) -> list[str] | None:
    """What a program wants imported beforehand, read without running it; None if it is not to be forked."""
    for statement in ast.parse(program.read_bytes()).body:
        if isinstance(statement, ast.Assign) and [ast.unparse(target) for target in statement.targets] == ["PRELOAD"]:
            return ast.literal_eval(statement.value)
    return None
