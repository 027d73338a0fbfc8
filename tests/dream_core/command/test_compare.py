"""The command `deepdream-video compare`."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from dream_core.__main__ import run
from dream_core.measure.compare import GAP
from dream_core.settings import InputSettings, OutputSettings
from dream_core.video import open_clip, open_output


def write(path: Path, levels: list[float], size: tuple[int, int] = (48, 64)) -> Path:
    settings = OutputSettings(quality=0)
    with open_output(path, size=size, fps=Fraction(10), settings=settings) as output:
        for level in levels:
            output.write(torch.full((3, *size), level))
    return path


@pytest.fixture
def clips(tmp_path: Path) -> list[str]:
    """A clip, its double in size and another one, as files."""
    made = {
        "one.mp4": ([0.2, 0.4, 0.6], (48, 64)),
        "two.mp4": ([0.4] * 3, (96, 128)),
        "six": ([0.6] * 3, (48, 64)),
    }
    return [str(write(tmp_path / name, levels, size)) for name, (levels, size) in made.items()]


def test_clips_are_compared_at_the_size_of_the_first(clips: list[str], tmp_path: Path) -> None:
    target = tmp_path / "compared.mp4"
    assert run(["compare", *clips, str(target), "--no-show-labels", "--quality", "0", "--quiet"]) == 0
    with open_clip(target, settings=InputSettings(size=0)) as clip:
        frames = [frame.image for frame in clip]
        assert clip.fps == 10
    assert len(frames) == 3
    for index, frame in enumerate(frames):
        assert frame.shape == (3, 48, 3 * 64 + 2 * GAP)
        middles = [frame[:, 24, 32 + panel * (64 + GAP)].mean().item() for panel in range(3)]
        assert middles == pytest.approx([0.2 * (index + 1), 0.4, 0.6], abs=0.02)


def test_layouts_and_labels_are_options_and_names_are_of_files(clips: list[str], tmp_path: Path) -> None:
    for layout, size in (("wipe", (3, 24, 32)), ("difference", (3, 24, 2 * 32 + GAP))):
        target = tmp_path / layout
        options = ["--layout", layout, "--size", "32", "--frames", "2", "--quiet"]
        assert run(["compare", clips[0], clips[1], str(target), *options]) == 0
        with open_clip(target, settings=InputSettings(size=0)) as clip:
            assert [frame.image.shape for frame in clip] == [size] * 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["one.mp4", "new.mp4"], "two to four clips and then the file to write, got 2 names"),
        (["one.mp4", "short.mp4", "new.mp4"], "equal length, got short with 2 frames and one with 3"),
        (["one.mp4", "tall.mp4", "new.mp4"], "same proportions, got one with 64x48 and tall with 48x64"),
        (["one.mp4", "two.mp4", "one.mp4"], "is the input"),
        (["one.mp4", "two.mp4", "short.mp4"], "exists"),
        (["one.mp4", "none.mp4", "new.mp4"], "does not exist"),
        (["one.mp4", "two.mp4", "new.mp4", "--labels", "a"], "in --labels, got 1"),
    ],
)
def test_what_does_not_fit_is_one_line_before_any_work(
    clips: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], says: str,
) -> None:  # fmt: skip
    write(tmp_path / "short.mp4", [0.1, 0.2])
    write(tmp_path / "tall.mp4", [0.1, 0.2, 0.3], (64, 48))
    monkeypatch.chdir(tmp_path)
    assert run(["compare", *arguments]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert says in lines[0]
    assert not (tmp_path / "new.mp4").exists()
