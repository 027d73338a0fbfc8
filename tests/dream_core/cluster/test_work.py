"""Segments that are dreamed apart and joined, without Ray: the result is that of one run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from dream_core.api import dream_video
from dream_core.cluster import work
from dream_core.cluster.plan import Segment
from dream_core.cluster.work import (
    check_job,
    dream_segment,
    forget,
    frames_done,
    is_begun,
    is_done,
    join,
    plan,
)
from dream_core.errors import SettingsError, VideoError
from dream_core.settings import OutputSettings
from dream_core.synthetic import Scene, synthetic_clip
from dream_core.unfinished import SUFFIX, Unfinished
from dream_core.video import open_output
from dream_core.video.clip import Sound

from .jobs import OPTIONS, contents, job_of

SIZE = (48, 64)
SLOW = Scene(shapes=2, speed=1)
CUTS = (6, 11)
COUNT = 16


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shots, with a tone of 440 Hz."""
    folder = tmp_path_factory.mktemp("source")
    tone = folder / "tone.wav"
    with av.open(str(tone), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        wave = np.sin(2 * np.pi * 440 * np.arange(16000) / 8000) * 8000
        frame = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    path = folder / "source.mkv"
    lengths = np.diff([0, *CUTS, COUNT])
    scenes = [
        synthetic_clip(frames=int(length), height=SIZE[0], width=SIZE[1], seed=seed, scene=SLOW).frames
        for seed, length in enumerate(lengths, start=1)
    ]
    sound = Sound(tone, 0.0)
    settings = OutputSettings(quality=4)
    with open_output(path, size=SIZE, fps=Fraction(10), settings=settings, sound=sound) as output:
        for image in torch.cat(scenes):
            output.write(image)
    return path


def sound_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0)]


def test_segments_make_the_clip_that_is_dreamed_at_once_though_one_was_stopped(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(source, tmp_path / "out.mkv")
    check_job(job)
    segments = plan(job)
    assert [segment.first for segment in segments] == [0, *CUTS]
    real, restored = work.dream_clip, []

    def stopped(clip, dreamer, output, **given):
        restored.append(output.restored)

        def stop(frame, _):
            if frame.index == CUTS[0] + 2 and not output.restored:
                raise KeyboardInterrupt

        real(clip, dreamer, output, on_frame=stop, **given)

    monkeypatch.setattr(work, "dream_clip", stopped)
    with pytest.raises(KeyboardInterrupt):
        dream_segment(job, segments[1])
    assert frames_done(job, segments) == 3
    for segment in [*reversed(segments), segments[1]]:
        dream_segment(job, segment)
    assert restored == [0, 0, 3, 0]  # the whole one is not dreamed again
    assert frames_done(job, segments) == COUNT
    assert join(job, segments) == job.target
    whole = dream_video(source, tmp_path / "whole.mkv", **OPTIONS)
    assert contents(job.target) == contents(whole)
    assert len(contents(whole)) == COUNT
    assert sound_packets(job.target) == sound_packets(whole)
    assert len(sound_packets(whole)) > 1
    # The record that it is joined stays until the other clips of the run are.
    assert is_begun(job)
    assert is_done(job)
    check_job(job)
    assert plan(job) == segments
    (job.folder / ".DS_Store").touch()
    forget(job)
    assert job.folder.is_dir()
    (job.folder / ".DS_Store").unlink()
    forget(job)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mkv", "whole.mkv"]


@pytest.mark.parametrize(
    ("name", "options", "because"),
    [
        ("out.gif", {}, "a .gif file is encoded as a whole"),
        ("out.mp4", {"seamless": True}, "with `seamless` the end leads into the beginning"),
        ("out.mp4", {"save_last_dream": Path("end.safetensors")}, "`save_last_dream` is continued"),
        ("out.mp4", {"cuts": False, "split": "off"}, None),
        ("out.mp4", {"shortest": 50}, None),
        ("out.mp4", {"at_cuts": False, "split": "off"}, None),
    ],
)
def test_what_one_worker_has_to_dream_is_one_segment(
    source: Path, tmp_path: Path, name: str, options: dict[str, object], because: str | None
) -> None:
    job = job_of(source, tmp_path / name, **{"split": "auto", "wanted": 3, **options})
    assert job.undivided_for == because
    assert plan(job) == [Segment(0, COUNT)]


def test_parts_of_a_shot_meet_though_one_was_stopped_in_its_fade(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dream_core.unfinished.SECONDS", 0)
    monkeypatch.setattr("dream_core.unfinished.SHARE", 0)
    options = {"frames": CUTS[0], "split": "3", "at_cuts": False}
    at_once, stopped = (job_of(source, tmp_path / name, **options) for name in ("at_once.mkv", "stopped.mkv"))
    segments = plan(at_once)
    assert segments == plan(stopped) == [Segment(0, 3, leads_on=True), Segment(3, 6, continues=True)]
    for segment in segments:
        dream_segment(at_once, segment)
    real = work.dream_clip

    def stop(frame, _):
        if frame.index in (1, 4) and frame.index not in done:
            done.append(frame.index)
            raise KeyboardInterrupt

    done: list[int] = []
    monkeypatch.setattr(work, "dream_clip", lambda *given, **named: real(*given, **named, on_frame=stop))
    for segment in segments:
        with pytest.raises(KeyboardInterrupt):
            dream_segment(stopped, segment)
        dream_segment(stopped, segment)
    assert done == [1, 4]
    results = [contents(join(job, segments)) for job in (at_once, stopped)]
    assert results[0] == results[1]
    whole = contents(dream_video(source, tmp_path / "whole.mkv", **OPTIONS, frames=CUTS[0]))
    assert [one[:-1] for one in results[0]] == [one[:-1] for one in whole]
    assert results[0][0] == whole[0]
    assert all(one != other for one, other in zip(results[0][2:], whole[2:], strict=True))


def test_a_plan_is_kept_for_a_run_that_goes_on(source: Path, tmp_path: Path) -> None:
    job = job_of(source, tmp_path / "out.mp4", split="auto", wanted=4)
    segments = plan(job)
    assert segments == [Segment(0, 6), Segment(6, 11), Segment(11, 16)]  # parts of 5 frames or more
    assert plan(replace(job, wanted=1, at_cuts=False)) == segments
    with pytest.raises(SettingsError, match="`split` off instead of auto"):
        plan(replace(job, split="off"))


def killed_after(function: str) -> Any:
    """A function of `work` that is killed when it is done."""

    def run(*given: Any, **named: Any) -> None:
        real(*given, **named)
        raise KeyboardInterrupt

    real = getattr(work, function)
    return run


@pytest.mark.parametrize(("function", "is_whole"), [("join_parts", False), ("_output_of", True)])
def test_a_join_that_was_killed_is_done_again_or_known(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, is_whole: bool
) -> None:
    job = job_of(source, tmp_path / "out.mkv", frames=CUTS[0])
    (segment,) = plan(job)
    dream_segment(job, segment)
    with monkeypatch.context() as patch:
        patch.setattr(work, function, killed_after(function))
        with pytest.raises(KeyboardInterrupt):
            join(job, [segment])
    assert job.target.exists() == is_done(job) == is_whole
    check_job(job)
    before = contents(job.target) if is_whole else None
    assert join(job, plan(job)) == job.target
    assert len(contents(job.target)) == CUTS[0]
    assert before in (None, contents(job.target))
    job.target.unlink()
    assert not is_done(job)  # it is made again where it was removed


def test_a_dream_without_feedback_is_divided_anywhere(source: Path, tmp_path: Path) -> None:
    def parts(**options: object) -> list[Segment]:
        job = job_of(source, tmp_path / "out.mp4", independent=True, frames=12, restart=True, **options)
        check_job(job)
        return plan(job)

    assert parts(wanted=2) == parts(wanted=9) == [Segment(0, 6), Segment(6, 12)]
    assert parts(wanted=1, at_cuts=False) == [Segment(0, 12)]
    assert parts(split="5") == [Segment(0, 4), Segment(4, 8), Segment(8, 12)]


def test_parts_of_another_dream_are_refused_until_restart(source: Path, tmp_path: Path) -> None:
    segment = Segment(0, CUTS[0])
    dream_segment(job_of(source, tmp_path / "out.mp4"), segment)
    record = tmp_path / "out.mp4.parts" / f"00000000-00000006.mp4{SUFFIX}"
    assert record.is_dir()
    with pytest.raises(SettingsError, match="`octave_steps` 2 instead of 1"):
        dream_segment(job_of(source, tmp_path / "out.mp4", octave_steps=2), segment)
    anew = job_of(source, tmp_path / "out.mp4", restart=True)
    busy = Unfinished(anew.part(segment), conditions={}, restart=True)
    busy.open()
    with pytest.raises(VideoError, match="another run is making"):
        check_job(anew)
    busy.close()
    check_job(anew)
    assert not record.exists()


def test_the_folder_of_parts_has_a_name_that_is_not_too_long(source: Path, tmp_path: Path) -> None:
    job = job_of(source, tmp_path / f"{'x' * 250}.mp4")
    assert plan(job)[-1].end == COUNT
    assert is_begun(job)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("out.jpg", {}, "holds one image, but the clip has more"),
        ("out.mp4", {"frames": 1}, "expected a clip of more than one frame"),
        ("out.mp4", {"keep": "kept"}, "expected no `keep`"),
        ("out.mp4", {"codec": "nothing"}, "codec nothing is not an encoder"),
        ("source.mkv", {}, "is the input"),
    ],
)
def test_what_does_not_fit_is_told_before_any_work(
    source: Path, tmp_path: Path, name: str, options: dict[str, object], says: str
) -> None:
    shutil.copy(source, tmp_path / "source.mkv")
    with pytest.raises((SettingsError, VideoError), match=says):
        check_job(job_of(tmp_path / "source.mkv", tmp_path / name, **options))
    assert [path.name for path in tmp_path.iterdir()] == ["source.mkv"]
