"""Progress of long-running work: a bar with rate and time left on a terminal, one line per minute in a log file."""

from __future__ import annotations

import sys
from types import TracebackType

from tqdm import tqdm


class Progress:
    """A tqdm bar which, in a log file, is one plain line per minute instead of a bar that overwrites itself."""

    def __init__(
        self, title: str, total: int | None, unit: str = "it", *, scaled: bool = False, shown: bool = True
    ) -> None:
        terminal = sys.stderr.isatty()
        self._done, self._shown = 0.0, 0
        self._bar = tqdm(
            total=total,
            disable=not shown,
            desc=title,
            unit=unit if scaled else f" {unit}",
            unit_scale=scaled,
            mininterval=0.1 if terminal else 60,
            maxinterval=10 if terminal else 60,
            ascii=not terminal,
            file=_Lines(terminal),
        )

    def skip(self, count: int) -> None:
        """Count work done by an earlier run, which does not affect the rate."""
        self._bar.initial = count
        self._bar.n = count

    def advance(self, count: float = 1) -> None:
        """Count finished work; fractions of a unit are shown once they add up to a whole one."""
        self._done += count
        whole = round(self._done) - self._shown
        self._shown += whole
        self._bar.update(whole)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()


class _Lines:
    """Standard error, to which each state of the bar is written as a line unless it is a terminal."""

    def __init__(self, terminal: bool) -> None:
        self._terminal = terminal

    def write(self, text: str) -> None:
        if self._terminal:
            sys.stderr.write(text)
        elif state := text.strip():  # strips the carriage return
            sys.stderr.write(f"{state}\n")

    def flush(self) -> None:
        sys.stderr.flush()
