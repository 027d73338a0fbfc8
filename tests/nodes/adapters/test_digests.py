"""Digests of what nodes get."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from shutil import copy2
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

Pack = Callable[[str], ModuleType]


@dataclass
class Components:
    """Stands for ComfyUI's VideoComponents."""

    images: Tensor
    frame_rate: Fraction = Fraction(24)
    audio: Any = None


@pytest.fixture
def digests(pack: Pack) -> Any:
    return pack("nodes.adapters.digests")


def test_values_differ_by_kind_shape_and_content(pack: Pack, digests: Any) -> None:
    flow = pack("nodes.adapters.sockets").Flow
    objective = pack("dream_core.settings").ObjectiveSettings
    values = [
        None, True, 1, 1.0, "1", "", [], [1], [1, 2], [[1], 2], (1,), {"a": 1}, {"a": 2}, {"b": 1},
        torch.ones(4), torch.ones(2, 2), torch.zeros(4), torch.ones(4, dtype=torch.bfloat16), torch.ones(4) > 0,
        {"samples": torch.ones(1), "kind": "audio"}, flow(torch.zeros(1, 2, 3, 3)),
        objective(), objective(layers=("a",)),
    ]  # fmt: skip
    assert len({digests.digest(value) for value in values}) == len(values)
    assert [digests.digest(value) for value in values] == [digests.digest(value) for value in values]
    assert digests.digest({"a": 1, "b": 2}) == digests.digest({"b": 2, "a": 1})


def test_the_order_in_memory_does_not_count(digests: Any) -> None:
    image = torch.rand(1, 3, 4, 5)
    assert digests.digest(image.to(memory_format=torch.channels_last)) == digests.digest(image)


def test_what_has_no_digest_is_named(digests: Any) -> None:
    with pytest.raises(digests.Unknown, match=r"^object$"):
        digests.digest([1, {"a": object()}])


def test_videos_differ_by_content_and_trim(pack: Pack, digests: Any, video: Path, tmp_path: Path) -> None:
    impl = pack("nodes.adapters.videos").InputImpl
    copy = tmp_path / "copy.mp4"
    copy2(video, copy)
    assert digests.digest(impl.VideoFromFile(str(copy))) == digests.digest(impl.VideoFromFile(str(video)))
    trimmed = impl.VideoFromFile(str(video), start_time=0.2)
    in_memory = impl.VideoFromFile(BytesIO(video.read_bytes()))
    images = torch.rand(2, 4, 5, 3)
    made = [impl.VideoFromComponents(Components(images, rate)) for rate in (Fraction(24), Fraction(25))]
    whole = impl.VideoFromFile(str(video))
    assert len({digests.digest(one) for one in (whole, trimmed, in_memory, *made)}) == 5
    copy.unlink()
    with pytest.raises(digests.Unknown, match=r"copy\.mp4"):
        digests.digest(impl.VideoFromFile(str(copy)))


def test_a_video_rendered_again_differs_where_no_sample_of_it_does(
    pack: Pack, digests: Any, tmp_path: Path, host: Any
) -> None:
    impl = pack("nodes.adapters.videos").InputImpl

    def rendered(path: Path, *, second: int, value: int) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1_000_000) + bytes([value]) + bytes(2_000_000))
        os.utime(path, (second, second))
        found: str = digests.digest(impl.VideoFromFile(str(path)))
        return found

    clip = tmp_path / "clip.avi"
    assert rendered(clip, second=1, value=1) != rendered(clip, second=2, value=2)
    assert rendered(clip, second=1, value=1) == rendered(clip, second=1, value=1)
    for made in (host.folder / "output" / ".deepdream" / "a.mp4", host.folder / "temp" / "a.mp4"):
        assert rendered(made, second=1, value=1) == rendered(made, second=2, value=1)


def test_networks_differ_by_their_weights_and_how_they_compute(
    digests: Any, networks: dict[str, Any], dis: Any
) -> None:
    network = networks["dream_model"].model.network
    before = digests.digest_of_network(networks["dream_model"])
    assert digests.digest_of_network(network) == before != digests.digest_of_network(dis)
    network.pooling = "avg"
    assert digests.digest_of_network(network) != before
    network.pooling = "max"
    with torch.no_grad():
        next(network.network.parameters()).add_(1)
    assert digests.digest_of_network(network) != before


def graph(**changed: Any) -> dict[str, dict[str, Any]]:
    nodes = {
        "1": {"class_type": "Load", "inputs": {"file": "a"}, "is_changed": [1.5]},
        "2": {"class_type": "Merge", "inputs": {"one": ["1", 0], "two": ["1", 1], "share": 0.5}},
        "3": {"class_type": "Other", "inputs": {}},
    }
    return {name: {**node, **changed.get(f"n{name}", {})} for name, node in nodes.items()}


def test_the_ancestry_is_what_a_value_depends_on(digests: Any) -> None:
    same = digests.ancestry(graph(), "2")
    renamed = {"7": graph()["1"], "9": {"class_type": "Merge", "inputs": {}}}
    renamed["9"]["inputs"] = {"one": ["7", 0], "two": ["7", 1], "share": 0.5}
    assert digests.ancestry(renamed, "9") == same
    assert digests.ancestry(graph(n3={"inputs": {"a": 1}}), "2") == same
    for changed in (
        {"n1": {"inputs": {"file": "b"}}},
        {"n1": {"is_changed": [2.5]}},
        {"n2": {"inputs": {"one": ["1", 1], "two": ["1", 1], "share": 0.5}}},
    ):
        assert digests.ancestry(graph(**changed), "2") != same


def test_what_runs_anew_at_every_queue_has_no_ancestry(digests: Any) -> None:
    for never in (float("nan"), [float("nan")]):
        with pytest.raises(digests.Unknown, match="Load"):
            digests.ancestry(graph(n1={"is_changed": never}), "2")


def test_the_code_of_a_node_counts(pack: Pack, digests: Any) -> None:
    mine = digests.digest_of_code(pack("nodes.video_file").DeepDreamVideoFile)
    assert mine == digests.digest_of_code(pack("nodes.warp").FlowWarp)  # one pack
    assert mine != digests.digest_of_code(Components) != ""
    assert digests.digest_of_code(int) == ""
