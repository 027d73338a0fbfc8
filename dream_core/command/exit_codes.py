"""How the commands end, as shells expect it."""

from __future__ import annotations

DONE = 0
"""All that was asked for is there."""

MISTAKE = 1
"""One line has said what is wrong."""

INTERRUPTED = 130
"""After ctrl-C."""
