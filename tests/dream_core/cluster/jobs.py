"""Clips to dream, quickly, and what came out, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

from dream_core.cluster.work import Job
from dream_core.flat_options import fill_settings
from dream_core.settings import InputSettings, OutputSettings, PipelineSettings
from dream_core.video import open_clip

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
OWN = ("shortest", "overlap", "at_cuts", "split", "wanted")


def job_of(source: Path, target: Path, **options: object) -> Job:
    own = {"shortest": 5, "overlap": 2, "wanted": 3} | {
        name: options.pop(name) for name in OWN if name in options
    }
    pipeline, reading, writing = fill_settings(
        {**OPTIONS, **options}, PipelineSettings, InputSettings, OutputSettings
    )
    return Job(source=source, target=target, pipeline=pipeline, reading=reading, writing=writing, **own)


def contents(path: Path) -> list[tuple[float, float, bytes]]:
    """Time, duration and pixels of each frame."""
    with open_clip(path, settings=InputSettings(size=0)) as clip:
        return [(frame.time, frame.duration, frame.image.numpy().tobytes()) for frame in clip]
