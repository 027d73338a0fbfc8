"""Clips on Ray: a pretended one for the logic, and the real one, a worker of which is killed."""

from __future__ import annotations

import os
import signal
import sys
import warnings
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
from dream_core.errors import Notice, SettingsError, VideoError
from dream_core.settings import OutputSettings
from dream_core.synthetic import Scene, synthetic_clip
from dream_core.video import open_output

from .jobs import OPTIONS, contents, job_of


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
        except (VideoError, KeyError, MemoryError) as error:
            raise RaisedError(error) from error


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was done, in order, by work that only notes it: clips of two segments of 10 frames."""
    noted: list[Any] = []

    def dream(job: Job, segment: Segment) -> None:
        if job.source.stem == "lost":
            raise LostError("the node died\nand more")
        if job.source.stem == "large":
            raise MemoryError
        if segment.first:
            warnings.warn("smaller tiles", Notice, stacklevel=1)
        noted.append((job.source.stem, segment.first))

    def plan(job: Job) -> list[Segment]:
        if job.source.stem == "bad":
            raise VideoError("bad.mp4 does not exist")
        return [Segment(0, 10), Segment(10, 20)]

    def join(job: Job, segments: list[Segment]) -> Path:
        if job.source.stem == "full":
            raise VideoError("the disk is full")
        noted.append((job.source.stem, "joined"))
        return job.target

    monkeypatch.setattr(engine, "plan", plan)
    monkeypatch.setattr(engine, "dream_segment", dream)
    monkeypatch.setattr(engine, "join", join)
    monkeypatch.setattr(engine, "is_done", lambda job: job.source.stem == "done")
    monkeypatch.setattr(engine, "forget", lambda job: noted.append((job.source.stem, "forgotten")))
    monkeypatch.setattr(engine, "frames_done", lambda job, segments: 5)
    return noted


def dream(ray: InTurn, *names: str) -> tuple[dict[str, str], SimpleNamespace]:
    """Dream clips; return why some failed, and all that was reported."""
    seen = SimpleNamespace(finished=[], reports=[], warned=[])
    failed = dream_all(
        ray,
        [job_of(Path(f"{name}.mp4"), Path(f"{name}_dream.mp4")) for name in names],
        Workers(2, 1),
        report=lambda *numbers: seen.reports.append(numbers),
        finished=lambda *what: seen.finished.append(what),
        warn=lambda *what: seen.warned.append(what),
    )
    return {job.source.stem: str(error) for job, error in failed}, seen


def test_each_clip_is_joined_when_its_segments_are_done_and_a_bad_one_stops_no_other(
    done: list[Any],
) -> None:
    failed, seen = dream(InTurn(), "one", "bad", "two", "lost", "large", "full")
    assert done == [
        *[("one", 0), ("one", 10), ("one", "joined")],
        *[("two", 0), ("two", 10), ("two", "joined")],
        *[("full", 0), ("full", 10)],
        *[("one", "forgotten"), ("two", "forgotten")],
    ]
    halves = [Segment(0, 10), Segment(10, 20)]
    assert seen.finished == [(Path("one_dream.mp4"), halves), (Path("two_dream.mp4"), halves)]
    assert list(failed) == ["bad", "lost", "large", "full"]
    assert failed["bad"] == "bad.mp4 does not exist"
    assert "died 21 times (the node died)" in failed["lost"]
    assert "out of memory: give each worker more with `cpus` 8" in failed["large"]
    assert seen.reports[0] == (5, None)
    assert seen.reports[-1] == (40, 40)
    assert set(seen.warned) == {("smaller tiles", Notice)}


def test_a_clip_that_an_earlier_run_made_is_not_dreamed_again(done: list[Any]) -> None:
    failed, seen = dream(InTurn(), "done", "one")
    assert done == [
        ("done", "joined"),
        *[("one", 0), ("one", 10), ("one", "joined")],
        *[("done", "forgotten"), ("one", "forgotten")],
    ]
    assert not failed
    assert seen.reports[-1] == (40, 40)


def test_every_worker_gets_its_share_and_is_replaced_when_it_dies(done: list[Any]) -> None:
    ray = InTurn()
    dream(ray, "a")
    assert [one["name"] for one in ray.options] == ["plan", "dream"]
    assert all(
        (one["num_cpus"], one["num_gpus"], one["max_retries"]) == (2, 1, engine.RETRIES)
        for one in ray.options
    )


def test_a_fault_of_the_program_is_no_line_for_users_and_comes_when_the_others_are_done(
    done: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = engine.plan

    def plan(job: Job) -> list[Segment]:
        if job.source.stem == "a":
            raise KeyError("a bug")
        return real(job)

    monkeypatch.setattr(engine, "plan", plan)
    with pytest.raises(RaisedError):
        dream(InTurn(), "a", "b")
    assert done == [("b", 0), ("b", 10), ("b", "joined"), ("b", "forgotten")]


def test_a_worker_has_a_gpu_where_there_is_one_and_no_more_cores_than_the_smallest_host() -> None:
    with_gpus = InTurn({"CPU": 64, "GPU": 8}, {"CPU": 3, "GPU": 1}, {"memory": 1})
    assert workers_of(with_gpus, cpus=4, device="auto") == Workers(3, 1, number=8 + 1)
    assert workers_of(with_gpus, cpus=2, device="cpu") == Workers(2, 0, number=32 + 1)
    assert workers_of(with_gpus, cpus=2, device="cuda:0,cuda:1") == Workers(2, 2, number=4)
    assert workers_of(InTurn({"CPU": 16}), cpus=4, device="auto") == Workers(4, 0, number=4)
    # Few cores beside many GPUs are shared out, so that no GPU is idle.
    assert workers_of(InTurn({"CPU": 16, "GPU": 8}), cpus=4, device="auto") == Workers(2, 1, number=8)
    assert workers_of(InTurn({"CPU": 4, "GPU": 2}), cpus=4, device="cuda") == Workers(2, 1, number=2)
    assert workers_of(InTurn({"CPU": 4, "GPU": 8}), cpus=4, device="cuda") == Workers(1, 1, number=4)


@pytest.mark.parametrize(
    ("device", "says"),
    [
        ("cuda:0,cuda:1", "expected a host with a core and 2 GPUs .* got none with more than 1"),
        ("cuda:1", "expected `device` auto, cuda, or .* got cuda:1"),
        ("cuda:1,cuda:0", "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_gpus_that_no_host_has_or_that_ray_chooses_are_refused(device: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        workers_of(InTurn({"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1}), cpus=2, device=device)


def test_clips_are_divided_only_where_there_are_workers_for_the_pieces() -> None:
    def shared(clips: int, workers: int) -> set[tuple[bool, int]]:
        jobs = [job_of(Path("a.mp4"), Path("b.mp4"))] * clips
        return {(job.at_cuts, job.wanted) for job in shared_out(jobs, Workers(4, 1, number=workers))}

    assert shared(1, 1) == {(False, 1)}
    assert shared(1, 8) == {(True, 8)}
    assert shared(3, 8) == {(True, 2)}
    assert shared(5, 8) == shared(31, 8) == {(False, 1)}


def test_a_missing_ray_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(SettingsError, match=r"pip install.* ray$"),
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


def test_a_worker_works_in_the_folder_of_the_program_and_hands_its_warnings_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()

    def work() -> Path:
        for number in (1, 1, 2):
            warnings.warn(f"damaged in {number} places", stacklevel=1)
        return Path.cwd()

    told = [("damaged in 1 places", UserWarning), ("damaged in 2 places", UserWarning)]
    assert engine._at_home(tmp_path / "home", work) == (tmp_path / "home", told)
    with pytest.raises(VideoError, match="on every host"):
        engine._at_home(tmp_path / "gone", Path.cwd)


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec("ray") is None:  # not imported: Ray reads the variables that `ray_at` sets when it is
        pytest.skip("needs ray: uv run --extra cluster")
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
            warn=print,
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
