"""Compare with the predecessor, jeremicna/deepdream-video-pytorch, on this machine in one run.

    GOMP_SPINCOUNT=20000 uv run benchmarks/compare.py --predecessor ~/deepdream-video-pytorch \\
        --clip mallard.mp4 --model-file bvlc_googlenet.safetensors --flow-file raft_small.safetensors

Both dream the same frames with the same network and layer, octaves and size. Ours runs with the predecessor's
steps, optimizer and blend, and with its own defaults where `--steps` is 0. Prints seconds a frame and the figures
of the dreams side by side, then the time of each stage of our first run, and the least time that the device allows.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dream_core.dreaming import dream as dream_module
from dream_core.dreaming.objectives import layer
from dream_core.dreaming.tiling import whole_gradient
from dream_core.measure.figures import Figures
from dream_core.measure.measure import LayerEnergy, flow_link, measure
from dream_core.motion import finder as finder_module
from dream_core.pipeline import dream_clip, load_dreamer
from dream_core.settings import (
    AscentSettings,
    DeviceSettings,
    DreamSettings,
    FlowSettings,
    InputSettings,
    ModelSettings,
    ObjectiveSettings,
    OctaveSettings,
    OutputSettings,
    PipelineSettings,
    TemporalSettings,
)
from dream_core.temporal import dreamer as dreamer_module
from dream_core.temporal.dreamer import DreamedFrame, TemporalDreamer
from dream_core.video import Frame, open_clip, open_output

LAYER = "inception_4d_3x3_reduce"
BLEND = 0.5


@dataclass(frozen=True)
class Result:
    """One run: its name, its dreamed frames (3,H,W) in 0..1, the seconds it took and its peak memory."""

    name: str
    dreams: list[Tensor]
    seconds: float
    peak_bytes: int


class Stopwatch:
    """Seconds by name. On a GPU each measurement waits for queued work; the totals do not."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = self.now()
            result = function(*args, **kwargs)
            self.seconds[name] += self.now() - started
            return result

        return timed

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def run_predecessor(args: argparse.Namespace, work: Path) -> Result:
    gpu = "c" if args.device == "cpu" else args.device.removeprefix("cuda").removeprefix(":") or "0"
    options = ["-image_size", str(args.size), "-dream_layers", LAYER]
    options += ["-num_octaves", str(args.octaves), "-octave_iter", str(args.steps[0])]
    command = [sys.executable, str(Path(__file__).with_name("run_predecessor.py"))]
    for name in ("predecessor", "clip", "model_file", "flow_file"):
        command += [f"--{name.replace('_', '-')}", str(getattr(args, name).resolve())]
    command += ["--work", str(work), "--frames", str(args.frames), "--gpu", gpu, "--", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=args.predecessor)
    if done.returncode:
        sys.exit(f"the predecessor failed:\n{done.stderr[-2000:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    with open_clip(work / "temp" / "output", settings=InputSettings(size=0)) as clip:
        dreams = [frame.image for frame in clip]
    return Result("predecessor", dreams, told["seconds"], told["peak_bytes"])


def our_settings(args: argparse.Namespace, steps: int) -> PipelineSettings:
    octave = OctaveSettings(octaves=args.octaves, octave_scale=0.6)
    ascent, temporal = AscentSettings(), TemporalSettings()
    if steps:
        octave = replace(octave, octave_steps=steps)
        ascent = AscentSettings(optimizer="adam", learning_rate=1.5, gradient_blur=0)
        temporal = TemporalSettings(blend=BLEND, carried_steps=steps)
    return PipelineSettings(
        model=ModelSettings(model="bvlc_googlenet", model_file=args.model_file),
        dream=DreamSettings(objective=ObjectiveSettings(layers=(LAYER,)), octave=octave, ascent=ascent),
        temporal=temporal,
        flow=replace(FlowSettings(flow="raft_small", flow_file=args.flow_file), **args.flow_options),
        device=DeviceSettings(device=args.device),
    )


def run_ours(args: argparse.Namespace, work: Path, steps: int, stopwatch: Stopwatch | None = None) -> Result:
    """Do the whole command's work: load the networks, then read, dream and encode the frames."""
    dreams: list[Tensor] = []

    def collect(_: Frame, step: DreamedFrame) -> None:
        dreams.append(step.dream[0].cpu())

    started = time.perf_counter()
    dreamer = load_dreamer(our_settings(args, steps))
    settings = OutputSettings(overwrite=True)
    with (
        open_clip(args.clip, settings=InputSettings(size=args.size, frames=args.frames)) as clip,
        open_output(work / "ours.mp4", size=clip.size, fps=clip.fps, settings=settings) as output,
    ):
        if stopwatch:
            instrument(stopwatch, dreamer, output)
        dream_clip(clip, dreamer, output, on_frame=collect)
    seconds = time.perf_counter() - started
    return Result(
        f"ours, {steps} steps" if steps else "ours, defaults",
        dreams,
        seconds,
        peak_memory(torch.device(args.device)),
    )


def run_ours_apart(args: argparse.Namespace, work: Path, steps: int) -> Result:
    """Call `run_ours` in a process of its own, to measure the peak memory of this run alone."""
    result = work / "ours.pt"
    command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:]]
    done = subprocess.run([*command, "--steps", str(steps), "--child", str(result)])
    if done.returncode:
        sys.exit(f"our run of {steps} steps failed")
    return Result(**torch.load(result))


def peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def instrument(stopwatch: Stopwatch, dreamer: TemporalDreamer, output: Any) -> None:
    """Put the stopwatch around every stage; `object.__setattr__` because the flow estimator is frozen."""
    assert dreamer.flow is not None
    object.__setattr__(dreamer.flow, "both_ways", stopwatch.wrap("flow", dreamer.flow.both_ways))
    dreamer_module.warp = stopwatch.wrap("warp", dreamer_module.warp)
    finder_module.reliability_mask = stopwatch.wrap("mask", finder_module.reliability_mask)
    output.write = stopwatch.wrap("encode", output.write)
    ascend = dream_module.ascend

    def timed_ascend(image: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        height, width = image.shape[-2:]
        return stopwatch.wrap(f"octave {width}x{height}", ascend)(image, *args, **kwargs)

    dream_module.ascend = timed_ascend


def figures(result: Result, args: argparse.Namespace, dreamer: TemporalDreamer) -> Figures:
    """Measure the figures of a run against the input at the dream\'s size."""
    assert dreamer.flow is not None
    energy = LayerEnergy(dreamer.model, (LAYER,))
    with open_clip(args.clip, settings=InputSettings(size=args.size, frames=args.frames)) as clip:
        frames = (frame.image for frame in clip)
        report = measure(frames, {result.name: result.dreams}, flow_link(dreamer.flow), energy=energy)
    return report.dreams[0].overall


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Measure FLOP a second of a large matrix product: the most that the device can do."""
    side = 8192 if device.type == "cuda" else 1536
    a = torch.randn(side, side, device=device, dtype=dtype)
    stopwatch, best = Stopwatch(device), float("inf")
    for _ in range(8):
        started = stopwatch.now()
        a @ a
        best = min(best, stopwatch.now() - started)
    return 2 * side**3 / best


def step_flops(dreamer: TemporalDreamer, size: tuple[int, int]) -> float:
    """Count the FLOP of one gradient step at a size (height, width)."""
    model = dreamer.model
    image = torch.rand(1, 3, *size, device=model.device)
    with FlopCounterMode(display=False) as counter:
        whole_gradient(model, layer(LAYER), image)
    return float(counter.get_total_flops())


def print_results(results: Sequence[Result], rows: Sequence[Figures], frames: int) -> None:
    base = results[0].seconds
    table = Table("", "s/frame", "times as fast", "peak memory", "flicker", "strength", "sharpness", "drift")
    for result, row in zip(results, rows, strict=True):
        table.add_row(
            result.name,
            f"{result.seconds / frames:.2f}",
            f"{base / result.seconds:.1f}",
            f"{result.peak_bytes / 2**20:.0f} MiB",
            f"{row.flicker:.3f}",
            f"x{row.strength:.2f}",
            f"x{row.sharpness:.2f}",
            f"{row.drift:+.2f}",
        )
    Console(width=120).print(table)


def print_stages(stopwatch: Stopwatch, result: Result, frames: int, floors: dict[str, float]) -> None:
    table = Table("stage of ours", "s/frame", "floor s/frame")
    for name, seconds in sorted(stopwatch.seconds.items(), key=lambda item: -item[1]):
        floor = f"{floors[name]:.3f}" if name in floors else ""
        table.add_row(name, f"{seconds / frames:.3f}", floor)
    rest = result.seconds - sum(stopwatch.seconds.values())
    table.add_row("loading, reading, the rest", f"{rest / frames:.3f}", "")
    table.add_row("all", f"{result.seconds / frames:.3f}", f"{sum(floors.values()):.3f}")
    Console(width=120).print(table)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--predecessor", type=Path, help="its checkout; left out, only ours runs")
    for name in ("clip", "model-file", "flow-file"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--octaves", type=int, default=2)
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[10, 0], help="ours runs once for each; 0: its defaults"
    )
    parser.add_argument("--flow-updates", type=int, default=FlowSettings().flow_updates)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--child", type=Path, help=argparse.SUPPRESS
    )  # where `run_ours_apart` wants the result
    args = parser.parse_args()
    args.flow_options = {"flow_updates": args.flow_updates}
    return args


def main() -> None:
    args = parse()
    device = torch.device(args.device)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if args.child:
            torch.save(vars(run_ours(args, work, args.steps[0])), args.child)
            return
        results = [run_predecessor(args, work)] if args.predecessor else []
        results += [run_ours_apart(args, work, steps) for steps in args.steps]
        stopwatch = Stopwatch(device)
        staged = run_ours(args, work, args.steps[0], stopwatch)
    dreamer = load_dreamer(our_settings(args, args.steps[0]))
    print_results(results, [figures(result, args, dreamer) for result in results], args.frames)
    peak = matmul_peak(device, dreamer.model.dtype)
    octaves = [name for name in stopwatch.seconds if name.startswith("octave")]
    sizes = {name: tuple(map(int, name.removeprefix("octave ").split("x")))[::-1] for name in octaves}
    floors = {name: args.steps[0] * step_flops(dreamer, size) / peak for name, size in sizes.items()}
    floors = floors if args.steps[0] else {}  # by default the steps differ from frame to frame
    print_stages(stopwatch, staged, args.frames, floors)
    print(f"matmul peak {peak / 1e9:.0f} GFLOP/s in {dreamer.model.dtype}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
