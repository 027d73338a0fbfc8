"""Work on a clip, which may be done on any host: its plan, one segment as a part of the output, and the join."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..checks import kind_of
from ..device import backends
from ..errors import Notice, SettingsError, VideoError
from ..motion.finder import MotionFinder
from ..motion.saved_flow import add_saved_flow
from ..motion.scene_cuts import COMPARISON_SIDE
from ..pipeline import (
    check_alongside,
    dream_clip,
    load_dreamer,
    load_estimator,
    open_output_like,
    open_previous,
)
from ..resume import work_folder
from ..settings import InputSettings, OutputSettings, PipelineSettings
from ..sound.listen import hear
from ..temporal.seamless import ShotPart
from ..unfinished import SUFFIX as UNFINISHED
from ..unfinished import Unfinished, shortened
from ..video import Clip, open_clip
from ..video.containers import require_apart, telling
from ..video.images import ANIMATED_SUFFIXES
from ..video.joining import images_done, is_whole, join_parts, remove_parts
from .plan import (
    Segment,
    around,
    cut_test,
    divide,
    find_candidates,
    find_cuts,
    near_equal_parts,
    split,
)

SUFFIX = ".parts"
"""Added to the name of an output for the folder of its parts."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A clip to dream.

    Args:
        source: the input.
        target: the output.
        pipeline, reading, writing: all settings of the dream.
        shortest: least number of frames of a segment.
        overlap: number of frames before a seam within a shot, over which one part fades out and the dream of the
            next grows.
        at_cuts: look for cuts to divide the clip at.
        split: "off", or how shots are split: "auto" until there are `wanted` segments, a number so that none has
            more frames.
        wanted: number of segments that keeps all workers busy.
    """

    source: Path
    target: Path
    pipeline: PipelineSettings
    reading: InputSettings
    writing: OutputSettings
    shortest: int
    overlap: int
    at_cuts: bool = True
    split: str = "off"
    wanted: int = 1

    @property
    def folder(self) -> Path:
        """Folder of the parts, beside the output."""
        return self.target.with_name(shortened(self.target.name, SUFFIX) + SUFFIX)

    @property
    def undivided_for(self) -> str | None:
        """What makes one worker dream the whole clip, in words; None if nothing does."""
        suffix, temporal = self.target.suffix.lower(), self.pipeline.temporal
        if suffix in (".gif", *ANIMATED_SUFFIXES) and not self.target.is_dir():
            return f"a {suffix} file is encoded as a whole"
        if temporal.independent:
            return None
        reasons = {
            "with `seamless` the end leads into the beginning": temporal.seamless,
            "`previous_dream` is continued": self.reading.previous_dream,
            "`save_last_dream` is continued": self.writing.save_last_dream,
        }
        return next((words for words, holds in reasons.items() if holds), None)

    @property
    def longest(self) -> int:
        """Number of frames that a segment may have; 0 for any."""
        return int(self.split) if self.split.isdecimal() else 0

    @property
    def plan(self) -> Path:
        """Name of the record of the segments."""
        return self.folder / "plan"

    @property
    def joined(self) -> Unfinished:
        """Record that the parts are joined, which stays until the whole run is done."""
        return Unfinished(self.folder / "joined", conditions={})

    def part(self, segment: Segment) -> Path:
        """Name of a part, in the format of the output."""
        suffix = "" if self.target.is_dir() else self.target.suffix
        return self.folder / f"{segment.first:08d}-{segment.end:08d}{suffix}"

    def record(self, segment: Segment) -> Unfinished:
        """Working record of a part, to look at."""
        return Unfinished(self.part(segment), conditions={})


def check_job(job: Job) -> None:
    """Check, before any work, that the input can be read and the output written.

    Raises:
        SettingsError, VideoError: it cannot, or a setting does not go with several workers.
    """
    require_apart(job.target, job.source)
    if job.writing.keep:
        raise SettingsError("expected no `keep`, because many workers share the dream; dream it without them")
    if job.writing.restart:
        _begin_anew(job)
    with warnings.catch_warnings(), open_clip(job.source, settings=job.reading) as clip:
        warnings.simplefilter("ignore", Notice)  # told when the output is written
        if clip.frame_count == 1:
            raise VideoError(f"expected a clip of more than one frame, got {job.source}; dream it alone")
        add_saved_flow(clip, job.source, job.reading)
        if not is_done(job):
            open_output_like(clip, job.target, settings=job.writing).discard()


def _begin_anew(job: Job) -> None:
    for record in job.folder.glob(f"*{UNFINISHED}"):
        if Unfinished(record.with_name(record.name.removesuffix(UNFINISHED)), conditions={}).in_use():
            raise VideoError(f"another run is making {job.target}: wait for it, or choose another name")
    shutil.rmtree(job.folder, ignore_errors=True)


def is_done(job: Job) -> bool:
    """Return True if the output was made by an earlier run, which goes on with other clips."""
    state = job.joined.peek()
    return (
        bool(state)
        and kind_of(job.target) is not None
        and kind_of(job.target.with_name(state["growing"])) is None
    )


def is_begun(job: Job) -> bool:
    """Return True if an earlier run left parts, or the output and its record."""
    return job.folder.is_dir()


def forget(job: Job) -> None:
    """Remove what is left beside an output that is done, once the run needs it no more."""
    for record in (job.joined, Unfinished(job.plan, conditions={})):
        record.remove()
    with suppress(OSError):  # a file of the system's may lie there, and nothing depends on it
        job.folder.rmdir()


def plan(job: Job) -> list[Segment]:
    """Divide a clip into segments. A run that goes on takes those of the first one, also on other workers.

    Raises:
        SettingsError, VideoError, WeightsError: the input cannot be read, the flow estimator not be loaded, or the
            plan was made with other settings.
    """
    with telling(job.folder, "made"):
        job.folder.mkdir(parents=True, exist_ok=True)
    record = work_folder(
        job.source,
        job.plan,
        pipeline=job.pipeline,
        reading=job.reading,
        writing=replace(job.writing, restart=False),
        more={"split": job.split, "shortest": job.shortest, "overlap": job.overlap},
    )
    record.open()
    try:
        if record.state:
            return [Segment(*one) for one in record.state["segments"]]
        segments = _segments(job)
        record.commit({"segments": segments})
        return segments
    finally:
        record.close()


def _segments(job: Job) -> list[Segment]:
    with backends(job.pipeline.device), open_clip(job.source, settings=job.reading) as clip:
        too_short = clip.frame_count is not None and clip.frame_count < 2 * job.shortest
        by_flow = job.pipeline.temporal.cuts and not job.reading.saved_flow  # which finds the cuts
        cuts: list[int] = []
        if (
            by_flow
            and job.at_cuts
            and not (job.undivided_for or too_short or job.pipeline.temporal.independent)
        ):
            cuts, count = _cuts(job, clip)
        else:
            count = sum(1 for _ in clip.times())
    if job.undivided_for:
        return [Segment(0, count)]
    if job.pipeline.temporal.independent:
        parts = split([Segment(0, count)], wanted=job.wanted, longest=job.longest, shortest=job.shortest)
        return [Segment(one.first, one.end) for one in parts]  # there is no seam between them
    shots = divide(cuts, count, wanted=job.wanted, shortest=job.shortest)
    wanted = job.wanted if job.split == "auto" else 1
    return split(shots, wanted=wanted, longest=job.longest, shortest=max(job.shortest, 2 * job.overlap))


def _cuts(job: Job, clip: Clip) -> tuple[list[int], int]:
    """Find the cuts at which a clip can be divided, and its number of frames."""
    plain = replace(job.reading, mask=None, guide=None, regions=())
    small = replace(plain, size=min(COMPARISON_SIDE, max(clip.size)))
    with open_clip(job.source, settings=small) as shrunk:
        if clip.frame_count:
            shrunk.pick(near_equal_parts(clip.frame_count, wanted=job.wanted))
        candidates = find_candidates((frame.index, frame.image[None]) for frame in shrunk)
        count = shrunk.passed
    if not candidates:
        return [], count
    flow = load_estimator(job.pipeline.flow, job.pipeline.device, folders=job.pipeline.model.model_dirs)
    is_cut = cut_test(MotionFinder(flow, job.pipeline.reliability, cuts=True))
    with open_clip(job.source, settings=plain) as whole:
        whole.pick({index for candidate in candidates for index in around(candidate)})
        return find_cuts(((frame.index, frame.image[None]) for frame in whole), candidates, is_cut), count


def dream_segment(job: Job, segment: Segment) -> None:
    """Dream a segment into a part, or go on where another worker was stopped or killed.

    Raises:
        DeepDreamError: see `dream_video`.
    """
    target = job.part(segment)
    writing = replace(job.writing, sound=False, overwrite=True, restart=False)
    with telling(target, "made"):
        job.folder.mkdir(parents=True, exist_ok=True)
    with backends(job.pipeline.device), open_clip(job.source, settings=job.reading) as clip:
        work = work_folder(job.source, target, pipeline=job.pipeline, reading=job.reading, writing=writing)
        if is_whole(work):
            return
        previous = open_previous(
            clip, job.pipeline.temporal, reading=job.reading, writing=job.writing, goes_on=work.exists()
        )
        heard = hear(clip, job.pipeline.listen, job.pipeline.envelope, start=job.reading.start)
        add_saved_flow(clip, job.source, job.reading)
        part = ShotPart(run_up=job.overlap * segment.continues, fade=job.overlap * segment.leads_on)
        clip.only(segment.first - part.run_up, segment.end + segment.leads_on)
        dreamer = load_dreamer(job.pipeline, schedules=heard)
        check_alongside(dreamer, job.reading)
        output = open_output_like(clip, target, settings=writing, work=work)
        try:
            dream_clip(clip, dreamer, output, previous=previous, part=part, save_last=writing.save_last_dream)
            output.leave_as_part()
        except BaseException:
            output.stop()
            raise


def join(job: Job, segments: Sequence[Segment]) -> Path:
    """Join the parts of a clip, add its sound, and remove them. Where that is done, nothing is.

    Returns:
        The path of the output.

    Raises:
        VideoError: a file cannot be read or written.
    """
    parts = [job.record(segment) for segment in segments]
    if not is_done(job):
        work, joined = Unfinished(job.target, conditions={}), job.joined
        join_parts(parts, work)
        joined.open()
        joined.commit({"growing": work.peek()["growing"]})
        joined.close()
        _output_of(job, work)
    remove_parts(parts)
    return job.target


def _output_of(job: Job, work: Unfinished) -> None:
    with (
        open_clip(job.source, settings=job.reading) as clip,
        open_output_like(clip, job.target, settings=job.writing, work=work),
    ):
        pass  # the record has all images


def frames_done(job: Job, segments: Sequence[Segment]) -> int:
    """Count the frames that all workers have recorded."""
    return sum(images_done(job.record(segment)) for segment in segments)
