"""The command `deepdream-video`, also as `python -m dream_core`."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130
"""Exit code after ctrl-C, as shells expect it."""


def main() -> int:
    """Run the command with what has to be said to libraries before they are loaded. Returns the exit code."""
    # Threads that wait for one another must soon let go of their cores: beside any other program, a dream is
    # else more than ten times slower than it need be. So few turns cost nothing on a quiet machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    # The few operations that Apple's back end lacks are left to the CPU.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    # SVT-AV1 writes to the terminal by itself: errors only.
    os.environ.setdefault("SVT_LOG", "1")
    received = stop_at_first_signal()
    try:
        code = run()
    except BrokenPipeError:  # as in `deepdream-video --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except BaseException:
        # Libraries that are interrupted while they load can raise anything.
        if not received:
            raise
        code = INTERRUPTED
    return 128 + received[0] if received and code == INTERRUPTED else code


def run() -> int:
    """Load and run the command."""
    try:
        if sys.argv[1:2] == ["measure"]:
            from .measure_cli import main as measure

            return measure(sys.argv[2:])
        from .cli import main as command

        return command()
    finally:
        sys.stdout.flush()


def stop_at_first_signal() -> list[int]:
    """Let SIGTERM and SIGHUP do what ctrl-C does, and ignore all of them after the first.

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
    sys.exit(main())
