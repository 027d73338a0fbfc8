"""The motion between a frame and the earlier ones: all of the feedback for which no dream is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from ..image import size_of
from ..settings import ReliabilitySettings
from ..video.clip import FrameFlow
from .flow import FlowEstimator
from .occlusion import reliability_mask
from .scene_cuts import is_cut, structure
from .warp import warp

FAR_SCALE = 0.35
"""Factor of the size at which flow to frames before the last one is estimated: they fill in a few places only."""


class Motion(NamedTuple):
    """The motion between a frame and an earlier one.

    Args:
        flow: (1,2,H,W), backward, in pixels.
        reliability: (1,1,H,W), 1 = trust.
    """

    flow: Tensor
    reliability: Tensor


class Motions(NamedTuple):
    """The motion between a frame and those before it.

    Args:
        each: to the frame before, and to those 2, 4, 8, ... frames back.
        structure: of `scene_cuts.structure` with the frame before; None if cuts do not count.
        cut: whether a cut lies between the frame and the one before; None if it was not asked yet.
    """

    each: Sequence[Motion]
    structure: Tensor | None = None
    cut: bool | None = None


class MotionFinder(NamedTuple):
    """Finds the motion between frames.

    Args:
        flow: estimates it.
        reliability: settings that choose the pixels to trust.
        cuts: whether cuts count.
    """

    flow: FlowEstimator
    reliability: ReliabilitySettings
    cuts: bool

    def __call__(
        self,
        frame: Tensor,
        past: Sequence[Tensor],
        *,
        pan: Tensor | None = None,
        known: FrameFlow | None = None,
    ) -> Motions:
        """Find the motion between a frame and those before it, without reading a value on the CPU.

        Args:
            frame: (1,3,H,W) RGB in 0..1.
            past: the frames before it, (1,3,H,W), the latest last.
            pan: (1,2,1,1), the motion of the whole image since the frame before in pixels, if it is known. There is
                then no cut.
            known: the flow to the frame before, which is then not estimated. Without its forward flow the check of
                consistency is left out.
        """
        flows = known or self._flows(frame, past[-1], near=True, pan=pan)
        each = [self._motion(frame, past[-1], flows)]
        distance = 2
        while distance <= len(past):
            flows = self._flows(frame, past[-distance], near=False, pan=None)
            each.append(self._motion(frame, past[-distance], flows))
            distance *= 2
        if not self.cuts or pan is not None:
            return Motions(each, cut=False)
        return Motions(each, structure(frame, past[-1], each[0].flow))

    def is_cut(
        self, motions: Motions, frame: Tensor, previous: Tensor, *, found: Sequence[float] | None = None
    ) -> bool:
        """Return whether there is a cut; on a GPU, the program waits unless that is known.

        Args:
            motions: of `__call__`.
            frame, previous: the frame and the one before it.
            found: the numbers of `motions.structure`, if they were read already.
        """
        if motions.cut is not None:
            return motions.cut
        assert motions.structure is not None
        found = motions.structure.tolist() if found is None else found
        return is_cut(frame, previous, motions.each[0].flow, found=found)

    def _motion(self, frame: Tensor, previous: Tensor, flows: FrameFlow) -> Motion:
        consistency = self.reliability.check_consistency and flows.forward is not None
        reliability = reliability_mask(
            flows.backward,
            flows.forward,
            frame=frame,
            previous=previous,
            settings=replace(self.reliability, check_consistency=consistency),
            known=flows.reliability,
        )
        return Motion(flows.backward, reliability)

    def _flows(self, frame: Tensor, previous: Tensor, *, near: bool, pan: Tensor | None) -> FrameFlow:
        """Estimate the flow to an earlier frame and, if it is needed, back."""
        flow = self.flow if near else replace(self.flow, scale=FAR_SCALE * self.flow.scale)
        whole = None if pan is None else pan.expand(1, 2, *size_of(frame))
        start = previous if whole is None else warp(previous, whole, mode="bilinear")
        if not self.reliability.check_consistency:
            backward, forward = flow.flow(frame, start), None
        else:
            backward, forward = flow.both_ways(frame, start)
        if whole is None:
            return FrameFlow(backward, forward)
        returned = None if forward is None else warp(forward, -whole, mode="bilinear") - whole
        return FrameFlow(backward + whole, returned)
