"""The choice of a look on the nodes that dream: the widgets beside it, and what the others mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Pack = Callable[[str], ModuleType]

NODES = ["nodes.dream:Dream", "nodes.video:DeepDreamVideo", "nodes.video_file:DeepDreamVideoFile"]
BEGINNERS = 5
"""Widgets that a beginner sees at most; below a seed the classic canvas shows one more."""


@pytest.fixture
def adapter(pack: Pack) -> ModuleType:
    return pack("nodes.adapters.looks")


@pytest.fixture
def core(pack: Pack) -> ModuleType:
    return pack("dream_core.settings")


def inputs_of(pack: Pack, name: str) -> list[Any]:
    module, node = name.split(":")
    schema = getattr(pack(module), node).define_schema()
    assert schema.accept_all_inputs  # so that a choice that ComfyUI does not know arrives, and is refused
    inputs: list[Any] = schema.inputs
    return inputs


def is_widget(one: Any) -> bool:
    return (hasattr(one, "default") or hasattr(one, "options")) and not getattr(one, "force_input", False)


@pytest.mark.parametrize("name", NODES)
def test_the_look_is_the_first_widget_and_leaves_a_few(pack: Pack, name: str, looks: dict[str, Any]) -> None:
    look, *others = [one for one in inputs_of(pack, name) if is_widget(one)]
    assert (look.id, look.options, look.default) == ("look", ["embers", "ashes", "custom"], "embers")
    shown = look.extra_dict["shown_beside_a_look"]
    assert shown == [one.id for one in others[: len(shown)]]  # they come next
    assert 1 + len(shown) + ("seed" in shown) <= BEGINNERS
    assert "seed" in shown
    assert look.extra_dict["networks"] == {"embers": "squeezenet1_1", "ashes": "squeezenet1_1"}


@pytest.mark.parametrize("name", NODES)
def test_only_what_is_dreamed_on_is_required(pack: Pack, name: str) -> None:
    required = [one.id for one in inputs_of(pack, name) if not one.optional]
    assert required in (["image"], ["images"], ["video"])


@pytest.mark.parametrize("name", NODES)
def test_common_widgets_come_before_advanced_ones(pack: Pack, name: str) -> None:
    advanced = [bool(getattr(one, "advanced", False)) for one in inputs_of(pack, name) if is_widget(one)]
    assert advanced == sorted(advanced)


def test_each_look_is_told_in_a_line_with_its_network(pack: Pack, looks: dict[str, Any]) -> None:
    (look,) = (one for one in inputs_of(pack, NODES[0]) if one.id == "look")
    _, *lines = look.tooltip.splitlines()
    assert lines == ["embers (squeezenet1_1): Like embers.", "ashes (squeezenet1_1): Like ashes."]


def test_no_look_of_the_package_names_what_is_shown_beside_it(pack: Pack, adapter: ModuleType) -> None:
    """It would have no effect on a node."""
    core = pack("dream_core.looks")
    for name in core.look_names():
        assert not core.named_look(name).options.keys() & set(adapter.BESIDE_A_LOOK)


def test_without_a_look_the_widgets_count_and_missing_ones_mean_the_defaults(
    adapter: ModuleType, core: ModuleType
) -> None:
    for values in ({"seed": 3, "jitter": 8}, {"look": "custom", "seed": 3, "jitter": 8}):
        chosen = adapter.Chosen(values)
        assert chosen.settings(core.AscentSettings) == core.AscentSettings(seed=3, jitter=8)
        assert chosen.settings(core.OctaveSettings) == core.OctaveSettings()
        assert chosen.value("seed", 1) == 3
        assert chosen.value("other", 1) == 1


def test_beside_a_look_only_the_shown_widgets_count(
    adapter: ModuleType, core: ModuleType, looks: dict[str, Any]
) -> None:
    hidden = {
        "jitter": 8,
        "learning_rate": 0.5,
        "octave_mode": {"octave_mode": "advanced", "octaves": 9, "octave_scale": 0.5},
        "blend": 0.9,
        "mask_softness": 0.5,
        "tile_size": 64,
        "channel_capture": "step",
        "quality": 40,
        "flow_and_reliability": False,
    }
    chosen = adapter.Chosen({"look": "embers", "seed": 3, "size": 96, "frames": 2, **hidden})
    ascent = core.AscentSettings(jitter=4, learning_rate=3.0, seed=3)
    assert chosen.settings(core.AscentSettings) == ascent
    assert chosen.settings(core.OctaveSettings) == core.OctaveSettings(octaves=1, octave_steps=4)
    assert chosen.settings(core.TemporalSettings) == core.TemporalSettings(carried_steps=2)
    for cls in (core.ReliabilitySettings, core.TileSettings, core.OutputSettings, core.FlowSettings):
        assert chosen.settings(cls) == cls()
    reading = chosen.settings(core.InputSettings, only=("size", "frames"))
    assert reading == core.InputSettings(size=96, frames=2)
    objective = chosen.settings(core.ObjectiveSettings, only=("channel_capture",))
    assert objective == core.ObjectiveSettings(layers=("features.6",))
    assert chosen.value("flow_and_reliability", True) is True


def test_the_layers_of_a_look_are_left_out_for_another_network(
    adapter: ModuleType, core: ModuleType, looks: dict[str, Any]
) -> None:
    chosen = adapter.Chosen({"look": "embers"})
    assert chosen.settings(core.ObjectiveSettings, model="vgg16") == core.ObjectiveSettings()


@pytest.mark.parametrize("look", ["ember", "embers.json"])
def test_an_unknown_look_is_told(pack: Pack, adapter: ModuleType, looks: dict[str, Any], look: str) -> None:
    error = pack("dream_core.errors").SettingsError
    with pytest.raises(error, match="expected `look` to be one of embers, ashes, got"):
        adapter.Chosen({"look": look})


def test_a_wired_network_is_taken_and_else_that_of_the_look(
    adapter: ModuleType, looks: dict[str, Any]
) -> None:
    wired = object()
    for look in ("embers", "custom"):
        chosen = adapter.Chosen({"look": look})
        assert chosen.dream_model(wired) is wired
        assert chosen.flow_model(wired) is wired
    model = adapter.Chosen({"look": "ashes"}).dream_model(None).model.network
    assert (model.spec.name, model.pooling) == ("squeezenet1_1", "avg")


def test_a_node_runs_again_when_weights_that_are_not_wired_change(
    adapter: ModuleType, looks: dict[str, Any], host: Any
) -> None:
    def print_of(**values: Any) -> Any:
        return adapter.Chosen.fingerprint({"look": "embers", **values}, flow=True)

    before, wired = print_of(), print_of(dream_model=None)
    weights: Path = host.folder / "models" / "deepdream" / "squeezenet1_1.safetensors"
    weights.touch()
    assert print_of() != before
    assert print_of(dream_model=None) == wired  # ComfyUI names what is wired, without its value
    assert print_of(dream_model=None, flow_model=None) == (None, None)
    (host.folder / "models" / "optical_flow" / "raft_small.safetensors").touch()
    assert print_of(dream_model=None) != wired
    assert adapter.Chosen.fingerprint({"look": "embers"}, flow=False)[1] is None
