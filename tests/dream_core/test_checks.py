from __future__ import annotations

import errno
import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from dream_core.checks import Range, remedy, require_known, require_valid, validate
from dream_core.errors import SettingsError


@dataclass(frozen=True)
class Inner:
    share: Annotated[float, Range(0, 1, step=0.05)] = 0.5


@dataclass(frozen=True)
class Outer:
    count: Annotated[int, Range(0, 2**64 - 1)] = 1
    tile: Annotated[int, Range(64, 16_384, step=64, or_zero=True)] = 0
    scale: Annotated[float, Range(0.01, 10)] = 1.0
    mode: Literal["fast", "slow"] = "fast"
    name: str = "any"
    mean: tuple[Annotated[float, Range(0, 1)], Annotated[float, Range(0, 1)]] | None = None
    sides: tuple[Annotated[int, Range(1, 100)], ...] = ()
    inner: Inner = field(default_factory=Inner)
    keep: bool = True

    def check_together(self) -> None:
        if self.mode == "slow" and self.count == 7:
            raise SettingsError("seven is not for slow ones")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"count": 0},
        {"count": 2**64 - 1},
        {"count": np.int64(3)},
        {"tile": 64},
        {"tile": 16_384},
        {"scale": 0.01},
        {"scale": 10},
        {"scale": np.float32(2)},
        {"mode": "slow"},
        {"mean": (0, 1)},
        {"sides": (1, 100, 5)},
        {"inner": Inner(0)},
    ],
)
def test_valid_settings_pass(values: dict[str, Any]) -> None:
    validate(Outer(**values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": True}, "expected `count` from 0 to 18446744073709551615, got True"),
        ({"scale": True}, "expected `scale` from 0.01 to 10, got True"),
        ({"keep": 1}, "expected `keep` to be true or false, got 1"),
        ({"name": 1}, "expected `name` to be a text, got 1"),
        ({"count": -1}, "expected `count` from 0 to 18446744073709551615, got -1"),
        ({"count": 2**64}, "expected `count` from 0 to 18446744073709551615, got 18446744073709551616"),
        ({"count": 2.5}, "expected `count` a whole number from 0 to 18446744073709551615, got 2.5"),
        ({"tile": 63}, "expected `tile` from 64 to 16384, or 0, got 63"),
        ({"tile": -64}, "expected `tile` from 64 to 16384, or 0, got -64"),
        ({"scale": 0.0}, "expected `scale` from 0.01 to 10, got 0"),
        ({"scale": 10.000001}, "expected `scale` from 0.01 to 10, got 10.000001"),
        ({"scale": math.nan}, "expected `scale` from 0.01 to 10, got nan"),
        ({"scale": math.inf}, "expected `scale` from 0.01 to 10, got inf"),
        ({"scale": "1"}, "expected `scale` from 0.01 to 10, got 1"),
        ({"mode": "idle"}, "expected `mode` to be one of fast, slow, got 'idle'"),
        ({"mean": (0.5,)}, "expected 2 values in `mean`, got 1"),
        ({"mean": (0.5, 2.0)}, "expected each of `mean` from 0 to 1, got 2"),
        ({"sides": (8, 0)}, "expected each of `sides` from 1 to 100, got 0"),
        ({"inner": Inner(1.5)}, "expected `share` from 0 to 1, got 1.5"),
        ({"mode": "slow", "count": 7}, "seven is not for slow ones"),
    ],
)
def test_the_error_names_the_field(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        validate(Outer(**values))
    assert str(caught.value) == message


def test_a_single_value_is_checked_by_its_field() -> None:
    require_valid(Inner, share=1)
    with pytest.raises(SettingsError, match=r"^expected `share` from 0 to 1, got -1$"):
        require_valid(Inner, share=-1)


@pytest.mark.parametrize(
    ("number", "doing", "advice"),
    [
        (errno.ENOSPC, "written", "free space on the disk"),
        (errno.EACCES, "written", "change its permissions, or choose one that may be written"),
        (errno.EROFS, "written", "change its permissions, or choose one that may be written"),
        (errno.EACCES, "read", "change its permissions, or choose one that may be read"),
        (errno.ENAMETOOLONG, "read", "choose a shorter name"),
        (errno.ELOOP, "read", "correct the link, which leads to itself"),
        (errno.ENOENT, "read", "check that it is there"),
        (errno.EIO, "written", "check the folder and the space on the disk"),
    ],
)
def test_the_advice_fits_the_error(number: int, doing: Literal["read", "written"], advice: str) -> None:
    assert remedy(OSError(number, "as the system says it"), doing) == advice


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sise", "expected options of a look, got `sise`; did you mean `size`?"),
        ("zzzz", "expected options of a look, got `zzzz`; it may have size"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(SettingsError) as told:
        require_known(["size", name], {"size"}, what="options of a look", where="it may have size")
    assert str(told.value) == message
