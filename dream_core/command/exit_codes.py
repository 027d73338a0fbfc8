"""Exit codes of the commands."""

from __future__ import annotations

DONE = 0
"""Everything asked for was done."""

MISTAKE = 1
"""An error was printed, in one line."""

MISUSE = 2
"""The options cannot be read."""

INTERRUPTED = 130
"""Stopped by ctrl-C, as shells expect it."""
