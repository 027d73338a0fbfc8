"""The settings: defaults and ranges of all fields, and what must fit together."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args

import pytest

import dream_core.command.options
import dream_core.settings
from dream_core.checks import Range, kinds, split_range, validate
from dream_core.errors import SettingsError
from dream_core.settings import (
    DeviceSettings,
    DreamSettings,
    ImageSettings,
    ObjectiveSettings,
    OctaveSettings,
    PipelineSettings,
    TileSettings,
)

CLASSES = {
    cls
    for module in (dream_core.settings, dream_core.command.options)
    for cls in vars(module).values()
    if isinstance(cls, type) and is_dataclass(cls)
}
LEAVES = sorted((cls for cls in CLASSES if cls.__name__.endswith("Settings")), key=lambda cls: cls.__name__)

LIMITS = {
    "AscentSettings.natural_colors": (float, 0, 1),
    "AscentSettings.spectrum": (float, 0, 3),
    "AscentSettings.turn": (float, 0, 180),
    "AscentSettings.stretch": (float, 0, 50),
    "AscentSettings.learning_rate": (float, 0.001, 1000),
    "AscentSettings.lbfgs_history": (int, 1, 10_000),
    "AscentSettings.jitter": (int, 0, 10_000),
    "AscentSettings.gradient_blur": (float, 0, 1000),
    "AscentSettings.laplacian_levels": (int, 0, 100),
    "AscentSettings.laplacian_sigma": (float, 0.01, 1000),
    "AscentSettings.fft_block": (int, 0, 10_000),
    "AscentSettings.norm_percent": (float, 0, 100),
    "AscentSettings.abs_percent": (float, 0, 100),
    "AscentSettings.mean_percent": (float, 0, 100),
    "AscentSettings.seed": (int, 0, 2**64 - 1),
    "AtlasFileSettings.start": (float, 0, 1_000_000),
    "AtlasSettings.count": (int, 0, 100_000),
    "AtlasSettings.thumbnail": (int, 32, 1024),
    "AtlasSettings.thumbnail_steps": (int, 1, 1000),
    "CameraSettings.zoom_factor": (float, 0.01, 100),
    "CameraSettings.rotation": (float, -360, 360),
    "CameraSettings.pan_x": (float, -10_000, 10_000),
    "CameraSettings.pan_y": (float, -10_000, 10_000),
    "CameraSettings.yaw": (float, -80, 80),
    "CameraSettings.pitch": (float, -80, 80),
    "CameraSettings.field_of_view": (float, 1, 170),
    "CameraSettings.depth_range": (float, 1, 1000),
    "CompareSettings.amplify": (float, 0.1, 1000),
    "CompareSettings.wipe_seconds": (float, 0.1, 10_000),
    "CompareFileSettings.size": (int, 0, 16_384),
    "CompareFileSettings.start": (float, 0, 1_000_000),
    "CompareFileSettings.frames": (int, 0, 10_000_000),
    "CompareFileSettings.fps": (float, 0.01, 1000),
    "CompareFileSettings.quality": (int, 0, 51),
    "ConsoleSettings.classify": (int, 0, 1000),
    "ConsoleSettings.print_every": (int, 0, 1_000_000),
    "ConsoleSettings.save_every": (int, 0, 1_000_000),
    "EnvelopeSettings.attack": (float, 0, 60),
    "EnvelopeSettings.release": (float, 0, 60),
    "EnvelopeSettings.delay": (float, -60, 60),
    "FlowSaveSettings.size": (int, 0, 16_384),
    "FlowSaveSettings.start": (float, 0, 1_000_000),
    "FlowSaveSettings.frames": (int, 0, 10_000_000),
    "FlowSaveSettings.fps": (float, 0.01, 1000),
    "FlowImageSettings.saturation_length": (float, 0, 10_000),
    "FlowImageSettings.arrow_spacing": (int, 0, 10_000),
    "FlowSettings.flow_scale": (float, 0.01, 1),
    "FlowSettings.flow_updates": (int, 1, 1000),
    "FlowSettings.flow_batch": (int, 0, 10_000),
    "ImageSettings.contrast": (float, 0, 100),
    "ImageSettings.zoom": (float, -10_000, 10_000),
    "InputSettings.size": (int, 0, 16_384),
    "InputSettings.start": (float, 0, 1_000_000),
    "FlowMaskSettings.min_speed": (float, 0, 10_000),
    "FlowMaskSettings.speed_fade": (float, 0, 10_000),
    "FlowMaskSettings.direction": (float, -360, 360),
    "FlowMaskSettings.direction_range": (float, 1, 360),
    "FlowMathSettings.factor": (float, -1000, 1000),
    "FlowMathSettings.smoothing": (float, 0, 1000),
    "MaskSettings.mask_strength": (float, 0, 1),
    "MaskSettings.mask_feather": (int, 0, 10_000),
    "InputSettings.frames": (int, 0, 10_000_000),
    "InputSettings.fps": (float, 0.01, 1000),
    "MeasureSettings.start": (float, 0, 1_000_000),
    "MeasureSettings.skip": (int, 0, 10_000_000),
    "MeasureSettings.frames": (int, 0, 10_000_000),
    "MeasureSettings.fps": (float, 0.01, 1000),
    "ModelSettings.model_mean": (float, -1000, 1000),
    "ClusterSettings.cpus": (int, 1, 1024),
    "ClusterSettings.shortest": (int, 10, 1_000_000),
    "ClusterSettings.overlap": (int, 1, 1000),
    "ObjectiveSettings.dream_weight": (float, -1_000_000, 1_000_000),
    "ObjectiveSettings.tv_weight": (float, -1_000_000, 1_000_000),
    "ObjectiveSettings.l2_weight": (float, -1_000_000, 1_000_000),
    "TextSettings.text_weight": (float, -1_000_000, 1_000_000),
    "TextSettings.text_crops": (int, 1, 1000),
    "TextSettings.smallest_crop": (float, 0.01, 1),
    "OctaveSettings.octaves": (int, 1, 100),
    "OctaveSettings.octave_scale": (float, 0.01, 10),
    "OctaveSettings.octave_steps": (int, 0, 10_000),
    "OctaveSettings.octave_sizes": (int, 1, 16_384),
    "OctaveSettings.iterations": (int, 1, 10_000),
    "OutputSettings.quality": (int, 0, 51),
    "OutputSettings.update_interval": (int, 0, 10_000),
    "OutputSettings.frame_duration": (float, 1, 655_350),  # a GIF counts 1/100 s in 16 bits
    "ReliabilitySettings.brightness_threshold": (float, 0, 255),
    "ReliabilitySettings.mask_softness": (float, 0, 1),
    "SoundSettings.band_low": (float, 0, 100_000),
    "SoundSettings.band_high": (float, 0, 100_000),
    "SoundSettings.least": (float, -1_000_000, 1_000_000),
    "SoundSettings.most": (float, -1_000_000, 1_000_000),
    "TemporalSettings.blend": (float, 0, 1),
    "TemporalSettings.carried_steps": (int, 0, 10_000),
    "TemporalSettings.references": (int, 1, 6),
    "TemporalSettings.seamless_frames": (int, 1, 10_000),
    "TileSettings.tile_overlap": (float, 0, 0.5),
    "TileSettings.tile_size": (int, 64, 16_384),
}
"""Type, least and most of every number of the options."""

OR_ZERO = {"OutputSettings.frame_duration", "TileSettings.tile_size"}
"""Numbers that may be 0 although their range begins above it."""


def leaf_kinds(kind: Any) -> Iterator[Any]:
    """The types that a type is made of, each with its metadata."""
    plain, limits = split_range(kind)
    inner = get_args(plain)
    if limits or not inner:
        yield kind
    for one in inner if not limits else ():
        yield from leaf_kinds(one)


def ranges() -> list[Any]:
    """Every number: class, field and range."""
    return [
        pytest.param(cls, name, limits, id=f"{cls.__name__}.{name}")
        for cls in LEAVES
        for name, kind in kinds(cls).items()
        if (limits := split_range(kind)[1])
    ]


def changed(cls: type[Any], name: str, value: float) -> Any:
    """Settings with one value set, and what it does not go without."""
    return cls(**{"zoom_mode": "pixel"} if name == "zoom" else {}, **{name: value})


@pytest.mark.parametrize("cls", LEAVES, ids=lambda cls: cls.__name__)
def test_every_number_has_a_range_and_every_default_is_valid(cls: type[Any]) -> None:
    for name, kind in kinds(cls).items():
        assert not {int, float} & set(leaf_kinds(kind)), name
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        validate(cls())


def test_the_limits_of_all_numbers_are_known() -> None:
    found = {
        f"{cls.__name__}.{name}": split_range(leaf)
        for cls in LEAVES
        for name, kind in kinds(cls).items()
        for leaf in leaf_kinds(kind)
        if split_range(leaf)[1]
    }
    assert {name: (kind, limits.least, limits.most) for name, (kind, limits) in found.items()} == LIMITS
    assert {name for name, (_, limits) in found.items() if limits.or_zero} == OR_ZERO


@pytest.mark.parametrize(("cls", "name", "limits"), ranges())
def test_both_ends_are_taken_and_nothing_beyond(cls: type[Any], name: str, limits: Range) -> None:
    ends = [limits.least, limits.most, *([0] if limits.or_zero else [])]
    for value in ends:
        validate(changed(cls, name, value))
    for value in (limits.least - limits.step, limits.most + limits.step, float("nan"), float("inf")):
        if value in ends:
            continue
        with pytest.raises(SettingsError, match=f"^expected `{name}` "):
            validate(changed(cls, name, value))


@pytest.mark.parametrize(("cls", "name", "limits"), ranges())
def test_a_click_from_the_default_is_valid(cls: type[Any], name: str, limits: Range) -> None:
    default = getattr(cls(), name)
    for value in (default + limits.step, default - limits.step):
        if min(limits.least, 0 if limits.or_zero else limits.least) <= value <= limits.most:
            validate(changed(cls, name, value))


def test_field_names_are_unique_in_what_becomes_flags() -> None:
    names = [
        one.name
        for cls in LEAVES
        if cls.__module__.endswith("settings") and cls not in (PipelineSettings, DreamSettings)
        for one in fields(cls)
    ]
    assert len(names) == len(set(names))


def test_every_field_has_a_default() -> None:
    for cls in LEAVES:
        for one in fields(cls):
            assert (one.default, one.default_factory) != (MISSING, MISSING), one.name


# What must fit together


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            OctaveSettings(octave_mode="manual"),
            r"^expected `octave_sizes` for `octave_mode` manual, got none$",
        ),
        (
            OctaveSettings(octave_mode="manual_min", octave_sizes=(8, 0)),
            r"^expected each of `octave_sizes` from 1 to 16384, got 0$",
        ),
        (
            OctaveSettings(octave_mode="manual", octave_sizes=(8, 9, 10)),
            r"^expected `octave_sizes` in pairs of height and width .*, got \[8, 9, 10\]$",
        ),
        (ImageSettings(zoom=100), r"^expected `zoom` below 100 percent, got 100$"),
        (
            ObjectiveSettings(channel_mode="strong"),
            r"^expected one number in `channels` for `channel_mode` strong, how many channels, got none$",
        ),
        (
            ObjectiveSettings(channel_mode="weak", channels=("1,2",)),
            r"^expected one number in `channels` for `channel_mode` weak, how many channels, got 1, 2$",
        ),
        (
            PipelineSettings(device=DeviceSettings(device="cuda:0,cuda:1")),
            r"^expected a `tile_size`, got 0: several devices share out the tiles",
        ),
    ],
)
def test_what_does_not_fit_together(settings: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        validate(settings)


@pytest.mark.parametrize(
    "settings",
    [
        OctaveSettings(octave_mode="manual", octave_sizes=(8, 9)),
        OctaveSettings(octave_mode="manual_max", octave_sizes=(8, 9, 10)),
        ImageSettings(zoom=99.5),
        ImageSettings(zoom=100, zoom_mode="pixel"),
        ObjectiveSettings(channel_mode="strong", channels=("3",)),
        PipelineSettings(
            device=DeviceSettings(device="cuda:0,cuda:1"),
            dream=DreamSettings(tile=TileSettings(tile_size=64)),
        ),
    ],
)
def test_what_fits_together(settings: Any) -> None:
    validate(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ObjectiveSettings(channel_mode="ignore"), "^`channel_mode` ignore does nothing without `channels`"),
        (OctaveSettings(octave_sizes=(8,)), "^`octave_sizes` does nothing in `octave_mode` normal: choose"),
        (
            OctaveSettings(octave_mode="advanced", octave_sizes=(8,)),
            "^`octave_sizes` does nothing in `octave_mode` advanced: choose",
        ),
    ],
)
def test_what_does_nothing_is_warned_about(settings: Any, message: str) -> None:
    with pytest.warns(UserWarning, match=message):
        validate(settings)
