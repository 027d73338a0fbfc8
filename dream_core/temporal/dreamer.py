"""Frame -> dreamed frame: the feedback that lets a dream stick to what moves."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor

from ..checks import check_choice, check_number
from ..dreaming.dream import DreamCallback, check_dream, dream
from ..dreaming.objectives import Objective
from ..errors import ImageError, SettingsError
from ..image import require_image, zoom
from ..models.dream_model import DreamModel
from ..motion.flow import FlowEstimator
from ..motion.occlusion import check_reliability, reliability_mask
from ..motion.scene_cuts import is_cut
from ..motion.warp import WARP_MODES, warp
from ..settings import (
    DreamCarry,
    DreamSettings,
    ReliabilitySettings,
    TemporalSettings,
)
from .blend import add_residual, blend_frames
from .step_budget import StepBudget, renewal

MOST_REFERENCES = 6
"""The earliest of so many is 32 frames back; all of them are kept."""


@dataclass(frozen=True)
class Carried:
    """What came over from the frame before.

    Args:
        flow: (1,2,H,W), backward, in pixels.
        reliable: (1,1,H,W), 1 = trust.
        warped: (1,3,H,W), the previous dream moved to where its things are now.
        warped_frame: (1,3,H,W), the previous frame moved alike; None where the image is carried.
        maturity: (1,1,H,W), that of the previous dream, moved alike.
    """

    flow: Tensor
    reliability: Tensor
    warped: Tensor
    warped_frame: Tensor | None
    age: Tensor

    def or_else(self, earlier: Carried) -> Carried:
        """This, and where it is not to be trusted, what came over from an earlier frame.

        Each pixel takes from the nearest reference that is reliable there (Ruder et al. 2016, section 4.3): the
        earlier one's weight is what it has of trust beyond this one's.
        """
        added = (earlier.reliability - self.reliability).clamp_min(0)
        share = added / (self.reliability + added).clamp_min(torch.finfo(added.dtype).tiny)
        frame = self.warped_frame
        if frame is not None and earlier.warped_frame is not None:
            frame = torch.lerp(frame, earlier.warped_frame, share)
        return Carried(
            self.flow,
            self.reliability + added,
            torch.lerp(self.warped, earlier.warped, share),
            frame,
            torch.lerp(self.age, earlier.age, share),
        )


@dataclass(frozen=True)
class DreamedFrame:
    """One step of the loop.

    Args:
        frame: (1,3,H,W), as it came.
        dream: (1,3,H,W) in 0..1.
        carried: what came over from the frame before; None for the first frame, at a cut and without feedback.
        maturity: (1,1,H,W) in 0..1, how far the dream has grown: 1 where it took a first frame's steps.
    """

    frame: Tensor
    dream: Tensor
    carried: Carried | None
    age: Tensor


class TemporalDreamer:
    """The state machine of the feedback. It holds one frame and one dream, however long the clip; with further
    references, as many as the earliest of them is frames back.

    Args:
        models: the network, once per device.
        flow: estimates motion; None is allowed when `temporal.independent` is on.
        settings: how each frame is dreamed.
        temporal: how the dream is carried.
        occlusion: what of it is trusted.
        objective: what to make more of; by default what `settings.objective` says.

    Raises:
        SettingsError: a setting is out of range or does not fit another, or the feedback lacks its flow.
    """

    def __init__(
        self,
        models: Sequence[DreamModel],
        flow: FlowEstimator | None,
        *,
        settings: DreamSettings,
        temporal: TemporalSettings,
        occlusion: ReliabilitySettings,
        objective: Objective | None = None,
    ) -> None:
        check_dream(settings, devices=len(models))
        check_choice("--carry", temporal.carry, get_args(DreamCarry))
        check_choice("--warp", temporal.warp, WARP_MODES)
        check_number("--carried-steps", temporal.carried_steps, least=0)
        check_number("--catch-up", temporal.catch_up, least=1)
        check_number("--seamless-frames", temporal.seamless_frames, least=1)
        check_number("--references", temporal.references, least=1, most=MOST_REFERENCES)
        if not 0 <= temporal.blend <= 1:
            raise SettingsError(
                f"expected --blend from 0 (the dream) to 1 (the frame), got {temporal.blend:g}"
            )
        if flow is None and not temporal.independent:
            raise SettingsError(
                "expected a flow estimator for the feedback, got None; give one, or dream independently"
            )
        check_reliability(occlusion)
        self.models = models
        self.flow = flow
        self.settings = settings
        self.temporal = temporal
        self.occlusion = occlusion
        self.objective = objective
        # The latest comes last.
        self._past: deque[DreamedFrame] = deque(maxlen=2 ** (temporal.references - 1))
        self._direction = 1

    def reset(self) -> None:
        """Forget the frame before, as at a cut: the next frame is dreamed from itself."""
        self._past.clear()

    def backwards_from(self, dreamed: DreamedFrame) -> TemporalDreamer:
        """A dreamer like this one for frames in reversed time, which goes on from a dreamed frame.

        Its zoom moves the other way. This one's state stays as it is.
        """
        other = TemporalDreamer(
            self.models,
            self.flow,
            settings=self.settings,
            temporal=self.temporal,
            occlusion=self.occlusion,
            objective=self.objective,
        )
        other._past.append(replace(dreamed, carried=None))
        other._direction = -self._direction
        return other

    def step(self, frame: Tensor, *, on_step: DreamCallback | None = None) -> DreamedFrame:
        """Dream the next frame of the clip.

        Args:
            frame: (1,3,H,W) RGB in 0..1, of the same size as the one before.
            on_step: told about every gradient step.

        Raises:
            ImageError: the frame is no such image. The state is then as before.
        """
        require_image(frame)
        # A copy: the caller may use its buffer again, and a view would keep its whole clip in memory.
        frame = frame.detach().to(self.models[0].device, torch.float32, copy=True)
        carried = self._carry(frame)
        start = frame if carried is None else self._start(frame, carried)
        due = self._due(carried, frame)
        dreamed = dream(
            start.clamp(0, 1),
            self.models,
            settings=self._settings(due, carries=carried is not None),
            objective=self.objective,
            colors=frame,
            step_scale=due.step_scale,
            on_step=on_step,
        )
        result = DreamedFrame(frame, dreamed, carried, due.age)
        if self._past and carried is None:
            self.reset()
        if not self.temporal.independent:
            self._past.append(replace(result, carried=None))
        return result

    def _carry(self, frame: Tensor) -> Carried | None:
        """What comes over from the frames before; None where there is none, and at a cut."""
        if not self._past:
            return None
        carried = self._carry_from(1, frame)
        distance = 2
        while carried and distance <= len(self._past):
            earlier = self._carry_from(distance, frame)
            carried = carried.or_else(earlier) if earlier else carried
            distance *= 2
        return carried

    def _carry_from(self, distance: int, frame: Tensor) -> Carried | None:
        """What comes over from so many frames before; None at a cut."""
        previous = self._past[-distance]
        if frame.shape != previous.frame.shape:
            raise ImageError(
                f"expected a frame of the clip's size {tuple(previous.frame.shape)}, got {tuple(frame.shape)}; "
                "resize it, or reset() to begin a new clip"
            )
        backward, forward = self._flows(frame, previous.frame)
        if self.temporal.cuts and is_cut(frame, previous.frame, backward):
            return None
        reliability = reliability_mask(
            backward, forward, frame=frame, previous=previous.frame, settings=self.occlusion
        )
        residual = self.temporal.carry == "residual"
        return Carried(
            backward,
            reliability,
            self._moved(previous.dream, backward, frames=distance),
            self._moved(previous.frame, backward, frames=distance) if residual else None,
            self._moved(previous.age, backward, frames=distance),
        )

    def _moved(self, image: Tensor, backward: Tensor, *, frames: int) -> Tensor:
        amount = self._direction * self.settings.image.zoom
        for _ in range(frames):
            image = zoom(image, amount, self.settings.image.zoom_mode)
        return warp(image, backward, mode=self.temporal.warp).clamp(0, 1)

    def _start(self, frame: Tensor, carried: Carried) -> Tensor:
        """What is dreamed on."""
        parts, blend = (frame, carried.warped, carried.reliability), self.temporal.blend
        if carried.warped_frame is None:
            return blend_frames(*parts, blend=blend)
        return add_residual(*parts, carried.warped_frame, blend=blend)

    def _due(self, carried: Carried | None, frame: Tensor) -> StepBudget:
        """What is to be dreamed anew."""
        octave, grown = self.settings.octave, torch.ones_like(frame[:, :1])
        if carried is None:
            return StepBudget(octave.octave_steps, 1.0, None, grown)
        if self.temporal.carried_steps:
            return StepBudget(self.temporal.carried_steps, 1.0, None, grown)
        return renewal(
            carried.reliability,
            carried.age,
            blend=self.temporal.blend,
            all_steps=octave.octave_steps,
            catch_up=self.temporal.catch_up,
        )

    def _settings(self, due: StepBudget, *, carries: bool) -> DreamSettings:
        if not carries:
            return self.settings
        octave, ascent, image = self.settings.octave, self.settings.ascent, self.settings.image
        # A dream begun from noise goes on from itself.
        return replace(
            self.settings,
            octave=replace(octave, octave_steps=due.steps),
            ascent=replace(ascent, learning_rate=due.rate * ascent.learning_rate),
            image=replace(image, init="image"),
        )

    def _flows(self, frame: Tensor, previous: Tensor) -> tuple[Tensor, Tensor | None]:
        assert self.flow is not None  # or nothing would be carried
        if self.occlusion.check_consistency:
            return self.flow.both_ways(frame, previous)
        return self.flow.flow(frame, previous), None
