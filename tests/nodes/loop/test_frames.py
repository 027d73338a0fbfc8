"""Batches taken apart and put together."""

from __future__ import annotations

from typing import Any

import pytest
import torch

SHOT = None
"""Times of a frame, which a batch does without."""


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
        gatherer.add(frames.frame_at(batch, index), SHOT)
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
        gatherer.add(frames.frame_at(latent, index), SHOT)
    gathered = gatherer.gathered()
    assert gathered.keys() == {"samples", "noise_mask", "type"}
    assert torch.equal(gathered["samples"], latent["samples"])
    assert torch.equal(gathered["noise_mask"], latent["noise_mask"])
    assert gathered["type"] == "audio"


def test_one_noise_mask_for_all_frames_stays(frames: Any) -> None:
    latent = {"samples": torch.rand(3, 4, 5, 6), "noise_mask": torch.rand(1, 1, 40, 48)}
    assert torch.equal(frames.frame_at(latent, 2)["noise_mask"], latent["noise_mask"])


def test_an_empty_result_is_refused(frames: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="got an empty batch"):
        frames.Gatherer(2).add(torch.zeros(0, 4, 5, 3), SHOT)


def test_a_frame_does_not_keep_its_batch_alive(frames: Any) -> None:
    batch = torch.rand(10, 4, 5, 3)
    one = frames.frame_at(batch, 3)
    assert one.untyped_storage().nbytes() == batch.untyped_storage().nbytes() // 10


def test_left_out_frames_shorten_the_batch(frames: Any) -> None:
    gatherer = frames.Gatherer(3)
    assert gatherer.gathered() is None
    gatherer.add(torch.ones(1, 4, 5, 3), SHOT)
    assert gatherer.gathered().shape == (1, 4, 5, 3)


def test_several_images_for_each_frame(frames: Any) -> None:
    gatherer = frames.Gatherer(2)
    first, second = torch.rand(2, 4, 5, 3), torch.rand(2, 4, 5, 3)
    gatherer.add(first, SHOT)
    gatherer.add(second, SHOT)
    assert torch.equal(gatherer.gathered(), torch.cat([first, second]))


@pytest.mark.parametrize(
    "other", [torch.rand(1, 4, 6, 3), {"samples": torch.rand(1, 4, 5, 3)}, torch.rand(2, 4, 5, 3)]
)
def test_results_of_another_size_or_kind(frames: Any, error: type[Exception], other: Any) -> None:
    gatherer = frames.Gatherer(2)
    gatherer.add(torch.rand(1, 4, 5, 3), SHOT)
    with pytest.raises(error, match="as for the first frame"):
        gatherer.add(other, SHOT)


@pytest.mark.parametrize("what", ["text", 3, None, {"waveform": torch.rand(1, 2, 3)}, torch.rand(2, 2)])
def test_what_is_no_batch(frames: Any, error: type[Exception], what: Any) -> None:
    with pytest.raises(error, match="expected frames as IMAGE, MASK or LATENT, got"):
        frames.check_frames(what, name="frames")


@pytest.mark.parametrize("rows", [2, 3, 16])
def test_masks_of_any_number_are_gathered_one_for_each_frame(frames: Any, rows: int) -> None:
    masks = torch.rand(rows, 40, 48)
    latent = {"samples": torch.rand(8, 4, 5, 6), "noise_mask": masks}
    gathered = through(frames, latent)
    expected = masks[torch.arange(8) % rows][:, None]
    assert torch.equal(gathered["noise_mask"], expected)


def test_a_mask_for_some_frames_leaves_the_others_to_be_repainted_as_a_whole(frames: Any) -> None:
    gatherer = frames.Gatherer(3)
    gatherer.add({"samples": torch.rand(1, 4, 5, 6)}, SHOT)
    gatherer.add({"samples": torch.rand(1, 4, 5, 6), "noise_mask": torch.zeros(40, 48)}, SHOT)
    gatherer.add({"samples": torch.rand(1, 4, 5, 6), "noise_mask": torch.full((1, 1, 20, 24), 0.5)}, SHOT)
    masks = gatherer.gathered()["noise_mask"]
    assert masks.shape == (3, 1, 40, 48)
    assert masks.mean((1, 2, 3)).tolist() == [1, 0, 0.5]


def test_the_latent_of_a_video_goes_through_one_latent_frame_at_a_time(frames: Any) -> None:
    latent = {"samples": torch.rand(1, 16, 3, 5, 6), "noise_mask": torch.rand(1, 1, 3, 40, 48)}
    assert frames.length(latent) == 3
    gathered = through(frames, latent)
    assert torch.equal(gathered["samples"], latent["samples"])
    assert torch.equal(gathered["noise_mask"], latent["noise_mask"])


def test_several_videos_are_as_many_frames(frames: Any) -> None:
    latent = {"samples": torch.rand(2, 16, 3, 5, 6), "noise_mask": torch.rand(2, 1, 3, 40, 48)}
    assert frames.length(latent) == 2
    gathered = through(frames, latent)
    assert torch.equal(gathered["samples"], latent["samples"])
    assert torch.equal(gathered["noise_mask"], latent["noise_mask"])


@pytest.mark.parametrize(
    ("first", "second", "advice"),
    [
        (torch.rand(1, 4, 5, 3), torch.rand(1, 4, 5, 4), "Split Image with Alpha"),
        (torch.rand(1, 4, 5, 3), torch.rand(1, 4, 6, 3), "to one size"),
        (torch.rand(1, 4, 5, 3), torch.rand(2, 4, 5, 3), "the same number of images"),
        (torch.rand(1, 4, 5), torch.rand(1, 4, 6), "to one size"),
        (torch.rand(1, 4, 5), torch.rand(1, 4, 5, 3), "results of one kind"),
        ({"samples": torch.rand(1, 4, 5, 6)}, {"samples": torch.rand(1, 16, 5, 6)}, "one VAE"),
        ({"samples": torch.rand(1, 4, 5, 6)}, {"samples": torch.rand(1, 4, 5, 7)}, "to one size"),
    ],
)
def test_what_differs_is_what_is_to_be_changed(
    frames: Any, error: type[Exception], first: Any, second: Any, advice: str
) -> None:
    gatherer = frames.Gatherer(2)
    gatherer.add(first, SHOT)
    with pytest.raises(error, match=advice):
        gatherer.add(second, SHOT)


@pytest.mark.parametrize("one", [5, "text", torch.rand(1, 4, 5, 3), {"samples": torch.rand(1, 16, 1, 5, 6)}])
def test_what_is_one_frame_or_none(frames: Any, one: Any) -> None:
    frames.check_one_frame(one, name="initial_result")


@pytest.mark.parametrize("many", [torch.rand(4, 4, 5, 3), {"samples": torch.rand(1, 16, 4, 5, 6)}])
def test_several_where_one_is_meant(frames: Any, error: type[Exception], many: Any) -> None:
    with pytest.raises(error, match="expected initial_result of one frame, got 4: pick one"):
        frames.check_one_frame(many, name="initial_result")


def test_a_batch_counts_as_25_frames_a_second(frames: Any) -> None:
    shots = list(frames.BatchFrames(torch.rand(3, 4, 5, 3)))
    assert [shot.time for shot in shots] == pytest.approx([0, 0.04, 0.08])
    assert [shot.duration for shot in shots] == [0.04] * 3


def through(frames: Any, batch: Any) -> Any:
    """Take a batch apart and put it together again."""
    source = frames.BatchFrames(batch)
    gatherer = source.gatherer()
    for shot in source:
        gatherer.add(shot.value, shot)
    return gatherer.gathered()
