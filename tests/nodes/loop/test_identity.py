"""Which loops over a video have the same record."""

from __future__ import annotations

from typing import Any

import pytest
import torch

OPEN, CLOSE = "DeepDreamLoopOpen", "DeepDreamLoopClose"


@pytest.fixture
def recorded(pack: Any, film: Any, host: Any) -> Any:
    """`recorded(initial=1, body={"amount": 1}, ...)`: the record of a loop that mixes frames with a model."""
    host.classes = dict.fromkeys(("Load", "Work", OPEN, CLOSE), type("Plain", (), {}))

    def recorded(
        *,
        frames: Any = film,
        initial: Any = 1,
        number: Any = 2,
        model: Any = object(),  # noqa: B008, one for all
        body: dict[str, Any] | None = None,
        loader: dict[str, Any] | None = None,
    ) -> Any:
        work = {"image": ["open", 1], "model": ["load", 0], "number": ["number", 0], "amount": 1}
        graph = {
            "film": {"class_type": "Load", "inputs": {}},
            "first": {"class_type": "Load", "inputs": {}},
            "number": {"class_type": "Load", "inputs": {}},
            "load": {"class_type": "Load", "inputs": {"file": "a"}, **(loader or {})},
            "open": {
                "class_type": OPEN,
                "inputs": {"frames": ["film", 0], "initial.carried_0": ["first", 0]},
            },
            "work": {"class_type": "Work", "inputs": {**work, **(body or {})}},
            "close": {"class_type": CLOSE, "inputs": {"loop": ["open", 0], "result": ["work", 0]}},
        }
        found = pack("nodes.loop.body").collect(graph, "close", lambda kind: False)
        links = {"film": frames, "first": initial, "number": number, "load": model}
        values = {(name, 0): [value] for name, value in links.items()}
        return pack("nodes.loop.identity").record_of(found, values, graph)

    return recorded


def test_what_a_result_depends_on_tells_loops_apart(recorded: Any, pack: Any, video: Any) -> None:
    trimmed = pack("nodes.adapters.videos").InputImpl.VideoFromFile(str(video), start_time=0.2)
    records = [
        recorded(),
        recorded(frames=trimmed),
        recorded(initial=3),
        recorded(number=torch.ones(2)),
        recorded(body={"amount": 2}),
        recorded(body={"image": ["open", 2]}),
        recorded(loader={"inputs": {"file": "b"}}),
        recorded(loader={"is_changed": [7.0]}),
    ]
    assert len({record.path for record in records}) == len(records)
    assert recorded(model=object()).path == records[0].path  # its loader tells


def test_a_batch_has_no_record(recorded: Any, host: Any) -> None:
    assert recorded(frames=torch.zeros(2, 4, 4, 3)) is None
    assert host.told == []


def test_a_carried_value_that_cannot_be_saved_is_told_beforehand(recorded: Any, host: Any) -> None:
    assert recorded(initial=object()) is None
    assert host.told == [
        "the loop carries object (carried_0), which cannot be saved: if it is stopped it begins anew, and its "
        "video is among ComfyUI's temporary files"
    ]


def test_what_may_differ_in_every_run_is_told(recorded: Any, host: Any) -> None:
    assert recorded(loader={"is_changed": [float("nan")]}) is None
    assert host.told[0].startswith("the loop uses Load, which may differ in every run: if it is stopped")
