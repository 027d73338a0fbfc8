import math
import warnings

import pytest

from dream_core.checks import check_choice, check_number, warn_once
from dream_core.errors import SettingsError


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (0.0, {"least": 0, "above": True}, r"^expected --x above 0, got 0$"),
        (2.5, {"least": 0, "most": 2, "above": True}, r"^expected --x above 0 and at most 2, got 2.5$"),
        (-1, {"least": 0}, r"^expected --x of at least 0, got -1$"),
        (math.inf, {"least": 0}, r"^expected --x of at least 0 and finite, got inf$"),
        (math.nan, {"least": 0, "most": 1}, r"^expected --x from 0 to 1, got nan$"),
        (-math.inf, {}, r"^expected --x to be finite, got -inf$"),
        (10**20, {"most": 5, "least": 0}, r"^expected --x from 0 to 5, got 100000000000000000000$"),
    ],
)
def test_numbers_out_of_range(value: float, limits: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_number("--x", value, **limits)


def test_the_limits_are_within_the_range() -> None:
    check_number("--x", 0, least=0, most=1)
    check_number("--x", 1, least=0, most=1, above=True)
    check_number("--x", -1e30)


def test_choices() -> None:
    check_choice("--x", "b", ("a", "b"))
    with pytest.raises(SettingsError, match=r"^expected --x to be one of a, b, got 'c'$"):
        check_choice("--x", "c", ("a", "b"))


def test_a_warning_is_given_once() -> None:
    warn_once.cache_clear()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for message in ("first", "second", "first"):
            warn_once(message)
    assert [str(one.message) for one in told] == ["first", "second"]
