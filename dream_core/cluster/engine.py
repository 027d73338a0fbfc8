"""Clips dreamed on Ray: it chooses the worker for each piece of work, and calls another where one has died."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

from ..device import is_out_of_memory
from ..errors import DeepDreamError, OutOfMemoryError, SettingsError, VideoError
from ..models.weights import install_command
from .plan import Segment
from .work import Job, dream_segment, forget, frames_done, is_done, join, plan

LOCAL = "local"
"""Address for a Ray of this machine alone, which ends with the run."""

RETRIES = 20
"""Number of times that a piece of work is begun again after its worker has died."""

ENVIRONMENT = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else it rebuilds the environment of `uv run` for every worker
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "120",  # a busy machine needs more than the usual half minute
    # Else without end, where workers are killed because the host's memory ran out.
    "RAY_task_oom_retries": str(RETRIES),
}
"""Variables for Ray, which it reads when it is imported."""

STORE = 100_000_000
"""Bytes of memory that a local Ray shares among workers: they get names of files, never images."""

MORE_MEMORY = "give each worker more with `cpus` 8, or dream in pieces with `tile_size` 512"
"""What to do when a worker's memory runs out."""

POLL = 0.5
"""Seconds from one look at the records of the workers to the next."""

T = TypeVar("T")

Told: TypeAlias = tuple[str, type[Warning]]
"""A warning, and its kind."""


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
            f"expected the package ray for several workers, got none; install it by {install_command('ray')}"
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
        cpus: cores, or fewer where a host has fewer, or has more GPUs than would be busy.
        device: setting of the dream, such as auto, cpu or cuda:0,cuda:1.

    Raises:
        SettingsError: no host has the cores and GPUs, or the device names some that Ray cannot choose by.
    """
    hosts = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    named = device.split(",")
    wants_gpu = device.split(":")[0] in ("auto", "cuda")
    gpus = len(named) if wants_gpu and any(host.get("GPU") for host in hosts) else 0
    if gpus and ":" in device and named != [f"cuda:{number}" for number in range(gpus)]:
        raise SettingsError(
            f"expected `device` auto, cuda, or cuda:0,cuda:1 for two GPUs to each worker, got {device}: Ray "
            "chooses which; CUDA_VISIBLE_DEVICES, where it starts, leaves some out"
        )

    def places(host: Mapping[str, float]) -> int:
        """Number of workers that a host has GPUs for; without GPUs, one has all its cores."""
        return int(host.get("GPU", 0) // gpus) if gpus else 1

    able = [host for host in hosts if host.get("CPU", 0) >= 1 and places(host)]
    if not able:
        most = max((int(host.get("GPU", 0)) for host in hosts), default=0)
        raise SettingsError(
            f"expected a host with a core and {gpus} GPUs for `device` {device}, got none with more than {most}; "
            "name fewer"
        )
    own_cpus = max(1, min(cpus, *(int(host["CPU"] // places(host)) for host in able)))
    by_cpus = [int(host["CPU"] // own_cpus) for host in able]
    room = [min(one, places(host)) for one, host in zip(by_cpus, able, strict=True)] if gpus else by_cpus
    return Workers(own_cpus, gpus, sum(room))


def shared_out(jobs: Sequence[Job], workers: Workers) -> list[Job]:
    """Say whether to look for cuts, and how many segments each clip should have, so that all workers are busy.

    Args:
        jobs: the clips.
        workers: from `workers_of`.
    """
    wanted = segments_wanted(len(jobs), workers)
    return [replace(job, at_cuts=wanted > 1, wanted=wanted) for job in jobs]


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
    warn: Callable[[str, type[Warning]], None],
) -> list[tuple[Job, DeepDreamError]]:
    """Dream clips on all workers. One that cannot be dreamed does not stop the others.

    Args:
        ray: the module, connected.
        jobs: the clips, checked.
        workers: from `workers_of`.
        report: called again and again with the number of frames done and, once all are divided, in all.
        finished: called with each output that is whole, and its segments.
        warn: called with what the workers have to tell, and its kind.

    Returns:
        The clips that failed, with the reasons.

    Raises:
        Exception: a fault of the program, when all other clips are done.
    """
    options = {"num_cpus": workers.cpus, "num_gpus": workers.gpus, "max_retries": RETRIES}
    remote_plan = ray.remote(_at_home).options(name="plan", **options)
    remote_dream = ray.remote(_at_home).options(name="dream", **options)
    home = Path.cwd()
    clips = [_Clip(job) for job in jobs]
    running: dict[Any, _Clip] = {remote_plan.remote(home, plan, clip.job): clip for clip in clips}
    done_before = 0
    fault: Exception | None = None
    while running:
        ready, _ = ray.wait(list(running), timeout=POLL)
        for reference in ready:
            clip = running.pop(reference)
            try:
                found, told = ray.get(reference)
            except ray.exceptions.RayError as error:
                reason = _reason(error, clip.job)
                if reason is None:
                    fault = fault or error
                clip.error = clip.error or reason or VideoError(_first_line(error))
                continue
            for message, kind in told:
                warn(message, kind)
            if clip.segments is None:
                clip.segments = found
                if is_done(clip.job):
                    done_before += _joined(clip, finished)
                    continue
                clip.waiting = len(found)
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
    for clip in clips:
        if not clip.error:
            forget(clip.job)
    if fault:
        raise fault
    return [(clip.job, clip.error) for clip in clips if clip.error]


def _joined(clip: _Clip, finished: Callable[[Path, Sequence[Segment]], None]) -> int:
    """Join the parts of a clip; return its number of frames, 0 if that failed."""
    assert clip.segments
    try:
        finished(join(clip.job, clip.segments), clip.segments)
    except DeepDreamError as error:
        clip.error = error
        return 0
    return clip.segments[-1].end


def _total(clips: Sequence[_Clip]) -> int | None:
    """Number of frames of all clips that did not fail; None before all are divided."""
    ends = [clip.segments[-1].end if clip.segments else None for clip in clips if not clip.error]
    return None if None in ends else sum(end for end in ends if end)


def _at_home(home: Path, work: Callable[..., T], *arguments: Any) -> tuple[T, list[Told]]:
    """Do some work in the folder of the program that asked for it, so that relative paths mean the same.

    Returns:
        Its result, and its warnings, which that program shows.
    """
    try:
        os.chdir(home)
    except OSError as error:
        raise VideoError(
            f"expected the folder {home} on every host, got {error.strerror}; start in a folder that all share"
        ) from error
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default", UserWarning)
        result = work(*arguments)
    told = {str(one.message): one.category for one in caught if issubclass(one.category, UserWarning)}
    return result, list(told.items())


def _reason(error: Exception, job: Job) -> DeepDreamError | None:
    """Return the error that a worker raised or died of, as one that says what to do; None for a fault of ours."""
    cause: Exception | None = getattr(error, "cause", None)
    if isinstance(cause, DeepDreamError):
        return cause
    if cause is not None:
        return OutOfMemoryError(f"out of memory: {MORE_MEMORY}") if is_out_of_memory(cause) else None
    return VideoError(
        f"the workers of {job.source} died {RETRIES + 1} times ({_first_line(error)}): see the logs of Ray; the "
        "same again goes on"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
