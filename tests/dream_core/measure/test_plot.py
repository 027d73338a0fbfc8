"""Plots of the figures of dreams."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from torch import Tensor

from dream_core.measure.figures import ClipFigures, Figures, Heard, Report
from dream_core.measure.plot import INPUT_COLOR, plot
from dream_core.panels import COLORS

NONE = Figures(*[None] * 7)


def pixels(image: Tensor, color: str) -> Tensor:
    """(n,2): rows and columns of the pixels of a color."""
    rgb = torch.tensor([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return ((image[0] - rgb[:, None, None]).abs().amax(0) < 1e-3).nonzero()


def flicker_columns(values: list[float | None]) -> set[int]:
    """Columns of the image in which a curve of flicker has its color."""
    frames = tuple(replace(NONE, flicker=value) for value in values)
    own = ClipFigures("input", NONE, (NONE,) * len(values))
    found = pixels(plot(Report(own, (ClipFigures("d", NONE, frames),), None, None)), COLORS[0])
    return set(found[found[:, 0] > 40, 1].tolist())  # below the legend


def test_an_image_is_rgb_in_steps_of_8_bits_and_as_wide_as_asked(report: Report) -> None:
    for width in (512, 1200, 1201):
        image = plot(report, width=width)
        assert image.shape[:2] == (1, 3)
        assert image.shape[-1] == width
        assert image.dtype == torch.float32
        torch.testing.assert_close(image * 255, (image * 255).round(), atol=1e-4, rtol=0)
        assert (image.min() >= 0, image.max()) == (True, 1)
    assert plot(report).shape[-1] == 1200


def test_each_dream_has_its_own_color_and_the_input_is_gray(report: Report) -> None:
    image = plot(report)
    for color in (COLORS[0], INPUT_COLOR):
        assert len(pixels(image, color)) > 100
    assert len(pixels(image, COLORS[1])) == 0
    two = plot(replace(report, dreams=report.dreams * 2))
    assert len(pixels(two, COLORS[1])) > 100


def test_colors_start_over_when_they_run_out(report: Report) -> None:
    assert plot(replace(report, dreams=report.dreams * (len(COLORS) + 1))).shape[-1] == 1200


def test_a_figure_that_was_not_measured_has_no_panel(report: Report) -> None:
    (dream,) = report.dreams
    with_strength = tuple(replace(figures, strength=3.0) for figures in dream.frames)
    taller = plot(replace(report, dreams=(replace(dream, frames=with_strength),)))
    assert taller.shape[-2] > plot(report).shape[-2] + 100


def test_a_curve_rises_with_its_values_and_ends_at_the_right(report: Report) -> None:
    image = plot(report)
    height, width = image.shape[-2:]
    drift_panel = pixels(image, COLORS[0])
    drift_panel = drift_panel[drift_panel[:, 0] > height - 200]
    first, last = drift_panel[drift_panel[:, 1].argmin()], drift_panel[drift_panel[:, 1].argmax()]
    assert last[0] < first[0] - 50  # rows count downwards
    assert last[1] > width - 40


def test_the_input_is_dashed_and_a_dream_is_not() -> None:
    level = replace(NONE, sharpness=1.0)
    own = ClipFigures("input", level, (level,) * 5)
    higher = replace(level, sharpness=2.0)
    image = plot(Report(own, (ClipFigures("d", higher, (higher,) * 5),), None, None))
    dream, dashes = (len(set(pixels(image, color)[:, 1].tolist())) for color in (COLORS[0], INPUT_COLOR))
    assert dream > 1000
    assert 400 < dashes < 900


def test_a_missing_value_leaves_a_gap_and_a_single_one_is_a_dot() -> None:
    assert len(flicker_columns([0.5] * 5)) > 1000
    assert 400 < len(flicker_columns([0.5, 0.5, None, 0.5, 0.5])) < 650
    assert 3 <= len(flicker_columns([None, 0.5, None, None, None])) <= 10
    assert 3 <= len(flicker_columns([0.5])) <= 10


def test_values_that_never_change_are_drawn() -> None:
    assert len(flicker_columns([0.0] * 5)) > 1000


def test_names_are_shown_as_they_are(report: Report) -> None:
    """A name may look like a formula to matplotlib, or like a curve to leave out."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = {name: plot(_renamed(report, name)) for name in ("$x^2$", "$x^3$", r"$\frac$", "_d", "")}
    legends = [image[..., :34, :] for image in images.values()]
    for index, legend in enumerate(legends):
        assert len(pixels(legend, COLORS[0])) > 10
        assert not any(torch.equal(legend, other) for other in legends[:index])


def test_long_names_take_further_lines(report: Report) -> None:
    many = plot(replace(_renamed(report, "a" * 90), dreams=_renamed(report, "a" * 90).dreams * 4))
    assert many.shape[-2] > plot(report).shape[-2] + 50
    assert many[..., -5:].min() == 1  # nothing is cut off


def test_drawing_is_repeatable(report: Report) -> None:
    assert torch.equal(plot(report), plot(report))


def _renamed(report: Report, name: str) -> Report:
    return replace(report, dreams=tuple(replace(dream, name=name) for dream in report.dreams))


def test_a_sound_has_a_panel_of_its_own(report: Report) -> None:
    values = tuple(index / 10 for index in range(len(report.input.frames)))
    heard = plot(replace(report, heard=Heard("level", values)))
    assert heard.shape[-2] > plot(report).shape[-2] + 100
