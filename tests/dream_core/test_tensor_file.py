"""Tensors as the bytes of a file."""

from __future__ import annotations

import pytest
import torch

from dream_core.tensor_file import pack, unpack


def test_tensors_keep_values_and_order_in_memory_beside_notes() -> None:
    image = torch.rand(1, 3, 4, 5)
    last = image.contiguous(memory_format=torch.channels_last)
    found, notes = unpack(pack({"plain": image, "last": last, "same": image}, {"frames": [1, 2]}))
    assert notes == {"frames": [1, 2]}
    for name, wanted in (("plain", image), ("last", last), ("same", image)):
        assert torch.equal(found[name], wanted)
        assert found[name].stride() == wanted.stride()


@pytest.mark.parametrize(
    "data", [b"", b"no tensors at all", pack({"a": torch.ones(9)})[:-3]], ids=["empty", "other", "cut"]
)
def test_anything_else_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"[a-z]"):
        unpack(data)
