"""Widgets and settings: every field there and back, in ranges that the core takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from types import ModuleType
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

CLASSES = (
    "ObjectiveSettings",
    "OctaveSettings",
    "AscentSettings",
    "TileSettings",
    "ImageSettings",
    "TemporalSettings",
    "ReliabilitySettings",
    "FlowImageSettings",
    "CameraSettings",
    "WarpSettings",
)
FLOW_LEFT_OUT = ("flow", "flow_file")
PACKS = hypothesis_settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

Pack = Callable[[str], ModuleType]


@pytest.fixture
def widgets(pack: Pack) -> ModuleType:
    return pack("nodes.adapters.widgets")


@pytest.fixture
def core(pack: Pack) -> ModuleType:
    return pack("dream_core.settings")


def all_widgets(widgets: ModuleType, core: ModuleType) -> list[Any]:
    of_flow = widgets.widgets(core.FlowSettings, leave_out=FLOW_LEFT_OUT)
    return widgets.widgets(*(getattr(core, name) for name in CLASSES)) + of_flow


def values_of(inputs: list[Any], choices: dict[str, str]) -> dict[str, Any]:
    """What ComfyUI hands to `execute` where nobody touched the widgets but the choices."""
    values: dict[str, Any] = {}
    for one in inputs:
        if one.io_type == "COMFY_DYNAMICCOMBO_V3":
            option = next(
                option for option in one.options if option.key == choices.get(one.id, one.options[0].key)
            )
            values[one.id] = {one.id: option.key, **{inner.id: inner.default for inner in option.inputs}}
        else:
            values[one.id] = one.default
    return values


@pytest.mark.parametrize("name", CLASSES)
def test_untouched_widgets_mean_the_defaults(widgets: ModuleType, core: ModuleType, name: str) -> None:
    cls = getattr(core, name)
    assert widgets.settings_from(cls, values_of(widgets.widgets(cls), {})) == cls()


def test_every_widget_has_a_tooltip_that_names_no_flag(widgets: ModuleType, core: ModuleType) -> None:
    for one in all_widgets(widgets, core):
        for inner in one.get_all():
            assert inner.tooltip.endswith((".", "...")), inner.id
            assert "--" not in inner.tooltip


def test_every_field_has_one_widget(widgets: ModuleType, core: ModuleType) -> None:
    ids = {inner.id for one in all_widgets(widgets, core) for inner in one.get_all()}
    wanted = {field.name for name in CLASSES for field in fields(getattr(core, name))}
    wanted |= {field.name for field in fields(core.FlowSettings)} - set(FLOW_LEFT_OUT)
    assert ids == wanted | {"channel_count"}


def test_every_table_speaks_of_widgets_that_exist(widgets: ModuleType, core: ModuleType) -> None:
    ids = {inner.id for one in all_widgets(widgets, core) for inner in one.get_all()}
    assert set(widgets.RANGES) <= ids
    left_out = ("model_file", "model_dirs", "label_file")
    ids |= {one.id for one in widgets.widgets(core.ModelSettings, leave_out=left_out)}
    assert ids >= widgets.BASIC


def test_the_choice_of_the_network_is_seen_at_once(pack: Pack) -> None:
    (model,) = (
        one for one in pack("nodes.loaders").LoadDreamModel.define_schema().inputs if one.id == "model"
    )
    assert not model.advanced


WORDS = st.text("abcxyz019_/:.-'é ", min_size=1).map(str.strip).filter(bool)
NUMBERS = st.integers(1, 4000)


def entered(name: str, kind: Any, value: Any) -> Any:
    """What a person enters into the widget of a field."""
    if isinstance(value, tuple):
        return ", ".join(f'"{part}"' if " " in str(part) else str(part) for part in value)
    return value


def any_value(kind: Any) -> st.SearchStrategy[Any]:
    if options := [option for option in get_args(kind) if isinstance(option, str)]:
        return st.sampled_from(options)
    if get_args(kind):
        return st.lists(NUMBERS if get_args(kind)[0] is int else WORDS, max_size=4).map(tuple)
    return {bool: st.booleans(), int: st.integers(0, 2**63), float: st.floats(allow_nan=False)}[kind]


@pytest.mark.parametrize("name", CLASSES)
@PACKS
@given(data=st.data())
def test_settings_survive_the_widgets(
    widgets: ModuleType, core: ModuleType, name: str, data: st.DataObject
) -> None:
    cls = getattr(core, name)
    kinds = get_type_hints(cls)
    settings = cls(**{field: data.draw(any_value(kind)) for field, kind in kinds.items()})
    if name == "ObjectiveSettings" and settings.channel_mode in ("strong", "avg", "weak"):
        settings = replace(settings, channels=(str(data.draw(NUMBERS)),))
    values = {field: entered(field, kinds[field], getattr(settings, field)) for field in kinds}
    for choice, options in widgets.CHOICES.items():
        if choice not in kinds:
            continue
        shown = options.get(values[choice], {})
        hidden = {
            field for option in options.values() for field in option.values() if field not in shown.values()
        }
        settings = replace(settings, **{field: getattr(cls(), field) for field in hidden})
        values[choice] = {
            choice: values[choice],
            **{widget: values[field] for widget, field in shown.items()},
        }
        if "channel_count" in shown:
            values[choice]["channel_count"] = int(values[choice]["channel_count"])
    assert widgets.settings_from(cls, values) == settings


def numbers(widgets: ModuleType, core: ModuleType) -> Iterator[Any]:
    for one in all_widgets(widgets, core):
        yield from (inner for inner in one.get_all() if inner.io_type in ("INT", "FLOAT"))


def test_every_default_is_within_its_range_and_on_a_step(widgets: ModuleType, core: ModuleType) -> None:
    for one in numbers(widgets, core):
        assert one.min <= one.default <= one.max, one.id
        if one.io_type == "INT":
            assert (one.default - one.min) % one.step == 0, one.id
        else:  # the page shows as many decimals as a step has
            decimals = max(0, -math.floor(math.log10(one.step)))
            assert round(one.default, decimals) == one.default, one.id


def check(pack: Pack, field: str, value: float) -> None:
    """The core's own checks, on settings that differ from the defaults in one field."""
    core, errors = pack("dream_core.settings"), pack("dream_core.errors")
    occlusion, dream, flow = (pack(f"dream_core.{name}") for name in ("occlusion", "dream", "flow"))
    changes: dict[str, Any] = {field: value}
    if field == "channel_count":
        pack("dream_core.dreaming.objectives").LayerTerm("any", channels=(value,), channel_mode="strong")
        return
    if field == "zoom":
        changes["zoom_mode"] = "pixel"
    parts = {
        "objective": core.ObjectiveSettings,
        "octave": core.OctaveSettings,
        "ascent": core.AscentSettings,
        "tile": core.TileSettings,
        "image": core.ImageSettings,
    }
    for part, cls in parts.items():
        if hasattr(cls(), field):
            dream.check_dream(core.DreamSettings(**{part: cls(**changes)}))
            return
    if hasattr(core.FlowSettings(), field):
        flow.check_flow(core.FlowSettings(**changes))
    elif hasattr(core.ReliabilitySettings(), field):
        occlusion.check_reliability(core.ReliabilitySettings(**changes))
    elif hasattr(core.CameraSettings(), field):
        pack("dream_core.motion.camera").camera_flow((4, 4), core.CameraSettings(**changes))
    elif hasattr(core.TemporalSettings(), field):
        temporal = core.TemporalSettings(independent=True, **changes)
        options = {"settings": core.DreamSettings(), "occlusion": core.ReliabilitySettings()}
        pack("dream_core.temporal.dreamer").TemporalDreamer([None], None, temporal=temporal, **options)
    else:
        raise errors.SettingsError(f"no check is known for {field}")


FREE_BELOW = {"dream_weight", "tv_weight", "l2_weight", "zoom", "rotation", "pan_x", "pan_y"}
"""Fields that may be anything, so that their ranges end somewhere far beyond use."""

SHOWN_ONLY = {"saturation_length", "arrow_spacing"}


def test_the_core_takes_the_ends_of_every_range(pack: Pack, widgets: ModuleType, core: ModuleType) -> None:
    for one in numbers(widgets, core):
        if one.id not in SHOWN_ONLY:
            check(pack, one.id, one.min)
            check(pack, one.id, one.max)


def test_the_core_refuses_what_lies_below_a_range(pack: Pack, widgets: ModuleType, core: ModuleType) -> None:
    error = pack("dream_core.errors").SettingsError
    for one in numbers(widgets, core):
        if one.id in FREE_BELOW | SHOWN_ONLY:
            continue
        below = one.min - (1 if one.io_type == "INT" else max(one.step, one.min))
        with pytest.raises(error):
            check(pack, one.id, below)


CAPPED = {
    "octaves",
    "octave_scale",
    "tile_overlap",
    "contrast",
    "flow_scale",
    "mask_softness",
    "blend",
    "seed",
}
CAPPED |= {"norm_percent", "abs_percent", "mean_percent"}


def test_ranges_end_where_the_core_ends(pack: Pack, widgets: ModuleType, core: ModuleType) -> None:
    error = pack("dream_core.errors").SettingsError
    for one in numbers(widgets, core):
        if one.id in CAPPED:
            with pytest.raises(error):
                check(pack, one.id, one.max + 1)


def test_a_choice_shows_its_own_widgets_only(widgets: ModuleType, core: ModuleType) -> None:
    by_name = {one.id: one for one in widgets.widgets(core.AscentSettings, core.OctaveSettings)}
    assert "lbfgs_history" not in by_name
    shown = {
        option.key: [inner.id for inner in option.inputs]
        for name in ("optimizer", "octave_mode")
        for option in by_name[name].options
    }
    assert shown["lbfgs"] == ["lbfgs_history"]
    assert shown["adam"] == shown["classic"] == []
    assert shown["normal"] == ["octaves", "octave_scale"]
    assert shown["manual"] == ["octave_sizes"]


def test_the_default_choice_comes_first(widgets: ModuleType, core: ModuleType) -> None:
    (optimizer,) = (one for one in widgets.widgets(core.AscentSettings) if one.id == "optimizer")
    assert optimizer.options[0].key == core.AscentSettings().optimizer


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"optimizer": "sgd"}, "expected optimizer to be one of adam, lbfgs, classic, got 'sgd'"),
        ("lbfgs", "expected optimizer to be one of adam, lbfgs, classic, got 'lbfgs'"),
        ({"optimizer": "lbfgs"}, "expected lbfgs_history beside optimizer lbfgs, got nothing"),
        ({"optimizer": "adam", "momentum": 1}, "expected nothing beside optimizer adam, got momentum"),
    ],
)
def test_a_wrong_choice_is_told(pack: Pack, widgets: ModuleType, value: Any, message: str) -> None:
    core = pack("dream_core.settings")
    values = values_of(widgets.widgets(core.AscentSettings), {}) | {"optimizer": value}
    with pytest.raises(pack("dream_core.errors").SettingsError, match=message):
        widgets.settings_from(core.AscentSettings, values)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("optimizer", "expected optimizer to be one of adam, lbfgs, classic, got none of these"),
        ("learning_rate", "expected a value for learning_rate, got none"),
    ],
)
def test_a_missing_value_is_told(pack: Pack, widgets: ModuleType, missing: str, message: str) -> None:
    core = pack("dream_core.settings")
    values = values_of(widgets.widgets(core.AscentSettings), {})
    del values[missing]
    with pytest.raises(pack("dream_core.errors").SettingsError, match=message):
        widgets.settings_from(core.AscentSettings, values)


def test_what_is_advanced_may_be_missing_and_is_then_the_default(pack: Pack, widgets: ModuleType) -> None:
    core = pack("dream_core.settings")
    inputs = widgets.widgets(core.AscentSettings)
    values = values_of(inputs, {})
    optional = [one.id for one in inputs if one.optional]
    assert set(optional) == {one.id for one in inputs if one.advanced}
    assert "jitter" in optional
    for name in optional:
        del values[name]
    assert widgets.settings_from(core.AscentSettings, values) == core.AscentSettings()


def test_sizes_that_are_no_numbers_are_told(pack: Pack, widgets: ModuleType) -> None:
    core = pack("dream_core.settings")
    values = values_of(widgets.widgets(core.OctaveSettings), {"octave_mode": "manual"})
    values["octave_mode"]["octave_sizes"] = "128 x 256"
    with pytest.raises(pack("dream_core.errors").SettingsError, match="numbers in octave_sizes, got '128 x"):
        widgets.settings_from(core.OctaveSettings, values)


def test_a_list_may_stand_in_lines_and_keep_blanks_in_quotes(pack: Pack, widgets: ModuleType) -> None:
    core = pack("dream_core.settings")
    values = values_of(widgets.widgets(core.ObjectiveSettings), {})
    values["layers"] = "inception_4c_output:0.5,\n  inception_3b_output"
    values["channel_mode"]["channels"] = '12 "tabby cat"'
    settings = widgets.settings_from(core.ObjectiveSettings, values)
    assert settings.layers == ("inception_4c_output:0.5", "inception_3b_output")
    assert settings.channels == ("12", "tabby cat")


def test_a_mean_is_three_numbers_or_the_networks_own(pack: Pack, widgets: ModuleType) -> None:
    core, left_out = pack("dream_core.settings"), ("model_file", "model_dirs", "label_file")
    values = values_of(widgets.widgets(core.ModelSettings, leave_out=left_out), {})

    def mean(text: str) -> Any:
        changed = values | {"model_mean": text}
        return widgets.settings_from(core.ModelSettings, changed, leave_out=left_out).model_mean

    assert mean(" ") is None
    assert mean("103.9, 116.8 123.7") == (103.9, 116.8, 123.7)
    with pytest.raises(pack("dream_core.errors").SettingsError, match="expected 3 numbers in model_mean"):
        mean("1 2")


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("expected --octave-scale above 0", "expected octave_scale above 0"),
        (
            "no layer 'x'; --print-layers lists them",
            "no layer 'x'; the output layers of Load Dream Model lists them",
        ),
        ("name it (--model-file)", "name it (weights of Load Dream Model)"),
        ("a dash -- and well-known--words stay", "a dash -- and well-known--words stay"),
    ],
)
def test_messages_name_widgets_instead_of_flags(pack: Pack, told: str, shown: str) -> None:
    assert pack("nodes.adapters.wording").as_widgets(told) == shown
