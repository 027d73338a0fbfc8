"""Flat options become settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from dream_core.errors import SettingsError
from dream_core.flat_options import field_names, fill_settings
from dream_core.settings import InputSettings, OutputSettings, PipelineSettings


def test_flat_options_find_their_class() -> None:
    pipeline, reading = fill_settings(
        {"octave_steps": 4, "layers": "block4", "model_dirs": ["a", "b"], "model_file": "w.pth", "size": 9},
        PipelineSettings,
        InputSettings,
    )
    assert pipeline.dream.octave.octave_steps == 4
    assert pipeline.dream.objective.layers == ("block4",)
    assert pipeline.model.model_dirs == (Path("a"), Path("b"))
    assert pipeline.model.model_file == Path("w.pth")
    assert reading == InputSettings(size=9)
    assert pipeline.temporal == PipelineSettings().temporal


def test_one_value_stands_for_a_tuple_of_one_and_the_wrong_number_is_told() -> None:
    with pytest.raises(SettingsError, match=r"expected 3 values in `model_mean`, got 1"):
        fill_settings({"model_mean": 0.5}, PipelineSettings)
    assert fill_settings({"model_mean": None}, PipelineSettings)[0].model.model_mean is None


@pytest.mark.parametrize("channels", [7, [7], "7", ("7",)])
def test_the_index_of_a_channel_may_be_a_number(channels: object) -> None:
    (pipeline,) = fill_settings({"channels": channels}, PipelineSettings)
    assert pipeline.dream.objective.channels == ("7",)


def test_field_names_are_unique_across_the_settings() -> None:
    names = [name for cls in (PipelineSettings, InputSettings, OutputSettings) for name in field_names(cls)]
    assert len(names) == len(set(names))
    assert {"octave_steps", "model", "size", "keep"} < set(names)
