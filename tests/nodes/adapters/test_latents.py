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


def test_a_noise_mask_for_all_has_a_row_for_each_sample(latents: Any) -> None:
    mask = torch.rand(1, 1, 40, 48)
    latent = {"samples": torch.rand(3, 4, 5, 6), "noise_mask": mask}
    assert torch.equal(latents.noise_mask_of(latent), mask.expand(3, -1, -1, -1))
    assert latents.noise_mask_of({"samples": torch.rand(3, 4, 5, 6)}) is None


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
