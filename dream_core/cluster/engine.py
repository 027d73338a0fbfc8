"""Clips dreamed on Ray: it chooses the worker for each piece of work, and calls another where one has died."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ..errors import DeepDreamError, SettingsError, VideoError
from .plan import Segment
from .work import Job, dream_segment, frames_done, join, plan

LOCAL = "local"
"""Address for a Ray of this machine alone, which ends with the run."""

ENVIRONMENT = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else it rebuilds the environment of `uv run` for every worker
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "120",  # a busy machine needs more than the usual half minute
}
"""Variables for Ray, which it reads when it is imported."""

STORE = 100_000_000
"""Bytes of memory that a local Ray shares among workers: they get names of files, never images."""

RETRIES = 20
"""Number of times that a piece of work is begun again after its worker has died."""

FEW = 4
"""Pieces for each worker with which little time is lost until the last one is done."""

POLL = 0.5
"""Seconds from one look at the records of the workers to the next."""

T = TypeVar("T")


class Workers(NamedTuple):
    """What each worker gets of its host.

    Args:
        cpus: cores.
        gpus: GPUs; 0 where the cluster has none.
        number: of workers that there is room for.
    """

    cpus: int
    gpus: int
    number: int = 1


class _Clip:
    """A clip on its way.

    Args:
        job: what is to be done.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.segments: list[Segment] | None = None
        self.waiting = 0
        """Number of segments that are not done."""
        self.error: DeepDreamError | None = None


@contextmanager
def ray_at(address: str, *, cores: int | None = None) -> Iterator[Any]:
    """Connect to Ray, and yield its module.

    Args:
        address: `LOCAL`, "auto" for the cluster that this host belongs to, or HOST:PORT.
        cores: number for a local Ray to use; all of them by default.

    Raises:
        SettingsError: Ray is not installed, does not start, or there is no cluster.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        ray: Any = import_module("ray")
    except ImportError:
        raise SettingsError(
            "expected the package ray for several workers, got none; install it by "
            'pip install "deepdream-video[cluster]"'
        ) from None
    own = {"include_dashboard": False, "object_store_memory": STORE, "num_cpus": cores}
    try:
        ray.init(
            address=address,
            logging_level="ERROR",
            log_to_driver=False,
            **(own if address == LOCAL else {}),
        )
    except Exception as error:  # Ray's own has no narrower type where it does not start in time
        if address == LOCAL:
            raise SettingsError(
                f"Ray does not start on this machine ({_first_line(error)}); try again when it is less busy, or "
                "dream without `cluster`"
            ) from error
        raise SettingsError(
            f"expected a Ray cluster at `address` {address}, got none that answers ({_first_line(error)}); start "
            "one by ray start --head, or leave `address` out"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def workers_of(ray: Any, *, cpus: int, device: str) -> Workers:
    """Choose what each worker gets: a GPU where there are some, unless the device is another.

    Args:
        ray: the module, connected.
        cpus: cores, or fewer where a host has fewer.
        device: setting of the dream, such as auto, cpu or cuda:0,cuda:1.
    """
    hosts = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    least = int(min((host["CPU"] for host in hosts if host.get("CPU")), default=1))
    own_cpus = max(1, min(cpus, least))
    wants_gpu = device.split(":")[0] in ("auto", "cuda")
    has_gpu = any(host.get("GPU") for host in hosts)
    gpus = device.count(",") + 1 if wants_gpu and has_gpu else 0

    def room(host: Mapping[str, float]) -> int:
        by_cpu = int(host.get("CPU", 0) // own_cpus)
        return min(by_cpu, int(host.get("GPU", 0) // gpus)) if gpus else by_cpu

    return Workers(own_cpus, gpus, max(1, sum(map(room, hosts))))


def shared_out(jobs: Sequence[Job], workers: Workers) -> list[Job]:
    """Say whether to look for cuts, and how many segments each clip should have, so that all workers are busy.

    Args:
        jobs: the clips.
        workers: from `workers_of`.
    """
    at_cuts, wanted = is_worth_dividing(len(jobs), workers), segments_wanted(len(jobs), workers)
    return [replace(job, at_cuts=at_cuts, wanted=wanted) for job in jobs]


def is_worth_dividing(clips: int, workers: Workers) -> bool:
    """Say whether to look for cuts in so many clips: not if the workers have enough to do without."""
    return workers.number > 1 and clips < FEW * workers.number


def segments_wanted(clips: int, workers: Workers) -> int:
    """Number of segments of each of so many clips with which no worker is idle at first."""
    return max(1, workers.number // clips)


def dream_all(
    ray: Any,
    jobs: Sequence[Job],
    workers: Workers,
    *,
    report: Callable[[int, int | None], None],
    finished: Callable[[Path, Sequence[Segment]], None],
) -> list[tuple[Job, DeepDreamError]]:
    """Dream clips on all workers. One that cannot be dreamed does not stop the others.

    Args:
        ray: the module, connected.
        jobs: the clips, checked.
        workers: from `workers_of`.
        report: called again and again with the number of frames done and, once all are divided, in all.
        finished: called with each output that is whole, and its segments.

    Returns:
        The clips that failed, with the reasons.
    """
    options = {"num_cpus": workers.cpus, "num_gpus": workers.gpus, "max_retries": RETRIES}
    remote_plan = ray.remote(_at_home).options(name="plan", **options)
    remote_dream = ray.remote(_at_home).options(name="dream", **options)
    home = Path.cwd()
    clips = [_Clip(job) for job in jobs]
    running: dict[Any, _Clip] = {remote_plan.remote(home, plan, clip.job): clip for clip in clips}
    done_before = 0
    while running:
        ready, _ = ray.wait(list(running), timeout=POLL)
        for reference in ready:
            clip = running.pop(reference)
            try:
                found = ray.get(reference)
            except ray.exceptions.RayError as error:
                clip.error = clip.error or _told(error, clip.job)
                continue
            if clip.segments is None:
                clip.segments, clip.waiting = found, len(found)
                running |= {
                    remote_dream.remote(home, dream_segment, clip.job, segment): clip for segment in found
                }
                continue
            clip.waiting -= 1
            if not clip.waiting:
                done_before += _joined(clip, finished)
        total = _total(clips)
        open_clips = [clip for clip in clips if clip.waiting and not clip.error]
        report(done_before + sum(frames_done(clip.job, clip.segments or ()) for clip in open_clips), total)
    return [(clip.job, clip.error) for clip in clips if clip.error]


def _joined(clip: _Clip, finished: Callable[[Path, Sequence[Segment]], None]) -> int:
    """Join the parts of a clip; return its number of frames."""
    assert clip.segments
    try:
        finished(join(clip.job, clip.segments), clip.segments)
    except DeepDreamError as error:
        clip.error = error
    return clip.segments[-1].end


def _total(clips: Sequence[_Clip]) -> int | None:
    """Number of frames of all clips that did not fail; None before all are divided."""
    ends = [clip.segments[-1].end if clip.segments else None for clip in clips if not clip.error]
    return None if None in ends else sum(end for end in ends if end)


def _at_home(home: Path, work: Callable[..., T], *arguments: Any) -> T:
    """Do some work in the folder of the program that asked for it, so that relative paths mean the same."""
    try:
        os.chdir(home)
    except OSError as error:
        raise VideoError(
            f"expected the folder {home} on every host, got {error.strerror}; start in a folder that all share"
        ) from error
    return work(*arguments)


def _told(error: Exception, job: Job) -> DeepDreamError:
    """Return the error that a worker raised; an error of ours says what to do."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, DeepDreamError):
        return cause
    if cause is not None:
        raise error
    return VideoError(
        f"the workers of {job.source} died {RETRIES + 1} times ({_first_line(error)}): see the logs of Ray; the "
        "same again goes on"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
