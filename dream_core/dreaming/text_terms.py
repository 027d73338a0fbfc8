"""Terms that compare an image with texts, by random crops of it (CutN of Crowson 2021, "CLIP guided diffusion")."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..image import Size, resize, size_of
from ..models.image_text import ImageTextEncoder
from ..text_weights import TextEntry, total_weight
from .terms import LEAST, Share

if TYPE_CHECKING:
    from typing_extensions import Self

CELLS = 32
"""Cells along the sides of the grid by which crops are drawn from a region."""


TEXT_REGION = "text"
"""Name of the region of texts, among those of layers."""


class Crop(NamedTuple):
    """A square of an image, in pixels."""

    top: int
    left: int
    side: int

    def of(self, image: Tensor) -> Tensor:
        """Cut it out of (B,C,H,W)."""
        return image[..., self.top : self.top + self.side, self.left : self.left + self.side]


@dataclass(frozen=True, kw_only=True)
class TextTerm(Share):
    """How like texts an image is: the mean cosine between them and random crops of the image.

    Small crops see the image from near, so that the texts appear in many places; large ones let it be like them on
    the whole.

    Args:
        encoder: embeds crops and texts.
        texts: with their weights, of which negative ones lead away; see `ImageTextEncoder.goal`.
        weight: factor.
        crops: number of crops for each gradient.
        smallest: side of the smallest crops, as a share of the image's shorter side.
    """

    encoder: ImageTextEncoder
    texts: tuple[TextEntry, ...]
    weight: float = 1.0
    crops: int
    smallest: float

    def weighted(self, factor: float) -> Self:
        """Multiply the weight."""
        return replace(self, weight=self.weight * factor)

    @property
    def pull(self) -> float:
        """Magnitude of its weight, times that of all texts together where that is less than 1."""
        return abs(self.weight) * min(1.0, total_weight(self.texts))

    @property
    def own_region(self) -> str:
        """Name of the region of all texts."""
        return TEXT_REGION

    def gradient(self, image: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Compute the weighted number and its gradient.

        Args:
            image: (1,3,H,W) RGB in 0..1.
            generator: on the CPU; draws the crops.

        Returns:
            The number, 0-dimensional, and the gradient, (1,3,H,W), which is 0 where the mask is.
        """
        leaf, goal = image.detach().requires_grad_(), self.encoder.goal(self.texts).to(image)
        crops = draw_crops(size_of(image), self.crops, self.smallest, generator, self.mask)
        value, gradient = image.new_zeros(()), torch.zeros_like(image)
        for start in range(0, len(crops), self.encoder.at_once):
            with torch.enable_grad():
                seen = [
                    resize(crop.of(leaf), (self.encoder.side,) * 2)
                    for crop in crops[start : start + self.encoder.at_once]
                ]
                likeness = (self.encoder.embed_images(torch.cat(seen)) @ goal).sum()
                share = self.weight / len(crops) * likeness
            gradient += torch.autograd.grad(share, leaf)[0]
            value += share.detach()
        return value, gradient if self.mask is None else gradient * self.mask.to(gradient)


def draw_crops(
    size: Size, count: int, smallest: float, generator: torch.Generator, mask: Tensor | None = None
) -> list[Crop]:
    """Draw squares of an image at random, of random sides.

    Their middles are anywhere in the image, and those that would leave it are moved inside: so its edges are seen
    too.

    Args:
        size: of the image.
        count: number of crops.
        smallest: least side as a share of the shorter side; the greatest is all of it.
        generator: on the CPU.
        mask: (1,1,H,W) in 0..1, how often middles are where; none are drawn where it is 0 everywhere. On a GPU, the
            program waits.
    """
    numbers = torch.rand(count, 3, generator=generator)
    middles = numbers[:, :2] * torch.tensor(size)
    if mask is not None:
        grid = min(size[0], CELLS), min(size[1], CELLS)
        shares = F.adaptive_avg_pool2d(mask.float(), grid).flatten().cpu()
        if shares.amax() <= 0:
            return []
        cells = torch.multinomial(shares, count, replacement=True, generator=generator)
        places = torch.stack([cells // grid[1], cells % grid[1]], dim=1)
        middles = (places + numbers[:, :2]) * torch.tensor([size[0] / grid[0], size[1] / grid[1]])
    crops: list[Crop] = []
    for (row, column), share in zip(middles.tolist(), numbers[:, 2].tolist(), strict=True):
        side = max(1, round(min(size) * (smallest + (1 - smallest) * share)))
        top, left = (
            min(max(0, round(middle - side / 2)), whole - side)
            for middle, whole in zip((row, column), size, strict=True)
        )
        crops.append(Crop(top, left, side))
    return crops


def as_strong_as(gradient: Tensor, other: Tensor) -> Tensor:
    """Scale a gradient so that, where it acts, it is as strong as another one acts where that does."""
    wanted, own = _strength(other), _strength(gradient)
    return gradient * torch.where(wanted > 0, wanted / own.clamp_min(LEAST), 1.0)


def _strength(gradient: Tensor) -> Tensor:
    # The mean magnitude, each weighed by itself: where nothing acts, nothing is averaged.
    sizes = gradient.abs()
    return sizes.square().sum() / sizes.sum().clamp_min(LEAST)
