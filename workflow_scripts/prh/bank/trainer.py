"""A callback of transformers.Trainer that scores the model in training. Importing this module imports transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from prh.bank.folder import Bank
from prh.bank.logs import score_logs


class ScoreCallback(TrainerCallback):
    """Score the model that a transformers.Trainer trains against a bank, every n steps, on a fixed set of samples.

    The scores go to ``trainer.log``, and with that to whatever the trainer reports to. Only the first process scores,
    with the model as the trainer holds it; a model that is split over processes cannot be scored by one of them.

    Parameters
    ----------
    trainer : transformers.Trainer
        The trainer that the callback is added to.
    bank : str, Path or Bank
        As for `prh.score`; opened once.
    every : int
        Number of optimiser steps between scores. The model is also scored before the first step.
    prefix : str
        First part of the names of all logged numbers (`prh.score_logs`).
    **options
        All other arguments of `prh.score`, such as ``tokenizer`` or ``data``.

    Raises
    ------
    ValueError
        If ``every`` is less than 1, and for all that `prh.Bank` raises.

    Examples
    --------
    ``trainer.add_callback(prh.ScoreCallback(trainer, "results/mine", every=500, tokenizer=tokenizer))``

    >>> ScoreCallback(None, "results/mine", every=0)
    Traceback (most recent call last):
    ValueError: every is 0; it must be at least 1 step.
    """

    def __init__(
        self, trainer: Any, bank: str | Path | Bank, *, every: int = 500, prefix: str = "alignment", **options: Any
    ) -> None:
        if every < 1:
            raise ValueError(f"every is {every}; it must be at least 1 step.")
        self.trainer, self.every, self.prefix, self.options = trainer, every, prefix, options
        self.bank = bank if isinstance(bank, Bank) else Bank(bank, options.pop("dataset", None))

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        """Score the model before its first step."""
        if state.global_step == 0:
            self._score(state, model)

    def on_step_end(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        """Score the model if it is time."""
        if state.global_step % self.every == 0:
            self._score(state, model)

    def _score(self, state: Any, model: Any) -> None:
        if state.is_world_process_zero:
            self.trainer.log(score_logs(model, self.bank, prefix=self.prefix, **self.options))
