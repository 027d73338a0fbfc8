"""Settings and objective of each frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from dream_core.beside import Worker
from dream_core.dreaming.dream import ImageDreamer
from dream_core.dreaming.masks import prepare_mask
from dream_core.dreaming.objectives import build_objective
from dream_core.errors import SettingsError
from dream_core.models.dream_model import DreamModel
from dream_core.models.image_text import ImageTextEncoder
from dream_core.motion.flow import FlowEstimator
from dream_core.schedules.schedules import Moment, Schedules, parse_schedules
from dream_core.settings import (
    SCHEDULABLE,
    AscentSettings,
    DreamSettings,
    MaskSettings,
    ObjectiveSettings,
    OctaveSettings,
    ReliabilitySettings,
    TemporalSettings,
    TextSettings,
)
from dream_core.synthetic import synthetic_clip
from dream_core.temporal.dreamer import TemporalDreamer
from dream_core.temporal.scheduled import (
    FrameSettings,
    ObjectivePart,
    PenaltyPart,
    Scheduled,
    ScheduledObjective,
    TextPart,
    schedule_of,
)
from dream_core.temporal.seamless import dream_seamless
from dream_core.video import Frame

QUICK = DreamSettings(octave=OctaveSettings(octaves=1, octave_steps=2), ascent=AscentSettings(jitter=2))
NOISE = torch.rand(7, 3, 24, 20, generator=torch.Generator().manual_seed(5))
FRAMES = 0.5 * NOISE[:1] + 0.02 * NOISE[1:]
"""Frames that look alike, so that a dream is carried from one to the next."""


def still(first: Tensor, second: Tensor, both: bool) -> Tensor:
    return torch.zeros(2 if both else 1, 2, *first.shape[-2:])


def read(*entries: str) -> Schedules:
    return parse_schedules(entries, SCHEDULABLE)


def dreamer(
    model: DreamModel,
    *entries: str,
    settings: DreamSettings = QUICK,
    temporal: TemporalSettings | None = None,
    beside: Worker | None = None,
) -> TemporalDreamer:
    scheduled = schedule_of(read(*entries), [ObjectivePart(settings.objective)], model)
    objective = scheduled.objective.widest if scheduled.objective else None
    return TemporalDreamer(
        ImageDreamer([model], settings=settings, objective=objective),
        FlowEstimator(still, torch.device("cpu"), 1, 1),
        temporal=temporal or TemporalSettings(cuts=False),
        reliability=ReliabilitySettings(),
        scheduled=scheduled,
        beside=beside,
    )


def dream(machine: TemporalDreamer, start: int = 0) -> list[Tensor]:
    return [
        machine.step(frame, moment=Moment(start + number, (start + number) / 10)).dream
        for number, frame in enumerate(FRAMES.split(1))
    ]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(map(torch.equal, one, other))


# Settings


def test_constant_schedules_dream_the_same_bits(tiny: DreamModel) -> None:
    entries = [
        "learning_rate=0: 2.4 ease, 9: 2.4",
        "octave_steps=0: 2",
        "blend=0: 0.05, 1s: 0.05",
        "brightness_threshold=3: 30",
        "layers=0: conv, 4: conv",
        "dream_weight=0: 1, 4: 1",
        "mask_strength=0: 1",
    ]
    assert same(dream(dreamer(tiny, *entries)), dream(dreamer(tiny)))


def test_each_frame_is_dreamed_by_its_own_values(tiny: DreamModel) -> None:
    independent = TemporalSettings(independent=True)
    dreams = dream(dreamer(tiny, "learning_rate=0: 1, 0.4s: 5", temporal=independent))
    for number, dreamed in enumerate(dreams):
        ascent = AscentSettings(jitter=2, learning_rate=min(1 + number, 5))
        plain = DreamSettings(octave=QUICK.octave, ascent=ascent)
        assert torch.equal(dreamed, ImageDreamer([tiny], settings=plain)(FRAMES[number, None]))


def test_frames_are_counted_on_over_a_cut(tiny: DreamModel) -> None:
    scenes = torch.cat([synthetic_clip(frames=2, height=48, width=64, seed=seed).frames for seed in (1, 4)])
    machine = dreamer(tiny, "learning_rate=0: 1, 3: 4", temporal=TemporalSettings())
    steps = [machine.step(frame) for frame in scenes.split(1)]
    assert [step.carried is None for step in steps] == [True, False, True, False]
    plain = DreamSettings(octave=QUICK.octave, ascent=AscentSettings(jitter=2, learning_rate=3))
    assert torch.equal(steps[2].dream, ImageDreamer([tiny], settings=plain)(scenes[2:3]))


@pytest.mark.parametrize("entry", ["mask_feather=0: 0, 2: 8", "mask_strength=0: 0, 2: 1"])
def test_a_mask_has_the_feather_and_the_strength_of_its_frame(tiny: DreamModel, entry: str) -> None:
    name = entry.partition("=")[0]
    mask = torch.zeros(1, 1, 24, 20)
    mask[..., 4:20, 4:16] = 1
    machine = dreamer(tiny, entry, temporal=TemporalSettings(independent=True))
    for number, frame in enumerate(FRAMES[:3].split(1)):
        value = (0, 4, 8)[number] if name == "mask_feather" else number / 2
        own = MaskSettings(**{name: value})
        plain = ImageDreamer([tiny], settings=replace(QUICK, mask=own))
        assert torch.equal(machine.step(frame, mask=mask).dream, plain(frame, mask=prepare_mask(mask, own)))


def test_a_dream_that_is_carried_has_the_blend_of_its_frame(tiny: DreamModel) -> None:
    """With a blend of 1 nothing is carried, so that a frame is dreamed as if it were alone."""
    carried = dream(dreamer(tiny, "blend=2: 0 hold, 3: 1"))
    alone = dream(dreamer(tiny, temporal=TemporalSettings(independent=True)))
    assert [torch.equal(*pair) for pair in zip(carried, alone, strict=True)] == [True] + 2 * [False] + 3 * [
        True
    ]


def test_a_carried_dream_fades_and_grows_with_the_strength_that_its_frame_is_to_have(
    tiny: DreamModel,
) -> None:
    machine = dreamer(tiny, "learning_rate=0: 4 hold, 2: 1 hold, 3: 2")
    carried = [machine.step(frame).carried for frame in FRAMES[:4].split(1)]
    kept, present = (
        [getattr(one, name).mean().item() for one in carried[1:] if one] for name in ("kept", "present")
    )
    assert kept == [1, 0.25, 1]
    assert present == [1, 1, 0.5]
    quiet = dreamer(tiny, "blend=0: 0.05, 9: 0.5").step(FRAMES[:1])
    assert quiet.strength is None


def test_a_frame_without_a_moment_is_the_next_one_and_seconds_must_be_known(tiny: DreamModel) -> None:
    counted = dreamer(tiny, "learning_rate=0: 1, 5: 5")
    dreams = [counted.step(frame).dream for frame in FRAMES.split(1)]
    assert same(dreams, dream(dreamer(tiny, "learning_rate=0: 1, 5: 5")))
    with pytest.raises(SettingsError, match="expected the seconds of the frame"):
        dreamer(tiny, "learning_rate=0: 1, 5s: 5").step(FRAMES[:1])


def test_going_on_takes_up_the_schedule_where_it_was(tiny: DreamModel) -> None:
    entry = "learning_rate=0: 1, 0.5s: 9"
    whole, first, second = (dreamer(tiny, entry) for _ in range(3))
    expected = dream(whole)
    moments = [Moment(number, number / 10) for number in range(6)]
    for frame, moment in zip(FRAMES[:3].split(1), moments, strict=False):
        first.step(frame, moment=moment)
    second.state = first.state
    rest = [second.step(f, moment=m).dream for f, m in zip(FRAMES[3:].split(1), moments[3:], strict=True)]
    assert same(rest, expected[3:])


def test_motion_that_is_found_ahead_is_judged_by_the_next_frame_s_values(tiny: DreamModel) -> None:
    entries = ("brightness_threshold=0: 255 hold, 0.3s: 0", "mask_softness=0: 0, 5: 0.5")
    moments = [Moment(number, number / 10) for number in range(len(FRAMES))]
    ahead = dreamer(tiny, *entries, beside=Worker(torch.device("cpu")))
    frames = FRAMES.split(1)
    dreams = [
        ahead.step(
            frame,
            moment=moments[number],
            following=frames[number + 1] if number < 5 else None,
            following_moment=moments[number + 1] if number < 5 else None,
        ).dream
        for number, frame in enumerate(frames)
    ]
    assert same(dreams, dream(dreamer(tiny, *entries)))


def test_a_seamless_end_is_dreamed_back_by_the_values_of_its_own_frames(tiny: DreamModel) -> None:
    machine = dreamer(
        tiny,
        "learning_rate=0: 1, 5: 9",
        temporal=TemporalSettings(cuts=False, seamless=True, seamless_frames=2),
    )
    asked: list[float] = []
    plain = machine.dream.__class__.__call__

    class Spy(ImageDreamer):
        def __call__(self, image: Tensor, **options: object) -> Tensor:
            asked.append(options["settings"].ascent.learning_rate)  # type: ignore[attr-defined]
            return plain(self, image, **options)  # type: ignore[arg-type]

    machine.dream.__class__ = Spy
    clip: Iterator[Frame] = (Frame(image, n / 10, 0.1, n) for n, image in enumerate(FRAMES))
    list(dream_seamless(clip, machine))
    back = [9.0, 7.4]
    assert [round(rate, 6) for rate in asked] == [1, 2.6, 4.2, 5.8, *back, 7.4, 9.0]


# Objectives


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.deep = nn.Conv2d(4, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.deep(self.conv(x))


@pytest.fixture
def two(tiny: DreamModel) -> DreamModel:
    """A network of two layers."""
    return DreamModel(Two(), tiny.spec)


def test_layers_and_weights_of_an_objective_follow_their_schedules(two: DreamModel) -> None:
    parts = [
        ObjectivePart(ObjectiveSettings(), read("layers=0: conv, 4: deep", "tv_weight=0: 0, 4: 8")),
        ObjectivePart(ObjectiveSettings(layers=("deep",)), read("dream_weight=0: 1, 4: 0")),
    ]
    objective = ScheduledObjective(parts, two)
    expected = [
        build_objective(ObjectiveSettings(layers=("conv:0.75", "deep:0.25"), tv_weight=2), two),
        build_objective(ObjectiveSettings(layers=("deep",), dream_weight=0.75), two),
    ]
    assert objective.at(Moment(1, 0.0)) == expected[0] + expected[1]
    assert set(objective.widest.layers) == {"conv", "deep"}
    assert objective.at(Moment(9, 0.0)) is objective.at(Moment(10, 0.0))


def test_a_text_alone_grows_with_its_weight(tiny: DreamModel, colors: ImageTextEncoder) -> None:
    def strengths(*entries: str) -> list[float | None]:
        parts = [PenaltyPart(ObjectiveSettings()), TextPart(TextSettings(text=("red",)), colors)]
        scheduled = schedule_of(read(*entries), parts, tiny)
        plain = FrameSettings(
            dream=QUICK, temporal=TemporalSettings(), reliability=ReliabilitySettings(), objective=None
        )
        full = QUICK.ascent.learning_rate * QUICK.octave.octave_steps * QUICK.octave.iterations
        found = [scheduled.strength(scheduled.at(Moment(frame), plain)) for frame in (0, 1, 4)]
        return [None if one is None else one / full for one in found]

    assert strengths("text=0: red:0, 4: red") == [0, 0.25, 1]
    assert strengths("text_weight=0: 0, 4: 1", "learning_rate=0: 2.4, 4: 4.8") == [0, 0.3125, 2]
    assert strengths("text=0: red, 4: blue") == [1, 1, 1]
    assert strengths("text=0: red, 2: red:-1") == [1, 0, 1]
    assert strengths("text=0: red") == [None] * 3


def test_a_layer_that_the_network_lacks_is_told_at_once(two: DreamModel) -> None:
    with pytest.raises(SettingsError, match="deeep"):
        ScheduledObjective([ObjectivePart(ObjectiveSettings(), read("layers=0: conv, 90: deeep"))], two)


def test_schedules_are_divided_into_those_of_the_objective_and_the_others(tiny: DreamModel) -> None:
    settings = FrameSettings(
        dream=DreamSettings(mask=MaskSettings()),
        temporal=TemporalSettings(),
        reliability=ReliabilitySettings(),
    )
    parts = [ObjectivePart(ObjectiveSettings())]
    scheduled = schedule_of(read("blend=0: 1", "l2_weight=0: 2, 1s: 3"), parts, tiny)
    now = scheduled.at(Moment(0, 0.5), settings)
    assert (now.temporal.blend, now.objective and now.objective.l2_weight) == (1, 2.5)
    assert scheduled.by_seconds
    plain = schedule_of(read("blend=0: 1"), parts, tiny)
    assert plain.at(Moment(0, 0.5), settings).objective is None
    assert not plain.by_seconds
    assert Scheduled().at(Moment(3, 0.1), settings) == settings
