"""Batches brought to one length and size, and computed entry by entry."""

from __future__ import annotations

from typing import Any

import pytest
import torch


@pytest.fixture
def batches(pack: Any) -> Any:
    return pack("nodes.adapters.batches")


def test_a_batch_of_one_serves_all_entries(batches: Any) -> None:
    one, three = torch.rand(1, 3, 4, 5), torch.rand(3, 1, 4, 5)
    count, (first, second) = batches.match(one=one, three=three)
    assert count == 3
    assert torch.equal(first, one.expand(3, 3, 4, 5))
    assert torch.equal(second, three)


def test_batches_of_other_lengths_are_named(batches: Any, errors: Any) -> None:
    with pytest.raises(errors.ImageError, match=r"equal length, .* got 2 in frames, 3 in flow"):
        batches.match(frames=torch.rand(2, 3, 4, 5), flow=torch.rand(3, 2, 4, 5))


def test_batches_of_other_sizes_are_named(batches: Any, errors: Any) -> None:
    batches.check_same_size(frames=torch.rand(2, 3, 4, 5), flow=torch.rand(1, 2, 4, 5))
    with pytest.raises(errors.ImageError, match="flow in the size of frames, 5 x 4, got 6 x 4"):
        batches.check_same_size(frames=torch.rand(1, 3, 4, 5), flow=torch.rand(1, 2, 4, 6))


def test_the_core_gets_images_in_its_own_layout(pack: Any, batches: Any) -> None:
    images = pack("nodes.adapters.images").from_image(torch.rand(2, 4, 5, 3))
    assert not images.is_contiguous()
    entry = batches.entry_at(images, 1)
    assert entry.is_contiguous()
    assert torch.equal(entry, images[1:])


def test_entries_go_into_one_batch_laid_out_as_an_image(batches: Any, host: Any) -> None:
    entries = torch.rand(3, 3, 4, 5)
    batch = batches.map_entries(lambda index: entries[index : index + 1], 3)
    assert torch.equal(batch, entries)
    assert batch.movedim(1, -1).is_contiguous()
    assert [(done, total) for done, total, _ in host.progress] == [(1, 3), (2, 3), (3, 3)]


def test_a_batch_may_be_of_another_type(batches: Any) -> None:
    batch = batches.map_entries(lambda index: torch.full((1, 4, 2, 2), index + 0.5), 2, dtype=torch.float16)
    assert batch.dtype == torch.float16
    assert batch[:, 0, 0, 0].tolist() == [0.5, 1.5]


def test_cancel_is_heard_between_entries(batches: Any, host: Any, pack: Any) -> None:
    host.cancel_at, seen = 2, []

    def entry(index: int) -> torch.Tensor:
        seen.append(index)
        return torch.zeros(1, 1, 2, 2)

    with pytest.raises(pack("nodes.adapters.host").Interrupted):
        batches.map_entries(entry, 5)
    assert seen == [0, 1]
