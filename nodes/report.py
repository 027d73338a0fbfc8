"""Consistency Report: how steady, strong and sharp a dreamed clip is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..dream_core.errors import ImageError
from ..dream_core.measure.figures import Figures
from ..dream_core.measure.measure import LayerEnergy, flow_link, measure
from ..dream_core.measure.plot import plot
from ..dream_core.measure.tables import FIGURES, as_text
from .adapters import categories, host
from .adapters.batches import check_same_size, compute
from .adapters.estimators import estimator_for, flow_settings, flow_widgets
from .adapters.images import from_image, to_image
from .adapters.models import model_on_device
from .adapters.objectives import Objectives, ObjectiveSocket, build
from .adapters.sockets import DreamModelSocket, FlowModelSocket
from .adapters.working import working

NAME, INDEPENDENT = "dreams", "independent"
"""Names of the dreamed clips in plot and table."""

TOOLTIPS = {
    "e_warp": "Squared change of the dreamed clip along the motion (Lai et al. 2018). It contains the input's own "
    "noise and rewards blur.",
    "flicker": "E_warp of the dream alone, relative to its energy: 0 = carried perfectly, 1 = unrelated from frame "
    "to frame.",
    "strength": "Mean squared activation of the objective's layers, relative to the input's. Not a number without "
    "a dream model.",
    "sharpness": "Variance of the Laplacian, relative to the input's.",
    "drift": "Change in the brightness of the dream from the first frame to the last, without the input's own "
    "change, in levels of 255.",
    "evenness": "Root mean square of the dream on what moves by itself, relative to that on what is still. Not a "
    "number where nothing moves.",
    "coverage": "Evenness, relative to that of the independent dream: 1 = what moves wears its full share of the "
    "dream, 0 = it is bare. Not a number without an independent dream.",
}
"""Name of the output -> tooltip."""


class ConsistencyReport(io.ComfyNode):
    """Measures a dreamed clip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamConsistencyReport",
            display_name="Consistency Report",
            category=categories.MEASURE,
            description=(
                "Measures how steadily a dream follows the motion of its clip, how strong it is and how sharp, "
                "and whether it stays on what moves: for each frame and for the whole clip."
            ),
            search_aliases=[
                "flicker",
                "temporal consistency",
                "warping error",
                "e_warp",
                "measure",
                "metrics",
                "coverage",
            ],
            inputs=[
                io.Image.Input("images", tooltip="The clip that was dreamed."),
                io.Image.Input("dreams", tooltip="The dreamed clip: as many frames, of the same size."),
                FlowModelSocket.Input(
                    "flow_model",
                    tooltip="Network that estimates the motion of the images, from Load Flow Model.",
                ),
                DreamModelSocket.Input(
                    "dream_model",
                    optional=True,
                    tooltip="Network to measure strength by, from Load Dream Model. Without it the other figures "
                    "are measured.",
                ),
                ObjectiveSocket.Input(
                    "objective",
                    optional=True,
                    tooltip="Layers to measure strength by. Without it: the network's default layer.",
                ),
                io.Image.Input(
                    "independent",
                    optional=True,
                    tooltip="The clip dreamed frame by frame, to measure coverage by: from DeepDream, or from "
                    "DeepDream Video with independent on.",
                ),
                *flow_widgets(),
            ],
            outputs=[
                io.Image.Output(
                    "plot",
                    display_name="plot",
                    tooltip="Curves of the figures of every frame. Dashed gray: the images.",
                ),
                io.String.Output("table", display_name="table", tooltip="Figures of the whole clip."),
                *(
                    io.Float.Output(figure.field, display_name=figure.field, tooltip=TOOLTIPS[figure.field])
                    for figure in FIGURES
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        images: Tensor,
        dreams: Tensor,
        flow_model: Any,
        dream_model: Any = None,
        objective: Objectives | None = None,
        independent: Tensor | None = None,
        **values: Any,
    ) -> io.NodeOutput:
        with working():
            source = from_image(images, name="images")
            given = {NAME: dreams} if independent is None else {NAME: dreams, INDEPENDENT: independent}
            dreamed = {name: from_image(batch, name=name) for name, batch in given.items()}
            check_same_size(images=source, **dreamed)
            for name, batch in dreamed.items():
                if len(source) != len(batch):
                    raise ImageError(
                        f"expected one dream for each of the {len(source)} images, got {len(batch)} in {name}: "
                        "connect the clip that was dreamed"
                    )
            progress = host.Progress(len(source))
            report = measure(
                _frames(source),
                {name: _frames(batch) for name, batch in dreamed.items()},
                flow_link(
                    estimator_for(
                        flow_model,
                        flow_settings(values),
                        beside=[] if dream_model is None else [dream_model],
                    )
                ),
                energy=_energy(dream_model, objective),
                independent=None if independent is None else INDEPENDENT,
                on_frame=lambda index: progress.update(index + 1, len(source)),
            )
            image = plot(report)
            progress.update(len(source), len(source), image)
            return io.NodeOutput(to_image(image), as_text(report), *_numbers(report.dreams[0].overall))


def _frames(batch: Tensor) -> Iterator[Tensor]:
    return (compute(frame) for frame in batch)


def _energy(patcher: Any, objective: Objectives | None) -> LayerEnergy | None:
    if patcher is None:
        return None
    model = model_on_device(patcher)
    return LayerEnergy(model, build(objective, model).layers or (model.default_layer,))


def _numbers(figures: Figures) -> list[float]:
    """List the figures in the order of the outputs, NaN where one is not defined."""
    values = [figure.of(figures) for figure in FIGURES]
    return [math.nan if value is None else value for value in values]
