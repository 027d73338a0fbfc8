"""Places of images in a file that counts time in steps."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction


class Timing:
    """Gives images their stamps, so that every moment of the clip stays where it is.

    Args:
        unit: seconds per step.
        constant: True where every image lasts one step, as in AVI: images are repeated, or dropped where more than
            one falls into a step.
        shortest: smallest number of steps that an image may last; where images are shorter some are dropped.
            Without it they are moved apart.
    """

    def __init__(self, unit: Fraction, *, constant: bool = False, shortest: int = 0) -> None:
        self.unit = unit
        self.repeated = 0
        """Number of images that were written once more."""
        self.dropped = 0
        """Number of images that found no place."""
        self._constant = constant
        self._shortest = shortest
        self._next = 0
        self._begun = False

    def state(self) -> dict[str, int]:
        """Return what another one needs to go on."""
        return {
            "next": self._next,
            "begun": int(self._begun),
            "repeated": self.repeated,
            "dropped": self.dropped,
        }

    def restore(self, state: Mapping[str, int]) -> None:
        """Go on from a state."""
        self._next, self._begun = state["next"], bool(state["begun"])
        self.repeated, self.dropped = state["repeated"], state["dropped"]

    def stamps(self, *, time: float, duration: float) -> list[tuple[int, int]]:
        """Return the stamp and the number of steps of each copy of an image; none drops it."""
        start, end = self._step(time), self._step(time + duration)
        return (
            self._constant_stamps(start, end)
            if self._constant
            else self._free_stamp(start, max(1, end - start))
        )

    def _constant_stamps(self, start: int, end: int) -> list[tuple[int, int]]:
        if not self._begun:
            self._next = start  # later than 0 in a part of a clip
        count = max(end - self._next, 0 if self._begun or start else 1)
        self.repeated += max(0, count - 1)
        self.dropped += count == 0
        found = [(self._next + index, 1) for index in range(count)]
        self._begun, self._next = True, self._next + count
        return found

    def _free_stamp(self, start: int, steps: int) -> list[tuple[int, int]]:
        if self._begun and self._shortest and start < self._next:
            self.dropped += 1
            return []
        start = max(start, self._next) if self._begun else start
        self._begun, self._next = True, start + max(1, self._shortest)
        return [(start, steps)]

    def _step(self, time: float) -> int:
        return (Fraction(time) / self.unit + Fraction(1, 2)).__floor__()
