"""The command `deepdream-video cluster`: dreams on several GPUs and hosts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..checks import validate
from ..cluster.engine import MORE_MEMORY, dream_all, ray_at, shared_out, workers_of
from ..cluster.plan import Segment
from ..cluster.work import Job, check_job, is_begun
from ..errors import DeepDreamError, SettingsError
from ..looks import load_look
from ..video.containers import telling
from ..video.writer import is_occupied
from .console import EXPECTED, Teller, exit_code
from .dream import default_output
from .exit_codes import DONE, MISTAKE
from .options import ClusterCommand, as_flags


def main(command: ClusterCommand) -> int:
    """Run the command and show its progress. Returns the exit code."""
    teller = Teller(quiet=command.cluster.quiet)
    try:
        with teller.bar():
            return dream_files(command, teller)
    except EXPECTED as error:
        return exit_code(
            error,
            teller,
            out_of_memory=as_flags(MORE_MEMORY),
            stopped="what is done is kept, and the same command goes on",
        )


def dream_files(command: ClusterCommand, teller: Teller) -> int:
    """Dream all clips. Returns the exit code.

    Raises:
        DeepDreamError: a file cannot be read or written, a setting is wrong, or there is no Ray.
    """
    validate(command)
    if command.look:
        load_look(command.look).warn_left_out(command.model.model)
    jobs = [
        Job(
            source=source,
            target=target,
            pipeline=command.pipeline,
            reading=command.read,
            writing=command.write,
            shortest=command.cluster.shortest,
            split=command.cluster.split,
            overlap=command.cluster.overlap,
        )
        for source, target in pairs_of(command.files)
    ]
    jobs, unfit = still_to_dream(jobs, teller)

    def finished(path: Path, segments: Sequence[Segment]) -> None:
        count, seams = len(segments), sum(one.continues for one in segments)
        within = f", {seams} of them from within a shot on; none with --split off" if seams else ""
        teller.say(f"{path}: {segments[-1].end} frames in {count} segment{'' if count == 1 else 's'}{within}")

    if not jobs:
        return MISTAKE if unfit else DONE
    with ray_at(command.cluster.address) as ray:
        workers = workers_of(ray, cpus=command.cluster.cpus, device=command.device.device)
        for job in jobs:
            if job.undivided_for and (workers.number > 1 or job.longest):
                teller.warn(f"one worker dreams the whole of {job.source}, because {job.undivided_for}")
        teller.begin(None, "dreaming")
        failed = dream_all(
            ray,
            shared_out(jobs, workers),
            workers,
            report=teller.counted,
            finished=finished,
            warn=teller.warn,
        )
    for job, error in failed:
        teller.fail(f"{job.source}: {error}")
    return MISTAKE if unfit or failed else DONE


def still_to_dream(jobs: Sequence[Job], teller: Teller) -> tuple[list[Job], int]:
    """Check clips before any work. Among several, one that cannot be dreamed, or is done already, stops no other.

    Args:
        jobs: all clips.
        teller: says which are left out.

    Returns:
        Those to dream, and the number of those that cannot be.

    Raises:
        SettingsError: a setting is wrong for all clips alike.
        DeepDreamError: the only clip cannot be dreamed.
    """
    left, unfit = [], 0
    for job in jobs:
        several = len(jobs) > 1
        if several and job.writing.save_last_dream:
            raise SettingsError(
                "expected no `save_last_dream` with several clips, whose last dreams would replace each other; "
                "dream one alone"
            )
        if several and is_occupied(job.target) and not (job.writing.overwrite or is_begun(job)):
            teller.say(
                as_flags(f"{job.target} exists already and is left as it is; `overwrite` dreams it anew")
            )
            continue
        try:
            check_job(job)
        except DeepDreamError as error:
            if not several:
                raise
            teller.fail(f"{job.source}: {error}")
            unfit += 1
            continue
        left.append(job)
    return left, unfit


def pairs_of(files: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return each input with its output.

    Args:
        files: an input and its output, or several inputs and a folder for their outputs, which is made.

    Raises:
        SettingsError: there are too few names, or two inputs would have the same output.
        VideoError: the folder cannot be made.
    """
    *sources, target = files or (Path(),)
    if not sources:
        raise SettingsError(
            f"expected one clip and the file to write, or several and a folder, got {len(files)} names: put them "
            "before options that take lists"
        )
    if len(sources) == 1 and not (target.is_dir() and sources[0].is_file()):
        return [(sources[0], target)]
    with telling(target, "made"):
        target.mkdir(parents=True, exist_ok=True)
    pairs = [(source, target / default_output(source).name) for source in sources]
    if len({output for _, output in pairs}) < len(pairs):
        raise SettingsError("expected clips of different names, got two that are the same; rename one")
    return pairs
