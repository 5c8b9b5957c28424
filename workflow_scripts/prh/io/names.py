"""How the checkpoints of a training run are called: ``name@step``, in paths, tables and figures.

No name in an experiment file has an @, so a name with one is that of a checkpoint. In paths, in Snakemake's wildcards
and in the shell the sign means nothing.
"""

from __future__ import annotations

AT = "@"


def checkpoint_name(run: str, step: int) -> str:
    """The name of the checkpoint of a run at a step.

    Examples
    --------
    >>> checkpoint_name("pythia-160m", 1000)
    'pythia-160m@1000'
    """
    return f"{run}{AT}{step}"


def is_checkpoint(name: str) -> bool:
    """Whether a model is one of the checkpoints that an entry lists.

    Examples
    --------
    >>> is_checkpoint("pythia-160m@1000"), is_checkpoint("pythia-160m")
    (True, False)
    """
    return AT in name


def run_of(name: str) -> str:
    """The name of the entry that lists a checkpoint; any other name as it is.

    Examples
    --------
    >>> run_of("pythia-160m@1000"), run_of("pythia-160m")
    ('pythia-160m', 'pythia-160m')
    """
    return name.partition(AT)[0]
