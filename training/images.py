"""Images from fields: colored, lit, composited over a background and disturbed by noise."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from .fields import Canvas, Fields, noise

PALETTES = 3
"""Number of palettes of each class; most of its images have one of them, the others a random palette."""


class Images:
    """Source of random batches of images.

    Args:
        fields: fields of all classes, see `draw_all`.
        side: side of the images in pixels, at most that of the fields.
        generator: source of all random numbers.
    """

    def __init__(self, fields: Fields, *, side: int, generator: Generator) -> None:
        self.classes, self.variants = fields.value.shape[:2]
        self.side = side
        self._generator = generator
        # Bytes, so that all fields of a training take only a few hundred megabytes.
        stacked = torch.stack(fields, dim=2).flatten(0, 1)
        self._fields = stacked.mul(255).round().byte()
        grounds = Canvas(1, 256, stacked.shape[-1], generator)
        self._grounds = (0.5 + 0.2 * noise(grounds, 1.3)).clamp(0, 1)[0, :, None]
        self._palettes = self._draw_palettes(self.classes * PALETTES).unflatten(0, (self.classes, PALETTES))

    def share_palettes(self, others: Images) -> None:
        """Use the palettes of other images of the same classes."""
        self._palettes = others._palettes

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """Draw images (B,3,S,S) in 0..1 and their classes (B,)."""
        labels = torch.randint(self.classes, (count,), generator=self._generator)
        variants = torch.randint(self.variants, (count,), generator=self._generator)
        fields = self._fields[labels * self.variants + variants].float() / 255
        value, cover = self._placed(fields, 0.8, 1.7).split(1, 1)
        ground = self._placed(self._ground(count), 0.3, 1.0)
        own = self._palettes[labels, torch.randint(PALETTES, (count,), generator=self._generator)]
        palette = torch.where(self._chance(count, 0.75)[..., None], own, self._draw_palettes(count))
        colors = self._lit(colored(value, palette), value)
        behind = colored(ground, self._draw_palettes(count))
        calm = self._uniform(0.2, 1, count).view(-1, 1, 1, 1)
        behind = behind.mean((2, 3), keepdim=True) * (1 - calm) + behind * calm
        images = behind + (colors - behind) * cover
        return self._disturbed(images), labels

    def _ground(self, count: int) -> Tensor:
        """(B,1,S,S): noise or the field of any class, so that the network learns to tell objects from structure."""
        noises = self._grounds[torch.randint(len(self._grounds), (count,), generator=self._generator)]
        others = torch.randint(len(self._fields), (count,), generator=self._generator)
        fields = self._fields[others, :1].float() / 255
        return torch.where(self._chance(count, 0.5)[..., None, None], noises, fields)

    def _uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self._generator)

    def _chance(self, count: int, probability: float) -> Tensor:
        """(B,1): true with the given probability."""
        return torch.rand(count, 1, generator=self._generator) < probability

    def _draw_palettes(self, count: int) -> Tensor:
        """(count,4,3): mean, swing, frequency and phase of cosines (Quilez 1999)."""
        mean, swing = self._uniform(0.35, 0.65, count, 3), self._uniform(0.15, 0.5, count, 3)
        # The colors share a phase with a spread, which gives related hues rather than confetti.
        phase = self._uniform(0, 1, count, 1) + self._uniform(-0.35, 0.35, count, 3)
        frequency = self._uniform(0.4, 0.9, count, 1).expand(-1, 3)
        return torch.stack([mean, swing, frequency, phase], 1)

    def _placed(self, fields: Tensor, least: float, most: float) -> Tensor:
        """Turn, mirror, scale and move each field differently."""
        count = len(fields)
        angle = self._uniform(-math.pi, math.pi, count)
        scale = self._uniform(least, most, count)
        mirror = torch.where(self._chance(count, 0.5)[:, 0], 1.0, -1.0)
        shift = self._uniform(-0.25, 0.25, count, 2)
        cos, sin = angle.cos() * scale, angle.sin() * scale
        matrix = torch.stack([cos * mirror, -sin, shift[:, 0], sin * mirror, cos, shift[:, 1]], 1).view(
            -1, 2, 3
        )
        grid = F.affine_grid(matrix, [count, 1, self.side, self.side], align_corners=False)
        return F.grid_sample(fields, grid, padding_mode="reflection", align_corners=False)

    def _lit(self, colors: Tensor, value: Tensor) -> Tensor:
        """Light the colors as if the field were a relief."""
        count = len(colors)
        angle = self._uniform(-math.pi, math.pi, count).view(-1, 1, 1, 1)
        padded = F.pad(value, (1, 1, 1, 1), mode="replicate")
        across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
        down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
        strength = self._uniform(0, 0.9, count).view(-1, 1, 1, 1)
        return colors * (1 + strength * (across * angle.cos() + down * angle.sin()).tanh())

    def _disturbed(self, images: Tensor) -> Tensor:
        count = len(images)
        contrast = self._uniform(0.6, 1.25, count).view(-1, 1, 1, 1)
        light = self._uniform(-0.12, 0.12, count).view(-1, 1, 1, 1)
        grain = self._uniform(0, 0.06, count).view(-1, 1, 1, 1)
        images = (images - 0.5) * contrast + 0.5 + light
        images = images + grain * torch.randn(images.shape, generator=self._generator)
        return images.clamp(0, 1)


def colored(value: Tensor, palette: Tensor) -> Tensor:
    """Color values (B,1,S,S) by palettes (B,4,3): (B,3,S,S)."""
    mean, swing, frequency, phase = palette[..., None, None].unbind(1)
    return mean + swing * (2 * math.pi * (frequency * value + phase)).cos()
