"""DeepDream Video and DeepDream Video File: the same dreams as the library's."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

Pack = Callable[[str], ModuleType]
Run = Callable[..., Any]

SIZE = (64, 80)
NODES = ["DeepDreamVideo", "DeepDreamVideoFile"]
QUICK = {
    "octave_mode": {"octave_mode": "normal", "octaves": 1, "octave_scale": 0.7},
    "octave_steps": 4,
    "carried_steps": 2,
    "jitter": 4,
}
SEAMLESS = {"seamless": True, "seamless_frames": 3}


@pytest.fixture(scope="module")
def networks(pack: Pack) -> dict[str, Any]:
    """SqueezeNet with random weights and DIS, on wires."""
    spec = pack("dream_core.models.registry").MODELS["squeezenet1_1"]
    torch.manual_seed(3)
    host = pack("nodes.adapters.host")
    network = pack("dream_core.models.dream_model").DreamModel(spec.build(), spec)
    return {
        "dream_model": host.wrap(host.Wrapped(network)),
        "flow_model": host.wrap(pack("dream_core.motion.flow").DisNetwork()),
    }


@pytest.fixture
def frames(pack: Pack) -> Tensor:
    """(6,3,64,80): shapes that move to and fro."""
    synthetic = pack("dream_core.synthetic")
    scene = synthetic.Scene(speed=2)
    there = synthetic.synthetic_clip(frames=4, height=SIZE[0], width=SIZE[1], seed=3, scene=scene).frames
    return torch.cat([there, there[1:3].flip(0)])


@pytest.fixture
def file(pack: Pack, frames: Tensor, tmp_path: Path) -> Path:
    """The clip as a file."""
    settings = pack("dream_core.settings").OutputSettings(quality=0, pixel_format="yuv444p")
    path = tmp_path / "clip.mp4"
    with pack("dream_core.video").open_output(path, size=SIZE, fps=Fraction(10), settings=settings) as output:
        for frame in frames:
            output.write(frame)
    return path


@pytest.fixture
def dream(pack: Pack, run: Run, defaults: Run, networks: dict[str, Any], frames: Tensor, file: Path) -> Run:
    """`dream("DeepDreamVideo", seamless=True)`: (B,3,H,W)."""
    batch, streamed = pack("nodes.video").DeepDreamVideo, pack("nodes.video_file").DeepDreamVideoFile

    def dream(name: str, **changed: Any) -> Tensor:
        node = batch if name == "DeepDreamVideo" else streamed
        values = {**defaults(node), **networks, **QUICK, **changed}
        if node is batch:
            images, *_ = run(node, **{**values, "images": frames.movedim(1, -1)})
            return images.movedim(-1, 1)
        video = pack("nodes.video_file").InputImpl.VideoFromFile(str(file))
        (dreamed,) = run(node, **{**values, "video": video, "size": 0})
        return read(pack, Path(dreamed.get_stream_source()))

    return dream


def read(pack: Pack, path: Path) -> Tensor:
    settings = pack("dream_core.settings").InputSettings(size=0)
    with pack("dream_core.video").open_clip(path, settings=settings) as clip:
        return torch.stack([frame.image for frame in clip])


def by_the_library(pack: Pack, networks: dict[str, Any], clip: Tensor, **temporal: Any) -> Tensor:
    core = pack("dream_core.settings")
    settings = core.DreamSettings(
        octave=core.OctaveSettings(octaves=1, octave_steps=4), ascent=core.AscentSettings(jitter=4)
    )
    dreamer = pack("dream_core.temporal.dreamer").TemporalDreamer(
        pack("dream_core.dreaming.dream").ImageDreamer(
            [networks["dream_model"].model.network], settings=settings
        ),
        pack("nodes.adapters.estimators").estimator_for(networks["flow_model"], core.FlowSettings()),
        temporal=core.TemporalSettings(carried_steps=2, **temporal),
        reliability=core.ReliabilitySettings(),
    )
    source = [
        pack("dream_core.video").Frame(image, index, 1, index) for index, image in enumerate(clip.clone())
    ]
    return torch.cat([step.dream for _, step in pack("dream_core.pipeline").dream_frames(source, dreamer)])


@pytest.mark.parametrize("values", [{}, SEAMLESS], ids=["open", "seamless"])
def test_a_batch_is_dreamed_as_by_the_library(
    pack: Pack, networks: dict[str, Any], frames: Tensor, dream: Run, values: dict[str, Any]
) -> None:
    assert torch.equal(dream("DeepDreamVideo", **values), by_the_library(pack, networks, frames, **values))


@pytest.mark.parametrize("values", [{}, SEAMLESS], ids=["open", "seamless"])
def test_a_file_is_dreamed_as_by_the_library(
    pack: Pack, networks: dict[str, Any], file: Path, dream: Run, values: dict[str, Any]
) -> None:
    expected = by_the_library(pack, networks, read(pack, file), **values)
    found = dream("DeepDreamVideoFile", quality=0, **values)
    # Lossless but for the colors, which H.264 halves.
    assert (found.mean(1) - expected.mean(1)).abs().mean() < 0.02
    assert found.shape == expected.shape


@pytest.mark.parametrize("name", NODES)
def test_seamless_changes_the_last_frames_alone(dream: Run, name: str) -> None:
    plain, seamless = dream(name, quality=0), dream(name, quality=0, **SEAMLESS)
    changed = (plain - seamless).abs().mean(dim=(1, 2, 3))
    assert changed[:3].max() == 0
    assert changed[4:].min() > 0.001  # at its turn the clip comes from its first frame alike on both ways


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("values", [{}, SEAMLESS], ids=["open", "seamless"])
def test_progress_reaches_its_end(dream: Run, host: Any, name: str, values: dict[str, Any]) -> None:
    dream(name, **values)
    shares = [done / total for done, total, _ in host.progress]
    assert shares[-1] == 1
    assert max(shares[:-1]) < 1


@pytest.mark.parametrize("name", NODES)
def test_a_warning_about_seamless_is_told_on_the_node_in_its_words(dream: Run, host: Any, name: str) -> None:
    dream(name, independent=True, **SEAMLESS)
    assert host.told == ["seamless does nothing with independent: no frame leads into another"]


def test_cancel_while_the_clip_is_closed_keeps_what_is_done(pack: Pack, dream: Run, host: Any) -> None:
    """It comes in the second dream in reversed time, when three frames are done."""
    host.cancel_at = 4 + 2 + 2 + 2 + 1
    with pytest.raises(pack("nodes.adapters.host").Interrupted):
        dream("DeepDreamVideoFile", **SEAMLESS)
    (path,) = (host.folder / "temp").glob("*.mp4")
    assert len(read(pack, path)) == 3
    assert host.told == [
        f"stopped: the 3 frames that are done are in {path} until ComfyUI starts again",
    ]
