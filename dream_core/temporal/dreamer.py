"""Dreams of a clip: the feedback that carries the dream along with the motion."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..beside import Pending, Worker
from ..checks import validate
from ..device import is_out_of_memory, send
from ..dreaming.dream import DreamCallback, ImageDreamer, require_finite
from ..dreaming.guide import Guides, find_matches, with_carried
from ..dreaming.masks import prepare_mask, within_reach
from ..dreaming.memory import IMAGE, MARGIN
from ..dreaming.objectives import Objective
from ..dreaming.step_plan import cell_means
from ..errors import ImageError, SettingsError
from ..image import Size, require_image, require_mask, size_of, zoom
from ..models.dream_model import DreamModel
from ..motion.finder import Motion, MotionFinder, Motions
from ..motion.flow import FlowEstimator
from ..motion.scene_cuts import find_pan
from ..motion.warp import require_flow, warp
from ..schedules.schedules import Moment
from ..settings import DreamSettings, ReliabilitySettings, TemporalSettings
from ..video.clip import FrameFlow
from .blend import add_residual, blend_frames, share_to_renew
from .scheduled import FrameSettings, Scheduled

FLASH = 4
"""Number of frames after a cut in which it may turn out to be a flash."""

CARRYING = 19
"""Measured size of what is held while a frame that carries a dream is dreamed, besides its steps, in images."""

AHEAD = 8
"""Size in images of the next frame, its motion, and the dreams that wait to be written."""


@dataclass(frozen=True, kw_only=True)
class Carried:
    """An earlier frame and its dream, moved to the current frame.

    Args:
        flow: (1,2,H,W), backward, in pixels.
        reliability: (1,1,H,W), 1 = trust.
        warped: (1,3,H,W), the earlier dream.
        warped_frame: (1,3,H,W), the earlier frame; None where whole images are carried.
        kept: (1,1,H,W), share of it that masks, or a strength that changes, let the frame have; None without.
        present: (1,1,H,W), share of what they let the frame have that was dreamed before.
        matches: (1,K,H,W), see `find_matches`; -1 where the dream is not to be trusted.
    """

    flow: Tensor
    reliability: Tensor
    warped: Tensor
    warped_frame: Tensor | None
    kept: Tensor | None = None
    present: Tensor | None = None
    matches: Tensor | None = None

    def fill_from(self, earlier: Carried) -> Carried:
        """Fill in the dream of an earlier frame where this one is not reliable.

        Each pixel takes the nearest reference that is reliable there (Ruder et al. 2016, section 4.3): the
        weight of the earlier frame is the reliability that it has in excess of this one's.
        """
        added = (earlier.reliability - self.reliability).clamp_min(0)
        share = added / (self.reliability + added).clamp_min(torch.finfo(added.dtype).tiny)
        frame = self.warped_frame
        if frame is not None and earlier.warped_frame is not None:
            frame = torch.lerp(frame, earlier.warped_frame, share)
        return Carried(
            flow=self.flow,
            reliability=self.reliability + added,
            warped=torch.lerp(self.warped, earlier.warped, share),
            warped_frame=frame,
            matches=self.matches,
        )


@dataclass(frozen=True, kw_only=True)
class DreamedFrame:
    """A frame and its dream.

    Args:
        frame: (1,3,H,W), not clamped.
        dream: (1,3,H,W) in 0..1, or NaN everywhere on a GPU if it was not finite: `read` tells.
        carried: from the frame before; None for the first frame, after a cut and without feedback.
        number: of the frame, counted by the dreamer.
        mask: (1,1,H,W), of the dream; None without one.
        strength: (1,1,1,1), see `Scheduled.strength`; None where no schedule changes it.
        matches: (1,K,H,W), see `find_matches`; None without a guide.
    """

    frame: Tensor
    dream: Tensor
    carried: Carried | None
    number: int = 0
    mask: Tensor | None = None
    strength: Tensor | None = None
    matches: Tensor | None = None

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What another frame can continue, by name."""
        names = ("frame", "dream", "mask", "strength", "matches")
        named = {name: getattr(self, name) for name in names}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def read(self) -> Tensor:
        """Copy the dream to the CPU: (1,3,H,W). The program waits for a GPU.

        Raises:
            SettingsError: the dream is not finite.
        """
        dream = self.dream.cpu()
        require_finite(dream)
        return dream

    def to(self, device: torch.device) -> DreamedFrame:
        """Return what another frame can continue, on a device: without what was carried here."""
        tensors = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        return DreamedFrame(**tensors, carried=None, number=self.number)


@dataclass(frozen=True, kw_only=True)
class DreamerState:
    """All that a dreamer carries from one frame to the next.

    Args:
        past: the earlier frames and their dreams, the latest last.
        before_cut: those before the last cut, if it may still turn out to be a flash.
        since_cut: frames since then.
        count: frames dreamed so far.
        tile_size: of the dreams; smaller than the settings' after memory ran out.
        flow_limits: `batch` and `pair_memory` of the flow estimator, likewise; None without one.
    """

    past: tuple[DreamedFrame, ...]
    before_cut: tuple[DreamedFrame, ...] | None
    since_cut: int
    count: int
    tile_size: int
    flow_limits: tuple[int, float] | None

    def to(self, device: torch.device) -> DreamerState:
        """Return the same, with all frames and dreams on a device."""
        before = self.before_cut
        return replace(
            self,
            past=tuple(one.to(device) for one in self.past),
            before_cut=None if before is None else tuple(one.to(device) for one in before),
        )


class Start(NamedTuple):
    """What a frame continues.

    Args:
        past: the earlier frames; none at a start and after a cut.
        carried: their dreams, moved to the frame; None with an empty past.
        renewal: (1,1,H,W), share of all steps that is due; None where another setting says it.
        means: `cell_means` of the renewal, on the CPU.
    """

    past: deque[DreamedFrame]
    carried: Carried | None = None
    renewal: Tensor | None = None
    means: np.ndarray | None = None


class Ahead(NamedTuple):
    """The motion of the next frame, which is found while a frame is dreamed.

    Args:
        given: the next frame as it was announced.
        frame: the same on the device.
        past: the frames before it, the latest last.
        motions: as they are found.
    """

    given: Tensor
    frame: Tensor
    past: Sequence[Tensor]
    motions: Pending[Motions]


class TemporalDreamer:
    """Dreams a clip frame by frame; each frame continues the dream of the one before.

    It keeps one frame and its dream in memory, or with more `references` all frames back to the oldest of them.

    Args:
        dream: dreams a single image; its settings hold for frames that continue no dream, see `settings`.
        flow: estimates motion; None is allowed when `temporal.independent` is on.
        temporal: settings of the feedback.
        reliability: settings that choose the pixels to trust.
        scheduled: what of all these changes along the clip.
        beside: finds the motion of the next frame while a frame is dreamed; by default it is found in turn.

    Raises:
        SettingsError: a setting is out of range, or there is no flow estimator for the feedback.
    """

    def __init__(
        self,
        dream: ImageDreamer,
        flow: FlowEstimator | None,
        *,
        temporal: TemporalSettings,
        reliability: ReliabilitySettings,
        scheduled: Scheduled | None = None,
        beside: Worker | None = None,
    ) -> None:
        validate(temporal)
        validate(reliability)
        if flow is None and not temporal.independent:
            raise SettingsError(
                "expected a flow estimator for the feedback, got None; pass one, or set `independent`"
            )
        self.dream = dream
        self.flow = flow
        self.temporal = temporal
        self.reliability = reliability
        self.scheduled = scheduled or Scheduled()
        self.scheduled.schedules.check(dream.settings, temporal, reliability)
        self.beside = beside
        self._guides = Guides()
        self._ahead: Ahead | None = None
        # Those of the frame that is being dreamed.
        self._now = self._settings_at(Moment(0, 0.0))
        # The latest frame comes last.
        self._past: deque[DreamedFrame] = deque(maxlen=2 ** (temporal.references - 1))
        # What came before the last cut, which may be a flash; and the frames since.
        self._before_cut: deque[DreamedFrame] | None = None
        self._since_cut = 0
        self._count = 0
        self._direction = 1

    @property
    def settings(self) -> DreamSettings:
        """Settings of frames that continue no dream: the first, each after a cut, and all with `independent`.

        Those of the other frames are derived from them, and so are those that schedules change.
        """
        return self.dream.settings

    @property
    def model(self) -> DreamModel:
        """The network that dreams, on the first of its devices."""
        return self.dream.models[0]

    @property
    def looks_ahead(self) -> bool:
        """Whether `step` makes use of the next frame."""
        return self.beside is not None and not self.temporal.independent

    def fit(self, size: Size, *, beside: float = 0.0, ahead: int = 0, goes_on: bool = False) -> None:
        """Choose tiles for which there is memory, before the first frame; see `ImageDreamer.fit`.

        Where there is too little to work beside the dream, all goes in turn: the result is the same.

        Args:
            size: of the frames to come, height and width.
            beside: bytes that others will take.
            ahead: number of frames that will be held with their dreams; `seamless` adds its own.
            goes_on: keep the tiles of an earlier run even where memory is now a little tighter.

        Raises:
            OutOfMemoryError: there is too little even for the smallest tiles.
        """
        kept = self._past.maxlen or 1
        images = 0 if self.temporal.independent else CARRYING + 2 * (kept - 1)
        if self.temporal.seamless:
            ahead = max(ahead, self.temporal.seamless_frames)
        images += 2 * ahead
        image = IMAGE * size[0] * size[1]
        beside += images * image
        if self.beside and self.flow:
            motion = AHEAD * image + self.flow.memory(size, both=self.reliability.check_consistency)
            if not self.dream.fits(size, beside=beside + motion):
                self.beside = None
        self.dream.fit(size, beside=beside, margin=1.0 if goes_on else MARGIN)

    def reset(self) -> None:
        """Forget the earlier frames."""
        self._past.clear()
        self._before_cut = None
        self._ahead = None

    @property
    def state(self) -> DreamerState:
        """What another dreamer of the same networks and settings needs to go on; set it to go on from it."""
        return DreamerState(
            past=tuple(self._past),
            before_cut=None if self._before_cut is None else tuple(self._before_cut),
            since_cut=self._since_cut,
            count=self._count,
            tile_size=self.settings.tile.tile_size,
            flow_limits=(self.flow.batch, self.flow.pair_memory) if self.flow else None,
        )

    @state.setter
    def state(self, state: DreamerState) -> None:
        most = self._past.maxlen
        self._ahead = None
        self._past = deque(state.past, maxlen=most)
        self._before_cut = None if state.before_cut is None else deque(state.before_cut, maxlen=most)
        self._since_cut, self._count = state.since_cut, state.count
        tile = replace(self.settings.tile, tile_size=state.tile_size)
        self.dream.settings = replace(self.settings, tile=tile)
        if self.flow and state.flow_limits:
            batch, pair_memory = state.flow_limits
            self.flow = replace(self.flow, batch=batch, pair_memory=pair_memory)

    def go_on_from(self, earlier: DreamerState) -> None:
        """Continue the dream of an earlier clip, with the settings and the tiles of this dreamer.

        Args:
            earlier: state of a dreamer at the end of that clip, of frames of the same size, on any device.
        """
        now = self.state
        self.state = replace(
            earlier.to(self.dream.device), tile_size=now.tile_size, flow_limits=now.flow_limits
        )

    def afresh(self) -> TemporalDreamer:
        """Make a dreamer of the same networks and settings, without earlier frames. This one is unchanged."""
        other = TemporalDreamer(
            self.dream,
            self.flow,
            temporal=self.temporal,
            reliability=self.reliability,
            scheduled=self.scheduled,
            beside=self.beside,
        )
        other._direction = self._direction
        other._guides = self._guides
        return other

    def backwards_from(self, dreamed: DreamedFrame) -> TemporalDreamer:
        """Make a dreamer that continues from a dreamed frame in reversed time.

        Its zoom is inverted. The state of this dreamer is unchanged.
        """
        other = self.afresh()
        other._past.append(replace(dreamed, carried=None))
        other._direction = -self._direction
        return other

    def step(
        self,
        frame: Tensor,
        *,
        moment: Moment | None = None,
        mask: Tensor | None = None,
        regions: Mapping[str, Tensor] | None = None,
        guides: Sequence[Tensor] = (),
        flow: FrameFlow | None = None,
        following: Tensor | None = None,
        following_moment: Moment | None = None,
        following_flow: FrameFlow | None = None,
        on_step: DreamCallback | None = None,
    ) -> DreamedFrame:
        """Dream the next frame of the clip.

        Args:
            frame: (1,3,H,W) RGB in 0..1, of the same size as the one before.
            moment: of the frame in the clip, for schedules; by default its number among the frames dreamed.
            mask: (1,1,H,W) in 0..1, where to dream, see `ImageDreamer.__call__`; before `settings.mask`, which is
                applied here. What leaves it is no longer carried.
            regions: (1,1,H,W) in 0..1 each, where terms of the objective act, see `Objective.in_regions`.
            guides: (1,3,h,w) RGB in 0..1 each, for the objective, see `Guides`. They must not change later.
            flow: to the frame before; by default it is estimated. Where it is given, it is believed: the check of
                consistency needs its forward flow, and a fast pan is not searched for.
            following: the frame after it, if it is known and to be dreamed next: where `looks_ahead`, its motion
                is found meanwhile. It must not change before its own step.
            following_moment, following_flow: those of `following`, likewise.
            on_step: called after every gradient step.

        Raises:
            ImageError: the frame or its flow has the wrong shape, dtype or values; the state is unchanged.
            OutOfMemoryError: there is too little memory for flow or for the smallest tiles; the state is
                unchanged.
            SettingsError: a schedule is in seconds, and the moment is not known.
        """
        moment = moment or Moment(self._count)
        self._now = self._settings_at(moment)
        ahead, self._ahead = self._ahead, None
        if ahead and ahead.given.is_set_to(frame):
            frame = ahead.frame
        else:
            ahead, frame = None, self._sent(frame)
        mask = None if mask is None else self._prepared(mask, frame)
        objective = self._goal(frame, regions or {}, guides)
        mask = within_reach(mask, objective, self._now.dream.mask)
        start = self._carry_with_memory(frame, mask, ahead, self._sent_flow(flow, frame))
        if following is not None and self.looks_ahead:
            for model in self.dream.models:
                model.trace(objective.layers)
            then = self._settings_at(following_moment or Moment(moment.frame + 1))
            past = [*_frames(start.past), frame]
            self._ahead = self._look_ahead(following, past, then, following_flow)
        carried = start.carried
        if carried is not None:
            objective = with_carried(objective, carried.matches)
        dreamed = self.dream(
            frame.clamp(0, 1) if carried is None else self._start(frame, carried),
            settings=self._now.dream if carried is None else self._carried_settings(),
            objective=objective,
            colors=frame,
            renewal=start.renewal,
            mask=mask,
            means=start.means,
            wait=False,
            on_step=on_step,
        )
        result = DreamedFrame(
            frame=frame,
            dream=dreamed,
            carried=carried,
            number=self._count,
            mask=mask,
            strength=self._strength(),
            matches=None if self.temporal.independent else find_matches(dreamed, objective, self.model),
        )
        self._count += 1
        if not self.temporal.independent:
            self._remember(result, start.past)
        return result

    def _goal(self, frame: Tensor, regions: Mapping[str, Tensor], guides: Sequence[Tensor]) -> Objective:
        """Return the objective of a frame, with its regions and guides."""
        objective = self._now.objective or self.dream.objective
        objective = self._guides(guides, objective, self.model)
        for name, region in regions.items():
            require_mask(region, like=frame, name=f"region {name}")
        return objective.in_regions(
            {name: send(one.detach().float(), self.dream.device) for name, one in regions.items()}
        )

    def _settings_at(self, moment: Moment) -> FrameSettings:
        plain = FrameSettings(dream=self.settings, temporal=self.temporal, reliability=self.reliability)
        return self.scheduled.at(moment, plain)

    def _strength(self) -> Tensor | None:
        strength = self.scheduled.strength(self._now)
        return None if strength is None else torch.full((1, 1, 1, 1), strength, device=self.dream.device)

    def _sent(self, frame: Tensor) -> Tensor:
        require_image(frame, name="frame", batch=1)
        # A copy: the caller may reuse its buffer, and a view would keep its whole clip in memory.
        return send(frame.detach().float(), self.dream.device)

    def _sent_flow(self, flow: FrameFlow | None, frame: Tensor) -> FrameFlow | None:
        if flow is None or self.temporal.independent:
            return None
        for name, one in (("flow", flow.backward), ("forward flow", flow.forward)):
            if one is not None:
                require_flow(one, like=frame, name=name)
        return flow.to(frame.device)

    def _prepared(self, mask: Tensor, frame: Tensor) -> Tensor:
        require_mask(mask, like=frame)
        return send(prepare_mask(mask.detach().float(), self._now.dream.mask), self.dream.device)

    def _look_ahead(
        self,
        following: Tensor,
        past: Sequence[Tensor],
        settings: FrameSettings,
        flow: FrameFlow | None,
    ) -> Ahead | None:
        """Begin to find the motion of the next frame; None if its own step will refuse it."""
        past = past[-(self._past.maxlen or 0) :]
        try:
            frame = self._sent(following)
            self._require_size(frame, past)
            known = self._sent_flow(flow, frame)
        except ImageError:
            return None
        motions = self._begin_motions(self._finder(settings), frame, past, known=known)
        return Ahead(following, frame, past, motions)

    def _begin_motions(
        self,
        find: MotionFinder,
        frame: Tensor,
        past: Sequence[Tensor],
        *,
        pan: Tensor | None = None,
        known: FrameFlow | None = None,
    ) -> Pending[Motions]:
        assert self.beside

        def motions() -> Motions:
            found = find(frame, past, pan=pan, known=known)
            return found._replace(cut=find.is_cut(found, frame, past[-1]))

        return self.beside.begin(motions)

    def _remember(self, dreamed: DreamedFrame, past: deque[DreamedFrame]) -> None:
        """Keep a dream for the next frame; `past` are those that it continues, none after a cut."""
        self._since_cut += 1
        if self._past and not past:
            # A second cut within a flash leaves what was before the first.
            if self._before_cut is None or self._since_cut >= FLASH:
                self._before_cut, self._since_cut = self._past, 0
        elif past is not self._past or self._since_cut >= FLASH:
            self._before_cut = None
        self._past = past
        self._past.append(replace(dreamed, carried=None))

    def _carry_with_memory(
        self, frame: Tensor, mask: Tensor | None, ahead: Ahead | None, known: FrameFlow | None
    ) -> Start:
        """Carry the earlier dreams over; where memory runs out, free what nothing uses, then shrink the flow."""
        freed = False
        while True:
            try:
                return self._carry(frame, mask, ahead, known)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                problem = str(error).partition("\n")[0]
            ahead = None
            # Only here are the error and its traceback gone, which held the tensors of the attempt.
            self.dream.free()
            if freed and self.flow:
                both = self.reliability.check_consistency
                self.flow = self.flow.in_less_memory(size_of(frame), both=both, problem=problem)
            freed = True

    def _carry(
        self,
        frame: Tensor,
        mask: Tensor | None = None,
        ahead: Ahead | None = None,
        known: FrameFlow | None = None,
    ) -> Start:
        """Carry the earlier dreams over to a frame. After a flash it continues what was there before that."""
        for past, flow in ((self._past, known), (self._before_cut, None)):
            start = self._carry_past(past, frame, mask=mask, ahead=ahead, known=flow) if past else None
            if start:
                return start
        return Start(deque(maxlen=self._past.maxlen))

    def _carry_past(
        self,
        past: deque[DreamedFrame],
        frame: Tensor,
        *,
        mask: Tensor | None,
        ahead: Ahead | None = None,
        pan: Tensor | None = None,
        known: FrameFlow | None = None,
    ) -> Start | None:
        """Carry dreams over to a frame; None after a cut.

        Whether there is one and how many steps are due is read at once, because the program waits for a GPU there.
        """
        previous = past[-1].frame
        motions = self._motions(frame, _frames(past), ahead, pan, known)
        carried = self._carry_from(past, 1, motions.each[0])
        for number, motion in enumerate(motions.each[1:], start=1):
            carried = carried.fill_from(self._carry_from(past, 2**number, motion))
        carried = self._changed(carried, past[-1], mask)
        renewal = self._renewal(frame, carried)
        asked = {}
        if motions.cut is None and motions.structure is not None:
            asked["structure"] = motions.structure
        if renewal is not None and mask is None and not motions.cut:
            asked["means"] = cell_means(renewal)
        read = _read(asked)
        found = read["structure"].tolist() if "structure" in read else None
        if self._finder(self._now).is_cut(motions, frame, previous, found=found):
            pan = None if known else find_pan(frame, previous)
            return None if pan is None else self._carry_past(past, frame, mask=mask, pan=pan)
        return Start(past, carried, renewal, read.get("means"))

    def _finder(self, settings: FrameSettings) -> MotionFinder:
        assert self.flow is not None  # __init__ requires it
        return MotionFinder(self.flow, settings.reliability, settings.temporal.cuts)

    def _motions(
        self,
        frame: Tensor,
        past: Sequence[Tensor],
        ahead: Ahead | None,
        pan: Tensor | None,
        known: FrameFlow | None,
    ) -> Motions:
        """Find the motion from a frame to those before it, unless it was found ahead.

        `pan` and `known`: see `MotionFinder`.
        """
        self._require_size(frame, past)
        if ahead and len(ahead.past) == len(past) and all(map(operator.is_, ahead.past, past)):
            return ahead.motions.result()
        find = self._finder(self._now)
        if self.beside:
            return self._begin_motions(find, frame, past, pan=pan, known=known).result()
        return find(frame, past, pan=pan, known=known)

    @staticmethod
    def _require_size(frame: Tensor, past: Sequence[Tensor]) -> None:
        if frame.shape != past[-1].shape:
            raise ImageError(
                f"expected a frame of the clip's size {tuple(past[-1].shape)}, got {tuple(frame.shape)}; "
                "resize it, or reset() to begin a new clip"
            )

    def _carry_from(self, past: deque[DreamedFrame], distance: int, motion: Motion) -> Carried:
        """Carry over the dream of the frame that is `distance` frames back."""
        previous = past[-distance]
        keeps_frame = self.temporal.carry == "residual"
        return Carried(
            flow=motion.flow,
            reliability=motion.reliability,
            warped=self._move(previous.dream, motion.flow, frames=distance),
            warped_frame=self._move(previous.frame, motion.flow, frames=distance) if keeps_frame else None,
            matches=self._moved_matches(previous, motion) if distance == 1 else None,
        )

    def _moved_matches(self, previous: DreamedFrame, motion: Motion) -> Tensor | None:
        if previous.matches is None or self._now.dream.image.zoom:
            return None
        moved = warp(previous.matches, motion.flow, mode="nearest")
        return torch.where(motion.reliability > 0.5, moved, -1.0)

    def _changed(self, carried: Carried, before: DreamedFrame, mask: Tensor | None) -> Carried:
        """Say what masks, and a strength that changes, do to a carried dream.

        Args:
            carried: the dream.
            before: the frame that it comes from.
            mask: that of this frame, (1,1,H,W); None for 1 everywhere.
        """
        strength = self._strength()
        changes = strength is not None and before.strength is not None
        if mask is None and before.mask is None and not changes:
            return carried
        ones = torch.ones_like(carried.reliability)
        now = ones if mask is None else mask
        earlier = ones if before.mask is None else self._move(before.mask, carried.flow, frames=1)
        if strength is not None and before.strength is not None:
            now, earlier = now * strength, earlier * before.strength
        tiny = torch.finfo(now.dtype).tiny
        return replace(
            carried,
            kept=(now / earlier.clamp_min(tiny)).clamp_max(1),
            present=(earlier / now.clamp_min(tiny)).clamp_max(1),
        )

    def _move(self, image: Tensor, backward: Tensor, *, frames: int) -> Tensor:
        settings = self._now.dream.image
        for _ in range(frames):
            image = zoom(image, self._direction * settings.zoom, settings.zoom_mode)
        return warp(image, backward, mode=self.temporal.warp).clamp(0, 1)

    def _start(self, frame: Tensor, carried: Carried) -> Tensor:
        """Blend the carried dream into the frame, (1,3,H,W) in 0..1: the image to dream on."""
        share = carried.reliability if carried.kept is None else carried.reliability * carried.kept
        parts, blend = (frame, carried.warped, share), self._now.temporal.blend
        if carried.warped_frame is None:
            return blend_frames(*parts, blend=blend).clamp(0, 1)
        return add_residual(*parts, carried.warped_frame, blend=blend)

    def _renewal(self, frame: Tensor, carried: Carried) -> Tensor | None:
        """Share of all steps that is due at each pixel, (1,1,H,W); None if `carried_steps` sets their number."""
        if self._now.temporal.carried_steps:
            return None
        residual = carried.warped - (frame if carried.warped_frame is None else carried.warped_frame)
        share = carried.reliability if carried.present is None else carried.reliability * carried.present
        return share_to_renew(share, residual, blend=self._now.temporal.blend)

    def _carried_settings(self) -> DreamSettings:
        """Settings of a frame that carries a dream. Noise starts only a first frame."""
        settings = self._now.dream
        octave, image = settings.octave, settings.image
        steps = self._now.temporal.carried_steps or octave.octave_steps
        return replace(
            settings,
            octave=replace(octave, octave_steps=steps),
            image=replace(image, init="image"),
        )


def _frames(past: Iterable[DreamedFrame]) -> list[Tensor]:
    return [one.frame for one in past]


def _read(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Copy tensors to the CPU together: on a GPU, every copy makes the program wait."""
    if not tensors:
        return {}
    whole = torch.cat([tensor.flatten() for tensor in tensors.values()]).cpu()
    parts = whole.split([tensor.numel() for tensor in tensors.values()])
    return {
        name: part.view(tensor.shape).numpy()
        for part, (name, tensor) in zip(parts, tensors.items(), strict=True)
    }
