"""LATENT: its entries, its noise mask, and the rest."""

from __future__ import annotations

from typing import Any

import pytest
import torch


@pytest.fixture
def latents(pack: Any) -> Any:
    return pack("nodes.adapters.latents")


@pytest.mark.parametrize(
    ("samples", "mask"),
    [
        ((3, 4, 5, 6), (3, 40, 48)),
        ((3, 4, 5, 6), (1, 1, 40, 48)),
        ((1, 4, 3, 5, 6), (1, 1, 3, 40, 48)),
    ],
    ids=["mask", "one mask for all", "video"],
)
def test_there_and_back_nothing_changes(
    latents: Any, samples: tuple[int, ...], mask: tuple[int, ...]
) -> None:
    latent = {"samples": torch.rand(samples), "noise_mask": torch.rand(mask), "type": "x"}
    entries, noise_mask = latents.from_latent(latent)
    assert entries.shape == (3, 4, 5, 6)
    assert noise_mask.shape[1:] == (1, 40, 48)
    back = latents.to_latent(latent, entries, noise_mask)
    assert back.keys() == latent.keys()
    assert torch.equal(back["samples"], latent["samples"])
    assert torch.equal(back["noise_mask"], latent["noise_mask"])
    assert back["samples"].is_contiguous()


def test_one_sample_of_a_batch_takes_its_own_mask_and_the_rest_along(latents: Any) -> None:
    latent = {
        "samples": torch.rand(3, 4, 5, 6),
        "noise_mask": torch.rand(3, 1, 40, 48),
        "batch_index": [4, 5, 6],
        "type": "x",
    }
    one = latents.sample_at(latent, 2)
    assert one.keys() == {"samples", "noise_mask", "type"}
    assert torch.equal(one["samples"], latent["samples"][2:])
    assert torch.equal(one["noise_mask"], latent["noise_mask"][2:])
    assert latents.rest_of(latent) == {"type": "x"}


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        ((40, 48), [0] * 8),
        ((1, 1, 40, 48), [0] * 8),
        ((2, 40, 48), [0, 1] * 4),
        ((3, 1, 40, 48), [0, 1, 2, 0, 1, 2, 0, 1]),
        ((16, 40, 48), range(8)),
    ],
)
def test_noise_masks_are_repeated_or_left_out_as_comfyui_does(
    latents: Any, shape: tuple[int, ...], rows: list[int]
) -> None:
    mask = torch.rand(shape)
    latent = {"samples": torch.rand(8, 4, 5, 6), "noise_mask": mask}
    found = [latents.sample_at(latent, index)["noise_mask"] for index in range(8)]
    assert torch.equal(torch.cat(found), mask.reshape(-1, 1, 40, 48)[torch.tensor(rows)])


@pytest.mark.parametrize("shape", [(2, 40, 48), (2, 1, 40, 48), (16, 40, 48), (40, 48)])
def test_nodes_get_noise_masks_fitted_to_the_samples(latents: Any, shape: tuple[int, ...]) -> None:
    latent = {"samples": torch.rand(8, 4, 5, 6), "noise_mask": torch.rand(shape)}
    entries, masks = latents.from_latent(latent)
    rows = latent["noise_mask"].reshape(-1, 1, 40, 48)
    expected = rows if len(rows) == 1 else rows[torch.arange(8) % len(rows)]
    assert torch.equal(masks, expected)
    back = latents.to_latent(latent, entries, masks)
    assert back["noise_mask"].numel() == expected.numel()


@pytest.mark.parametrize("rows", [1, 3])
def test_a_video_is_taken_apart_into_its_latent_frames_with_their_masks(latents: Any, rows: int) -> None:
    latent = {"samples": torch.rand(1, 16, 3, 5, 6), "noise_mask": torch.rand(1, 1, rows, 40, 48)}
    assert latents.entry_count(latent) == 3
    parts = [latents.sample_at(latent, index) for index in range(3)]
    assert torch.equal(torch.cat([part["samples"] for part in parts], dim=2), latent["samples"])
    masks = torch.cat([part["noise_mask"] for part in parts])
    assert torch.equal(masks, latent["noise_mask"][0].movedim(0, 1).expand(3, -1, -1, -1))


def test_a_mask_of_more_moments_than_latent_frames_is_stretched_over_them(latents: Any) -> None:
    ramp = torch.linspace(0, 1, 9).view(9, 1, 1).expand(9, 4, 4)
    latent = {"samples": torch.rand(1, 16, 3, 5, 6), "noise_mask": ramp}
    means = [latents.sample_at(latent, index)["noise_mask"].mean().item() for index in range(3)]
    assert means == pytest.approx([1 / 8, 1 / 2, 7 / 8])


def test_what_is_no_noise_mask_is_named(latents: Any, errors: Any) -> None:
    with pytest.raises(errors.ImageError, match="expected noise_mask of the latent"):
        latents.sample_at({"samples": torch.rand(2, 4, 5, 6), "noise_mask": "none"}, 0)


@pytest.mark.parametrize(
    ("latent", "message"),
    [
        ({}, "expected samples of the latent .*, got NoneType"),
        ({"samples": torch.rand(2, 4, 3, 8, 8)}, r"one video .*, got \(2, 4, 3, 8, 8\)"),
        ({"samples": torch.rand(0, 4, 8, 8)}, "samples of the latent are empty"),
        (
            {"samples": torch.rand(1, 4, 8, 8), "noise_mask": torch.full((1, 8, 8), torch.nan)},
            "noise_mask of the latent hold NaN",
        ),
    ],
)
def test_what_is_not_a_latent_is_named(
    latents: Any, errors: Any, latent: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.ImageError, match=message):
        latents.from_latent(latent)
