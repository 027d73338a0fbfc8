"""Dreams that go on where they were stopped or killed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dream_core.beside import Worker, can_compute_beside
from dream_core.dreaming.dream import ImageDreamer
from dream_core.errors import SettingsError, VideoError
from dream_core.models.dream_model import DreamModel
from dream_core.motion.flow import FlowEstimator, dis_flow
from dream_core.motion.flow_folder import FlowFolder
from dream_core.motion.saved_flow import add_saved_flow
from dream_core.pipeline import dream_clip, open_keep_folder, open_output_like
from dream_core.resume import work_folder
from dream_core.settings import (
    AscentSettings,
    DreamSettings,
    FlowSettings,
    InputSettings,
    ModelSettings,
    OctaveSettings,
    OutputSettings,
    PipelineSettings,
    ReliabilitySettings,
    TemporalSettings,
)
from dream_core.synthetic import synthetic_clip
from dream_core.temporal.dreamer import TemporalDreamer
from dream_core.video import Frame, open_clip, open_output
from dream_core.video.behind import BEHIND

CPU = torch.device("cpu")
SIZE = (48, 64)
READING = InputSettings(size=0)
QUICK = DreamSettings(octave=OctaveSettings(octave_steps=2, octaves=1), ascent=AscentSettings(jitter=2))
PIPELINE = PipelineSettings(
    dream=QUICK, model=ModelSettings(model="efficientnet_lite0"), flow=FlowSettings(flow="dis")
)
COUNT = 9


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two scenes, so that there is something before a cut."""
    path = tmp_path / "source.mp4"
    scenes = [synthetic_clip(frames=5, height=SIZE[0], width=SIZE[1], seed=seed).frames for seed in (1, 2)]
    with open_output(path, size=SIZE, fps=Fraction(10), settings=OutputSettings(quality=4)) as output:
        for frame in torch.cat(scenes)[:COUNT]:
            output.write(frame)
    return path


def run(
    model: DreamModel,
    source: Path,
    target: Path,
    temporal: TemporalSettings,
    *,
    stopped: int = 0,
    keep: Path | None = None,
    restart: bool = False,
    reading: InputSettings = READING,
) -> int:
    """Dream until `stopped` frames are done, or to the end. Returns the number of those that were done before."""
    exact = {"quality": 0, "pixel_format": "yuv444p"} if target.suffix == ".mp4" else {}
    writing = OutputSettings(keep=keep, restart=restart, **exact)
    dreamer = TemporalDreamer(
        ImageDreamer([model], settings=QUICK),
        FlowEstimator(dis_flow, CPU, 16, 1),
        temporal=temporal,
        reliability=ReliabilitySettings(),
        beside=Worker(CPU) if can_compute_beside(CPU) else None,
    )

    def stop(frame: Frame, _: object) -> None:
        if frame.index + 1 == stopped:
            raise KeyboardInterrupt

    work = work_folder(source, target, pipeline=PIPELINE, reading=reading, writing=writing)
    goes_on = work.exists()
    with (
        open_clip(source, settings=reading) as clip,
        open_output_like(clip, target, settings=writing, work=work) as output,
    ):
        add_saved_flow(clip, source, reading)
        before = output.restored
        kept = open_keep_folder(writing, goes_on=goes_on)
        dream_clip(clip, dreamer, output, keep=kept, on_frame=stop)
    return before


def images(path: Path) -> list[Tensor]:
    with open_clip(path, settings=READING) as clip:
        return [frame.image for frame in clip]


TEMPORAL = {
    "plain": TemporalSettings(),
    "far": TemporalSettings(references=3),
    "alone": TemporalSettings(independent=True),
    "circle": TemporalSettings(seamless=True, seamless_frames=4, cuts=False),
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("out.mp4", "plain"), ("out", "far"), ("out", "alone"), ("out", "circle"), ("out.gif", "plain")],
)
def test_a_dream_that_was_stopped_twice_is_the_one_of_an_uninterrupted_run(
    tiny: DreamModel, source: Path, tmp_path: Path, name: str, kind: str
) -> None:
    target, whole, temporal = tmp_path / name, tmp_path / f"whole_{name}", TEMPORAL[kind]
    for stopped in (4, 7):
        with pytest.raises(KeyboardInterrupt):
            run(tiny, source, target, temporal, stopped=stopped)
    assert run(tiny, source, target, temporal) == 7
    run(tiny, source, whole, temporal)
    assert all(torch.equal(a, b) for a, b in zip(images(target), images(whole), strict=True))
    assert len(images(whole)) == COUNT
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted({name, whole.name, "source.mp4"})


@pytest.mark.usefixtures("with_room")
@pytest.mark.parametrize("kind", TEMPORAL)
def test_a_dream_with_work_beside_it_goes_on_too(
    tiny: DreamModel, source: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames that were waiting when it was stopped are written, and belong to the record."""
    with pytest.raises(KeyboardInterrupt):
        run(tiny, source, tmp_path / "out", TEMPORAL[kind], stopped=4)
    assert 4 <= run(tiny, source, tmp_path / "out", TEMPORAL[kind]) <= 4 + BEHIND
    monkeypatch.delenv("OMP_NUM_THREADS")
    run(tiny, source, tmp_path / "whole", TEMPORAL[kind])
    pairs = zip(images(tmp_path / "out"), images(tmp_path / "whole"), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert len(images(tmp_path / "out")) == COUNT


def test_what_is_kept_is_kept_of_every_frame(tiny: DreamModel, source: Path, tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    with pytest.raises(KeyboardInterrupt):
        run(tiny, source, tmp_path / "out", TEMPORAL["plain"], stopped=4, keep=keep)
    with pytest.raises(SettingsError, match="got `keep` unset instead of"):
        run(tiny, source, tmp_path / "out", TEMPORAL["plain"])
    assert run(tiny, source, tmp_path / "out", TEMPORAL["plain"], keep=keep) == 4
    assert [len(list((keep / name).iterdir())) for name in ("frames", "dreams", "flow", "mask")] == [
        COUNT
    ] * 4


def test_what_is_no_image_changes_no_folder_of_images(tiny: DreamModel, source: Path, tmp_path: Path) -> None:
    """The output may grow there, and the system leaves files of its own."""
    folder = tmp_path / "frames"
    with (
        open_clip(source, settings=READING) as clip,
        open_output_like(clip, folder, settings=OutputSettings()) as output,
    ):
        for frame in clip:
            output.write(frame.image)
    target = folder / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        run(tiny, folder, target, TemporalSettings(), stopped=3)
    (folder / ".DS_Store").touch()
    (folder / "sketches.png").mkdir()
    assert run(tiny, folder, target, TemporalSettings()) > 0
    (folder / "frame_000001.png").unlink()
    digest = work_folder(folder, target, pipeline=PIPELINE, reading=READING, writing=OutputSettings())
    assert (
        digest._conditions["input"]
        != work_folder(
            source, target, pipeline=PIPELINE, reading=READING, writing=OutputSettings()
        )._conditions["input"]
    )


def test_a_changed_input_is_refused_until_restart(tiny: DreamModel, source: Path, tmp_path: Path) -> None:
    target, temporal = tmp_path / "out", TEMPORAL["alone"]
    with pytest.raises(KeyboardInterrupt):
        run(tiny, source, target, temporal, stopped=4)
    source.write_bytes(source.read_bytes() + b"more")
    with pytest.raises(
        SettingsError, match="got another input, or one that was changed; repeat it as it was"
    ):
        run(tiny, source, target, temporal)
    assert run(tiny, source, target, temporal, restart=True) == 0
    assert len(images(target)) == COUNT


def test_a_dream_goes_on_along_its_saved_flow_and_along_no_other(
    tiny: DreamModel, source: Path, tmp_path: Path
) -> None:
    flow = FlowFolder(tmp_path / "flow", ".flo")
    for index in range(COUNT):
        flow.save(index, torch.full((2, *SIZE), index / 4))
    reading = replace(READING, saved_flow=flow.path)
    whole, target, temporal = tmp_path / "whole", tmp_path / "out", TEMPORAL["plain"]
    run(tiny, source, whole, temporal, reading=reading)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, source, target, temporal, reading=reading, stopped=4)
    shutil.copytree(tmp_path / "flow", tmp_path / "other")
    (tmp_path / "other" / "backward" / "flow_000007.flo").write_bytes(
        (flow.path / "backward" / "flow_000001.flo").read_bytes()
    )
    with pytest.raises(SettingsError, match=r"`saved_flow` file \w+ instead of file \w+"):
        run(tiny, source, target, temporal, reading=replace(reading, saved_flow=tmp_path / "other"))
    assert run(tiny, source, target, temporal, reading=reading) == 4
    assert all(torch.equal(a, b) for a, b in zip(images(target), images(whole), strict=True))


def test_an_input_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"gone\.mp4 cannot be read \(No such file or directory\)"):
        work_folder(
            tmp_path / "gone.mp4",
            tmp_path / "out.mp4",
            pipeline=PIPELINE,
            reading=READING,
            writing=OutputSettings(),
        )


KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from dream_core import unfinished
from dream_core.api import dream_video
from dream_core.video import encoder
from dream_core.models.registry import MODELS
from safetensors.torch import save_file

source, folder = Path(sys.argv[1]), Path(sys.argv[2])
torch.set_num_threads(1)
unfinished.SECONDS = unfinished.SHARE = 0
encoder.SEGMENT = 10
weights = folder / "weights.safetensors"
torch.manual_seed(0)
save_file(MODELS["squeezenet1_1"].build().state_dict(), weights)
options = dict(model="squeezenet1_1", model_file=weights, layers="fire2", flow="dis", octaves=1, octave_steps=2,
               device="cpu", size=0, quality=0, pixel_format="yuv444p", references=2)

def start(name):
    child = os.fork()  # before any other thread runs
    if not child:
        dream_video(source, folder / name, **options)
        os._exit(0)
    return child

begun = time.monotonic()
assert os.waitpid(start("whole.mkv"), 0)[1] == 0
length = time.monotonic() - begun
chance, seen = random.Random(int(sys.argv[3])), set()
state = folder / "killed.mkv.resume" / "state.json"

def written():
    try:
        return int(state.read_text().partition('"written": ')[2].partition(",")[0])
    except (OSError, ValueError):
        return 0

for number in range(20):
    before, ended = written(), False
    child = start("killed.mkv")
    if number % 4:  # some frames later, and a moment
        wanted = before + chance.randint(1, 3)
        while written() < wanted and not ended:
            ended = os.waitpid(child, os.WNOHANG)[0] == child
            time.sleep(0.001)
        time.sleep(chance.uniform(0, length / 60))
    else:  # while it begins
        time.sleep(chance.uniform(0, length / 4))
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    seen.add(written())
    if not state.exists() and (folder / "killed.mkv").exists():
        break
if not (folder / "killed.mkv").exists():
    assert os.waitpid(start("killed.mkv"), 0)[1] == 0
elif state.exists():  # killed while it was tidying up
    assert os.waitpid(start("killed.mkv"), 0)[1] != 0  # the output exists
print(len(seen - {0}))
"""


@pytest.mark.skipif(not hasattr(sys, "abiflags") or sys.platform == "darwin", reason="needs a quick fork")
def test_twenty_kills_at_random_moments_change_no_frame(tmp_path: Path) -> None:
    source = tmp_path / "source.mp4"
    frames = synthetic_clip(frames=30, height=SIZE[0], width=SIZE[1], seed=3).frames
    with open_output(source, size=SIZE, fps=Fraction(10), settings=OutputSettings(quality=4)) as output:
        for frame in frames:
            output.write(frame)
    command = [sys.executable, "-c", KILLER, str(source), str(tmp_path), "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 2  # it was killed in the midst of its work, too
    found, wanted = images(tmp_path / "killed.mkv"), images(tmp_path / "whole.mkv")
    assert len(wanted) == len(frames)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert not list(tmp_path.glob("*.resume"))
