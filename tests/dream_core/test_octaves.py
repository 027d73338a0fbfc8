import warnings

import pytest

from dream_core.errors import SettingsError
from dream_core.octaves import leave_out_small, octave_sizes
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
        (
            {"octaves": 0, "octave_scale": 0.6},
            r"^expected --octaves of at least 1 and a positive --octave-scale, got 0 and 0.6$",
        ),
        (
            {"octaves": 2, "octave_scale": 0.0},
            r"^expected --octaves of at least 1 and a positive .*, got 2 and 0.0$",
        ),
        (
            {"octave_mode": "advanced", "octaves": 2, "octave_scale": -1.0},
            r"a positive --octave-scale, got 2 and -1.0$",
        ),
        ({"octave_mode": "manual"}, r"^octave mode 'manual' needs --octave-sizes, all at least 1, got \[\]$"),
        (
            {"octave_mode": "manual_min", "octave_sizes": (8, 0)},
            r"^octave mode 'manual_min' needs --octave-sizes, all at least 1, got \[8, 0\]$",
        ),
        (
            {"octave_mode": "manual", "octave_sizes": (8, 9, 10)},
            r"^octave mode 'manual' takes pairs of height and width, got 3 numbers: \[8, 9, 10\]$",
        ),
        (
            {"octave_mode": "log"},
            r"^expected an octave mode of normal, advanced, manual, manual_max, manual_min, got 'log'$",
        ),
    ],
)
def test_wrong_settings(options: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        octave_sizes(SIZE, OctaveSettings(**options))


def test_small_sizes_are_left_out_with_a_warning() -> None:
    message = r"^octaves left out because the layer needs at least 15 pixels a side: 4x90, 8x14$"
    with pytest.warns(UserWarning, match=message):
        assert leave_out_small([(4, 90), (8, 14), (15, 20), (3, 3)], 15) == [(15, 20), (3, 3)]


def test_the_last_size_stays_and_nobody_is_warned() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert leave_out_small([(15, 15), (1, 1)], 15) == [(15, 15), (1, 1)]
