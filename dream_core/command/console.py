"""Output on the terminal: progress, warnings, and errors of one line."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from ..device import is_out_of_memory
from ..dreaming.dream import DreamStep
from ..errors import DeepDreamError, Notice
from .exit_codes import INTERRUPTED, MISTAKE
from .options import as_flags, error_line


class SpeedColumn(ProgressColumn):
    """Frames or pictures a second, or seconds for each where that reads better."""

    def render(self, task: Task) -> Text:
        """Write the speed of the last ones."""
        speed, unit = task.finished_speed or task.speed, task.fields.get("unit", "")
        if not speed or unit == "MB":
            return Text("")
        return Text(f"{speed:.2f} {unit}/s" if speed >= 1 else f"{1 / speed:.1f} s/{unit.removesuffix('s')}")


class CountColumn(ProgressColumn):
    """Steps done and steps in all, in the task's unit."""

    def render(self, task: Task) -> Text:
        """Write frames, pictures or megabytes, and the total if it is known."""
        scale = 1e-6 if task.fields.get("unit") == "MB" else 1
        done = f"{task.completed * scale:.0f}"
        total = f"/{task.total * scale:.0f}" if task.total else ""
        return Text(f"{done}{total} {task.fields.get('unit', '')}")


class Teller:
    """Shows how a run goes; `bar` shows the progress bar.

    Args:
        quiet: show warnings and errors only.
        verbose: one line per frame instead of the bar alone.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.quiet = quiet
        self.verbose = verbose
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            CountColumn(),
            SpeedColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            disable=quiet,
            speed_estimate_period=600,  # frames can take longer than the usual half minute
        )
        self._download: TaskID | None = None
        self._frames: TaskID | None = None
        self._warned: set[str] = set()
        self._started = time.monotonic()

    @contextmanager
    def bar(self) -> Iterator[None]:
        """Show the progress bar, and warnings as lines above it."""
        # A bar that is disabled still ends in an empty line, before Rich 15.
        with nullcontext() if self.quiet else self._progress, warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, kind, *_, **__: self.warn(str(message), kind)
            yield

    def say(self, message: str) -> None:
        """Print a line, unless quiet."""
        if not self.quiet:
            self.console.print(escape(message))

    def detail(self, message: str) -> None:
        """Print a line if verbose."""
        if self.verbose:
            self.console.print(escape(message))

    def warn(self, message: str, kind: type[Warning] = UserWarning) -> None:
        """Print a warning unless it was printed before, with flags for the names of fields.

        A `Notice` is a plain line, and nothing if quiet.
        """
        message = as_flags(message)
        if message in self._warned:
            return
        self._warned.add(message)
        if issubclass(kind, Notice):
            self.say(message)
        else:
            self.console.print(f"[yellow]warning:[/yellow] {escape(message)}")

    def fail(self, error: DeepDreamError | str) -> None:
        """Print an error, with flags for the names of fields."""
        self.console.print(error_line(error))

    def downloaded(self, done: int, total: int) -> None:
        """Move the bar of a download, in bytes; a `weights.Progress`."""
        if self._download is None:
            self._download = self._progress.add_task("downloading weights", unit="MB")
        self._progress.update(self._download, completed=done, total=total or None)
        if done == total:
            self._end_download()

    def _end_download(self) -> None:
        if self._download is not None:
            self._progress.remove_task(self._download)
            self._download = None

    def begin(self, frames: int | None, doing: str = "dreaming", *, unit: str = "frames") -> None:
        """Show the bar of the frames to come, or of what `unit` says; None if their number is not known."""
        self._end_download()  # a download of unknown length ends here
        self._started = time.monotonic()
        self._frames = self._progress.add_task(doing, total=frames, unit=unit)

    def frame_done(self, index: int) -> None:
        """Count frame `index`, from 0, as done on the bar; if verbose, print the time since the start."""
        if self._frames is not None:
            self._progress.update(self._frames, completed=index + 1)
        self.detail(f"frame {index} done after {self.elapsed:.1f} s")

    def counted(self, done: int, total: int | None) -> None:
        """Set the number of frames done, wherever they were dreamed, and of all frames if it is known."""
        if self._frames is not None:
            self._progress.update(self._frames, completed=done, total=total)

    @property
    def elapsed(self) -> float:
        """Seconds since the frames began."""
        return time.monotonic() - self._started


EXPECTED = (DeepDreamError, RuntimeError, MemoryError, KeyboardInterrupt)
"""Errors that `exit_code` may print as one line."""


def exit_code(error: BaseException, teller: Teller, *, out_of_memory: str, stopped: str) -> int:
    """Print an expected error as one line and return the exit code.

    Args:
        error: one of `EXPECTED`.
        teller: prints the line.
        out_of_memory: advice to print if memory ran out.
        stopped: line to print after ctrl-C, unless quiet.

    Raises:
        BaseException: the error itself, if it is neither a mistake, ctrl-C nor a lack of memory.
    """
    if isinstance(error, KeyboardInterrupt):
        teller.say(f"stopped: {stopped}")
        return INTERRUPTED
    if isinstance(error, DeepDreamError):
        teller.fail(str(error))
    elif is_out_of_memory(error):
        teller.fail(f"out of memory: {out_of_memory}")
    else:
        raise error
    return MISTAKE


def objective_teller(teller: Teller, every: int) -> Callable[[DreamStep], None]:
    """Callback that prints the objective every `every` gradient steps."""

    def tell(step: DreamStep) -> None:
        if step.done % every == 0:
            value: Any = step.objective.item()
            teller.console.print(
                f"step {step.done}/{step.total}, octave {step.octave}/{step.octaves}: objective {value:.5g}"
            )

    return tell
