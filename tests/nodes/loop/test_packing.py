"""Values of a loop as JSON and tensors."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch


@pytest.fixture
def packing(pack: Any) -> Any:
    return pack("nodes.loop.packing")


def test_values_come_back_as_they_were(pack: Any, packing: Any) -> None:
    flow = pack("nodes.adapters.sockets").Flow
    image, latent = torch.rand(1, 4, 5, 3), {"samples": torch.rand(1, 4, 2, 2), "batch_index": [3]}
    value = {
        "numbers": [None, True, 3, 0.1, "text"],
        "image": image,
        "latent": latent,
        "flow": flow(torch.rand(1, 2, 3, 3)),
        5: (torch.tensor(2.0, dtype=torch.bfloat16), [[torch.ones(1)], "x"]),
    }
    packer = packing.Packer()
    packed = json.loads(json.dumps(packer.pack(value)))
    found = packing.unpack(packed, packer.tensors)
    assert list(found) == list(value)
    assert found["numbers"] == value["numbers"]
    assert torch.equal(found["image"], image)
    assert torch.equal(found["latent"]["samples"], latent["samples"])
    assert found["latent"]["batch_index"] == [3]
    assert torch.equal(found["flow"].backward, value["flow"].backward)
    assert found["flow"].forward is None
    assert type(found[5]) is tuple
    assert found[5][0].dtype == torch.bfloat16
    assert found[5][1][1] == "x"


def test_a_tensor_that_occurs_twice_is_kept_once(packing: Any) -> None:
    packer, image = packing.Packer(), torch.rand(3)
    packer.pack([image, {"a": image}, image[:2]])
    assert len(packer.tensors) == 2


def test_what_cannot_be_saved_is_named(packing: Any) -> None:
    with pytest.raises(packing.Unsavable, match=r"^Linear$"):
        packing.Packer().pack({"model": [torch.nn.Linear(1, 1)]})
