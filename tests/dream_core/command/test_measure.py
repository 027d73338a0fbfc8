"""The command `deepdream-video measure`."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dream_core.__main__ import run
from dream_core.measure.figures import laplacian_variance, luminance
from dream_core.models.registry import MODELS
from dream_core.settings import InputSettings, OutputSettings
from dream_core.synthetic import Scene, synthetic_clip
from dream_core.video import open_clip, open_output
from dream_core.video.images import load_image


def write(path: Path, frames: Tensor) -> None:
    size = (frames.shape[-2], frames.shape[-1])
    with open_output(path, size=size, fps=Fraction(10), settings=OutputSettings()) as output:
        for frame in frames:
            output.write(frame)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the input, at twice the dreams' size, two dreams as images, and weights."""
    folder = tmp_path_factory.mktemp("measure")
    clip = synthetic_clip(frames=4, height=96, width=128, seed=1)
    small = torch.nn.functional.interpolate(clip.frames, (48, 64), mode="area")
    noise = 0.15 * torch.randn(small.shape, generator=torch.Generator().manual_seed(1))
    steady = (small + 0.3 * (small.flip(1) - 0.5)).clamp(0, 1)
    for name, frames in {"clip": clip.frames, "steady": steady, "noisy": (small + noise).clamp(0, 1)}.items():
        write(folder / name, frames)
    torch.manual_seed(0)
    save_file(MODELS["squeezenet1_1"].build().state_dict(), folder / "squeezenet.safetensors")
    return folder


@pytest.fixture
def options(files: Path) -> list[str]:
    network = ["--model", "squeezenet1_1", "--model-file", str(files / "squeezenet.safetensors")]
    return [*network, "--layers", "fire2", "--flow", "dis", "--device", "cpu", "--quiet"]


def read(path: Path, size: int) -> Tensor:
    with open_clip(path, settings=InputSettings(size=size)) as clip:
        return torch.stack([frame.image for frame in clip])


def drift(dreamed: Tensor, source: Tensor) -> float:
    return luminance((dreamed - source)[-1]) - luminance((dreamed - source)[0])


def sharpness(frames: Tensor) -> float:
    return sum(laplacian_variance(frame) for frame in frames)


def test_the_command_measures_files(
    files: Path, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = ["--json", str(tmp_path / "figures.json"), "--plot", str(tmp_path / "plot.png")]
    clips = [str(files / name) for name in ("clip", "steady", "noisy")]
    assert run(["measure", *clips, *options, *outputs, "--per-frame"]) == 0

    written = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    steady, noisy = (dream["overall"] for dream in written["dreams"])
    assert [dream["name"] for dream in written["dreams"]] == clips[1:]
    assert steady["flicker"] < 0.2 < 0.8 < noisy["flicker"]
    assert written["layers"] == "squeezenet1_1 fire2"
    source, dreamed = read(files / "clip", 64), read(files / "noisy", 0)
    assert noisy["drift"] == pytest.approx(drift(dreamed, source))
    assert noisy["sharpness"] == pytest.approx(sharpness(dreamed) / sharpness(source))
    assert noisy["strength"] > 0
    assert len(written["dreams"][0]["frames"]) == 4

    printed = capsys.readouterr().out
    assert f"{steady['flicker']:.3f}" in printed
    assert f"{written['dreams'][1]['frames'][2]['flicker']:.3f}" in printed
    assert load_image(tmp_path / "plot.png").shape[-1] == 1200


def test_part_of_the_clip_can_be_measured_without_a_network(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "figures.json"
    part = ["--start", "0.2", "--fps", "10", "--frames", "2", "--flow", "dis", "--no-strength"]
    assert (
        run(["measure", str(files / "clip"), str(files / "steady"), *part, "--json", str(target), "--quiet"])
        == 0
    )
    written = json.loads(target.read_text("utf-8"))
    assert len(written["input"]["frames"]) == 2
    assert written["dreams"][0]["overall"]["strength"] is None
    source, dreamed = read(files / "clip", 64)[2:], read(files / "steady", 0)[:2]
    assert written["dreams"][0]["overall"]["drift"] == pytest.approx(drift(dreamed, source))
    assert "E_warp" in capsys.readouterr().out


def test_the_end_of_the_clip_can_be_measured(files: Path, tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    words = ["--flow", "dis", "--no-strength", "--quiet", "--json", str(target)]
    overall = []
    for part in ([], ["--skip", "2"], ["--skip", "1", "--frames", "2"]):
        assert run(["measure", str(files / "clip"), str(files / "noisy"), *words, *part]) == 0
        (dream,) = json.loads(target.read_text("utf-8"))["dreams"]
        overall.append((len(dream["frames"]), dream["overall"]["sharpness"]))
    source, dreamed = read(files / "clip", 64), read(files / "noisy", 0)
    parts = (slice(None), slice(2, None), slice(1, 3))
    expected = [sharpness(dreamed[part]) / sharpness(source[part]) for part in parts]
    assert overall == [
        (length, pytest.approx(value)) for length, value in zip((4, 2, 2), expected, strict=True)
    ]


def test_coverage_is_measured_by_an_independent_dream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    clip = synthetic_clip(frames=3, height=96, width=128, scene=Scene(speed=6))
    shapes = (clip.forward - torch.tensor(Scene.background).view(2, 1, 1)).abs().amax(1, keepdim=True) > 1
    grain = 0.1 * torch.randn(clip.frames.shape, generator=torch.Generator().manual_seed(1))
    faded = grain * torch.where(torch.cat([shapes, shapes[-1:]]), 0.25, 1.0)
    for name, frames in {
        "clip": clip.frames,
        "faded": clip.frames + faded,
        "even": clip.frames + grain,
    }.items():
        write(tmp_path / name, frames.clamp(0, 1))
    words = ["--flow", "dis", "--no-strength", "--quiet", "--json", "figures.json"]
    assert run(["measure", "clip", "faded", "--independent", "even", *words]) == 0
    written = json.loads(Path("figures.json").read_text("utf-8"))
    uneven, even = (dream["overall"] for dream in written["dreams"])
    assert written["independent"] == "even"
    assert even["evenness"] == pytest.approx(1, abs=0.1)
    assert even["coverage"] == 1
    assert 0.25 < uneven["coverage"] < 0.6  # DIS smears the shapes' motion over their edges
    assert "coverage by even" in capsys.readouterr().out

    assert run(["measure", "clip", "faded", "even", "--independent", "even", *words]) == 0
    assert json.loads(Path("figures.json").read_text("utf-8")) == written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["clip"], "at least one DREAMED clip"),
        (["clip", "missing"], "missing does not exist"),
        (["clip", "steady", "--independent", "missing"], "missing does not exist"),
        (["clip", "steady", "--skip", "4"], "at least one frame"),
        (["clip", "steady", "clip"], "64x48, the size of the first dream"),
        (["clip", "steady", "--start", "0.08"], "got input with 2 frames and steady with more"),
        (["clip", "steady", "--json", "figures.mp4"], "--json FILE ending in .json"),
        (["clip", "steady", "--plot", "plot.txt"], "--plot FILE ending in .png"),
        (["clip", "steady", "--plot", "none/plot.png"], "folder none does not exist"),
        (["clip", "steady", "--layers", "fire99"], "has no layer 'fire99'"),
    ],
)
def test_mistakes_are_told_in_one_line(
    files: Path,
    options: list[str],
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(files)
    first_flag = next((at for at, one in enumerate(arguments) if one.startswith("--")), len(arguments))
    assert run(["measure", *arguments[:first_flag], *options, *arguments[first_flag:]]) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_measure_is_a_word_of_the_command_and_a_file_of_that_name_is_reached_by_its_path(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(files)
    assert run(["measure", "clip", "steady", "--flow", "dis", "--no-strength"]) == 0
    assert "flicker" in capsys.readouterr().out
    assert run(["./measure", "out.png"]) == 1
    assert "measure does not exist: expected a video" in " ".join(capsys.readouterr().err.split())


def test_standard_output_holds_the_table_alone(
    files: Path, options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(files)
    assert run(["measure", "clip", "steady", *options]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0] == ["clip", "E_warp", "flicker", "strength", "sharpness", "drift", "evenness"]
    assert [line[0] for line in lines[2:4]] == ["input", "steady"]
    assert lines[4:] == [["strength", "by", "squeezenet1_1", "fire2"]]


def test_a_sound_is_measured_beside_the_dream(files: Path, options: list[str], tmp_path: Path) -> None:
    wave = np.zeros((1, 3200), dtype=np.int16)
    wave[0, 1600:] = 16_000 * np.sin(np.arange(1600))
    with av.open(str(tmp_path / "song.wav"), "w") as container:
        track = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = 8000, 0, Fraction(1, 8000)
        container.mux(track.encode(sound))
        container.mux(track.encode(None))
    clips = [str(files / name) for name in ("clip", "steady")]
    target = tmp_path / "figures.json"
    words = ["--fps", "10", "--listen", "level", "--json", str(target)]
    assert run(["measure", *clips, *options, *words, "--listen-to", str(tmp_path / "song.wav")]) == 0
    heard = json.loads(target.read_text("utf-8"))["heard"]
    assert heard["feature"] == "level"
    assert heard["values"][0] < 0.1
    assert heard["values"][3] > 0.9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--listen", "drums"], "expected one of level, .* got 'drums'"),
        (["--listen", "level"], "expected an input with sound for --listen, got one without"),
    ],
)
def test_a_sound_that_cannot_be_heard_is_told(
    files: Path, options: list[str], words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = [str(files / name) for name in ("clip", "steady")]
    assert run(["measure", *clips, *options, *words]) == 1
    assert re.search(message, " ".join(capsys.readouterr().err.split()))
