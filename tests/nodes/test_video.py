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
    wired = {"dream_model": network, "objective": (core.ObjectiveSettings(layers=("features.6",)),)}
    by_hand = dream_video(name, learning_rate=3.0, **{**unwired, **wired})
    another = dream_video(name, look="embers", seed=1, **unwired)
    # x264 does not encode the same images to the same bytes every time.
    assert (by_look - by_hand).abs().mean() < 0.002 < 0.01 < (by_look - another).abs().mean()


def test_flow_and_reliability_come_beside_a_look(
    pack: Any, run: Run, swinging: Tensor, looks: dict[str, Any]
) -> None:
    node = pack("nodes.video").DeepDreamVideo
    images = swinging[:2].movedim(1, -1)
    _, flow, reliability = run(node, images=images, look="embers", flow_and_reliability=False)
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


def test_a_clip_that_comes_in_pieces_is_told_that_each_begins_a_new_dream(
    dream_video: Run, host: Any
) -> None:
    dream_video("DeepDreamVideo")
    assert host.told == []
    host.piece = 1
    dream_video("DeepDreamVideo")
    (notice,) = host.told
    assert notice.startswith("each piece of a list begins a new dream")
    assert notice.endswith("use DeepDream Video File")


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
