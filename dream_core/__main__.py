"""The command `deepdream-video`, also as `python -m dream_core`."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the command with what has to be said to PyTorch before it is loaded. Returns the exit code."""
    # Threads that wait for one another must not keep their cores busy: beside any other program, a dream is
    # else more than ten times slower than it need be.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # The few operations that Apple's back end lacks are left to the CPU.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    from .cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
