import math
import warnings

import pytest

from dream_core.checks import warn_once
from dream_core.dreaming.octaves import check_octaves, octave_sizes, visible_sizes
from dream_core.errors import SettingsError
from dream_core.settings import OctaveSettings

SIZE = (100, 200)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"octaves": 1}, [(100, 200)]),
        ({"octaves": 3, "octave_scale": 0.5}, [(25, 50), (50, 100), (100, 200)]),
        ({"octaves": 2, "octave_scale": 0.6}, [(60, 120), (100, 200)]),
        (
            {"octave_mode": "advanced", "octaves": 3, "octave_scale": 0.4},
            [(40, 80), (80, 160), (120, 240)],
        ),
        ({"octave_mode": "manual", "octave_sizes": (10, 30, 50, 60)}, [(10, 30), (50, 60), (100, 200)]),
        ({"octave_mode": "manual_max", "octave_sizes": (50, 150)}, [(25, 50), (75, 150), (100, 200)]),
        ({"octave_mode": "manual_min", "octave_sizes": (50, 150)}, [(50, 100), (150, 300), (100, 200)]),
        ({"octaves": 4, "octave_scale": 0.01}, [(1, 1), (1, 1), (1, 2), (100, 200)]),
        ({"octave_mode": "manual_max", "octave_sizes": (1,)}, [(1, 1), (100, 200)]),
    ],
)
def test_sizes_of_each_mode_by_hand(options: dict, expected: list[tuple[int, int]]) -> None:
    assert octave_sizes(SIZE, OctaveSettings(**options)) == expected


def test_odd_sizes_are_rounded() -> None:
    settings = OctaveSettings(octaves=3, octave_scale=0.6)
    assert octave_sizes((97, 131), settings) == [(35, 47), (58, 79), (97, 131)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"octaves": 0}, r"^expected --octaves from 1 to 100, got 0$"),
        ({"octave_scale": 0.0}, r"^expected --octave-scale above 0 and at most 10, got 0$"),
        ({"octave_scale": math.nan}, r"^expected --octave-scale above 0 and at most 10, got nan$"),
        ({"octave_scale": math.inf}, r"^expected --octave-scale above 0 and at most 10, got inf$"),
        ({"octave_mode": "advanced", "octave_scale": -1.0}, r"^expected --octave-scale above 0 .*, got -1$"),
        ({"octave_steps": -1}, r"^expected --octave-steps of at least 0, got -1$"),
        ({"iterations": 0}, r"^expected --iterations of at least 1, got 0$"),
        ({"octave_carry": "all"}, r"^expected --octave-carry to be one of residual, image, got 'all'$"),
        (
            {"octave_mode": "manual"},
            r"^expected --octave-sizes for --octave-mode manual, all at least 1, got none$",
        ),
        (
            {"octave_mode": "manual_min", "octave_sizes": (8, 0)},
            r"^expected --octave-sizes for --octave-mode manual_min, all at least 1, got \[8, 0\]$",
        ),
        (
            {"octave_mode": "manual", "octave_sizes": (8, 9, 10)},
            r"^expected --octave-sizes in pairs of height and width .*, got \[8, 9, 10\]$",
        ),
        (
            {"octave_mode": "log"},
            r"^expected --octave-mode to be one of normal, .*, manual_max, manual_min, got 'log'$",
        ),
    ],
)
def test_wrong_settings(options: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_octaves(OctaveSettings(**options))


@pytest.mark.parametrize("mode", ["normal", "advanced"])
def test_a_list_of_sizes_that_does_nothing_is_warned_about(mode: str) -> None:
    warn_once.cache_clear()
    with pytest.warns(UserWarning, match=rf"^--octave-sizes does nothing in --octave-mode {mode}: choose"):
        check_octaves(OctaveSettings(octave_mode=mode, octave_sizes=(8, 9)))


def manual(*sizes: int) -> OctaveSettings:
    return OctaveSettings(octave_mode="manual", octave_sizes=sizes)


def test_small_sizes_are_left_out_with_a_warning() -> None:
    warn_once.cache_clear()
    message = r"^octaves left out because the layer needs at least 15 pixels a side: 4x90, 8x14$"
    with pytest.warns(UserWarning, match=message):
        assert visible_sizes((3, 3), manual(4, 90, 8, 14, 15, 20), 15) == [(15, 20), (3, 3)]


def test_the_last_size_stays_and_nobody_is_warned() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert visible_sizes((1, 1), manual(15, 15), 15) == [(15, 15), (1, 1)]
