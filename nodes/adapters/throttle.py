"""Let something happen only a few times a second."""

from __future__ import annotations

import time


class Throttle:
    """Tell when something may happen again.

    Args:
        seconds: least time between two times.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._next = seconds, 0.0

    def due(self) -> bool:
        """Return True, and begin to wait again, if the time is over; at first it is."""
        now = time.perf_counter()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True
