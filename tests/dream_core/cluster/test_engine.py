"""Clips on Ray: a pretended one for the logic, and the real one, a worker of which is killed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dream_core.api import dream_video
from dream_core.cluster import engine
from dream_core.cluster.engine import LOCAL, Workers, dream_all, ray_at, shared_out, workers_of
from dream_core.cluster.plan import Segment
from dream_core.cluster.work import Job
from dream_core.errors import SettingsError, VideoError
from dream_core.flat_options import fill_settings
from dream_core.settings import InputSettings, OutputSettings, PipelineSettings
from dream_core.synthetic import Scene, synthetic_clip
from dream_core.video import open_clip, open_output

OPTIONS = {
    "model": "efficientnet_lite0",
    "layers": "stem",
    "flow": "dis",
    "octaves": 1,
    "octave_steps": 1,
    "device": "cpu",
    "size": 0,
    "quality": 0,
    "pixel_format": "yuv444p",
}


def job_of(source: Path, target: Path) -> Job:
    pipeline, reading, writing = fill_settings(OPTIONS, PipelineSettings, InputSettings, OutputSettings)
    return Job(
        source=source,
        target=target,
        pipeline=pipeline,
        reading=reading,
        writing=writing,
        shortest=5,
        overlap=2,
    )


class LostError(Exception):
    """As Ray's errors of workers that died."""


class RaisedError(LostError):
    """As Ray's errors of work that raised one."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("a traceback")
        self.cause = cause


class InTurn:
    """As much of Ray as is used, in this process: work is done when its result is asked for."""

    exceptions = SimpleNamespace(RayError=LostError)

    def __init__(self, *hosts: dict[str, float]) -> None:
        self.hosts = hosts
        self.options: list[dict[str, Any]] = []

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": host} for host in self.hosts]

    def remote(self, work: Callable[..., Any]) -> Any:
        def options(**given: Any) -> Any:
            self.options.append(given)
            return SimpleNamespace(remote=lambda *arguments: lambda: work(*arguments))

        return SimpleNamespace(options=options)

    @staticmethod
    def wait(references: list[Any], *, timeout: float) -> tuple[list[Any], list[Any]]:
        return references[:1], references[1:]

    @staticmethod
    def get(reference: Callable[[], Any]) -> Any:
        try:
            return reference()
        except (VideoError, KeyError) as error:
            raise RaisedError(error) from error


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was done, in order, by work that only notes it: clips of two segments of 10 frames."""
    noted: list[Any] = []

    def dream(job: Job, segment: Segment) -> None:
        if job.source.stem == "lost":
            raise LostError("the node died\nand more")
        noted.append((job.source.stem, segment.first))

    def plan(job: Job) -> list[Segment]:
        if job.source.stem == "bad":
            raise VideoError("bad.mp4 does not exist")
        return [Segment(0, 10), Segment(10, 20)]

    def join(job: Job, segments: list[Segment]) -> Path:
        noted.append((job.source.stem, "joined"))
        return job.target

    monkeypatch.setattr(engine, "plan", plan)
    monkeypatch.setattr(engine, "dream_segment", dream)
    monkeypatch.setattr(engine, "join", join)
    monkeypatch.setattr(engine, "frames_done", lambda job, segments: 5)
    return noted


def test_each_clip_is_joined_when_its_segments_are_done_and_a_bad_one_stops_no_other(
    done: list[Any],
) -> None:
    jobs = [job_of(Path(f"{name}.mp4"), Path(f"{name}_dream.mp4")) for name in ("one", "bad", "two", "lost")]
    told: list[Any] = []
    reports: list[tuple[int, int | None]] = []
    failed = dream_all(
        InTurn(),
        jobs,
        Workers(2, 1),
        report=lambda *numbers: reports.append(numbers),
        finished=lambda *what: told.append(what),
    )
    assert done == [
        *[("one", 0), ("one", 10), ("one", "joined")],
        *[("two", 0), ("two", 10), ("two", "joined")],
    ]
    halves = [Segment(0, 10), Segment(10, 20)]
    assert told == [(Path("one_dream.mp4"), halves), (Path("two_dream.mp4"), halves)]
    assert [job.source.stem for job, _ in failed] == ["bad", "lost"]
    assert str(failed[0][1]) == "bad.mp4 does not exist"
    assert "died 21 times (the node died)" in str(failed[1][1])
    assert reports[0] == (5, None)
    assert reports[-1] == (40, 40)


def test_every_worker_gets_its_share_and_is_replaced_when_it_dies(done: list[Any]) -> None:
    ray = InTurn()
    dream_all(
        ray, [job_of(Path("a.mp4"), Path("b.mp4"))], Workers(2, 1), report=print, finished=lambda *_: None
    )
    assert [one["name"] for one in ray.options] == ["plan", "dream"]
    assert all(
        (one["num_cpus"], one["num_gpus"], one["max_retries"]) == (2, 1, engine.RETRIES)
        for one in ray.options
    )


def test_a_fault_of_the_program_is_no_line_for_users(
    done: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(job: Job) -> list[Segment]:
        raise KeyError("a bug")

    monkeypatch.setattr(engine, "plan", plan)
    with pytest.raises(RaisedError):
        dream_all(
            InTurn(), [job_of(Path("a.mp4"), Path("b.mp4"))], Workers(1, 0), report=print, finished=print
        )


def test_a_worker_has_a_gpu_where_there_is_one_and_no_more_cores_than_the_smallest_host() -> None:
    with_gpus = InTurn({"CPU": 64, "GPU": 8}, {"CPU": 3, "GPU": 1}, {"memory": 1})
    assert workers_of(with_gpus, cpus=4, device="auto") == Workers(3, 1, number=8 + 1)
    assert workers_of(with_gpus, cpus=2, device="cpu") == Workers(2, 0, number=32 + 1)
    assert workers_of(with_gpus, cpus=2, device="cuda:0,cuda:1") == Workers(2, 2, number=4)
    assert workers_of(InTurn({"CPU": 16}), cpus=4, device="auto") == Workers(4, 0, number=4)


def test_clips_are_divided_only_where_there_are_workers_for_the_pieces() -> None:
    def shared(clips: int, workers: int) -> set[tuple[bool, int]]:
        jobs = [job_of(Path("a.mp4"), Path("b.mp4"))] * clips
        return {(job.at_cuts, job.wanted) for job in shared_out(jobs, Workers(4, 1, number=workers))}

    assert shared(1, 1) == {(False, 1)}
    assert shared(1, 8) == {(True, 8)}
    assert shared(3, 8) == {(True, 2)}
    assert shared(31, 8) == {(True, 1)}
    assert shared(32, 8) == {(False, 1)}


def test_a_missing_ray_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(SettingsError, match=r'pip install "deepdream-video\[cluster\]"'),
        ray_at(LOCAL),
    ):
        pass


@pytest.mark.parametrize(("address", "says"), [(LOCAL, "Ray does not start"), ("auto", "ray start --head")])
def test_a_ray_that_does_not_start_or_answer_is_one_line(
    monkeypatch: pytest.MonkeyPatch, address: str, says: str
) -> None:
    def init(**_: Any) -> None:
        raise Exception("The current node timed out during startup.\nand more")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    with pytest.raises(SettingsError, match=says) as raised, ray_at(address):
        pass
    assert "(The current node timed out during startup.)" in str(raised.value)


def test_a_worker_works_in_the_folder_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    assert engine._at_home(tmp_path / "home", Path.cwd) == tmp_path / "home"
    with pytest.raises(VideoError, match="on every host"):
        engine._at_home(tmp_path / "gone", Path.cwd)


def contents(path: Path) -> list[tuple[float, bytes]]:
    with open_clip(path, settings=InputSettings(size=0)) as clip:
        return [(frame.time, frame.image.numpy().tobytes()) for frame in clip]


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec("ray") is None:  # not imported: Ray reads the variables that `ray_at` sets when it is
        pytest.skip('needs ray: pip install "deepdream-video[cluster]"')
    source, killed, restored = tmp_path / "in.mkv", tmp_path / "killed", tmp_path / "restored"
    slow = Scene(shapes=2, speed=1)
    scenes = [synthetic_clip(frames=8, height=48, width=64, seed=seed, scene=slow).frames for seed in (1, 2)]
    with open_output(source, size=(48, 64), fps=Fraction(10), settings=OutputSettings(quality=4)) as output:
        for image in torch.cat(scenes):
            output.write(image)

    # Defined here, so that it goes to the workers by value. It kills the first worker that comes to frame 4.
    def mortal(job: Job, segment: Segment) -> None:
        from dream_core import unfinished
        from dream_core.cluster import work

        unfinished.SECONDS = unfinished.SHARE = 0
        real = work.dream_clip

        def dream_clip(clip: Any, dreamer: Any, output: Any, **given: Any) -> None:
            def kill(frame: Any, _: object) -> None:
                if frame.index == 4 and not killed.exists():
                    killed.touch()
                    os.kill(os.getpid(), signal.SIGKILL)

            with restored.open("a") as file:
                file.write(f"{output.restored} ")
            real(clip, dreamer, output, on_frame=kill, **given)

        work.dream_clip = dream_clip
        try:
            work.dream_segment(job, segment)
        finally:
            work.dream_clip = real

    monkeypatch.setattr(engine, "dream_segment", mortal)
    job, told, reports = job_of(source, tmp_path / "out.mkv"), [], []
    with ray_at(LOCAL, cores=1) as ray:
        workers = workers_of(ray, cpus=1, device="cpu")
        failed = dream_all(
            ray,
            [job],
            workers,
            report=lambda *numbers: reports.append(numbers),
            finished=lambda *what: told.append(what),
        )
    assert (failed, told) == ([], [(job.target, [Segment(0, 8), Segment(8, 16)])])
    assert killed.exists()
    *fresh, onward = sorted(map(int, restored.read_text().split()))
    assert fresh == [0, 0]
    assert 4 <= onward < 8  # frames are written beside the dream
    assert reports[-1] == (16, 16)
    whole = dream_video(source, tmp_path / "whole.mkv", **OPTIONS)
    assert contents(job.target) == contents(whole)
    assert len(contents(whole)) == 16
