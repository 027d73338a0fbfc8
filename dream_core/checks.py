"""What a setting may be, in one phrasing for all of them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache

from .errors import SettingsError


def check_number(
    flag: str, value: float, *, least: float = -math.inf, most: float = math.inf, above: bool = False
) -> None:
    """Raise a SettingsError unless a number is finite and within its range.

    Args:
        flag: as the command spells it, such as "--octave-scale".
        value: of the setting.
        least, most: the range, both included.
        above: `least` itself is excluded.
    """
    if math.isfinite(value) and least <= value <= most and not (above and value == least):
        return
    if above:
        wanted = f"above {least:g}" + (f" and at most {most:g}" if math.isfinite(most) else "")
    elif math.isfinite(most):
        wanted = f"from {least:g} to {most:g}"
    else:
        wanted = f"of at least {least:g}" if math.isfinite(least) else "to be finite"
    finite = " and finite" if value == math.inf and math.isfinite(least) and math.isinf(most) else ""
    came = value if isinstance(value, int) else f"{value:g}"
    raise SettingsError(f"expected {flag} {wanted}{finite}, got {came}")


def check_choice(flag: str, value: str, choices: Sequence[str]) -> None:
    """Raise a SettingsError unless a value is one of the choices."""
    if value not in choices:
        raise SettingsError(f"expected {flag} to be one of {', '.join(choices)}, got '{value}'")


@lru_cache(maxsize=256)
def warn_once(message: str) -> None:
    """Warn, the first time only: every frame of a clip would say the same."""
    warnings.warn(message, stacklevel=3)
