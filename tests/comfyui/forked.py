"""Load ComfyUI once, and fork a server off for each line of input, in a second where a start takes twenty.

Usage: python forked.py OPTIONS, in ComfyUI's folder. It writes the id of each server's process.

Each server is ComfyUI right before its first prompt, with nothing cached and its temporary files removed.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
import threading
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1

start = threading.Thread.start


def start_or_fork(thread: threading.Thread) -> None:
    """Start a thread; before that of ComfyUI's prompts, fork."""
    target: Any = getattr(thread, "_target", None)
    if getattr(target, "__name__", "") == "prompt_worker":
        threading.Thread.start = start  # type: ignore[method-assign]
        fork()
        target.__globals__["cleanup_temp"]()
    start(thread)


def fork() -> None:
    """Return in each server; the process itself ends when its input does."""
    for _ in sys.stdin:
        server = os.fork()
        if not server:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.dup2(2, 1)  # nobody reads more than the ids
            return
        print(f"server {server}", flush=True)
        os.waitpid(server, 0)
    os._exit(0)


threading.Thread.start = start_or_fork  # type: ignore[method-assign]
sys.path.insert(0, str(Path.cwd()))
sys.argv[0] = "main.py"
runpy.run_path("main.py", run_name="__main__")
