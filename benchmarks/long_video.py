"""Measure time and memory of the routes by which nodes get over a long video, in a real ComfyUI on the CPU.

    GOMP_SPINCOUNT=20000 uv run benchmarks/long_video.py --frames 100 3000 --size 320 180
    GOMP_SPINCOUNT=20000 uv run benchmarks/long_video.py --frames 30 300 --size 960 540
    GOMP_SPINCOUNT=20000 uv run benchmarks/long_video.py --frames 30 120 \\
        --for-loop ~/execution-inversion-demo-comfyui

The body is ComfyUI's own upscaler without a model, to twice the size, and a sharpener. A generated clip goes
through it from Load Video to Save Video. The routes:

    video   Temporal Loop on the video
    batch   Get Video Components, Temporal Loop on the batch, Create Video
    for     the usual For Loop, whose rounds expand into new nodes: that of execution-inversion-demo-comfyui

ComfyUI 0.33 has no loop of its own. Each run has a server of its own. The peak of its memory is less what it has
after a run over two frames; how much the whole grows from frame 100 to the last one is in the last column.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from comfyui_server import Draft, Node, Run, Server  # noqa: E402

from dream_core.settings import OutputSettings  # noqa: E402
from dream_core.video import open_output  # noqa: E402

EARLY = 100
"""The frame at which memory is read first."""
TIMEOUT = 7200.0


def write_clip(path: Path, *, frames: int, width: int, height: int) -> None:
    """Write a clip of waves that move, 25 frames a second."""
    across, down = torch.arange(width) / 20, torch.arange(height)[:, None] / 30
    settings = OutputSettings(quality=20)
    with open_output(path, size=(height, width), fps=Fraction(25), settings=settings) as output:
        for index in range(frames):
            waves = [
                torch.sin(across + index / 9),
                torch.cos(down - index / 7),
                torch.sin(across * down / 40),
            ]
            output.write(torch.stack([(wave.expand(height, width) + 1) / 2 for wave in waves]))


def body(draft: Draft, image: Any) -> Node:
    """Add the nodes that every frame goes through."""
    larger = draft.add("ImageScaleBy", image=image, upscale_method="bicubic", scale_by=2)
    return draft.add("ImageSharpen", image=larger, sharpen_radius=1, sigma=0.5, alpha=0.1)


def by_video(draft: Draft, video: Node, frames: int) -> Node:
    start = draft.add("DeepDreamLoopOpen", frames=video)
    return draft.add("DeepDreamLoopClose", loop=start, result=body(draft, start[1]))


def by_batch(draft: Draft, video: Node, frames: int) -> Node:
    parts = draft.add("GetVideoComponents", video=video)
    start = draft.add("DeepDreamLoopOpen", frames=parts)
    end = draft.add("DeepDreamLoopClose", loop=start, result=body(draft, start[1]))
    return draft.add("CreateVideo", images=end, fps=parts[2])


def by_for_loop(draft: Draft, video: Node, frames: int) -> Node:
    parts = draft.add("GetVideoComponents", video=video)
    first = body(draft, draft.add("ImageFromBatch", image=parts, batch_index=0, length=1))
    start = draft.add("ForLoopOpen", remaining=frames - 1, initial_value1=first)
    frame = draft.add("ImageFromBatch", image=parts, batch_index=start[1], length=1)
    grown = draft.add("ImageBatch", image1=start[2], image2=body(draft, frame))
    end = draft.add("ForLoopClose", flow_control=start, initial_value1=grown)
    return draft.add("CreateVideo", images=end, fps=parts[2])


ROUTES = {"video": by_video, "batch": by_batch, "for": by_for_loop}


class Memory:
    """Reader of a server's memory in bytes, also while frame EARLY of a loop is at work."""

    def __init__(self, server: Server) -> None:
        self._file = Path(f"/proc/{server.pid}/status")
        self.early = 0.0
        self.late = 0.0

    def now(self, key: str = "VmRSS") -> float:
        lines = self._file.read_text("utf-8").splitlines()
        return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))

    @contextmanager
    def watched(self, run: Run) -> Iterator[None]:
        """Read it again and again until the block ends."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.02):
                done = run.progress[-1][1] if run.progress else 0
                self.early = self.now() if done <= EARLY else self.early
                self.late = self.now() if EARLY < done < run.progress[-1][2] else self.late

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def draft_of(route: str, clip: Path, frames: int) -> Draft:
    draft = Draft()
    video = draft.add("LoadVideo", file=clip.name)
    made = ROUTES[route](draft, video, frames)
    draft.add("SaveVideo", video=made, filename_prefix="made", format="auto", codec="auto")
    return draft


def measure(route: str, frames: int, size: tuple[int, int], packs: tuple[Path, ...]) -> str:
    """Run a route in a server of its own and return a row of the table."""
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder), packs=packs) as server:
        clips = [Path(folder) / "input" / f"{count}.mp4" for count in (2, frames)]
        for clip, count in zip(clips, (2, frames), strict=True):
            write_clip(clip, frames=count, width=size[0], height=size[1])
        warm = server.run(draft_of(route, clips[0], 2).graph, timeout=TIMEOUT)
        memory = Memory(server)
        idle = memory.now()
        Path(f"/proc/{server.pid}/clear_refs").write_text("5", "utf-8")
        run = server.queue(draft_of(route, clips[1], frames).graph)
        begin = time.perf_counter()
        with memory.watched(run):
            server.wait(run, timeout=TIMEOUT)
        seconds = time.perf_counter() - begin
        peak = memory.now("VmHWM")
        if problem := warm.error or run.refused or run.error:
            return f"{route:6} {frames:7d}   failed: {str(problem)[:200]}"
    growth = f"{memory.late / memory.early - 1:+8.1%}" if memory.early and memory.late else "       -"
    figures = f"{seconds:9.1f} {1000 * seconds / frames:9.1f} {(peak - idle) / 1e6:9.0f}"
    return f"{route:6} {frames:7d} {figures} {growth}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--size", type=int, nargs=2, default=[320, 180], metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--routes", nargs="+", choices=ROUTES, default=["video", "batch"])
    parser.add_argument("--for-loop", type=Path, help="folder of execution-inversion-demo-comfyui")
    args = parser.parse_args()
    packs = (args.for_loop.resolve(),) if args.for_loop else ()
    routes = [*args.routes, *(["for"] if args.for_loop and "for" not in args.routes else [])]
    print(f"route   frames   seconds  ms/frame   MB peak  memory after frame {EARLY}")
    for route in routes:
        for frames in args.frames:
            print(measure(route, frames, (args.size[0], args.size[1]), packs), flush=True)


if __name__ == "__main__":
    main()
