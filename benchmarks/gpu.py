"""Check the library on a GPU, then measure it there: one table and one JSON, in at most six minutes.

    uv run benchmarks/gpu.py --json gpu.json

It needs no file and no network. Each check compares the GPU with the CPU, or tries what is known to fail on GPUs.
Weights are random, which changes no time; the flow is computed in full, then replaced by the known motion of the
frames, so that the dream is carried as in a real clip. What the time does not allow is named in the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.optical_flow import raft_small

from dream_core.beside import Worker, can_compute_beside
from dream_core.device import backends, choose_dtype, parse_device
from dream_core.dreaming.dream import ImageDreamer
from dream_core.dreaming.graphs import StepGraphs
from dream_core.dreaming.objectives import build_objective
from dream_core.dreaming.tiling import whole_gradient
from dream_core.errors import SettingsError
from dream_core.image import resize
from dream_core.models.dream_model import DreamModel
from dream_core.models.registry import MODELS
from dream_core.motion.flow import FlowEstimator, estimator_of
from dream_core.motion.raft import FastRaft
from dream_core.settings import (
    AscentSettings,
    DeviceSettings,
    DreamSettings,
    FlowSettings,
    ModelName,
    ObjectiveSettings,
    OctaveSettings,
    ReliabilitySettings,
    TemporalSettings,
)
from dream_core.temporal.dreamer import DreamedFrame, TemporalDreamer
from dream_core.video.ahead import with_next
from dream_core.video.behind import write_behind

CPU = torch.device("cpu")
NETWORKS: tuple[ModelName, ...] = ("efficientnet_lite0", "bvlc_googlenet")
SIZES = ("512x384", "1280x720", "1920x1080")
MOTION = (3, -2)
"""Pixels, x and y, by which the picture moves from frame to frame."""
GIB = 2**30
WARM_UPS = 3
"""Frames before those that are timed; later ones find all kernels chosen and all graphs recorded."""
SHARE_OF_SPEEDS = 0.5
"""Share of the time that checks leave for the speeds."""
WAYS = ((False, False), (True, False), (True, True))
"""With graphs or not, with work beside the dream or not."""
WAITS = 2
"""Waits for the GPU in a carried frame: for the numbers of steps, and for the dream."""


@dataclass
class Check:
    name: str
    result: str
    """ok, failed, or why it was left out."""
    detail: str = ""


@dataclass
class Speed:
    network: str
    size: str
    flow_scale: float
    graphs: bool
    beside: bool
    """Whether motion is found ahead and dreams are read behind."""
    frames_per_second: float = 0.0
    milliseconds_per_step: float = 0.0
    launches_per_step: int = 0
    peak_mib: int = 0
    floor_milliseconds: float = 0.0
    """Of a frame: its FLOP at the measured peak of matrix products."""
    left_out: str = ""


@dataclass
class Results:
    device: str
    torch: str
    matmul_tflops: float = 0.0
    checks: list[Check] = field(default_factory=list)
    speeds: list[Speed] = field(default_factory=list)

    @property
    def failed(self) -> list[str]:
        return [check.name for check in self.checks if check.result == "failed"]


class Deadline:
    """Tells whether there is time left."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return self._end - time.monotonic()


class LeftOutError(Exception):
    """A check that this device cannot run."""


# What is dreamed


def picture(size: tuple[int, int]) -> Tensor:
    """A texture of several scales, (1,3,H,W) in 0..1, which `shifted` moves in a circle."""
    generator = torch.Generator().manual_seed(1)
    layers = [
        resize(torch.rand(1, 3, size[0] // step, size[1] // step, generator=generator), size)
        for step in (4, 16, 64)
        if min(size) >= 2 * step
    ]
    return torch.stack(layers).mean(0).clamp(0, 1)


def shifted(image: Tensor, frame: int) -> Tensor:
    x, y = MOTION
    return torch.roll(image, (frame * y, frame * x), (-2, -1))


def network(name: Any, device: torch.device, dtype: torch.dtype) -> DreamModel:
    torch.manual_seed(0)
    return DreamModel(MODELS[name].build(), MODELS[name], dtype=dtype).to(device)


def raft(device: torch.device, dtype: torch.dtype) -> FastRaft:
    torch.manual_seed(0)
    return FastRaft(raft_small(weights=None).eval().requires_grad_(False), dtype=dtype).to(device)


def known_motion(estimator: FlowEstimator, scale: float) -> FlowEstimator:
    """Compute the flow in full, and return the frames' own motion."""

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        found = estimator.estimate(first, second, both)
        motion = torch.stack([found.new_full((), -scale * side) for side in MOTION]).view(1, 2, 1, 1)
        signs = torch.ones_like(found[:, :1, :1, :1])
        signs[len(first) :] = -1
        return 0 * found.nan_to_num(0, 0, 0) + signs * motion

    return replace(estimator, estimate=estimate)


def dreamer(
    model: DreamModel,
    *,
    flow_scale: float,
    settings: DreamSettings | None = None,
    graphs: StepGraphs | None = None,
    beside: Worker | None = None,
) -> TemporalDreamer:
    device = model.device
    estimator = estimator_of(raft(device, model.dtype), FlowSettings(flow_scale=flow_scale), device=device)
    return TemporalDreamer(
        ImageDreamer([model], settings=settings or DreamSettings(), graphs=graphs),
        known_motion(estimator, flow_scale),
        temporal=TemporalSettings(),
        reliability=ReliabilitySettings(),
        beside=beside,
    )


def dream_clip(run: TemporalDreamer, clip: Sequence[Tensor], read: Callable[[DreamedFrame], None]) -> None:
    """Dream frames in order and read the dreams, beside the next ones if the dreamer looks ahead."""
    worker = Worker(run.dream.device) if run.looks_ahead else None
    with write_behind(read, lambda _: None, worker) as put:
        for frame, following in with_next(clip):
            put(run.step(frame, following=following))


def _read(dreamed: DreamedFrame) -> None:
    dreamed.read()


def gradient_of(model: DreamModel, image: Tensor) -> Tensor:
    gradient = whole_gradient(model, build_objective(ObjectiveSettings(), model), image.to(model.device))[1]
    return gradient.cpu()


def difference(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference, relative to the norm of what is expected."""
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))


def require_at_most(value: float, most: float) -> str:
    if not value <= most:
        raise AssertionError(f"expected at most {most:g}, got {value:g}")
    return f"{value:.2g} of at most {most:g}"


def size_named(name: str) -> tuple[int, int]:
    width, height = map(int, name.split("x"))
    return height, width


# Checks


def check_network(device: torch.device, size: tuple[int, int], name: ModelName, precision: Any) -> str:
    """Compare a gradient with the CPU's in float32."""
    # About twice what 16 bits make of these networks, with random weights, on the CPU.
    most = {"float32": 1e-3, "bfloat16": 0.5, "float16": 0.2}[precision]
    image = picture(size)
    expected = gradient_of(network(name, CPU, torch.float32), image)
    with backends(DeviceSettings(precision=precision)):
        found = gradient_of(network(name, device, choose_dtype(precision, device)), image)
    return require_at_most(difference(found, expected), most)


def check_flow(device: torch.device, size: tuple[int, int]) -> str:
    """Compare RAFT's flow with the CPU's."""
    first, second = picture(size), shifted(picture(size), 1)
    settings = FlowSettings(flow_updates=4)
    expected = estimator_of(raft(CPU, torch.float32), settings, device=CPU).flow(first, second)
    with backends(DeviceSettings(precision="float32")):
        estimator = estimator_of(raft(device, torch.float32), settings, device=device)
        found = estimator.flow(first.to(device), second.to(device)).cpu()
    return require_at_most(difference(found, expected), 1e-2)


def check_many_pairs(device: torch.device, size: tuple[int, int]) -> str:
    """Look up more than 65535 windows of correlations at once, at which cuDNN's sampler fails."""
    _require_cuda(device)
    pairs = 65536 // (size[0] // 8 * (size[1] // 8)) + 1
    frames = picture(size).expand(pairs, -1, -1, -1).to(device)
    estimator = estimator_of(raft(device, torch.float32), FlowSettings(flow_updates=1), device=device)
    flow = replace(estimator, batch=pairs).flow(frames, torch.roll(frames, 1, -1))
    if not flow.isfinite().all():
        raise AssertionError("expected finite flow, got NaN or infinite values")
    return f"{pairs} pairs"


def check_optimizer(device: torch.device, size: tuple[int, int], optimizer: Any) -> str:
    """Compare one step with the CPU's; later ones amplify rounding."""
    settings = DreamSettings(
        octave=OctaveSettings(octave_mode="normal", octaves=1, octave_steps=1),
        ascent=AscentSettings(optimizer=optimizer, learning_rate=20),
    )
    image = picture(size)
    with backends(DeviceSettings(precision="float32")):
        dreams = [
            ImageDreamer([network("efficientnet_lite0", where, torch.float32)], settings=settings)(
                image.to(where)
            ).cpu()
            for where in (CPU, device)
        ]
    return require_at_most(difference(dreams[1] - image, dreams[0] - image), 0.05)


def check_graphs(
    device: torch.device, size: tuple[int, int], name: ModelName, settings: DreamSettings
) -> str:
    """Compare a dream by graphs with the same dream without."""
    _require_cuda(device)
    model = network(name, device, choose_dtype("auto", device))
    image = picture(size).to(device)
    graphs = StepGraphs()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorded = ImageDreamer([model], settings=settings, graphs=graphs)
        dreams = [ImageDreamer([model], settings=settings)(image), recorded(image), recorded(image)]
    return require_at_most(max(difference(one, dreams[0]) for one in dreams[1:]), 0.02)


def check_waits(device: torch.device, size: tuple[int, int]) -> str:
    """Count what PyTorch calls synchronizing in a carried frame."""
    _require_cuda(device)
    run = dreamer(network("efficientnet_lite0", device, choose_dtype("auto", device)), flow_scale=1)
    image = picture(size)
    for frame in range(3):
        run.step(shifted(image, frame)).read()
    frame = shifted(image, 3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run.step(frame).read()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    places = [f"{Path(one.filename).name}:{one.lineno}" for one in caught if "synchroniz" in str(one.message)]
    if len(places) > WAITS:
        raise AssertionError(f"expected {WAITS} waits, got {len(places)}: {', '.join(places)}")
    return ", ".join(places)


def check_beside(
    device: torch.device, size: tuple[int, int], name: ModelName, settings: DreamSettings
) -> str:
    """Compare dreams whose motion was found ahead with those where it was found in turn."""
    if not can_compute_beside(device):
        raise LeftOutError("nothing computes beside the dream here")
    model, dreams = network(name, device, choose_dtype("auto", device)), []
    clip = [shifted(picture(size), frame) for frame in range(4)]
    for beside in (None, Worker(device)):
        found: list[Tensor] = []
        torch.manual_seed(0)
        run = dreamer(model, flow_scale=1, settings=settings, beside=beside)
        dream_clip(run, clip, lambda step, found=found: found.append(step.read()))  # type: ignore[misc]
        dreams.append(torch.cat(found))
    return require_at_most(difference(dreams[1], dreams[0]), 0.02)


def check_determinism(
    device: torch.device, size: tuple[int, int], name: ModelName, settings: DreamSettings
) -> str:
    """Dream twice, bit for bit the same."""
    with backends(DeviceSettings(deterministic=True)), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dreams = [
            ImageDreamer([network(name, device, choose_dtype("auto", device))], settings=settings)(
                picture(size).to(device)
            )
            for _ in range(2)
        ]
    if not torch.equal(*dreams):
        raise AssertionError(f"the dreams differ by up to {float((dreams[0] - dreams[1]).abs().max()):g}")
    return ""


def check_memory(device: torch.device, size: tuple[int, int], gib: float, *, runs_out: bool) -> str:
    """Dream two frames with little memory: in one piece, or in smaller tiles and with smaller flow."""
    _require_cuda(device)
    whole = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, gib * GIB / whole), device)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run = dreamer(network("bvlc_googlenet", device, choose_dtype("auto", device)), flow_scale=1)
            for frame in range(2):
                run.step(shifted(picture(size), frame)).read()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        torch.cuda.empty_cache()
    messages = [str(one.message) for one in caught]
    # Flow at this size is always estimated at a smaller scale, for which 4 GiB are enough.
    told = [one for one in messages if "memory ran out" in one or ("GiB" in one and "4 GiB" not in one)]
    if runs_out != bool(told):
        raise AssertionError(f"expected {'a' if runs_out else 'no'} lack of memory, got {told}")
    return "; ".join(told)


def _require_cuda(device: torch.device) -> None:
    if device.type != "cuda":
        raise LeftOutError("for NVIDIA's GPUs")


def checks(
    device: torch.device, size: tuple[int, int], networks: Sequence[ModelName], settings: DreamSettings
) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield all checks with their names, quick ones first."""
    precisions = ("float32", "bfloat16", "float16") if device.type == "cuda" else ("float32", "bfloat16")
    for name in networks:
        for precision in precisions:
            yield f"{name} in {precision}", partial(check_network, device, size, name, precision)
    yield "RAFT", partial(check_flow, device, size)
    yield "RAFT, many small pairs", partial(check_many_pairs, device, size)
    for optimizer in ("clean", "classic", "adam", "lbfgs"):
        yield f"optimizer {optimizer}", partial(check_optimizer, device, size, optimizer)
    for name in networks:
        yield f"graphs of {name}", partial(check_graphs, device, size, name, settings)
        yield f"motion beside {name}", partial(check_beside, device, size, name, settings)
        yield f"determinism of {name}", partial(check_determinism, device, size, name, settings)
    yield "waits in a carried frame", partial(check_waits, device, size)
    yield "1080p in 8 GiB", partial(check_memory, device, (1080, 1920), 8, runs_out=False)
    yield "1080p in 2 GiB", partial(check_memory, device, (1080, 1920), 2, runs_out=True)


def run_check(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, "ok", check())
    except LeftOutError as reason:
        return Check(name, f"left out: {reason}")
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        problem = str(error).partition("\n")[0]
        return Check(
            name, "failed", f"{type(error).__name__}: {problem} ({Path(where.filename).name}:{where.lineno})"
        )


# Speeds


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_peak(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Measure the FLOP a second of a large matrix product: the most that the device can do."""
    a = torch.randn(side, side, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(8):
        synchronize(device)
        began = time.perf_counter()
        for _ in range(4):
            a @ a
        synchronize(device)
        best = min(best, (time.perf_counter() - began) / 4)
    return 2 * side**3 / best


@contextmanager
def counted_launches(device: torch.device) -> Iterator[Callable[[], int]]:
    """Count the kernels and graphs that the program starts; to be asked after the block."""
    if device.type != "cuda":
        yield lambda: 0
        return
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        yield lambda: sum(event.count for event in profile.key_averages() if "Launch" in event.key)
        synchronize(device)


def measure(speed: Speed, device: torch.device, peak: float, frames: int, settings: DreamSettings) -> None:
    """Fill in what a configuration takes. Frames come from the CPU, and dreams are read there."""
    model = network(speed.network, device, choose_dtype("auto", device))
    graphs = StepGraphs() if speed.graphs else None
    beside = Worker(device) if speed.beside else None
    run = dreamer(model, flow_scale=speed.flow_scale, settings=settings, graphs=graphs, beside=beside)
    image = picture(size_named(speed.size))
    clip = [shifted(image, frame) for frame in range(frames + WARM_UPS + 1)]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    for frame in clip[:WARM_UPS]:
        run.step(frame).read()
    with FlopCounterMode(display=False) as counter:  # sees nothing of graphs
        run.step(clip[WARM_UPS]).read()
    speed.floor_milliseconds = 0 if speed.graphs else 1000 * counter.get_total_flops() / peak
    began = time.perf_counter()
    dream_clip(run, clip[WARM_UPS + 1 :], _read)
    speed.frames_per_second = frames / (time.perf_counter() - began)
    steps: list[int] = []
    whole = partial(run.dream, image.to(device), on_step=lambda step: steps.append(step.done))
    whole()
    with counted_launches(device) as launches:
        whole()
    speed.launches_per_step = 2 * launches() // len(steps)
    synchronize(device)
    began = time.perf_counter()
    whole()
    synchronize(device)
    speed.milliseconds_per_step = 3000 * (time.perf_counter() - began) / len(steps)
    if device.type == "cuda":
        speed.peak_mib = torch.cuda.max_memory_allocated(device) // 2**20


def run_speeds(speeds: Sequence[Speed], deadline: Deadline, measure_one: Callable[[Speed], None]) -> None:
    longest = 0.0
    for speed in speeds:
        if deadline.left < longest:
            speed.left_out = "no time is left"
            continue
        began = time.monotonic()
        try:
            measure_one(speed)
        except Exception as error:
            speed.left_out = f"{type(error).__name__}: {error}".partition("\n")[0]
        longest = max(longest, time.monotonic() - began)


def print_results(results: Results) -> None:
    console = Console(width=140)
    table = Table("check", "result", "detail")
    for check in results.checks:
        table.add_row(check.name, check.result, check.detail)
    console.print(table)
    table = Table(
        "network",
        "size",
        "flow",
        "graphs",
        "beside",
        "frames/s",
        "ms/step",
        "launches/step",
        "peak",
        "floor ms/frame",
    )
    for speed in results.speeds:
        switches = ("yes" if chosen else "no" for chosen in (speed.graphs, speed.beside))
        name = speed.network, speed.size, f"{speed.flow_scale:g}", *switches
        measured = (
            f"{speed.frames_per_second:.1f}",
            f"{speed.milliseconds_per_step:.2f}",
            f"{speed.launches_per_step}",
            f"{speed.peak_mib} MiB",
            f"{speed.floor_milliseconds:.2f}" if speed.floor_milliseconds else "",
        )
        table.add_row(*name, *((speed.left_out,) if speed.left_out else measured))
    console.print(table)
    console.print(
        f"{results.device}, PyTorch {results.torch}, matrix products {results.matmul_tflops:.1f} TFLOP/s"
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    parser.add_argument("--seconds", type=float, default=330, help="for all, about")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="WIDTHxHEIGHT")
    parser.add_argument("--flow-scales", nargs="+", type=float, default=[1.0, 0.5])
    parser.add_argument("--check-size", default="256x192", metavar="WIDTHxHEIGHT")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--octave-steps", type=int, default=OctaveSettings().octave_steps)
    parser.add_argument("--matmul", type=int, default=8192, help="side of the matrices")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> Results:
    args = parse(arguments)
    try:
        device = parse_device(args.device)
    except SettingsError as error:
        sys.exit(str(error))
    deadline = Deadline(args.seconds)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    results = Results(name, torch.__version__)
    settings = DreamSettings(octave=OctaveSettings(octave_steps=args.octave_steps))
    for title, check in checks(device, size_named(args.check_size), args.networks, settings):
        enough = deadline.left > args.seconds * SHARE_OF_SPEEDS
        results.checks.append(
            run_check(title, check) if enough else Check(title, "left out: no time is left")
        )
    peak = matmul_peak(device, choose_dtype("auto", device), args.matmul)
    results.matmul_tflops = peak / 1e12
    results.speeds = [
        Speed(network, size, flow_scale, graphs, beside)
        for size in args.sizes
        for network in args.networks
        for flow_scale in args.flow_scales
        for graphs, beside in (WAYS if device.type == "cuda" else WAYS[:1])
    ]
    measure_one = partial(measure, device=device, peak=peak, frames=args.frames, settings=settings)
    run_speeds(results.speeds, deadline, measure_one)
    print_results(results)
    if args.json:
        args.json.write_text(json.dumps(asdict(results), indent=1), "utf-8")
    return results


if __name__ == "__main__":
    sys.exit(1 if main().failed else 0)
