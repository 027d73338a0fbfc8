"""Estimation of optical flow by RAFT or OpenCV's DIS, with one interface."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import validate
from ..errors import OutOfMemoryError
from ..free_memory import free_memory
from ..image import Size, antialias, require_image, size_of
from ..models.weights import Progress, locate, resolve_auto
from ..settings import FlowName, FlowSettings
from .flat_areas import steady_flat_areas
from .light import match_exposure
from .raft import SMALLEST_SIDE, SOURCES, STRIDE, VOLUMES, FastRaft, load_raft, volume_bytes
from .warp import resize_flow

BATCH_MEMORY = 2**30
"""Bytes that the correlation volumes of one batch of pairs may take."""

PAIR_MEMORY = 4 * 2**30
"""Bytes of the correlation volumes of the largest pair to estimate at its own size; a larger one is estimated at a
smaller scale. A CPU computes such volumes in blocks, where the limit is one of time."""

FEATURES_MEMORY = 240
"""Bytes per pixel that RAFT small was measured to take besides its correlations."""

SHARE = 3
"""Flow takes at most one part in so many of the memory that is free."""

PREFERRED_FLOW: FlowName = "raft_small"
"""Estimator that "auto" chooses if its weights are found."""

DIS_SMALLEST_SIDE = 16
"""Least side in pixels for DIS. OpenCV counts pyramid levels by the longer side, and crashes on narrower frames."""


Estimate: TypeAlias = Callable[[Tensor, Tensor, bool], Tensor]
"""(first, second, both) -> flow, see `FlowEstimator`."""


@dataclass(frozen=True)
class FlowEstimator:
    """Estimates the motion between two batches of frames.

    Args:
        estimate: (first, second, both) -> flow (B,2,h,w), or with both (2B,2,h,w), for (B,3,h,w) in 0..1
            whose sides are at least `smallest` and multiples of `multiple`.
        device: the device that `estimate` computes on.
        smallest, multiple: requirements of `estimate` on the sides, in pixels.
        scale: fraction of the frames' size to estimate at.
        batch: pairs estimated at once; 0 for as many as fit in `BATCH_MEMORY`.
        pair_memory: bytes that the correlation volumes of one pair may take; if they would take more, `scale` is
            lowered with a warning. Infinite for estimators without such volumes.
    """

    estimate: Estimate
    device: torch.device
    smallest: int
    multiple: int
    scale: float = 1.0
    batch: int = 0
    pair_memory: float = math.inf

    def flow(self, first: Tensor, second: Tensor) -> Tensor:
        """Estimate the flow from the first frames to the second ones.

        Args:
            first, second: (B,3,H,W) RGB in 0..1, of any size.

        Returns:
            (B,2,H,W) float32 in pixels, x first, on the first frames' device:
            ``first(x) = second(x + flow(x))``. The backward flow of a clip is
            ``flow(current, previous)``. Exactly zero for a pair of identical frames.

        Raises:
            ImageError: the frames differ in shape, or are not finite images.
        """
        return self._estimate(first, second, both=False)[0]

    def both_ways(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Estimate the flows from first to second and back; with RAFT, faster than by two calls of `flow`.

        Arguments, results and errors are those of `flow`.
        """
        there, back = self._estimate(first, second, both=True)
        return there, back

    def pairs_at_once(self, size: Size, *, both: bool) -> int:
        """Return the number of pairs to pass in one call, if all pairs of a clip would take too much memory.

        Args:
            size: of the frames, height and width.
            both: True for calls of `both_ways`.

        Returns:
            `batch`, or as many as fit in `BATCH_MEMORY`; 1 for estimators that work pair by pair.
        """
        if self.batch == 0 and math.isinf(self.pair_memory):
            return 1
        return self._chunk(self._inner_size(size, both), both)

    def memory(self, size: Size, *, both: bool) -> float:
        """Estimate the bytes that an estimate of one pair takes.

        Args:
            size: of the frames, height and width.
            both: True for calls of `both_ways`.
        """
        inner = self._inner_size(size, both)
        volumes = 0.0 if math.isinf(self.pair_memory) else _volume_bytes(inner, both)
        in_blocks = self.device.type == "cpu" and volumes > VOLUMES
        return FEATURES_MEMORY * inner[0] * inner[1] + (0.0 if in_blocks else volumes)

    def in_less_memory(self, size: Size, *, both: bool, problem: str) -> FlowEstimator:
        """Return an estimator that takes a quarter of the memory, pair by pair at a smaller scale.

        Args:
            size: of the frames for which memory ran out, height and width.
            both: True after a call of `both_ways`.
            problem: first line of the out-of-memory error.

        Raises:
            OutOfMemoryError: it cannot take less.
        """
        inner = self._inner_size(size, both)
        less = replace(self, batch=1, pair_memory=_volume_bytes(inner, both) / 4)
        if math.isinf(self.pair_memory) or less._inner_size(size, both) == inner:
            raise OutOfMemoryError(
                f"memory ran out while the flow of a single pair of frames was estimated ({problem}): lower "
                "`flow_scale`, take smaller images, or close what else uses memory"
            )
        return less

    def _estimate(self, first: Tensor, second: Tensor, *, both: bool) -> tuple[Tensor, ...]:
        _check(first, second)
        moved = (first != second).flatten(1).any(dim=1)
        if first.device.type != "cpu":
            # Asking would make the program wait for the device.
            flows = torch.stack(self._estimate_moving(first, second, both=both))
            return torch.where(moved.view(-1, 1, 1, 1), flows, 0).unbind()
        if moved.all():
            return self._estimate_moving(first, second, both=both)
        flows = first.new_zeros(1 + both, len(first), 2, *size_of(first), dtype=torch.float32)
        if moved.any():
            flows[:, moved] = torch.stack(self._estimate_moving(first[moved], second[moved], both=both))
        return flows.unbind()

    def _estimate_moving(self, first: Tensor, second: Tensor, *, both: bool) -> tuple[Tensor, ...]:
        size = size_of(first)
        inner = self._inner_size(size, both)
        if inner < self._wanted_size(size):
            warnings.warn(
                f"flow is estimated at {inner[1]} x {inner[0]}, to bound its time and memory; "
                "`flow_scale` sets the scale",
                stacklevel=2,
            )
        chunks = zip(*(frames.split(self._chunk(inner, both)) for frames in (first, second)), strict=True)
        directions: list[list[Tensor]] = [[], []]
        for pair in chunks:
            a, b = (_fit(frames.to(self.device, torch.float32), inner, self.multiple) for frames in pair)
            with torch.no_grad():
                flows = self.estimate(a, b, both).split(len(a))
            for found, flow in zip(directions, flows, strict=False):
                found.append(resize_flow(_crop(flow, inner), size).to(first.device))
        return tuple(torch.cat(found) for found in directions if found)

    def _inner_size(self, size: Size, both: bool) -> Size:
        """Size to estimate at, within `pair_memory`."""
        height, width = self._wanted_size(size)
        # A volume grows with the fourth power of the sides.
        shrink = (self.pair_memory / _volume_bytes((height, width), both)) ** 0.25
        if shrink >= 1:
            return height, width
        return max(self.smallest, int(height * shrink)), max(self.smallest, int(width * shrink))

    def _wanted_size(self, size: Size) -> Size:
        """Size by the scale. Each side is scaled by itself: enlarging both would make narrow frames huge."""
        height, width = (max(self.smallest, round(side * self.scale)) for side in size)
        return height, width

    def _chunk(self, size: Size, both: bool) -> int:
        if self.batch:
            return self.batch
        return max(1, int(BATCH_MEMORY / _volume_bytes(size, both)))


def _volume_bytes(size: Size, both: bool) -> float:
    """Bytes that RAFT's all-pairs correlations of one pair of frames take."""
    return volume_bytes((size[0] / STRIDE) * (size[1] / STRIDE)) * (1 + both)


def _check(first: Tensor, second: Tensor) -> None:
    require_image(first, name="first frames")
    require_image(second, name="second frames", like=first)


def _padding(size: Size, multiple: int) -> tuple[int, int, int, int]:
    """Padding left, right, top and bottom that makes both sides multiples."""
    down, right = (-side % multiple for side in size)
    return right // 2, right - right // 2, down // 2, down - down // 2


def _fit(frames: Tensor, size: Size, multiple: int) -> Tensor:
    if size_of(frames) != size:
        frames = antialias(frames, size, mode="bilinear")
    return F.pad(frames, _padding(size, multiple), mode="replicate")


def _crop(flow: Tensor, size: Size) -> Tensor:
    """Undo the padding of `_fit`."""
    height, width = size
    top, left = (flow.shape[-2] - height) // 2, (flow.shape[-1] - width) // 2
    return flow[..., top : top + height, left : left + width]


def dis_flow(first: Tensor, second: Tensor, both: bool) -> Tensor:
    """Estimate flow by OpenCV's dense inverse search (Kroeger et al. 2016), on gray 8-bit frames, on the CPU."""
    pairs = [*zip(_gray_bytes(first), _gray_bytes(second), strict=True)]
    pairs += [(b, a) for a, b in pairs] if both else []
    flows = np.stack([_search(a, b) for a, b in pairs])
    return torch.from_numpy(flows).permute(0, 3, 1, 2)  # BHWC -> BCHW


def _search(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    # One object per pair: small frames change the settings of the object for the next pair.
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return search.calc(first, second, np.zeros((*first.shape, 2), np.float32))


def _gray_bytes(frames: Tensor) -> list[np.ndarray]:
    colors = frames.mul(255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()  # BCHW -> BHWC
    return [cv2.cvtColor(color, cv2.COLOR_RGB2GRAY) for color in colors]


class DisNetwork(nn.Module):
    """DIS with the signature of torchvision's RAFT, for code that calls such networks."""

    def forward(self, image1: Tensor, image2: Tensor, num_flow_updates: int = 12) -> list[Tensor]:
        """Estimate flow.

        Args:
            image1, image2: (B,3,H,W) in -1..1.
            num_flow_updates: has no effect.

        Returns:
            One flow (B,2,H,W) in pixels, x first, from the first images to the second, on their device.
        """
        first, second = (image.float() / 2 + 0.5 for image in (image1, image2))
        return [estimator_of(self, FlowSettings(flow="dis"), device=image1.device).flow(first, second)]


def estimator_of(
    network: FastRaft | DisNetwork,
    settings: FlowSettings,
    *,
    device: torch.device,
    memory: float | None = None,
) -> FlowEstimator:
    """Make an estimator from a network.

    A change of exposure is taken out first, see `match_exposure`. Areas without texture get the motion of the
    camera, see `steady_flat_areas`.

    Args:
        network: already on the device.
        settings: settings of the estimate; `flow` and `flow_file`, which choose a network, have no effect.
        device: the device that the network computes on; DIS always takes the CPU.
        memory: bytes that it may share with others there; by default those that are free.

    Raises:
        SettingsError: a setting is out of range.
    """
    validate(settings)
    scale, batch = settings.flow_scale, settings.flow_batch
    if isinstance(network, DisNetwork):
        return FlowEstimator(_steadied(dis_flow), torch.device("cpu"), DIS_SMALLEST_SIDE, 1, scale, batch)

    share = (free_memory(device) if memory is None else memory) / SHARE
    # With less memory a CPU computes the same flow in blocks. Elsewhere the scale is lowered.
    network.volumes = min(VOLUMES, share)
    pair_memory = PAIR_MEMORY if device.type == "cpu" else min(PAIR_MEMORY, share)

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        flow: Tensor = network(first * 2 - 1, second * 2 - 1, updates=settings.flow_updates, both=both)
        return flow

    return FlowEstimator(_steadied(estimate), device, SMALLEST_SIDE, STRIDE, scale, batch, pair_memory)


def _steadied(estimate: Estimate) -> Estimate:
    """Wrap an estimate: a change of exposure is not motion, and areas without texture move with the camera."""

    def steadied(first: Tensor, second: Tensor, both: bool) -> Tensor:
        second = match_exposure(second, first)
        return steady_flat_areas(estimate(first, second, both), first, second)

    return steadied


def resolve_flow(settings: FlowSettings, *, folders: Sequence[Path] = ()) -> FlowName:
    """Resolve "auto" to the name of an estimator, with a `Notice` unless it is the preferred one.

    Args:
        settings: name and file of the estimator.
        folders: searched for weights first.

    Raises:
        SettingsError: there is no such estimator, or a folder does not exist.
    """
    validate(settings)
    if settings.flow != "auto":
        return settings.flow
    return resolve_auto(
        PREFERRED_FLOW,
        "dis",
        source=SOURCES[PREFERRED_FLOW],
        file=settings.flow_file,
        folders=folders,
        notice=f"estimating flow with DIS; `flow` {PREFERRED_FLOW} downloads a finer estimator",
    )


def load_flow(
    settings: FlowSettings,
    *,
    device: torch.device,
    dtype: torch.dtype,
    folders: Sequence[Path] = (),
    progress: Progress | None = None,
) -> FlowEstimator:
    """Load the estimator that the settings name; weights are found or downloaded.

    Args:
        settings: name, file and settings of the estimator.
        device: the device to compute on; DIS always takes the CPU.
        dtype: of RAFT's convolutions.
        folders: searched for RAFT's weights first.
        progress: called during a download.

    Raises:
        SettingsError: a setting is out of range, or a folder does not exist.
        WeightsError: weights are missing or wrong.
    """
    name = resolve_flow(settings, folders=folders)
    if name == "dis":
        if settings.flow_file is not None:
            warnings.warn(f"`flow` dis has no weights: {settings.flow_file} is not used", stacklevel=2)
        return estimator_of(DisNetwork(), settings, device=device)
    path = locate(
        SOURCES[name],
        name=name,
        file=settings.flow_file,
        folders=folders,
        progress=progress,
    )
    network = FastRaft(load_raft(name, path), dtype=dtype).to(device)
    return estimator_of(network, settings, device=device)
