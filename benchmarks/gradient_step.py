"""Time one gradient step of several networks side by side: milliseconds at 512x384.

    uv run benchmarks/gradient_step.py efficientnet_lite0:block9@bfloat16 efficientnet_lite0:block9@float32

The networks take turns, so that other work on the machine slows all of them alike. The weights are random: they do
not change the time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial

import torch

from dream_core.__main__ import keep_freed_memory
from dream_core.device import choose_dtype, parse_device
from dream_core.dreaming.ascent import ascend
from dream_core.dreaming.objectives import layer as excite
from dream_core.dreaming.step_plan import StepPlan
from dream_core.models.dream_model import DreamModel
from dream_core.models.registry import MODELS
from dream_core.settings import DreamSettings

HEIGHT, WIDTH = 384, 512
STEPS = 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "networks",
        nargs="*",
        default=["efficientnet_lite0:block9", "bvlc_googlenet:inception_4c_output"],
        metavar="MODEL[:LAYER][@PRECISION]",
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="auto")
    chosen = parser.parse_args()
    keep_freed_memory()
    device = parse_device(chosen.device)
    torch.manual_seed(0)
    image = torch.rand(1, 3, HEIGHT, WIDTH, device=device)
    runs = {}
    for name in chosen.networks:
        where, _, precision = name.partition("@")
        model_name, _, layer = where.partition(":")
        spec = MODELS[model_name]  # type: ignore[index]
        dtype = choose_dtype(precision or "auto", device, on_cpu=spec.bfloat16_on_cpu)
        model = DreamModel(spec.build(), spec, dtype=dtype).to(device)
        layer = layer or model.default_layer
        runs[f"{model_name} {layer} {str(model.dtype).removeprefix('torch.')}"] = partial(
            ascend,
            image,
            [model],
            excite(layer),
            settings=DreamSettings(),
            plan=StepPlan(whole=STEPS),
            generator=torch.Generator().manual_seed(0),
        )
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(chosen.repeats + 1):
        for name, run in runs.items():
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            began = time.perf_counter()
            run().sum().item()
            if repeat:  # the first one warms up
                seconds[name].append((time.perf_counter() - began) / STEPS)
    last = statistics.median(list(seconds.values())[-1])
    for name, found in seconds.items():
        median = statistics.median(found)
        print(f"{name:45s} {1000 * median:7.1f} ms   {median / last:5.2f} of the last one's")


if __name__ == "__main__":
    main()
