"""The choice of a look on a node: the widgets it leaves, and the settings it gives in place of the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from comfy_api.latest import io

from ...dream_core.looks import FIRST, look_names, named_look
from ...dream_core.settings import FlowSettings, MaskSettings, ModelSettings
from .networks import default_dream_model, default_flow_model, dream_fingerprint, flow_fingerprint
from .widgets import check_choice, settings_from

Settings = TypeVar("Settings")

LOOK = "look"
"""Name of the widget."""

CUSTOM = "custom"
"""Choice that is no look: all settings are those of the widgets. Graphs that name no look mean it."""

BESIDE_A_LOOK = ("size", "frames", "seed")
"""Widgets that are shown beside a look, in this order, and that count then. They win over the look."""

SHOWN = "shown_beside_a_look"
"""Key under which the page, web/shown_widgets.js, is told the names of these widgets."""

NETWORKS = "networks"
"""Key under which the page, web/layer_list.js, is told the network of each look."""

TOOLTIP = (
    "Settings that suit each other, with the network they were made for. With custom, all settings are your own, "
    "in widgets below. A network or an objective that is connected wins."
)


def with_look(*inputs: io.Input) -> list[io.Input]:
    """Put the choice of a look before widgets, then those that are shown beside it, common ones, and advanced ones.

    All become optional: a graph that names a look needs no other value. So are graphs valid that name no look.

    Args:
        inputs: widgets.
    """
    names = [name for name in BESIDE_A_LOOK if any(one.id == name for one in inputs)]
    for one in inputs:
        one.optional = True

    def rank(one: io.Input) -> tuple[bool, int]:
        advanced = bool(getattr(one, "advanced", False))
        return advanced, names.index(one.id) if one.id in names else len(names)

    return [_look_input(names), *sorted(inputs, key=rank)]


def check_look(look: Any) -> bool | str:
    """Check a look for the `validate_inputs` of a node, see `check_choice`."""
    return check_choice(LOOK, look, [*look_names(), CUSTOM])


def _look_input(shown: list[str]) -> io.Input:
    looks = [named_look(name) for name in look_names()]
    lines = [f"{look.name} ({look.model}): {look.description}" for look in looks]
    return io.Combo.Input(
        LOOK,
        options=[*(look.name for look in looks), CUSTOM],
        default=FIRST,
        optional=True,
        tooltip="\n".join([TOOLTIP, *lines]),
        extra_dict={SHOWN: shown, NETWORKS: {look.name: look.model for look in looks}},
    )


class Chosen:
    """Settings of a node: those of its look, or those of its widgets.

    Args:
        values: the arguments of the node's `execute`: of the widgets, also of those that a look hides.

    Raises:
        SettingsError: there is no such look.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        name = values.get(LOOK, CUSTOM)
        self.look = None if name == CUSTOM else named_look(name)
        self._values = values

    def value(self, name: str, default: Any) -> Any:
        """Return the value of a widget that belongs to no settings; beside a look, its default."""
        return default if self.look else self._values.get(name, default)

    def settings(
        self,
        cls: type[Settings],
        *,
        only: Collection[str] | None = None,
        leave_out: Collection[str] = (),
        model: str | None = None,
    ) -> Settings:
        """Make settings of a class.

        Args:
            cls: the class.
            only, leave_out: as for `settings_from`; fields without a widget have the look's values or defaults.
            model: name of the network that dreams; see `Look.options_for`.

        Raises:
            SettingsError: see `settings_from`.
        """
        if not self.look or cls is MaskSettings:  # which no look holds
            return settings_from(cls, self._values, only=only, leave_out=leave_out, required=False)
        beside = {name: value for name, value in self._values.items() if name in BESIDE_A_LOOK}
        shown = settings_from(cls, beside, only=only, leave_out=leave_out, required=False)
        own = {name: getattr(shown, name) for name in beside if hasattr(shown, name)}
        return replace(self.look.settings(cls, model=model), **own)  # type: ignore[type-var]

    def dream_model(self, wired: Any) -> Any:
        """Return what is wired to a DREAM_MODEL socket, else the network of the look, or auto."""
        return default_dream_model(self._network()) if wired is None else wired

    def _network(self) -> ModelSettings:
        return self.look.settings(ModelSettings) if self.look else ModelSettings()

    @staticmethod
    def flow_model(wired: Any) -> Any:
        """Return what is wired to an OPTICAL_FLOW socket, else the network that auto means."""
        return default_flow_model() if wired is None else wired

    @classmethod
    def fingerprint(cls, values: Mapping[str, Any], *, flow: bool) -> Any:
        """Return what ComfyUI compares to run a node again: the weights' times of change, where none are wired.

        Args:
            values: as above. A wired look is None: then the node that gives it counts.
            flow: True for nodes that estimate motion.
        """
        if values.get(LOOK, CUSTOM) is None:
            return None
        network = cls(values)._network()
        return (
            None if "dream_model" in values else dream_fingerprint(network.model),
            flow_fingerprint(FlowSettings.flow) if flow and "flow_model" not in values else None,
        )
