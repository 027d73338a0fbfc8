"""Batches taken apart and put together."""

from __future__ import annotations

from typing import Any

import pytest
import torch


@pytest.fixture
def frames(pack: Any) -> Any:
    return pack("nodes.loop.frames")


@pytest.fixture
def error(pack: Any) -> type[Exception]:
    found: type[Exception] = pack("dream_core.errors").ImageError
    return found


@pytest.mark.parametrize("shape", [(3, 4, 5, 3), (3, 4, 5)], ids=["image", "mask"])
def test_apart_and_together_again(frames: Any, shape: tuple[int, ...]) -> None:
    batch = torch.rand(shape)
    gatherer = frames.Gatherer(3)
    for index in range(3):
        gatherer.add(frames.frame_at(batch, index))
    assert torch.equal(gatherer.gathered(), batch)


def test_a_latent_keeps_what_belongs_to_it(frames: Any) -> None:
    latent = {
        "samples": torch.rand(3, 4, 5, 6),
        "noise_mask": torch.rand(3, 1, 40, 48),
        "batch_index": [4, 5, 6],
        "type": "audio",
    }
    gatherer = frames.Gatherer(3)
    for index in range(3):
        gatherer.add(frames.frame_at(latent, index))
    gathered = gatherer.gathered()
    assert gathered.keys() == {"samples", "noise_mask", "type"}
    assert torch.equal(gathered["samples"], latent["samples"])
    assert torch.equal(gathered["noise_mask"], latent["noise_mask"])
    assert gathered["type"] == "audio"


def test_one_noise_mask_for_all_frames_stays(frames: Any) -> None:
    latent = {"samples": torch.rand(3, 4, 5, 6), "noise_mask": torch.rand(1, 1, 40, 48)}
    assert torch.equal(frames.frame_at(latent, 2)["noise_mask"], latent["noise_mask"])


def test_a_frame_does_not_keep_its_batch_alive(frames: Any) -> None:
    batch = torch.rand(10, 4, 5, 3)
    one = frames.frame_at(batch, 3)
    assert one.untyped_storage().nbytes() == batch.untyped_storage().nbytes() // 10


def test_left_out_frames_shorten_the_batch(frames: Any) -> None:
    gatherer = frames.Gatherer(3)
    assert gatherer.gathered() is None
    gatherer.add(torch.ones(1, 4, 5, 3))
    assert gatherer.gathered().shape == (1, 4, 5, 3)


def test_several_images_for_each_frame(frames: Any) -> None:
    gatherer = frames.Gatherer(2)
    first, second = torch.rand(2, 4, 5, 3), torch.rand(2, 4, 5, 3)
    gatherer.add(first)
    gatherer.add(second)
    assert torch.equal(gatherer.gathered(), torch.cat([first, second]))


@pytest.mark.parametrize(
    "other", [torch.rand(1, 4, 6, 3), {"samples": torch.rand(1, 4, 5, 3)}, torch.rand(2, 4, 5, 3)]
)
def test_results_of_another_size_or_kind(frames: Any, error: type[Exception], other: Any) -> None:
    gatherer = frames.Gatherer(2)
    gatherer.add(torch.rand(1, 4, 5, 3))
    with pytest.raises(error, match="as for the first frame"):
        gatherer.add(other)


@pytest.mark.parametrize("what", ["text", 3, None, {"waveform": torch.rand(1, 2, 3)}, torch.rand(2, 2)])
def test_what_is_no_batch(frames: Any, error: type[Exception], what: Any) -> None:
    with pytest.raises(error, match="expected frames as IMAGE, MASK or LATENT, got"):
        frames.check_frames(what, name="frames")
