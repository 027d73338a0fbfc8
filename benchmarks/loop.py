"""Measure time per frame and memory of a Temporal Loop, in a real ComfyUI on the CPU.

    uv run benchmarks/loop.py

The body is three simple image nodes of ComfyUI's own; their time counts. Memory is the server's peak beyond its
memory after a loop over two frames, less the batches that go in and come out. The lengths take turns, so that other
work on the machine slows all of them alike.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from comfyui_server import Draft, Run, Server  # noqa: E402

WIDTH, HEIGHT = 512, 288
PROBES = ROOT / "tests" / "comfyui" / "packs"


def draft_of(frames: int, seed: int) -> Draft:
    """Make a loop of which ComfyUI has cached nothing but the frames that go in."""
    draft = Draft()
    images = draft.add("EmptyImage", width=WIDTH, height=HEIGHT, batch_size=frames, color=0x804020)
    start = draft.add("DeepDreamLoopOpen", frames=images)
    inverted = draft.add("ImageInvert", image=start[1])
    mixed = draft.add(
        "ImageBlend",
        image1=inverted,
        image2=start[3],
        blend_factor=0.5 + seed / 1000,
        blend_mode="normal",
    )
    mirrored = draft.add("ImageInvert", image=mixed)
    end = draft.add("DeepDreamLoopClose", loop=start, result=mirrored)
    draft.add("ProbeSee", value=draft.add("ImageFromBatch", image=end, batch_index=0, length=1))
    return draft


def memory(server: Server, key: str) -> float:
    """Read VmRSS or VmHWM of the server in bytes."""
    lines = Path(f"/proc/{server.pid}/status").read_text("utf-8").splitlines()
    return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def well(run: Run) -> Run:
    if run.refused or run.error:
        raise SystemExit(f"the prompt failed: {run.refused or run.error}")
    return run


def measure(server: Server, frames: int, seed: int) -> tuple[float, float]:
    """Measure milliseconds per frame of the loop, and the server's peak in bytes less the batches."""
    only_frames = Draft()
    images = only_frames.add("EmptyImage", width=WIDTH, height=HEIGHT, batch_size=frames, color=0x804020)
    only_frames.add(
        "ProbeSee", value=only_frames.add("ImageFromBatch", image=images, batch_index=0, length=1)
    )
    well(server.run(only_frames.graph, timeout=600))  # and so drop all that came before
    Path(f"/proc/{server.pid}/clear_refs").write_text("5", "utf-8")
    run = well(server.run(draft_of(frames, seed).graph, timeout=600))
    batch = frames * WIDTH * HEIGHT * 3 * 4
    return 1000 * run.seconds / frames, memory(server, "VmHWM") - 2 * batch


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[30, 120, 300, 1000])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    found: dict[int, list[tuple[float, float]]] = {frames: [] for frames in args.frames}
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(Path(folder), packs=tuple(PROBES.glob("*.py"))) as server,
    ):
        measure(server, 2, 0)  # warms up
        before = memory(server, "VmRSS")
        for seed in range(1, args.repeats + 1):
            for frames in args.frames:
                found[frames].append(measure(server, frames, seed))
    print("frames   ms per frame: median (least to most)   MB beyond the batches, at most")
    medians = {}
    for frames, results in found.items():
        times, peaks = zip(*results, strict=True)
        medians[frames] = statistics.median(times)
        spread = f"({min(times):.2f} to {max(times):.2f})"
        print(f"{frames:6d}   {medians[frames]:6.2f} {spread:>31}   {(max(peaks) - before) / 1e6:8.1f}")
    first, last = args.frames[0], args.frames[-1]
    print(f"{last} frames cost {medians[last] / medians[first]:.2f} times as much per frame as {first}")


if __name__ == "__main__":
    main()
