"""The command `deepdream-video`, also as `python -m dream_core`."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from .command.exit_codes import INTERRUPTED, MISTAKE

if TYPE_CHECKING:
    from .command.options import AnyCommand

# Parameters of glibc's mallopt, from its malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


def enter() -> NoReturn:
    """Run the command and end the process."""
    replace_closed_streams()
    code = main()
    with suppress(OSError):  # whoever read them has gone, which is no fault of the run
        sys.stdout.flush()
        sys.stderr.flush()
    # Every file is closed by now, and Python would need a second to unload PyTorch.
    os._exit(code)


def replace_closed_streams() -> None:
    """Write to nowhere what a closed standard output or error would have got: Python has None there."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123


def main() -> int:
    """Set up libraries before they are loaded, and run the command. Returns the exit code."""
    # OpenMP's waiting threads must soon free their cores: next to another busy program, a dream is otherwise more
    # than ten times slower. On an idle machine this costs nothing.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    # The few operations that Apple's back end lacks run on the CPU.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    # SVT-AV1 writes to the terminal itself: only errors, please.
    os.environ.setdefault("SVT_LOG", "1")
    keep_freed_memory()
    received = stop_at_first_signal()
    try:
        code = run(sys.argv[1:])
    except BrokenPipeError:  # as in `deepdream-video --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return MISTAKE
    except BaseException:
        # Libraries that are interrupted while they load can raise anything.
        if not received:
            raise
        code = INTERRUPTED
    return 128 + received[0] if received and code == INTERRUPTED else code


def keep_freed_memory() -> None:
    """Tell glibc to keep up to 1 GiB that tensors free.

    By default it returns the memory of large tensors to the system at once, and gets it back page by page, which
    takes a tenth to a quarter of the time of a step on the CPU.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries lack it
        mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the largest that it takes
        mallopt(M_TRIM_THRESHOLD, 1 << 30)
        mallopt(M_TOP_PAD, 64 << 20)


def run(arguments: Sequence[str]) -> int:
    """Read the arguments and run the command. Returns the exit code.

    Raises:
        SystemExit: with code 2 for options that do not exist, with 0 after --help and --version.
    """
    try:
        from .command.options import parse

        return load(parse(arguments))()
    finally:
        sys.stdout.flush()


def load(command: AnyCommand) -> Callable[[], int]:
    """Import the module of a command, and return the function that runs it."""
    # Importing PyTorch allocates much and frees little, so garbage collection would only take time.
    gc.disable()
    try:
        from .command.options import (
            AtlasCommand,
            ClusterCommand,
            CompareCommand,
            FlowCommand,
            MeasureCommand,
        )

        if isinstance(command, MeasureCommand):
            from .command.measure import main as measure

            return partial(measure, command)
        if isinstance(command, CompareCommand):
            from .command.compare import main as compare

            return partial(compare, command)
        if isinstance(command, AtlasCommand):
            from .command.atlas import main as atlas

            return partial(atlas, command)
        if isinstance(command, FlowCommand):
            from .command.flow import main as flow

            return partial(flow, command)
        if isinstance(command, ClusterCommand):
            from .command.cluster import main as cluster

            return partial(cluster, command)
        from .command.dream import main as dream

        return partial(dream, command)
    finally:
        gc.enable()


def stop_at_first_signal() -> list[int]:
    """Treat SIGTERM and SIGHUP as ctrl-C, and ignore further signals after the first.

    Returns:
        A list that will receive the signal's number.
    """
    received: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        for name in handled:
            signal.signal(name, signal.SIG_IGN)
        received.append(number)
        raise KeyboardInterrupt

    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    found = [getattr(signal, name) for name in names if hasattr(signal, name)]
    handled = [number for number in found if signal.getsignal(number) != signal.SIG_IGN]  # as nohup sets it
    for number in handled:
        signal.signal(number, stop)
    return received


if __name__ == "__main__":
    enter()
