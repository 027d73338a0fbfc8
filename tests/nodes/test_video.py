"""DeepDream Video, and what it has in common with DeepDream Video File."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

Run = Callable[..., Any]

NODES = ["DeepDreamVideo", "DeepDreamVideoFile"]
SEAMLESS = {"seamless": True, "seamless_frames": 3}


@pytest.mark.parametrize("values", [{}, SEAMLESS], ids=["open", "seamless"])
def test_a_batch_is_dreamed_as_by_the_library(
    swinging: Tensor, dream_video: Run, dream_by_the_library: Run, values: dict[str, Any]
) -> None:
    assert torch.equal(dream_video("DeepDreamVideo", **values), dream_by_the_library(swinging, **values))


@pytest.mark.parametrize("name", NODES)
def test_seamless_changes_the_last_frames_alone(dream_video: Run, name: str) -> None:
    plain, seamless = dream_video(name, quality=0), dream_video(name, quality=0, **SEAMLESS)
    changed = (plain - seamless).abs().mean(dim=(1, 2, 3))
    assert changed[:3].max() == 0
    assert changed[4:].min() > 0.001  # at its turn the clip comes from its first frame alike on both ways


@pytest.mark.parametrize("name", NODES)
def test_a_look_needs_nothing_but_the_clip(
    dream_video: Run, looks: dict[str, Any], pack: Any, name: str
) -> None:
    unwired = {"dream_model": None, "flow_model": None}
    by_look = dream_video(name, look="embers", octave_steps=9, blend=1.0, quality=50, **unwired)
    core = pack("dream_core.settings")
    network = pack("nodes.adapters.networks").default_dream_model(core.ModelSettings(model="squeezenet1_1"))
    part = pack("dream_core.temporal.scheduled").ObjectivePart(core.ObjectiveSettings(layers=("features.6",)))
    objective = (pack("nodes.adapters.objectives").WiredObjective(part),)
    wired = {"dream_model": network, "objective": objective}
    by_hand = dream_video(name, learning_rate=3.0, **{**unwired, **wired})
    another = dream_video(name, look="embers", seed=1, **unwired)
    # x264 does not encode the same images to the same bytes every time.
    assert (by_look - by_hand).abs().mean() < 0.002 < 0.01 < (by_look - another).abs().mean()


@pytest.fixture
def changing(pack: Any) -> Callable[..., Any]:
    """`changing("zoom", "0: 1")`: the value of a SCHEDULE socket."""
    parse = pack("dream_core.schedules.schedules").parse_schedule_of
    make = pack("nodes.adapters.sockets").SettingSchedule
    return lambda setting, text: make(setting, parse(setting, text))


@pytest.mark.parametrize("name", NODES)
def test_schedules_change_settings_from_frame_to_frame(dream_video: Run, changing: Run, name: str) -> None:
    later = {"schedule_0": changing("learning_rate", "0: 2.4 hold, 0.3s: 9"), "schedule_1": None}
    rate = {"fps": 10.0} if name == "DeepDreamVideo" else {}
    plain, risen = dream_video(name, quality=0), dream_video(name, quality=0, schedules=later, **rate)
    changed = (risen - plain).abs().mean(dim=(1, 2, 3))
    assert changed[:3].max() == 0
    assert changed[3:].min() > 0.01


def test_objectives_fade_into_each_other(
    dream_video: Run, changing: Run, run: Run, pack: Any, defaults: Run
) -> None:
    node = pack("nodes.objective").DreamObjective

    def objective(layer: str, weights: str, *before: Any) -> Any:
        group = {"schedule_0": changing("dream_weight", weights)}
        values = {**defaults(node), "layers": layer, "objective": before[0] if before else None}
        (made,) = run(node, **{**values, "schedules": group})
        return made

    faded = objective("features.6", "0: 0 hold, 3: 1", objective("features.3", "0: 1 hold, 3: 0"))
    first, second = (objective(layer, "0: 1") for layer in ("features.3", "features.6"))
    dreams = [
        dream_video("DeepDreamVideo", objective=one, independent=True) for one in (faded, first, second)
    ]
    assert torch.equal(dreams[0][:3], dreams[1][:3])
    assert torch.equal(dreams[0][3:], dreams[2][3:])


@pytest.mark.parametrize("name", NODES)
def test_objectives_act_in_masks_of_their_own_and_toward_guides(
    dream_video: Run, run: Run, pack: Any, defaults: Run, name: str
) -> None:
    nodes, left = pack("nodes.objective"), torch.zeros(6, 64, 80)
    left[..., :30] = 1

    def add(node: Any, **values: Any) -> Any:
        (made,) = run(node, **{**defaults(node), "layers": "features.3", **values})
        return made

    guided = add(nodes.DreamGuide, images=torch.rand(1, 40, 40, 3), mask=left)
    both = add(nodes.DreamObjective, objective=guided, mask=1 - left)
    plain, half, whole = (
        dream_video(name, objective=one, quality=0, independent=True, octave_steps=steps)
        for one, steps in ((both, 0), (guided, 2), (both, 2))
    )
    changed, all_changed = ((one - plain).abs().mean(dim=(0, 1, 2)) for one in (half, whole))
    assert changed[:16].min() > 0.004 > 0.002 > changed[32:].max()
    assert all_changed.min() > 0.002
    with pytest.raises(
        Exception, match="expected the guide of objective 1 as one, or one for each frame, got 2"
    ):
        dream_video(name, objective=add(nodes.DreamGuide, images=torch.rand(2, 40, 40, 3)))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            [("zoom_factor", "0: 1")],
            "expected schedules of settings of this node, got zoom_factor; connect it to Camera Flow",
        ),
        ([("blend", "0: 1"), ("blend", "0: 0")], "got two of blend; drop one"),
        ([("blend", "0: 2")], "blend from 0 to 1, got 2; correct its schedule"),
        (
            [("dream_weight", "0: 2")],
            "the schedule of dream_weight at Dream Objective, because one is",
        ),
    ],
)
def test_wrong_schedules_are_refused_before_the_dream(
    dream_video: Run, changing: Run, errors: Any, pack: Any, groups: list[tuple[str, str]], message: str
) -> None:
    part = pack("dream_core.temporal.scheduled").ObjectivePart(
        pack("dream_core.settings").ObjectiveSettings()
    )
    objective = (pack("nodes.adapters.objectives").WiredObjective(part),)
    group = {f"schedule_{number}": changing(*one) for number, one in enumerate(groups)}
    with pytest.raises(errors.SettingsError, match=message):
        dream_video("DeepDreamVideo", schedules=group, objective=objective)


def test_flow_and_reliability_come_beside_a_look(
    pack: Any, run: Run, swinging: Tensor, looks: dict[str, Any]
) -> None:
    node = pack("nodes.video").DeepDreamVideo
    images = swinging[:2].movedim(1, -1)
    _, (flow,), (reliability,), _ = run(node, images=images, look="embers", flow_and_reliability=False)
    assert flow.backward.shape == (2, 2, 64, 80)
    assert reliability.shape == (2, 64, 80)


def test_what_is_switched_off_and_connected_is_refused(
    pack: Any, dream_video: Run, errors: Any, host: Any
) -> None:
    host.wired = {0}
    dream_video("DeepDreamVideo", flow_and_reliability=False)
    host.wired = {0, 2}
    dream_video("DeepDreamVideo")
    with pytest.raises(
        errors.SettingsError, match="expected flow_and_reliability on, because reliability of"
    ):
        dream_video("DeepDreamVideo", flow_and_reliability=False)


@pytest.fixture
def dream_lists(pack: Any, run: Run, defaults: Run, networks: dict[str, Any]) -> Run:
    """`dream_lists(images=[a, b], seed=[1])`: the outputs of DeepDream Video, for lists of values."""
    node = pack("nodes.video").DeepDreamVideo
    quick = {
        "octave_mode": {"octave_mode": "normal", "octaves": 1, "octave_scale": 0.7},
        "octave_steps": 4,
        "carried_steps": 2,
        "jitter": 4,
    }

    def dream(**lists: list[Any]) -> Any:
        return run(node, lists=lists, **{**defaults(node), **networks, **quick})

    return dream


@pytest.mark.parametrize("values", [{}, SEAMLESS], ids=["open", "seamless"])
def test_batches_of_a_list_are_dreamed_as_one_clip(
    dream_lists: Run, swinging: Tensor, values: dict[str, Any]
) -> None:
    images, single = swinging.movedim(1, -1), {name: [value] for name, value in values.items()}
    (whole,), (flow,), (reliability,), (last,) = dream_lists(images=[images], **single)
    dreams, flows, reliabilities, lasts = dream_lists(images=[images[:1], images[1:4], images[4:]], **single)
    assert [len(one) for one in dreams] == [len(one) for one in reliabilities] == [1, 3, 2]
    assert torch.equal(torch.cat(dreams), whole)
    assert torch.equal(torch.cat([one.backward for one in flows]), flow.backward)
    assert torch.equal(torch.cat(reliabilities), reliability)
    assert torch.equal(lasts[0].past[-1].dream, last.past[-1].dream)


@pytest.mark.parametrize(
    ("lists", "says"),
    [
        ({"images": []}, "at least one batch of images, got an empty list"),
        ({"images": [], "octave_steps": [1, 2]}, "got an empty list"),
        ({"fps": [0.0]}, "fps"),
        ({"fps": [float("nan")]}, "fps"),
    ],
)
def test_no_images_and_no_rate_are_refused(
    dream_lists: Run, swinging: Tensor, errors: Any, lists: dict[str, Any], says: str
) -> None:
    with pytest.raises(errors.DeepDreamError, match=says):
        dream_lists(**{"images": [swinging.movedim(1, -1)], **lists})


def test_a_clip_goes_on_with_the_last_dream_of_another(dream_lists: Run, swinging: Tensor) -> None:
    images = swinging.movedim(1, -1)
    (whole,), (flow,), *_ = dream_lists(images=[images])
    (first,), _, _, last = dream_lists(images=[images[:3]])
    (second,), (second_flow,), *_ = dream_lists(images=[images[3:]], previous_dream=last)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(second_flow.backward, flow.backward[3:])


def test_a_last_dream_that_does_not_fit_is_refused(
    dream_lists: Run, swinging: Tensor, errors: Any, pack: Any, host: Any
) -> None:
    images = swinging.movedim(1, -1)[:2]
    *_, last = dream_lists(images=[images])
    with pytest.raises(
        errors.SettingsError, match="expected frames of 80x64, the size of the dream in previous_dream"
    ):
        dream_lists(images=[images[:, :32]], previous_dream=last)
    with pytest.raises(
        pack("nodes.adapters.require").WireError, match="expected previous_dream from DeepDream Video"
    ):
        dream_lists(images=[images], previous_dream=["something"])
    host.wired = {3}
    with pytest.raises(errors.SettingsError, match="expected seamless off with last_dream"):
        dream_lists(images=[images], seamless=[True])


def test_batches_of_other_sizes_begin_a_new_dream(dream_lists: Run, swinging: Tensor) -> None:
    images = swinging.movedim(1, -1)[:2]
    alone, *_ = dream_lists(images=[images[:, :32]])
    (_, small), (_, flow), *_ = dream_lists(images=[images, images[:, :32]])
    assert torch.equal(small, alone[0])
    assert not flow.backward[0].any()


def test_each_item_is_a_dream_where_other_inputs_are_lists(
    dream_lists: Run, swinging: Tensor, host: Any
) -> None:
    images = swinging.movedim(1, -1)[:2]
    ones = [dream_lists(images=[images], seed=[seed])[0][0] for seed in (1, 2)]
    assert host.told == []
    both, *_, lasts = dream_lists(images=[images], seed=[1, 2])
    assert torch.equal(torch.cat(both), torch.cat(ones))
    assert len(lasts) == 2
    dream_lists(images=[images, images], seed=[1, 2])
    (notice,) = host.told
    assert notice.startswith("each batch of the list begins a new dream, because other inputs are lists too")


def test_what_a_batch_loses_of_its_file_is_told(
    dream_lists: Run, swinging: Tensor, host: Any, pack: Any, video: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = swinging.movedim(1, -1)[:2]
    host.files_behind = {"images": [video]}
    dream_lists(images=[images])
    assert host.told == []
    monkeypatch.setattr(pack("nodes.adapters.videos"), "beyond_images", lambda _: ["a rate", "a shape"])
    dream_lists(images=[images])
    (notice,) = host.told
    assert notice.startswith("clip.mp4 has a rate and a shape, which a batch of images cannot hold")


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("values", [{}, SEAMLESS], ids=["open", "seamless"])
def test_progress_reaches_its_end(dream_video: Run, host: Any, name: str, values: dict[str, Any]) -> None:
    dream_video(name, **values)
    shares = [done / total for done, total, _ in host.progress]
    assert shares[-1] == 1
    assert max(shares[:-1]) < 1


@pytest.mark.parametrize("name", NODES)
def test_a_warning_about_seamless_is_told_on_the_node_in_its_words(
    dream_video: Run, host: Any, name: str
) -> None:
    dream_video(name, independent=True, **SEAMLESS)
    assert host.told == ["seamless does nothing with independent: no frame leads into another"]


@pytest.mark.parametrize("name", NODES)
def test_cancel_is_heard_at_frames_without_a_step(
    dream_video: Run, host: Any, pack: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack("nodes.adapters.working"), "_layers_listened_to", nullcontext)  # as on a GPU
    host.interrupted = True
    with pytest.raises(pack("nodes.adapters.host").Interrupted):
        dream_video(name, octave_steps=0, carried_steps=0)


@pytest.mark.parametrize("name", NODES)
def test_a_mask_for_each_frame_says_where_to_dream(dream_video: Run, name: str, swinging: Tensor) -> None:
    count, _, height, width = swinging.shape
    masks = torch.zeros(count, height, width)
    for number, mask in enumerate(masks):
        mask[10:30, 4 + 2 * number : 30 + 2 * number] = 1
    plain = dream_video(name, quality=0, octave_steps=0, independent=True)
    dreamed = dream_video(name, quality=0, mask=masks, mask_feather=0)
    change = (dreamed - plain).abs().amax(1)
    assert change[masks == 1].mean() > 10 * change[masks == 0].mean()
    if name == "DeepDreamVideo":
        assert not change[masks == 0].any()
    again = dream_video(name, quality=0, mask=masks[:1], mask_feather=0)
    assert torch.equal(again[0], dreamed[0])


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda masks: masks[:2], "expected mask as one, or one for each frame, got 2 for"),
        (lambda masks: masks[..., :-9], "expected mask in the proportions of the image"),
        (lambda masks: masks - 1, "expected mask values between 0 and 1"),
    ],
    ids=["too few", "proportions", "values"],
)
def test_masks_that_do_not_fit_are_refused_before_any_work(
    pack: Any, dream_video: Run, swinging: Tensor, name: str, change: Run, problem: str, host: Any
) -> None:
    masks = torch.zeros(len(swinging), *swinging.shape[-2:])
    with pytest.raises(pack("dream_core.errors").ImageError, match=problem):
        dream_video(name, mask=change(masks))


@pytest.fixture
def estimated(swinging: Tensor, nodes: Any, run: Run, dis: Any, pack: Any) -> Any:
    """The FLOW of `swinging`, from Optical Flow."""
    values = {"flow_scale": 1.0, "flow_updates": 6, "flow_batch": 0, "both_ways": True}
    (flow, *_) = run(nodes.OpticalFlow, frames=swinging.movedim(1, -1), flow_model=dis, **values)
    return flow


@pytest.mark.parametrize("name", NODES)
def test_the_dream_along_a_flow_is_that_along_the_same_flow_estimated(
    dream_video: Run, estimated: Any, nodes: Any, name: str
) -> None:
    # Estimated flow would be that of another scale.
    along = dream_video(name, quality=0, flow=estimated, flow_scale=0.1)
    astray = dream_video(name, quality=0, flow=nodes.Flow(estimated.backward + 4))
    plain = dream_video(name, quality=0)
    # The frames of the file are rounded to 8 bits, and their flow is hardly another.
    allowed = 0.0 if name == "DeepDreamVideo" else 0.4
    assert (along - plain).abs().mean() <= allowed * (astray - plain).abs().mean()


def test_flow_comes_for_each_batch_of_a_list_or_for_all(
    dream_lists: Run, swinging: Tensor, estimated: Any, nodes: Any
) -> None:
    images = swinging.movedim(1, -1)
    parts = [slice(0, 3), slice(3, 6)]
    (whole,), *_ = dream_lists(images=[images], flow=[estimated])
    batches, *_ = dream_lists(images=[images[part] for part in parts], flow=[estimated])
    assert torch.equal(torch.cat(batches), whole)
    # The first flow of each part does not say what came before: it is estimated.
    each = [nodes.Flow(estimated.backward[part], estimated.forward[part]) for part in parts]
    each[1].backward[0] = 99
    batches, *_ = dream_lists(images=[images[part] for part in parts], flow=each)
    assert torch.equal(torch.cat(batches), whole)


@pytest.mark.parametrize("name", NODES)
def test_flow_that_does_not_fit_is_refused_before_any_work(
    dream_video: Run, nodes: Any, errors: Any, name: str
) -> None:
    few, tall = nodes.Flow(torch.zeros(5, 2, 64, 80)), nodes.Flow(torch.zeros(6, 2, 80, 64))
    for flow, message in ((few, "of 6 frames, got 5"), (tall, "clip, 80x64 pixels, got 64x80 in flow")):
        with pytest.raises(errors.DeepDreamError, match=message):
            dream_video(name, flow=flow)
