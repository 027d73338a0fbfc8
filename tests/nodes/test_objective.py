"""Dream Objective, Dream Guide and Dream Text: what they hand on."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

Pack = Callable[[str], ModuleType]
Run = Callable[..., Any]


@pytest.fixture
def make(pack: Pack, run: Run, defaults: Run) -> Run:
    """`make("DreamGuide", images=...)`: the output of a node."""

    def make(name: str, **values: Any) -> Any:
        node = getattr(pack("nodes.objective"), name)
        (made,) = run(node, **{**defaults(node), **values})
        return made

    return make


def test_objectives_add_up_with_their_masks_and_guides(make: Run) -> None:
    first = make("DreamObjective", layers="one:2", mask=torch.ones(1, 4, 6))
    both = make(
        "DreamGuide", layers="two", images=torch.rand(2, 5, 7, 3), objective=first, compare="statistics"
    )
    assert [one.part.settings.layers for one in both] == [("one:2",), ("two",)]
    assert [one.part.settings.loss for one in both] == ["auto", "statistics"]
    assert both[0].mask.shape == (1, 1, 4, 6)
    assert both[0].guide is None
    assert both[1].mask is None
    assert both[1].guide.shape == (2, 3, 5, 7)


def test_a_weight_below_zero_leads_away_from_the_guide(make: Run) -> None:
    (one,) = make("DreamGuide", images=torch.rand(1, 5, 7, 3), dream_weight=-1.5)
    assert one.part.settings.dream_weight == -1.5
    assert one.part.settings.loss == "match"


def test_wrong_images_and_masks_are_refused(pack: Pack, make: Run) -> None:
    error = pack("dream_core.errors").ImageError
    with pytest.raises(error, match="expected images as IMAGE"):
        make("DreamGuide", images=torch.rand(4, 4))
    with pytest.raises(error, match="expected mask as MASK"):
        make("DreamObjective", mask=torch.rand(1, 4, 4, 3))


@pytest.fixture
def colors(pack: Pack) -> Any:
    """A CLIP and a CLIP_VISION that know colors."""
    host = pack("nodes.adapters.host")

    class Means(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3))

    words = {"": torch.eye(3)[:1], "red": torch.eye(3)[:1], "blue": torch.eye(3)[2:]}
    vision = host.Vision(host.wrap(host.Wrapped(Means())), 3, 8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return {
        "clip": SimpleNamespace(encoders={"clip_l": words}),
        "clip_vision": SimpleNamespace(vision=vision),
    }


def test_each_line_is_a_text_and_adds_up_with_other_objectives(make: Run, colors: Any) -> None:
    first = make("DreamObjective", layers="one")
    text = "red\n\n blue:-0.5 "
    _, one = make("DreamText", text=text, objective=first, mask=torch.ones(1, 4, 6), **colors)
    assert one.part.settings.text == ("red", "blue:-0.5")
    assert one.mask.shape == (1, 1, 4, 6)
    assert set(one.part.encoder.known) == {"red", "blue"}


def test_a_text_of_a_schedule_is_read_at_once(pack: Pack, make: Run, colors: Any) -> None:
    parse = pack("dream_core.schedules.schedules").parse_schedule_of
    schedule = pack("nodes.adapters.sockets").SettingSchedule("text", parse("text", "0: red, 9: blue"))
    (one,) = make("DreamText", text="", schedules={"schedule_0": schedule}, **colors)
    assert set(one.part.encoder.known) == {"red", "blue"}
    with pytest.raises(
        pack("dream_core.errors").SettingsError, match="expected a text to dream of, got none"
    ):
        make("DreamText", text=" ", **colors)


def test_a_text_lets_the_image_and_the_video_become_like_it(
    pack: Pack, make: Run, run: Run, colors: Any
) -> None:
    toward = make("DreamText", text="red", **colors)
    images = torch.full((2, 32, 40, 3), 0.5)
    steps = {"octave_steps": 3, "keep_brightness": False, "optimizer": {"optimizer": "classic"}}
    (image,) = run(pack("nodes.dream").Dream, image=images, objective=toward, **steps)
    video = run(
        pack("nodes.video").DeepDreamVideo, images=images, objective=toward, independent=True, **steps
    )[0][0]
    for dreams in (image, video):
        assert dreams[..., 0].mean() > dreams[..., 2].mean() + 0.005


def test_a_schedule_of_a_text_belongs_to_dream_text(pack: Pack, run: Run) -> None:
    parse = pack("dream_core.schedules.schedules").parse_schedule_of
    schedule = pack("nodes.adapters.sockets").SettingSchedule(
        "text_weight", parse("text_weight", "0: 1, 9: 2")
    )
    with pytest.raises(
        pack("dream_core.errors").SettingsError, match="schedule of text_weight at Dream Text"
    ):
        run(
            pack("nodes.video").DeepDreamVideo,
            images=torch.rand(1, 32, 40, 3),
            schedules={"schedule_0": schedule},
        )
