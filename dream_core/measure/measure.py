"""Measurement of dreams of a clip: figures of each frame and of the whole clip, computed frame by frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

import torch
from torch import Tensor

from ..errors import ImageError, SettingsError
from ..models.dream_model import DreamModel
from ..motion.flow import FlowEstimator
from ..motion.occlusion import flow_is_smooth, flows_agree
from ..motion.warp import points_inside
from .figures import (
    ClipFigures,
    Figures,
    Report,
    evenness_terms,
    flicker_terms,
    laplacian_variance,
    luminance,
    mean_square,
    moving_and_still,
    warp_error,
)

INPUT = "input"
"""Name of the figures of the input."""

Link = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(frame, following), both (3,H,W) of the input -> flow (2,H,W) from frame to following, reliability (1,H,W)."""


@dataclass(frozen=True)
class LayerEnergy:
    """Mean squared activations, the energies that strength compares.

    Args:
        model: the network.
        layers: its layers; the strength of several is the mean of their ratios.
    """

    model: DreamModel
    layers: tuple[str, ...]

    def __call__(self, image: Tensor) -> Tensor:
        """Compute the energy of each layer for an image (3,H,W) in 0..1: (layers,) float64."""
        with torch.no_grad():
            found = self.model.activations(image[None].to(self.model.device), self.layers)
        return torch.tensor([mean_square(found[layer]) for layer in self.layers], dtype=torch.float64)

    def __str__(self) -> str:
        return f"{self.model.spec.name} {', '.join(self.layers)}"


def flow_link(estimator: FlowEstimator) -> Link:
    """Make a link that estimates flow and derives its reliability."""

    def link(frame: Tensor, following: Tensor) -> tuple[Tensor, Tensor]:
        forward, backward = estimator.both_ways(frame[None], following[None])
        # Without the check of brightness, which would hide flicker.
        reliable = flows_agree(forward, backward) * flow_is_smooth(forward) * points_inside(forward)
        return forward[0], reliable[0]

    return link


def measure(
    source: Iterable[Tensor],
    dreams: Mapping[str, Iterable[Tensor]],
    link: Link,
    *,
    energy: LayerEnergy | None = None,
    independent: str | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> Report:
    """Measure dreams of one clip. At most two frames of each are in memory at a time.

    Args:
        source: frames of the input, (3,H,W) in 0..1 at the dreams' size; a tensor (T,3,H,W) or a generator.
        dreams: frames of each dream by name, as many as of the input.
        link: called once for each pair of frames; see `flow_link`.
        energy: network and layers of the strength; without it, strength is None.
        independent: name of the dream whose every frame was dreamed by itself; without it, coverage is None.
        on_frame: called with the index of every frame after it is measured.

    Raises:
        ImageError: there is no frame, or a dream differs from the source in size or length.
        SettingsError: no dream has the name of the independent one.
    """
    if independent is not None and independent not in dreams:
        raise SettingsError(
            f"expected `independent` to name one of the dreams ({', '.join(dreams)}), got {independent}"
        )
    source_meter, meters = _Meter(), [_Meter() for _ in dreams]
    previous: Tensor | None = None
    for index, (frame, *dreamed) in enumerate(_side_by_side(source, dreams)):
        _require_equal_sizes(frame, dict(zip(dreams, dreamed, strict=True)))
        pair = None if previous is None else _Pair.of(previous, *link(previous, frame))
        reference = _View.of(frame, energy)
        source_meter.add(reference, reference, pair)
        for meter, dream in zip(meters, dreamed, strict=True):
            meter.add(_View.of(dream, energy), reference, pair)
        previous = frame
        if on_frame:
            on_frame(index)
    if previous is None:
        raise ImageError("expected at least one frame to measure, got none")
    measured = {name: meter.result(name) for name, meter in zip(dreams, meters, strict=True)}
    if independent is not None:
        even = measured[independent]
        measured = {name: _with_coverage(clip, even) for name, clip in measured.items()}
    layers = str(energy) if energy else None
    return Report(source_meter.result(INPUT), tuple(measured.values()), layers, independent)


def _side_by_side(source: Iterable[Tensor], dreams: Mapping[str, Iterable[Tensor]]) -> Iterator[list[Tensor]]:
    """Yield each frame of the source with the same frame of all dreams."""
    names = [INPUT, *dreams]
    streams = [iter(clip) for clip in (source, *dreams.values())]
    for index in count():
        # zip_longest would keep an older frame of each in memory.
        frames = [next(stream, None) for stream in streams]
        present = [frame for frame in frames if frame is not None]
        if not present:
            return
        if len(present) < len(frames):
            ended = next(name for name, frame in zip(names, frames, strict=True) if frame is None)
            longer = next(name for name, frame in zip(names, frames, strict=True) if frame is not None)
            raise ImageError(
                f"expected clips of equal length, got {ended} with {index} frames and {longer} with more; "
                f"measure the same frames of all, for example with `frames` {index}"
            )
        yield present


def _require_equal_sizes(frame: Tensor, dreamed: Mapping[str, Tensor]) -> None:
    for name, dream in dreamed.items():
        if dream.shape != frame.shape:
            raise ImageError(
                f"expected {name} in the size of the input, {frame.shape[-1]}x{frame.shape[-2]}, got "
                f"{dream.shape[-1]}x{dream.shape[-2]}; resize one of them"
            )


@dataclass(frozen=True)
class _View:
    """An image with its own measurements."""

    image: Tensor
    variance: float
    energies: Tensor | None

    @classmethod
    def of(cls, image: Tensor, energy: LayerEnergy | None) -> _View:
        return cls(image, laplacian_variance(image), energy(image) if energy else None)


@dataclass(frozen=True)
class _Pair:
    """What two neighboring frames of the input tell.

    Args:
        link: flow from the earlier to the later, and its reliability.
        moving, still: pixels of the earlier, see `moving_and_still`.
    """

    link: tuple[Tensor, Tensor]
    moving: Tensor
    still: Tensor

    @classmethod
    def of(cls, frame: Tensor, flow: Tensor, reliability: Tensor) -> _Pair:
        return cls((flow, reliability), *moving_and_still(frame, flow))


@dataclass
class _Fraction:
    """A sum divided by another sum."""

    numerator: Tensor | float = 0.0
    denominator: Tensor | float = 0.0

    def add(self, numerator: Tensor | float, denominator: Tensor | float) -> float | None:
        """Add to both sums, and return the ratio of the added terms."""
        self.numerator, self.denominator = self.numerator + numerator, self.denominator + denominator
        return _ratio(numerator, denominator)

    @property
    def value(self) -> float | None:
        return _ratio(self.numerator, self.denominator)


def _ratio(numerator: Tensor | float, denominator: Tensor | float) -> float | None:
    """Compute the mean of the ratios; None if a denominator is zero."""
    numerator, denominator = (
        torch.as_tensor(value, dtype=torch.float64) for value in (numerator, denominator)
    )
    return (numerator / denominator).mean().item() if bool((denominator > 0).all()) else None


def _root(value: float | None) -> float | None:
    return None if value is None else math.sqrt(value)


def _with_coverage(clip: ClipFigures, independent: ClipFigures) -> ClipFigures:
    """Compare the evenness of a clip with that of an independent one."""

    def compare(figures: Figures, even: Figures) -> Figures:
        if figures.evenness is None or even.evenness is None:
            return figures
        return replace(figures, coverage=_ratio(figures.evenness, even.evenness))

    frames = map(compare, clip.frames, independent.frames)
    return ClipFigures(clip.name, compare(clip.overall, independent.overall), tuple(frames))


@dataclass
class _Meter:
    """Accumulates the figures of one clip."""

    frames: list[Figures] = field(default_factory=list)
    error: _Fraction = field(default_factory=_Fraction)
    flicker: _Fraction = field(default_factory=_Fraction)
    strength: _Fraction = field(default_factory=_Fraction)
    sharpness: _Fraction = field(default_factory=_Fraction)
    evenness: _Fraction = field(default_factory=_Fraction)
    first_luminance: float | None = None
    previous: tuple[Tensor, Tensor] | None = None
    """The last dream and its residual."""

    def add(self, dream: _View, source: _View, pair: _Pair | None) -> None:
        """Measure one more frame; `pair` is that of the frame before and this one, None for the first."""
        residual = dream.image - source.image
        e_warp = flicker = strength = None
        if self.previous and pair:
            previous_image, previous_residual = self.previous
            e_warp = warp_error(previous_image, dream.image, *pair.link)
            if e_warp is not None:
                self.error.add(e_warp, 1)
            flicker = self.flicker.add(*flicker_terms(previous_residual, residual, *pair.link))
            terms = evenness_terms(previous_residual, pair.moving, pair.still)
            if terms is not None:
                self.frames[-1] = replace(self.frames[-1], evenness=_root(self.evenness.add(*terms)))
        if dream.energies is not None and source.energies is not None:
            strength = self.strength.add(dream.energies, source.energies)
        sharpness = self.sharpness.add(dream.variance, source.variance)
        drift = self._since_first(luminance(residual))
        self.frames.append(Figures(e_warp, flicker, strength, sharpness, drift, None, None))
        self.previous = dream.image, residual

    def _since_first(self, light: float) -> float:
        if self.first_luminance is None:
            self.first_luminance = light
        return light - self.first_luminance

    def result(self, name: str) -> ClipFigures:
        overall = Figures(
            e_warp=self.error.value,
            flicker=self.flicker.value,
            strength=self.strength.value,
            sharpness=self.sharpness.value,
            drift=self.frames[-1].drift,
            evenness=_root(self.evenness.value),
            coverage=None,
        )
        return ClipFigures(name, overall, tuple(self.frames))
