"""How good dreams of a clip are, frame by frame and over all, streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

import torch
from torch import Tensor

from ..errors import ImageError
from ..models.dream_model import DreamModel
from ..motion.flow import FlowEstimator
from ..motion.occlusion import reliability_mask
from ..settings import ReliabilitySettings
from .metrics import laplacian_variance, luminance, mean_square, pair_error, pair_flicker

CHECKS = ReliabilitySettings(check_brightness=False, mask_softness=0)
"""What tells the pixels to measure by. A mask that left out changes of brightness would hide flicker."""

INPUT = "input"
"""The name of the input's own figures."""

Link = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(frame, following), both (3,H,W) of the input -> flow (2,H,W) from one to the other, reliable mask (1,H,W)."""


@dataclass(frozen=True)
class Figures:
    """The figures of one frame, or of a whole clip; None where one is not defined.

    Args:
        e_warp: see `metrics.e_warp`. Of a frame: from the one before to it, as is flicker.
        flicker: see `metrics.flicker`; None where there is no dream.
        strength: see `metrics.strength`; None without a network.
        sharpness: see `metrics.sharpness`, as a ratio to the input's; None where the input is flat.
        drift: see `metrics.drift`. Of a frame: since the first.
    """

    e_warp: float | None
    flicker: float | None
    strength: float | None
    sharpness: float | None
    drift: float | None


@dataclass(frozen=True)
class Measured:
    """The figures of a clip.

    Args:
        name: of the clip.
        overall: of the clip as a whole.
        frames: of its frames, in order.
    """

    name: str
    overall: Figures
    frames: tuple[Figures, ...]


@dataclass(frozen=True)
class Report:
    """The figures of dreams, and those of their input for comparison.

    Args:
        input: the input measured as if it were a dream: flicker is not defined, strength and sharpness are 1.
        dreams: one or more.
        layers: what strength was measured by; None where it was not.
    """

    input: Measured
    dreams: tuple[Measured, ...]
    layers: str | None


@dataclass(frozen=True)
class LayerEnergy:
    """Mean squared activations, which strength compares.

    Args:
        model: the network.
        layers: its layers. Of several, strength is the mean of their ratios.
    """

    model: DreamModel
    layers: tuple[str, ...]

    def __call__(self, frame: Tensor) -> Tensor:
        """(3,H,W) in 0..1 -> one energy for each layer, float64."""
        with torch.no_grad():
            found = self.model.activations(frame[None].to(self.model.device), self.layers)
        return torch.tensor([mean_square(found[layer]) for layer in self.layers], dtype=torch.float64)

    def __str__(self) -> str:
        return f"{self.model.spec.name} {', '.join(self.layers)}"


def flow_link(estimator: FlowEstimator) -> Link:
    """Flow and reliable pixels, as all figures take them, by an estimator."""

    def link(frame: Tensor, following: Tensor) -> tuple[Tensor, Tensor]:
        there, back = estimator.both_ways(frame[None], following[None])
        mask = reliability_mask(there, back, frame=frame[None], previous=following[None], settings=CHECKS)
        return there[0], mask[0]

    return link


def measure(
    source: Iterable[Tensor],
    dreams: Mapping[str, Iterable[Tensor]],
    link: Link,
    *,
    energy: LayerEnergy | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> Report:
    """Measure dreams of one clip. No more than two frames of each are alive at a time.

    Args:
        source: the input, (3,H,W) in 0..1, at the dreams' size.
        dreams: by name, each with as many frames.
        link: called once for each pair of frames; see `flow_link`.
        energy: to measure strength by.
        on_frame: told the index of every frame once it is measured.

    Raises:
        ImageError: there is no frame, or a dream differs from the source in size or length.
    """
    own, meters = _Meter(), [_Meter() for _ in dreams]
    previous: Tensor | None = None
    for index, (frame, *dreamed) in enumerate(_together(source, dreams)):
        _check_sizes(frame, dict(zip(dreams, dreamed, strict=True)))
        linked = None if previous is None else link(previous, frame)
        reference = _Seen.of(frame, energy)
        own.add(_Step(frame, frame, reference, reference, linked))
        for meter, dream in zip(meters, dreamed, strict=True):
            meter.add(_Step(dream, frame, _Seen.of(dream, energy), reference, linked))
        previous = frame
        if on_frame:
            on_frame(index)
    if previous is None:
        raise ImageError("expected at least one frame to measure, got none")
    measured = [meter.measured(name) for name, meter in zip(dreams, meters, strict=True)]
    return Report(own.measured(INPUT), tuple(measured), str(energy) if energy else None)


def _together(source: Iterable[Tensor], dreams: Mapping[str, Iterable[Tensor]]) -> Iterator[list[Tensor]]:
    """One frame of the source and of each dream after the other."""
    names = [INPUT, *dreams]
    streams = [iter(clip) for clip in (source, *dreams.values())]
    for index in count():
        # Not zip_longest, which keeps an older frame of each alive.
        frames = [next(stream, None) for stream in streams]
        there = [frame for frame in frames if frame is not None]
        if not there:
            return
        if len(there) < len(frames):
            ended = next(name for name, frame in zip(names, frames, strict=True) if frame is None)
            longer = next(name for name, frame in zip(names, frames, strict=True) if frame is not None)
            raise ImageError(
                f"expected clips of equal length, but {ended} ends after {index} frames and {longer} goes on: "
                f"measure the same frames of all, as with `frames` {index}"
            )
        yield there


def _check_sizes(frame: Tensor, dreamed: Mapping[str, Tensor]) -> None:
    for name, dream in dreamed.items():
        if dream.shape != frame.shape:
            raise ImageError(
                f"expected {name} in the size of the input, {frame.shape[-1]}x{frame.shape[-2]}, got "
                f"{dream.shape[-1]}x{dream.shape[-2]}: resize one of them"
            )


@dataclass(frozen=True)
class _Seen:
    """What the figures need of an image by itself."""

    variance: float
    energies: Tensor | None

    @classmethod
    def of(cls, image: Tensor, energy: LayerEnergy | None) -> _Seen:
        return cls(laplacian_variance(image), energy(image) if energy else None)


@dataclass(frozen=True)
class _Step:
    """One frame, with the flow and mask that link it to the frame before; None for the first."""

    dream: Tensor
    frame: Tensor
    seen: _Seen
    reference: _Seen
    link: tuple[Tensor, Tensor] | None

    @property
    def residual(self) -> Tensor:
        return self.dream - self.frame


@dataclass
class _Fraction:
    """A sum over another: zero where nothing was added yet."""

    above: Tensor | float = 0.0
    below: Tensor | float = 0.0

    def add(self, above: Tensor | float, below: Tensor | float) -> float | None:
        """Add to both. Returns the ratio of what was added."""
        self.above, self.below = self.above + above, self.below + below
        return _ratio(above, below)

    @property
    def value(self) -> float | None:
        return _ratio(self.above, self.below)


def _ratio(above: Tensor | float, below: Tensor | float) -> float | None:
    """The mean of the ratios; None where one has nothing to compare with."""
    above, below = (torch.as_tensor(value, dtype=torch.float64) for value in (above, below))
    return (above / below).mean().item() if bool((below > 0).all()) else None


@dataclass
class _Meter:
    """Gathers the figures of one clip."""

    frames: list[Figures] = field(default_factory=list)
    error: _Fraction = field(default_factory=_Fraction)
    flicker: _Fraction = field(default_factory=_Fraction)
    strength: _Fraction = field(default_factory=_Fraction)
    sharpness: _Fraction = field(default_factory=_Fraction)
    first_light: float | None = None
    previous: _Step | None = None

    def add(self, step: _Step) -> None:
        e_warp = flicker = strength = None
        if self.previous and step.link:
            e_warp = pair_error(self.previous.dream, step.dream, *step.link)
            if e_warp is not None:
                self.error.add(e_warp, 1)
            flicker = self.flicker.add(*pair_flicker(self.previous.residual, step.residual, *step.link))
        if step.seen.energies is not None and step.reference.energies is not None:
            strength = self.strength.add(step.seen.energies, step.reference.energies)
        sharpness = self.sharpness.add(step.seen.variance, step.reference.variance)
        light = luminance(step.residual)
        self.first_light = light if self.first_light is None else self.first_light
        self.frames.append(Figures(e_warp, flicker, strength, sharpness, light - self.first_light))
        self.previous = step

    def measured(self, name: str) -> Measured:
        overall = Figures(
            e_warp=self.error.value,
            flicker=self.flicker.value,
            strength=self.strength.value,
            sharpness=self.sharpness.value,
            drift=self.frames[-1].drift,
        )
        return Measured(name, overall, tuple(self.frames))
