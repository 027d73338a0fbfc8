"""Families of images made by formulas, as fields: a value and a coverage for each pixel, without color.

Every family draws several variants of each of its classes at once. A class fixes the parameters of a formula; a
variant varies them a little.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


class Fields(NamedTuple):
    """Images without color, (C,V,S,S) for C classes, V variants of each and S pixels a side.

    Args:
        value: 0..1, to be colored by a palette.
        cover: 0..1, 1 where the object is and 0 where the background shows.
    """

    value: Tensor
    cover: Tensor


@dataclass(frozen=True)
class Canvas:
    """Size and random numbers of the images that a family draws.

    Args:
        classes: number of classes.
        variants: number of images of each class.
        side: side of the images in pixels.
        generator: source of all random numbers.
    """

    classes: int
    variants: int
    side: int
    generator: Generator

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Random numbers from `low` to `high`."""
        return low + (high - low) * torch.rand(shape, generator=self.generator)

    def per_class(self, low: float, high: float, *shape: int) -> Tensor:
        """(C,1,*shape,1,1) from `low` to `high`: one number for all variants and pixels of a class."""
        return self.uniform(low, high, self.classes, 1, *shape, 1, 1)

    def whole(self, low: int, high: int) -> Tensor:
        """(C,1,1,1) whole numbers from `low` to `high`, both included."""
        drawn = torch.randint(low, high + 1, (self.classes, 1, 1, 1), generator=self.generator)
        return drawn.float()

    def jitter(self, amount: float) -> Tensor:
        """(C,V,1,1) from -amount to amount: one number for each variant."""
        return self.uniform(-amount, amount, self.classes, self.variants, 1, 1)

    def plane(self) -> tuple[Tensor, Tensor]:
        """x and y, (C,V,S,S), about -1..1, moved, turned, stretched and bent differently for each image."""
        axis = torch.linspace(-1, 1, self.side)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        angle = self.jitter(math.pi)
        scale, stretch = 1 + self.jitter(0.25), 1 + self.jitter(0.2)
        x, y = x + self.jitter(0.2), y + self.jitter(0.2)
        x, y = (
            (x * angle.cos() - y * angle.sin()) * scale * stretch,
            (x * angle.sin() + y * angle.cos()) * scale / stretch,
        )
        bend = self.jitter(0.25)
        return x + bend * y * y, y + self.jitter(0.12) * (3 * x + self.jitter(3)).sin()


def polar(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Radius and angle of positions."""
    return (x * x + y * y + 1e-6).sqrt(), torch.atan2(y, x)


def wave(phase: Tensor) -> Tensor:
    """Cosine wave in 0..1 with period 2 pi."""
    return 0.5 + 0.5 * phase.cos()


def soft(distance: Tensor, width: float = 0.03) -> Tensor:
    """1 where a signed distance is positive, 0 where it is negative, smooth in between."""
    return (distance / width).sigmoid()


def noise(canvas: Canvas, exponent: float) -> Tensor:
    """(C,V,S,S) of 1/f^exponent noise, zero mean and unit variance."""
    shape = canvas.classes, canvas.variants, canvas.side, canvas.side
    spectrum = torch.fft.rfft2(torch.randn(shape, generator=canvas.generator))
    fy, fx = torch.fft.fftfreq(canvas.side)[:, None], torch.fft.rfftfreq(canvas.side)[None]
    spectrum = spectrum / (fx * fx + fy * fy).sqrt().clamp_min(1 / canvas.side) ** exponent
    spectrum[..., 0, 0] = 0
    field = torch.fft.irfft2(spectrum, s=(canvas.side, canvas.side))
    return field / field.std((-2, -1), keepdim=True)


def iterated_functions(canvas: Canvas) -> Fields:
    """Attractors of random affine maps, by the chaos game (Barnsley 1988; FractalDB, Kataoka et al. 2020)."""
    classes, variants, side = canvas.classes, canvas.variants, canvas.side
    maps, walkers, steps, burn_in = 4, 512, 90, 15
    # The first map shrinks and turns least, which gives spirals, ferns and snowflakes, not bundles of sticks.
    angle = canvas.uniform(-math.pi, math.pi, classes, 1, maps)
    size = canvas.uniform(0.3, 0.55, classes, 1, maps)
    size[..., 0] = canvas.uniform(0.7, 0.92, classes, 1)
    angle[..., 0] = canvas.uniform(-0.7, 0.7, classes, 1)
    squeeze = canvas.uniform(0.6, 1, classes, 1, maps)
    matrix = torch.stack(
        [size * angle.cos(), -size * squeeze * angle.sin(), size * angle.sin(), size * squeeze * angle.cos()],
        -1,
    ).unflatten(-1, (2, 2))
    shift = canvas.uniform(-1, 1, classes, 1, maps, 2)
    matrix = matrix + 0.02 * torch.randn(classes, variants, maps, 2, 2, generator=canvas.generator)
    shift = shift + 0.05 * torch.randn(classes, variants, maps, 2, generator=canvas.generator)
    chance = torch.linalg.det(matrix).abs() + 0.05
    chance = (chance / chance.sum(-1, keepdim=True)).cumsum(-1)
    matrix, shift, chance = matrix.flatten(0, 1), shift.flatten(0, 1), chance.flatten(0, 1)
    count = classes * variants
    point = torch.zeros(count, walkers, 2)
    rows = torch.arange(count)[:, None]
    trail = []
    for step in range(steps):
        draw = torch.rand(count, walkers, generator=canvas.generator)
        chosen = (draw[..., None] > chance[:, None]).sum(-1).clamp_max(maps - 1)
        point = torch.einsum("nwij,nwj->nwi", matrix[rows, chosen], point) + shift[rows, chosen]
        if step >= burn_in:
            trail.append(point)
    points = torch.cat(trail, 1)
    low, high = points.quantile(0.02, 1, keepdim=True), points.quantile(0.98, 1, keepdim=True)
    margin = 0.08
    place = (points - low) / (high - low).amax(-1, keepdim=True).clamp_min(1e-6)
    place = place + (1 - (high - low) / (high - low).amax(-1, keepdim=True).clamp_min(1e-6)) / 2
    cell = ((margin + (1 - 2 * margin) * place) * side).long()
    inside = ((cell >= 0) & (cell < side)).all(-1)
    index = (rows * side + cell[..., 1]) * side + cell[..., 0]
    density = torch.bincount(index[inside], minlength=count * side * side).float().view(count, 1, side, side)
    density = F.avg_pool2d(F.pad(density, (1, 1, 1, 1), mode="reflect"), 3, 1)
    level = (1 + density).log()
    level = (level / level.flatten(1).quantile(0.995, 1).view(-1, 1, 1, 1).clamp_min(1e-6)).clamp(0, 1)
    shape = classes, variants, side, side
    return Fields(level.view(shape), (level * 3).clamp(0, 1).view(shape))


def julia_sets(canvas: Canvas) -> Fields:
    """Escape times of z^n + c for c near the boundary of the Mandelbrot set, where the sets have most detail."""
    turn = canvas.per_class(0, 2 * math.pi)
    power = torch.where(canvas.per_class(0, 1) < 0.7, 2.0, 3.0)
    rim = torch.polar(torch.full_like(turn, 0.5), turn) - torch.polar(torch.full_like(turn, 0.25), 2 * turn)
    c = rim * canvas.per_class(1.04, 1.22) + torch.complex(canvas.jitter(0.012), canvas.jitter(0.012))
    x, y = canvas.plane()
    zoom = canvas.per_class(0.5, 1.2)
    trap = torch.full_like(x, 9.0)
    z = torch.complex(x, y) * zoom
    time = torch.zeros_like(x)
    alive = torch.ones_like(x)
    for _ in range(48):
        z = torch.where(power == 2, z * z, z * z * z) + c
        size = z.abs()
        trap = torch.minimum(trap, size + 9 * (1 - alive))
        out = size > 4
        # Fraction of the last step, for a smooth count.
        part = (1 - (size.clamp_min(1.001).log() / math.log(4)).clamp_min(1e-6).log2()).clamp(0, 1)
        time += alive * torch.where(out, part, 1.0)
        alive = alive * (~out)
        z = torch.where(out, 0, z)
    bands = canvas.per_class(2, 5)
    # Inside the set: the orbit's smallest distance from 0.
    value = torch.where(alive > 0, 0.6 * trap.clamp(0, 1), wave(bands * (time + 1).log() * 2))
    return Fields(value, torch.ones_like(value))


def flowers(canvas: Canvas) -> Fields:
    """Rings of petals: superformula outlines (Gielis 2003), each ring turned against the last."""
    x, y = canvas.plane()
    radius, angle = polar(x, y)
    petals, rings = canvas.whole(4, 11), 4
    sharp, depth, veins = canvas.per_class(0.4, 2.5), canvas.per_class(0.25, 0.6), canvas.whole(1, 4)
    value, cover = torch.zeros_like(radius), torch.zeros_like(radius)
    for ring in range(rings):
        size = 0.95 * (1 - ring / rings * 0.85) * (1 + canvas.jitter(0.05))
        turned = angle * petals / 2 + ring * math.pi / 2 * canvas.per_class(0.5, 1)
        outline = size * (1 - depth + depth * turned.cos().abs() ** sharp)
        edge = soft(outline - radius, 0.02)
        along = (radius / outline.clamp_min(0.05)).clamp(0, 1)
        stripes = wave(2 * veins * turned) * 0.25 * along
        petal = (0.15 + 0.2 * ring + 0.55 * along**1.5 - stripes).clamp(0, 1)
        value = value * (1 - edge) + petal * edge
        cover = torch.maximum(cover, edge)
    heart = soft(canvas.per_class(0.08, 0.2) - radius, 0.02)
    seeds = wave(40 * radius + 5 * angle) * 0.5
    return Fields(value * (1 - heart) + seeds * heart, cover)


def eyes(canvas: Canvas) -> Fields:
    """A pupil, an iris with fibers and rings, a bright spot, and lids."""
    x, y = canvas.plane()
    radius, angle = polar(x, y)
    iris, pupil = canvas.per_class(0.5, 0.75), canvas.per_class(0.12, 0.35) * (1 + canvas.jitter(0.25))
    fibers, rings = canvas.whole(12, 40), canvas.per_class(4, 22)
    slit = torch.where(canvas.per_class(0, 1) < 0.3, canvas.per_class(2, 4), 1.0)
    inner, _ = polar(x * slit, y / slit.sqrt())
    texture = 0.5 * wave(fibers * angle + 3 * (6 * radius).sin()) + 0.5 * wave(rings * radius)
    value = 0.35 + 0.5 * texture * (radius / iris).clamp(0, 1)
    rim = soft(radius - iris * 0.9, 0.03)
    value = value * (1 - 0.7 * rim)
    white = soft(radius - iris, 0.02)
    value = value * (1 - white) + (0.95 - 0.2 * radius) * white
    value = value * soft(inner - pupil, 0.02)
    spot_x, spot_y = x - 0.3 * iris + canvas.jitter(0.05), y + 0.3 * iris + canvas.jitter(0.05)
    spot = soft(0.1 * (1 + canvas.jitter(0.3)) - polar(spot_x, spot_y)[0], 0.02)
    value = torch.maximum(value, spot)
    lid = canvas.per_class(0.5, 1.0)
    cover = soft(lid - y.abs() - 0.55 * x * x, 0.03) * soft(1 - radius, 0.03)
    return Fields(value.clamp(0, 1), cover)


def spirals(canvas: Canvas) -> Fields:
    """Logarithmic spirals with ribs, as of shells."""
    x, y = canvas.plane()
    radius, angle = polar(x, y)
    arms, tight = canvas.whole(1, 5), canvas.per_class(2.5, 9)
    sign = torch.where(canvas.per_class(0, 1) < 0.5, 1.0, -1.0)
    phase = arms * angle + sign * tight * radius.log() + canvas.jitter(math.pi)
    ribs, depth = canvas.whole(8, 30), canvas.per_class(0, 0.6)
    sharp = canvas.per_class(0.5, 3)
    value = wave(phase) ** sharp * (1 - depth * wave(ribs * angle + 2 * phase))
    return Fields(value, soft(0.95 - radius, 0.03))


def leaves(canvas: Canvas) -> Fields:
    """Leaves and feathers: an outline, a midrib and side veins; some have an eye like a peacock's."""
    x, y = canvas.plane()
    along = ((y + 1) / 2).clamp(0, 1)
    width = canvas.per_class(0.35, 0.8) * (math.pi * along ** canvas.per_class(0.6, 1.6)).sin().clamp_min(0)
    lobes, depth = canvas.whole(0, 9), canvas.per_class(0, 0.35)
    width = width * (1 - depth * wave(2 * math.pi * lobes * along))
    veins, slope = canvas.whole(5, 16), canvas.per_class(0.5, 2.2)
    phase = 2 * math.pi * veins * (along - slope * x.abs() * 0.5)
    value = 0.25 + 0.55 * wave(phase) ** canvas.per_class(0.5, 3) * (
        1 - x.abs() / width.clamp_min(0.05)
    ).clamp(0, 1)
    value = torch.maximum(value, soft(0.03 - x.abs(), 0.01))
    radius, _ = polar(x * 1.6, y - 0.45)
    eyed = (canvas.per_class(0, 1) < 0.4).float()
    spot = soft(0.42 - radius, 0.02) * eyed
    value = value * (1 - spot) + wave(canvas.per_class(10, 22) * radius) * spot
    return Fields(value.clamp(0, 1), soft(width - x.abs(), 0.03))


def cells(canvas: Canvas) -> Fields:
    """Cellular noise (Worley 1996): scales, pebbles, honeycombs, by the distances to scattered points."""
    x, y = canvas.plane()
    frequency, disorder = canvas.per_class(2.0, 4.5), canvas.per_class(0.0, 0.9)
    u, v = x * frequency, y * frequency * 1.1547
    metric = canvas.whole(0, 2)
    first, second = torch.full_like(x, 9.0), torch.full_like(x, 9.0)
    cell_u, cell_v = u.floor(), v.floor()
    tint = torch.zeros_like(x)
    seed = canvas.jitter(100.0)
    for dv in (-1, 0, 1):
        for du in (-1, 0, 1):
            row = cell_v + dv
            offset = 0.5 * (row % 2)
            place = (cell_u + du) * 127.1 + row * 311.7 + seed
            random_u = (place.sin() * 43758.5453) % 1
            random_v = ((place + 57.3).sin() * 24634.6345) % 1
            px = cell_u + du + offset - 0.25 + 0.5 + disorder * (random_u - 0.5)
            py = row + 0.5 + disorder * (random_v - 0.5)
            ax, ay = (u - px).abs(), (v - py).abs()
            distance = torch.where(
                metric == 0,
                (ax * ax + ay * ay).sqrt(),
                torch.where(metric == 1, ax + ay, torch.maximum(ax, ay)),
            )
            nearer = distance < first
            second = torch.where(nearer, first, torch.minimum(second, distance))
            first = torch.where(nearer, distance, first)
            tint = torch.where(nearer, random_u, tint)
    border = ((second - first) * 3).clamp(0, 1)
    kind = canvas.per_class(0, 1)
    value = torch.where(
        kind < 0.4, border, torch.where(kind < 0.7, 1 - first.clamp(0, 1), border * (0.3 + 0.7 * tint))
    )
    rings = canvas.per_class(0, 1)
    value = torch.where(rings < 0.3, wave(14 * first), value)
    return Fields(value.clamp(0, 1), torch.ones_like(value))


def turing_patterns(canvas: Canvas) -> Fields:
    """Spots, stripes and mazes of an activator and an inhibitor (Turing 1952, in the form of Young 1984)."""
    side = canvas.side
    fy, fx = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None]
    turn, stretch = canvas.per_class(0, math.pi) + canvas.jitter(0.15), canvas.per_class(1.0, 2.5)
    gx = (fx * turn.cos() + fy * turn.sin()) * stretch
    gy = fy * turn.cos() - fx * turn.sin()
    squared = gx * gx + gy * gy
    length = canvas.per_class(7, 16) * (1 + canvas.jitter(0.08))
    kernel = (-squared * (length * 0.9) ** 2).exp() - (-squared * (length * 1.5) ** 2).exp()
    kernel = kernel / kernel.amax((-2, -1), keepdim=True)
    bias = canvas.per_class(-0.35, 0.35)
    field = 0.1 * torch.randn(canvas.classes, canvas.variants, side, side, generator=canvas.generator)
    for _ in range(18):
        field = (2.5 * torch.fft.irfft2(torch.fft.rfft2(field) * kernel, s=(side, side)) + bias).tanh()
    return Fields(0.5 + 0.5 * field, torch.ones_like(field))


def mandalas(canvas: Canvas) -> Fields:
    """Waves mirrored around a center, n-fold."""
    x, y = canvas.plane()
    radius, angle = polar(x, y)
    fold = canvas.whole(3, 12)
    folded = (((angle * fold / (2 * math.pi)) % 1) - 0.5).abs() * 2 * math.pi / fold
    u, v = radius * folded.cos(), radius * folded.sin()
    value = torch.zeros_like(x)
    for octave in range(4):
        scale = 3.0 * 1.6**octave
        phase = (
            scale * (u * canvas.per_class(-1.5, 1.5) + v * canvas.per_class(-1.5, 1.5))
            + canvas.per_class(0, 6)
            + canvas.jitter(0.4)
            + 1.5 * value
        )
        value = value + phase.sin() / 1.3**octave
    value = wave(value * canvas.per_class(1, 2))
    return Fields(value, soft(0.95 - radius, 0.03))


def marble(canvas: Canvas) -> Fields:
    """Noise bent by noise (Perlin 1985): agate, wood and marble."""
    exponent = 1.4
    warp, base = noise(canvas, exponent), noise(canvas, 1.8)
    x, y = canvas.plane()
    turn = canvas.per_class(0, math.pi)
    grain = x * turn.cos() + y * turn.sin()
    straight = canvas.per_class(0, 6)
    value = wave(canvas.per_class(2, 6) * base + straight * grain + canvas.per_class(0, 2) * warp)
    return Fields(value ** canvas.per_class(0.5, 2), torch.ones_like(value))


def knots(canvas: Canvas) -> Fields:
    """Closed curves with a lit ribbon around them: Lissajous figures and rosettes."""
    x, y = canvas.plane()
    a, b = canvas.whole(1, 5), canvas.whole(2, 7)
    phase, mix = canvas.per_class(0, math.pi), canvas.per_class(0.2, 0.8)
    points = 160
    t = torch.linspace(0, 2 * math.pi, points + 1)[:-1].view(1, 1, -1, 1, 1)
    a, b, phase, mix = (one[..., None] for one in (a, b, phase, mix))
    cx = 0.75 * ((1 - mix) * (a * t + phase).sin() + mix * (b * t).cos())
    cy = 0.75 * ((1 - mix) * (b * t).sin() + mix * (a * t).cos())
    near = torch.full_like(x, 9.0)
    best = torch.zeros_like(x)
    for index in range(points):
        distance = (x - cx[:, :, index]) ** 2 + (y - cy[:, :, index]) ** 2
        closer = distance < near
        near = torch.where(closer, distance, near)
        best = torch.where(closer, torch.full_like(best, index / points), best)
    near = near.sqrt()
    width = canvas.per_class(0.05, 0.12)
    round_ = (1 - (near / width) ** 2).clamp(0, 1).sqrt()
    value = round_ * (0.65 + 0.35 * wave(2 * math.pi * canvas.whole(0, 24) * best))
    return Fields(value, soft(width - near, 0.015))


FAMILIES: dict[str, tuple[Callable[[Canvas], Fields], int]] = {
    "iterated_functions": (iterated_functions, 48),
    "julia_sets": (julia_sets, 40),
    "flowers": (flowers, 32),
    "eyes": (eyes, 32),
    "spirals": (spirals, 24),
    "leaves": (leaves, 28),
    "cells": (cells, 24),
    "turing_patterns": (turing_patterns, 20),
    "mandalas": (mandalas, 24),
    "marble": (marble, 12),
    "knots": (knots, 16),
}
"""Name of each family -> the function that draws it, and its number of classes."""


def draw_all(*, variants: int, side: int, seed: int) -> Fields:
    """Draw all classes of all families: (classes, variants, side, side)."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [family(Canvas(classes, variants, side, generator)) for family, classes in FAMILIES.values()]
    return Fields(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))
