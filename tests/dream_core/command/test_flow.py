"""The command `deepdream-video flow`."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from dream_core.__main__ import run
from dream_core.motion.flow_folder import flow_files, load_flows
from dream_core.settings import InputSettings, OutputSettings
from dream_core.synthetic import Scene, synthetic_clip
from dream_core.video import open_clip, open_output
from dream_core.video.images import load_image

QUICK = ("--flow", "dis", "--device", "cpu", "--quiet")


@pytest.fixture
def clip(tmp_path: Path) -> str:
    """Three frames of a pan by (2, -1) pixels, as a folder."""
    scene = Scene(shapes=0, background=(2, -1))
    frames = synthetic_clip(frames=3, height=64, width=96, seed=1, scene=scene).frames
    with open_output(tmp_path / "clip", size=(64, 96), fps=Fraction(10), settings=OutputSettings()) as output:
        for frame in frames:
            output.write(frame)
    return str(tmp_path / "clip")


def test_the_flow_of_a_clip_is_saved_both_ways_with_its_reliability(clip: str, tmp_path: Path) -> None:
    folder = tmp_path / "flow"
    assert run(["flow", clip, str(folder), "--file-format", "png", *QUICK]) == 0
    found = load_flows(folder)
    assert found.forward is not None
    assert not found.backward[0].any()
    inner = found.backward[1:, :, 12:-12, 12:-12]
    assert (inner.mean((0, 2, 3)) - torch.tensor([-2.0, 1])).abs().max() < 0.2
    assert (found.forward[1:, :, 12:-12, 12:-12].mean((0, 2, 3)) - torch.tensor([2.0, -1])).abs().max() < 0.2
    assert found.reliability[0].all()
    assert 0.8 < found.reliability[1:].mean() < 1


def test_one_way_and_a_part_of_the_clip_are_options(clip: str, tmp_path: Path) -> None:
    folder = tmp_path / "flow"
    assert run(["flow", clip, str(folder), "--no-both-ways", "--frames", "2", "--size", "48", *QUICK]) == 0
    assert {name: len(files) for name, files in flow_files(folder).items()} == {"backward": 2}
    assert load_flows(folder).backward.shape == (2, 2, 32, 48)


def test_masks_of_what_moves_are_for_the_main_command(clip: str, tmp_path: Path) -> None:
    folder = tmp_path / "flow"
    assert run(["flow", clip, str(folder), "--masks", "--no-still-camera", "--no-both-ways", *QUICK]) == 0
    settings = InputSettings(size=0, mask=folder / "masks")
    with open_clip(Path(clip), settings=settings) as frames:
        masks = [frame.mask for frame in frames]
    assert len(masks) == 3
    assert not masks[0].any()  # nothing has moved yet
    assert masks[1][:, 12:-12, 12:-12].mean() > 0.9
    assert (
        run(["flow", clip, str(tmp_path / "again"), "--masks", *QUICK]) == 0
    )  # with the camera all stands still
    with open_clip(Path(clip), settings=InputSettings(size=0, mask=tmp_path / "again" / "masks")) as frames:
        assert all(frame.mask[:, 12:-12, 12:-12].mean() < 0.1 for frame in frames)


def test_what_does_not_fit_is_one_line(clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for target, says in ((clip, "is the input"), (str(tmp_path / "full"), "is not empty")):
        (tmp_path / "full" / "backward").mkdir(parents=True, exist_ok=True)
        (tmp_path / "full" / "backward" / "flow_000000.flo").touch()
        assert run(["flow", clip, target, *QUICK]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert says in line


def test_the_dream_along_saved_flow_is_that_along_flow_that_is_estimated(clip: str, tmp_path: Path) -> None:
    flow = tmp_path / "flow"
    assert run(["flow", clip, str(flow), *QUICK]) == 0
    options = ["--octaves", "1", "--octave-steps", "2", "--size", "0", *QUICK]
    options += ["--model", "efficientnet_lite0", "--layers", "stem"]
    along = [str(tmp_path / "along"), *options, "--saved-flow", str(flow), "--references", "1"]
    assert run([clip, str(tmp_path / "estimated"), *options]) == 0
    # Estimated flow would be that of another method.
    assert run([clip, *along, "--flow-scale", "0.1"]) == 0
    for name in ("image_000001.png", "image_000002.png"):
        found = [next((tmp_path / folder).glob(f"*{name[-10:]}")) for folder in ("along", "estimated")]
        assert torch.equal(*map(load_image, found))
