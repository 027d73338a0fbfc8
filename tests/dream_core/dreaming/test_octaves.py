import warnings

import pytest

from dream_core.dreaming.octaves import octave_sizes, visible_sizes
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


def manual(*sizes: int) -> OctaveSettings:
    return OctaveSettings(octave_mode="manual", octave_sizes=sizes)


def test_small_sizes_are_left_out_with_a_warning() -> None:
    message = r"^octaves left out because the layer needs at least 15 pixels a side: 4x90, 8x14$"
    with pytest.warns(UserWarning, match=message):
        assert visible_sizes((3, 3), manual(4, 90, 8, 14, 15, 20), 15) == [(15, 20), (3, 3)]


def test_the_last_size_stays_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert visible_sizes((1, 1), manual(15, 15), 15) == [(15, 15), (1, 1)]
