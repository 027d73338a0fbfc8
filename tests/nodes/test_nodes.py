"""The list of nodes: ids that never change, and texts for everything."""

from __future__ import annotations

from typing import Any

import pytest

NAMES = {
    "DeepDreamSampleClip": "Sample Clip",
    "DeepDreamLoadDreamModel": "Load Dream Model",
    "DeepDreamLoadFlowModel": "Load Flow Model",
    "DeepDreamObjective": "Dream Objective",
    "DeepDreamGuide": "Dream Guide",
    "DeepDreamText": "Dream Text",
    "DeepDreamImage": "DeepDream",
    "DeepDreamOpticalFlow": "Optical Flow",
    "DeepDreamCameraFlow": "Camera Flow",
    "DeepDreamOcclusionMask": "Reliability Mask",
    "DeepDreamFlowWarp": "Flow Warp",
    "DeepDreamFlowPicture": "Flow Image",
    "DeepDreamFlowMask": "Flow Mask",
    "DeepDreamFlowMath": "Flow Math",
    "DeepDreamFlowConvert": "Flow Convert",
    "DeepDreamSaveFlow": "Save Flow",
    "DeepDreamLoadFlow": "Load Flow",
    "DeepDreamSoundCurve": "Sound Curve",
    "DeepDreamTemporalBlend": "Temporal Blend",
    "DeepDreamSchedule": "Schedule",
    "DeepDreamValueAtFrame": "Value at Frame",
    "DeepDreamConsistencyReport": "Consistency Report",
    "DeepDreamAtlas": "Dream Atlas",
    "DeepDreamCompareVideos": "Compare Videos",
    "DeepDreamLoopOpen": "Temporal Loop Open",
    "DeepDreamLoopClose": "Temporal Loop Close",
    "DeepDreamLoopRunner": "Temporal Loop Runner",
    "DeepDreamVideo": "DeepDream Video",
    "DeepDreamVideoFile": "DeepDream Video File",
}

SECOND = {("DeepDreamFlowMath", "then")}
"""Sockets beside another one of their type."""


@pytest.fixture
def schemas(pack: Any) -> dict[str, Any]:
    found = [node.define_schema() for node in pack("nodes").NODES]
    return {schema.node_id: schema for schema in found}


def test_ids_never_change(schemas: dict[str, Any]) -> None:
    """Workflow files of people hold them."""
    assert {name: schema.display_name for name, schema in schemas.items()} == NAMES


def test_every_node_socket_and_widget_is_explained(schemas: dict[str, Any], pack: Any) -> None:
    menu = [value for name, value in vars(pack("nodes.adapters.categories")).items() if name.isupper()]
    for schema in schemas.values():
        assert schema.category in menu
        assert schema.description
        assert schema.search_aliases
        assert [one.id for one in (*schema.inputs, *schema.outputs) if not one.tooltip] == []


def test_one_thing_has_one_name_on_all_nodes(schemas: dict[str, Any]) -> None:
    """OPTICAL_FLOW is flow_model, DREAM_MODEL is dream_model, masks are reliability, renewal, mask or depth."""
    kinds = {
        "OPTICAL_FLOW": "flow_model",
        "DREAM_MODEL": "dream_model",
        "FLOW": "flow",
    }
    for schema in schemas.values():
        for one in (*schema.inputs, *schema.outputs):
            names = {one.id, one.display_name}
            if one.io_type == "MASK":
                assert names & {"reliability", "renewal", "mask", "depth"}, (schema.node_id, one.id)
            if (schema.node_id, one.id) not in SECOND:
                assert kinds.get(one.io_type, one.id) in names, (schema.node_id, one.id)
