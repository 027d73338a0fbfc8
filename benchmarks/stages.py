"""Measure how busy the stages of a dream are, in turn and at the same time: reading, motion, dream and writing.

    OMP_NUM_THREADS=1 uv run benchmarks/stages.py --clip mallard.mp4 --model-file bvlc_googlenet.safetensors \\
        --flow-file raft_small.safetensors

Where the stages run at the same time (see docs/how-it-works.md), the run takes about as long as the slowest of
them, which waits for nothing. A GPU works in its own order: there, the times are those of the program.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dream_core.device import backends
from dream_core.dreaming.dream import ImageDreamer
from dream_core.motion import finder as finder_module
from dream_core.pipeline import dream_clip, load_dreamer
from dream_core.settings import (
    DeviceSettings,
    FlowSettings,
    InputSettings,
    ModelSettings,
    OutputSettings,
    PipelineSettings,
)
from dream_core.video import Clip, Frame, open_clip, open_output

SKIPPED = 2
"""Dreams before the time counts: the first traces the network, and libraries choose their kernels."""
STAGES = ("reading", "motion", "dream", "writing")


class Busy:
    """Seconds that each stage works."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def time(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function of a stage."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                self.seconds[stage] += time.perf_counter() - began  # each stage has one thread

        return timed

    def read(self, clip: Clip) -> Iterator[Frame]:
        """Iterate over a clip."""
        following = self.time("reading", lambda: next(clip, None))
        return iter(following, None)


def run(settings: PipelineSettings, args: argparse.Namespace, target: Path) -> tuple[float, Counter[str]]:
    """Dream a clip. Returns the seconds from the third dream on, and how long each stage worked since."""
    busy, began, dreams = Busy(), 0.0, 0
    dreamer = load_dreamer(settings)
    timed_dream = busy.time("dream", ImageDreamer.__call__)

    class Timed(ImageDreamer):
        def __call__(self, *given: Any, **named: Any) -> Any:
            nonlocal began, dreams
            dreams += 1
            if dreams == SKIPPED + 1:
                busy.seconds.clear()
                began = time.perf_counter()
            return timed_dream(self, *given, **named)

    dreamer.dream.__class__ = Timed
    find = finder_module.MotionFinder.__call__
    finder_module.MotionFinder.__call__ = busy.time("motion", find)
    reading, writing = InputSettings(size=args.size, frames=args.frames), OutputSettings(overwrite=True)
    try:
        with (
            open_clip(args.clip, settings=reading) as clip,
            open_output(target, size=clip.size, fps=clip.fps, settings=writing) as output,
        ):
            output.write = busy.time("writing", output.write)
            dream_clip(busy.read(clip), dreamer, output)
            return time.perf_counter() - began, busy.seconds
    finally:
        finder_module.MotionFinder.__call__ = find


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("clip", "model-file", "flow-file"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--frames", type=int, default=20)
    args = parser.parse_args(arguments)
    base = PipelineSettings(
        model=ModelSettings(model="bvlc_googlenet", model_file=args.model_file),
        flow=FlowSettings(flow="raft_small", flow_file=args.flow_file),
        device=DeviceSettings(device=args.device),
    )
    threads = f"{torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''} of PyTorch"
    print(f"{args.frames - SKIPPED} frames, {threads}, seconds busy")
    print(f"{'':10}" + "".join(f"{stage:>10}" for stage in STAGES) + f"{'all':>10}   waits of the slowest")
    for beside in (False, True):
        settings = replace(base, device=replace(base.device, beside=beside))
        with tempfile.TemporaryDirectory() as folder, backends(settings.device):
            seconds, busy = run(settings, args, Path(folder) / "out.mp4")
        row = "".join(f"{busy[stage]:10.2f}" for stage in STAGES)
        waits = 1 - max(busy.values()) / seconds
        print(f"{'beside' if beside else 'in turn':10}{row}{seconds:10.2f}   {waits:.0%}")


if __name__ == "__main__":
    sys.exit(main())
