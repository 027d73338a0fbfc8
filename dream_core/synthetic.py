"""Synthetic clips with exactly known optical flow and occlusion.

Opaque discs and squares with smooth textures move over a textured background and over each other. Every pixel is
computed by formula at its exact position, and nothing is resampled. The flow is the motion of the visible layer. A
pixel is hidden exactly where another layer covers it.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import SettingsError
from .motion.warp import points_inside

_WAVES = 24
_CONTRAST = 0.65
# In pixels: long enough to resample well, short enough for flow estimators.
_WAVELENGTHS = (10.0, 80.0)


@dataclass(frozen=True)
class Scene:
    """Content of a synthetic clip."""

    shapes: int = 5
    """Number of discs and squares; they bounce off the edges of the frame."""
    speed: float = 4.0
    """Speed of each shape in pixels per frame; each has its own direction."""
    background: tuple[float, float] = (1.25, -0.5)
    """Velocity of the background, x and y, in pixels per frame."""
    rotation: float = 0.0
    """Rotation of the background in degrees per frame."""
    zoom: float = 1.0
    """Factor of the size of the background per frame."""
    whole_pixels: bool = False
    """Round all velocities to whole pixels, so that warping by the flow resamples nothing."""


_DEFAULT_SCENE = Scene()


@dataclass(frozen=True)
class SyntheticFrame:
    """One frame, with its flow and visibility to and from the frame before (None for the first)."""

    frame: Tensor
    """(1,3,H,W) in 0..1."""
    backward: Tensor | None
    """(1,2,H,W), flow from this frame to the previous one, in pixels."""
    forward: Tensor | None
    """(1,2,H,W), flow from the previous frame to this one, in pixels."""
    visible: Tensor | None
    """(1,1,H,W), 1 for the pixels of this frame that are visible in the previous one."""
    visible_next: Tensor | None
    """(1,1,H,W), 1 for the pixels of the *previous* frame that are visible in this one."""


@dataclass(frozen=True)
class SyntheticClip:
    """A clip of T frames; entry t of the other fields belongs to frames t and t + 1."""

    frames: Tensor
    """(T,3,H,W) in 0..1."""
    backward: Tensor
    """(T-1,2,H,W), flow from frame t + 1 to frame t, in pixels."""
    forward: Tensor
    """(T-1,2,H,W), flow from frame t to frame t + 1, in pixels."""
    visible: Tensor
    """(T-1,1,H,W), 1 for the pixels of frame t + 1 that are visible in frame t."""
    visible_next: Tensor
    """(T-1,1,H,W), 1 for the pixels of frame t that are visible in frame t + 1."""


def synthetic_clip(
    *, frames: int, height: int, width: int, seed: int = 0, scene: Scene = _DEFAULT_SCENE
) -> SyntheticClip:
    """Render a whole clip with exact flow and occlusion; arguments and errors are those of `synthetic_frames`."""
    stream = synthetic_frames(frames=frames, height=height, width=width, seed=seed, scene=scene)
    first, *others = stream
    return SyntheticClip(
        frames=torch.cat([first.frame, *(other.frame for other in others)]),
        backward=_joined([other.backward for other in others], (2, height, width)),
        forward=_joined([other.forward for other in others], (2, height, width)),
        visible=_joined([other.visible for other in others], (1, height, width)),
        visible_next=_joined([other.visible_next for other in others], (1, height, width)),
    )


def synthetic_frames(
    *, frames: int, height: int, width: int, seed: int = 0, scene: Scene = _DEFAULT_SCENE
) -> Iterator[SyntheticFrame]:
    """Render a clip with exact flow and occlusion frame by frame, in constant memory.

    Everything is computed on the CPU: a seed gives the same clip whatever the device.

    Args:
        frames: number of frames, at least 1.
        height, width: size of the frames in pixels.
        seed: seed of textures, shapes and their paths.
        scene: content of the clip.

    Yields:
        One `SyntheticFrame` per frame.

    Raises:
        SettingsError: a number, size, speed or factor is out of range.
    """
    _check(frames, height, width, scene)
    generator = torch.Generator().manual_seed(seed)
    size = complex(width, height)
    layers = [_background(generator, size, scene)]
    layers += [_shape(generator, size, scene) for _ in range(scene.shapes)]
    return _render(layers, frames, height, width)


@dataclass(frozen=True)
class _Layer:
    """A moving textured plane. Positions are complex numbers, x + iy, so that rotation is multiplication."""

    frequencies: Tensor
    """(2,waves), cycles per pixel."""
    phases: Tensor
    """(waves,), radians."""
    colors: Tensor
    """(waves,3), weight of each wave in red, green and blue."""
    tint: Tensor
    """(3,), mean color before the sigmoid."""
    start: complex
    velocity: complex
    turn: complex = 1
    """Rotation and zoom per frame."""
    bounce: complex | None = None
    """Size of the box inside which the center bounces."""
    radius: float = math.inf
    square: bool = False

    def center(self, time: int) -> complex:
        place = self.start + self.velocity * time
        if self.bounce is None:
            return place
        return complex(_fold(place.real, self.bounce.real), _fold(place.imag, self.bounce.imag))

    def to_local(self, places: Tensor, time: int) -> Tensor:
        return (places - self.center(time)) / self.turn**time

    def to_frame(self, local: Tensor, time: int) -> Tensor:
        return self.center(time) + self.turn**time * local

    def covers(self, local: Tensor) -> Tensor:
        if self.square:
            return torch.maximum(local.real.abs(), local.imag.abs()) <= self.radius
        return local.abs() <= self.radius

    def color(self, local: Tensor) -> Tensor:
        """Texture at positions x + iy, (N,) complex: RGB (N,3) in 0..1, the sigmoid of a sum of plane waves."""
        phases = 2 * math.pi * torch.view_as_real(local) @ self.frequencies + self.phases
        return (torch.cos(phases) @ self.colors + self.tint).sigmoid()


def _render(layers: list[_Layer], frames: int, height: int, width: int) -> Iterator[SyntheticFrame]:
    pixels = _pixel_centers(height, width)
    for time in range(frames):
        frame = _image(layers, pixels, time)
        if time == 0:
            yield SyntheticFrame(frame, None, None, None, None)
            continue
        backward, visible = _link(layers, pixels, time, time - 1)
        forward, visible_next = _link(layers, pixels, time - 1, time)
        yield SyntheticFrame(frame, backward, forward, visible, visible_next)


def _image(layers: list[_Layer], pixels: Tensor, time: int) -> Tensor:
    owner = _owner(layers, pixels, time)
    image = torch.empty(*pixels.shape, 3)
    for index, layer in enumerate(layers):
        mine = owner == index
        image[mine] = layer.color(layer.to_local(pixels[mine], time)).float()
    return image.permute(2, 0, 1).unsqueeze(0).contiguous()  # HWC -> BCHW


def _owner(layers: list[_Layer], places: Tensor, time: int) -> Tensor:
    """Index of the topmost layer at each position; the background is everywhere."""
    owner = torch.zeros(places.shape, dtype=torch.long)
    for index, layer in enumerate(layers[1:], start=1):
        owner[layer.covers(layer.to_local(places, time))] = index
    return owner


def _link(layers: list[_Layer], pixels: Tensor, time: int, other: int) -> tuple[Tensor, Tensor]:
    """Flow from one time to another, and the mask of the pixels that are visible at both."""
    owner = _owner(layers, pixels, time)
    targets = torch.empty_like(pixels)
    for index, layer in enumerate(layers):
        mine = owner == index
        targets[mine] = layer.to_frame(layer.to_local(pixels[mine], time), other)
    flow = torch.view_as_real(targets - pixels).permute(2, 0, 1).unsqueeze(0).float()  # HWC -> BCHW
    seen = (_owner(layers, targets, other) == owner).float()[None, None]
    return flow.contiguous(), seen * points_inside(flow)


def _background(generator: torch.Generator, size: complex, scene: Scene) -> _Layer:
    frequencies, phases, colors, tint = _texture(generator)
    return _Layer(
        frequencies,
        phases,
        colors,
        tint,
        start=size / 2,
        velocity=_velocity(complex(*scene.background), scene),
        turn=cmath.rect(scene.zoom, math.radians(scene.rotation)),
    )


def _shape(generator: torch.Generator, size: complex, scene: Scene) -> _Layer:
    frequencies, phases, colors, tint = _texture(generator)
    x, y, direction, radius, corner = torch.rand(5, generator=generator, dtype=torch.float64).tolist()
    return _Layer(
        frequencies,
        phases,
        colors,
        tint,
        start=_whole(complex(x * size.real, y * size.imag)),
        velocity=_velocity(cmath.rect(scene.speed, 2 * math.pi * direction), scene),
        bounce=size,
        radius=min(size.real, size.imag) * (0.1 + 0.12 * radius),
        square=corner < 0.5,
    )


def _texture(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Frequencies, phases, colors and tint of a smooth random texture."""
    wavelength, direction, phase = torch.rand(3, _WAVES, generator=generator, dtype=torch.float64)
    shortest, longest = _WAVELENGTHS
    frequency = (longest / shortest) ** -wavelength / shortest
    frequencies = torch.polar(frequency, 2 * math.pi * direction)
    # As in natural images, long waves are stronger than short ones, and color varies less than brightness.
    brightness = torch.randn(_WAVES, 1, generator=generator, dtype=torch.float64)
    hue = torch.randn(_WAVES, 3, generator=generator, dtype=torch.float64)
    amplitude = (shortest * frequency).rsqrt().unsqueeze(1)
    colors = amplitude * (brightness + 0.5 * hue) * (_CONTRAST / math.sqrt(_WAVES))
    tint = torch.randn(3, generator=generator, dtype=torch.float64)
    return torch.view_as_real(frequencies).T.contiguous(), 2 * math.pi * phase, colors, tint


def _velocity(velocity: complex, scene: Scene) -> complex:
    return _whole(velocity) if scene.whole_pixels else velocity


def _whole(place: complex) -> complex:
    return complex(round(place.real), round(place.imag))


def _fold(place: float, length: float) -> float:
    """Position in 0..length of a ball that travels to `place` and bounces off both ends."""
    return length - abs(place % (2 * length) - length)


def _pixel_centers(height: int, width: int) -> Tensor:
    """(H,W) complex, x + iy."""
    x = torch.arange(width, dtype=torch.float64)
    y = torch.arange(height, dtype=torch.float64)
    return torch.complex(x.expand(height, width), y.unsqueeze(1).expand(height, width))


def _joined(parts: list[Tensor | None], shape: tuple[int, ...]) -> Tensor:
    # For a clip of one frame: empty tensors of the right shape.
    return torch.cat([torch.empty(0, *shape), *(part for part in parts if part is not None)])


def _check(frames: int, height: int, width: int, scene: Scene) -> None:
    if frames < 1:
        raise SettingsError(f"expected at least 1 frame, got {frames}")
    if height < 1 or width < 1:
        raise SettingsError(f"expected a height and width of at least 1 pixel, got {height}x{width}")
    if scene.shapes < 0:
        raise SettingsError(f"expected at least 0 shapes, got {scene.shapes}")
    if not scene.zoom > 0:
        raise SettingsError(f"expected a zoom above 0 (1 is none), got {scene.zoom}")
