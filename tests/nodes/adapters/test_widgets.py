"""Widgets and settings: every field there and back, in ranges that the core takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from types import ModuleType
from typing import Any, get_args

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
    "FlowMaskSettings",
    "FlowMathSettings",
    "FlowFileSettings",
    "OtherFlowSettings",
    "CompareSettings",
    "MaskSettings",
    "SoundSettings",
    "EnvelopeSettings",
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
    """Values that ComfyUI passes to `execute` if all widgets but the choices have their defaults."""
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
            assert not set("`") & set(inner.tooltip)
            assert "--" not in inner.tooltip


def test_every_field_has_one_widget(widgets: ModuleType, core: ModuleType) -> None:
    ids = {inner.id for one in all_widgets(widgets, core) for inner in one.get_all()}
    wanted = {field.name for name in CLASSES for field in fields(getattr(core, name))}
    wanted |= {field.name for field in fields(core.FlowSettings)} - set(FLOW_LEFT_OUT)
    assert ids == wanted | {"channel_count"}


@dataclass(frozen=True)
class Texts:
    """Kinds of text that an option may have.

    Args:
        label: A text.
        title: A text or none.
        words: A list.
    """

    label: str = "auto"
    title: str | None = None
    words: tuple[str, ...] = ()


def test_every_kind_of_text_has_a_widget(widgets: ModuleType) -> None:
    shown = widgets.widgets(Texts)
    assert [(one.id, one.io_type, one.default) for one in shown] == [
        ("label", "STRING", "auto"),
        ("title", "STRING", ""),
        ("words", "STRING", ""),
    ]
    assert widgets.settings_from(Texts, values_of(shown, {})) == Texts()
    entered = {"label": " none ", "title": "none", "words": "a b"}
    assert widgets.settings_from(Texts, entered) == Texts("none", "none", ("a", "b"))


def test_a_node_shows_only_some_fields_or_leaves_some_out(widgets: ModuleType, core: ModuleType) -> None:
    cls = core.ReliabilitySettings
    first, *others = (field.name for field in fields(cls))
    assert [one.id for one in widgets.widgets(cls, only=(first,))] == [first]
    assert [one.id for one in widgets.widgets(cls, leave_out=(first,))] == others
    values = {"check_consistency": False, "mask_softness": 0.5}
    assert widgets.settings_from(cls, values, only=("mask_softness",)) == cls(mask_softness=0.5)
    assert widgets.settings_from(cls, values, leave_out=("mask_softness",)) == cls(check_consistency=False)


def test_every_table_speaks_of_widgets_that_exist(widgets: ModuleType, core: ModuleType) -> None:
    ids = {inner.id for one in all_widgets(widgets, core) for inner in one.get_all()}
    left_out = ("model_file", "model_dirs", "label_file")
    ids |= {one.id for one in widgets.widgets(core.ModelSettings, leave_out=left_out)}
    left_out = ("previous_dream", "mask", "guide", "saved_flow")
    ids |= {one.id for one in widgets.widgets(core.InputSettings, leave_out=left_out)}
    ids |= {one.id for one in widgets.widgets(core.AtlasSettings)}
    assert ids >= widgets.BASIC


def test_the_choice_of_the_network_is_seen_at_once(pack: Pack) -> None:
    (model,) = (
        one for one in pack("nodes.loaders").LoadDreamModel.define_schema().inputs if one.id == "model"
    )
    assert not model.advanced


WORDS = st.text("abcxyz019_/:.-'é ", min_size=1).map(str.strip).filter(bool)
NUMBERS = st.integers(1, 4000)


def entered(name: str, kind: Any, value: Any) -> Any:
    """Value that a person enters into the widget of a field."""
    if isinstance(value, tuple):
        return ", ".join(f'"{part}"' if " " in str(part) else str(part) for part in value)
    return value


def any_value(checks: ModuleType, kind: Any) -> st.SearchStrategy[Any]:
    kind, limits = checks.split_range(kind)
    if limits:
        numbers = st.integers if kind is int else st.floats
        return numbers(limits.least, limits.most)
    if options := [option for option in get_args(kind) if isinstance(option, str)]:
        return st.sampled_from(options)
    if get_args(kind):
        _, limits = checks.split_range(get_args(kind)[0])
        return st.lists(NUMBERS if limits else WORDS, max_size=4).map(tuple)
    return st.booleans()


def fitted(settings: Any) -> Any:
    """Settings that differ from some only by what does not fit together."""
    if getattr(settings, "zoom_mode", "") == "percent":
        return replace(settings, zoom=min(settings.zoom, 99.0))
    if getattr(settings, "octave_mode", "").startswith("manual"):
        return replace(settings, octave_sizes=settings.octave_sizes * 2 or (8, 8))
    return settings


@pytest.mark.parametrize("name", CLASSES)
@PACKS
@given(data=st.data())
def test_settings_survive_the_widgets(
    pack: Pack, widgets: ModuleType, core: ModuleType, name: str, data: st.DataObject
) -> None:
    cls, checks = getattr(core, name), pack("dream_core.checks")
    kinds = checks.kinds(cls)
    settings = fitted(cls(**{field: data.draw(any_value(checks, kind)) for field, kind in kinds.items()}))
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


def shown_widgets(pack: Pack) -> Iterator[Any]:
    """Every widget of every node, and the choices with which it is there: (node, widget, {choice: key})."""
    for node in pack("nodes").NODES:
        schema = node.define_schema()
        for one in schema.inputs:
            yield schema.node_id, one, {}
            for option in getattr(one, "options", None) or ():
                for inner in getattr(option, "inputs", ()):
                    yield schema.node_id, inner, {one.id: option.key}


def reachable(one: Any) -> list[Any]:
    """Values that a person can set: a widget's ends, a click from them and from the default, or each choice."""
    if one.io_type in ("INT", "FLOAT") and one.step is None:
        return [] if one.default is None else [one.default]  # a number without ends
    if one.io_type in ("INT", "FLOAT"):
        clicks = (one.min + one.step, one.default + one.step)
        return [one.min, one.max, *(value for value in clicks if value <= one.max)]
    if one.io_type == "BOOLEAN":
        return [True, False]
    return list(one.options) if one.io_type == "COMBO" else []


NO_SETTINGS = {
    "look",
    "weights",
    "model",
    "width",
    "height",
    "frames",
    "both_ways",
    "flow_and_reliability",
    "from_previous",
    "folder",
    "where",
    "filename_prefix",
    "index",
    "zoom_schedule",
    "rotation_schedule",
    "pan_x_schedule",
    "pan_y_schedule",
    "compare",
    "setting",
}
"""Widgets that nodes have besides the settings'. The frames and the model of some nodes are settings."""


def test_the_core_takes_whatever_a_widget_can_be_set_to(pack: Pack, core: ModuleType) -> None:
    validate, widgets = pack("dream_core.checks").validate, pack("nodes.adapters.widgets")
    names = [
        *CLASSES,
        "AtlasSettings",
        "FlowSettings",
        "InputSettings",
        "OutputSettings",
        "ModelSettings",
        "DeviceSettings",
        "TextSettings",
    ]
    owners = {field.name: getattr(core, name) for name in names for field in fields(getattr(core, name))}
    met = set()
    for node, one, choices in shown_widgets(pack):
        if choices.keys() - widgets.CHOICES.keys():
            continue  # a choice of the node's own
        field = next((widgets.CHOICES[name][key][one.id] for name, key in choices.items()), one.id)
        for value in reachable(one):
            if field not in owners or (node, field) == ("DeepDreamLoadFlowModel", "model"):
                assert one.id in NO_SETTINGS | {"model"}, one.id
                continue
            given = {**choices, field: (str(value),) if one.id == widgets.COUNT else value}
            if field == "zoom":
                given["zoom_mode"] = "pixel"
            validate(owners[field](**given))
            met.add(one.id)
    assert met >= {
        "tile_size",
        "octave_scale",
        "lbfgs_history",
        "channel_count",
        "quality",
        "frames",
        "pooling",
    }


def test_no_click_on_the_size_of_tiles_reaches_one_that_is_refused(
    widgets: ModuleType, core: ModuleType
) -> None:
    (one,) = (one for one in widgets.widgets(core.TileSettings) if one.id == "tile_size")
    assert (one.min, one.step, one.max) == (0, 64, 16_384)


def test_a_missing_value_is_told_or_means_the_default(
    pack: Pack, widgets: ModuleType, core: ModuleType
) -> None:
    error, cls = pack("dream_core.errors").SettingsError, core.AscentSettings
    with pytest.raises(error, match="expected optimizer to be one of"):
        widgets.settings_from(cls, {"learning_rate": 2.0, "seed": 3})
    choice = values_of(widgets.widgets(cls), {})["optimizer"]
    with pytest.raises(error, match="expected a value for seed, got none"):
        widgets.settings_from(cls, {"optimizer": choice, "learning_rate": 2.0})
    assert widgets.settings_from(cls, {"learning_rate": 2.0}, required=False) == cls(learning_rate=2.0)


def test_a_value_beyond_its_range_is_told(pack: Pack, widgets: ModuleType, core: ModuleType) -> None:
    values = values_of(widgets.widgets(core.AscentSettings), {}) | {"jitter": -1}
    with pytest.raises(
        pack("dream_core.errors").SettingsError, match=r"^expected `jitter` from 0 to 10000, got"
    ):
        widgets.settings_from(core.AscentSettings, values)


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
        ({"optimizer": "adamw"}, "got 'adamw'; did you mean adam?"),
        ({"optimizer": "sgd"}, "expected optimizer to be one of clean, classic, adam, lbfgs, got 'sgd'"),
        ("lbfgs", "expected optimizer to be one of clean, classic, adam, lbfgs, got 'lbfgs'"),
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
        ("optimizer", "expected optimizer to be one of clean, classic, adam, lbfgs, got none of these"),
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
        ("expected `octave_scale` from 0.01", "expected octave_scale from 0.01"),
        (
            "no layer 'x'; `print_layers` lists them",
            "no layer 'x'; the output layers of Load Dream Model lists them",
        ),
        ("name it (`model_file`)", "name it (weights of Load Dream Model)"),
        ("a dash -- and well-known--words stay", "a dash -- and well-known--words stay"),
    ],
)
def test_messages_name_fields_as_the_nodes_do(widgets: ModuleType, told: str, shown: str) -> None:
    assert widgets.as_widgets(told) == shown
