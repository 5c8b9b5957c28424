"""A callback of Lightning that scores the module in training; importing this module imports Lightning, if present."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from prh.bank.folder import Bank
from prh.bank.logs import score_logs


def _base() -> type:
    """The class of Lightning's callbacks, under either name of the package; ``object`` without Lightning."""
    for package in ("lightning.pytorch", "pytorch_lightning"):
        try:
            return import_module(package).Callback
        except ImportError:
            continue
    return object


class LightningScoreCallback(_base()):
    """Score the module that Lightning trains against a bank, every n steps, on a fixed set of samples.

    The scores go to ``pl_module.log_dict``, and with that to the trainer's loggers. Only the first process scores.

    Parameters
    ----------
    bank : str, Path or Bank
        As for `prh.score`; opened once.
    every : int
        Number of optimiser steps between scores.
    module : str, optional
        Name of the part of the LightningModule that is scored, such as "backbone"; by default all of it.
    prefix : str
        First part of the names of all logged numbers (`prh.score_logs`).
    **options
        All other arguments of `prh.score`, such as ``data`` or ``tokenizer``.

    Raises
    ------
    ValueError
        If ``every`` is less than 1, and for all that `prh.Bank` raises.

    Examples
    --------
    ``Trainer(callbacks=[prh.LightningScoreCallback("results/mine", every=500, module="backbone", data=loader)])``

    >>> LightningScoreCallback("results/mine", every=0)
    Traceback (most recent call last):
    ValueError: every is 0; it must be at least 1 step.
    """

    def __init__(
        self,
        bank: str | Path | Bank,
        *,
        every: int = 500,
        module: str | None = None,
        prefix: str = "alignment",
        **options: Any,
    ) -> None:
        if every < 1:
            raise ValueError(f"every is {every}; it must be at least 1 step.")
        self.every, self.module, self.prefix, self.options = every, module, prefix, options
        self.bank = bank if isinstance(bank, Bank) else Bank(bank, options.pop("dataset", None))
        self._last = 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Score the module if it is time; several batches may be one step."""
        step = trainer.global_step
        if step == self._last or step % self.every or not trainer.is_global_zero:
            return
        self._last = step
        part = pl_module if self.module is None else pl_module.get_submodule(self.module)
        logs = score_logs(part, self.bank, prefix=self.prefix, **self.options)
        pl_module.log_dict(logs, rank_zero_only=True)
