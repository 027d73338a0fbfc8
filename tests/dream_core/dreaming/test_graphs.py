"""Recorded gradient steps, on a GPU that pretends, by a recorder that replays into the same tensors as CUDA."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from pretended import Pretended
from torch import Tensor

from dream_core.dreaming.dream import ImageDreamer
from dream_core.dreaming.graphs import KEPT, Function, Recording, StepGraphs
from dream_core.models.dream_model import DreamModel
from dream_core.settings import (
    AscentSettings,
    DreamSettings,
    ObjectiveSettings,
    OctaveSettings,
    TileSettings,
)


class Recorder:
    """Records functions as CUDA does, which refuses those that copy from the host or read a value."""

    def __init__(self, gpu: Pretended) -> None:
        self.gpu = gpu
        self.sizes: list[tuple[int, ...]] = []
        self.replays = 0

    def __call__(self, function: Function, image: Tensor, numbers: Tensor) -> Recording:
        before = len(self.gpu.copies), len(self.gpu.waits)
        function(image, numbers)  # warms up
        warm = len(self.gpu.copies), len(self.gpu.waits)
        results = tuple(result.clone() for result in function(image, numbers))
        assert (len(self.gpu.copies), len(self.gpu.waits)) == warm
        assert before[1] == warm[1]
        self.sizes.append(tuple(image.shape[-2:]))

        def replay() -> None:
            self.replays += 1
            for result, fresh in zip(results, function(image, numbers), strict=True):
                result.copy_(fresh)

        return Recording(replay, results, ())


def settings_of(steps: int = 3, **ascent: Any) -> DreamSettings:
    return DreamSettings(
        octave=OctaveSettings(octave_mode="normal", octaves=2, octave_scale=0.8, octave_steps=steps),
        ascent=AscentSettings(**{"jitter": 3, **ascent}),
    )


IMAGE = torch.rand(1, 3, 36, 40, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    "ascent",
    [
        {},
        {"random_transforms": "all"},
        {"optimizer": "classic", "random_transforms": "all"},
        {"optimizer": "lbfgs"},
        {"optimizer": "adam", "fft_block": 2},
        {"optimizer": "classic", "laplacian_levels": 3, "norm_percent": 20.0},
    ],
    ids=lambda ascent: " ".join(map(str, ascent.values())) or "default",
)
def test_a_recorded_dream_is_the_same(ascent: dict[str, Any], tiny: DreamModel) -> None:
    settings = settings_of(6, **ascent)
    with Pretended("cuda") as gpu:
        network = copy.deepcopy(tiny).to(gpu.device)
        recorder = Recorder(gpu)
        plain = ImageDreamer([network], settings=settings)
        recorded = ImageDreamer([network], settings=settings, graphs=StepGraphs(recorder))
        image = IMAGE.to(gpu.device)
        values: dict[str, list[Tensor]] = {"plain": [], "recorded": []}
        for _ in range(2):
            expected = plain(image, on_step=lambda step: values["plain"].append(step.objective))
            found = recorded(image, on_step=lambda step: values["recorded"].append(step.objective))
            assert torch.equal(found, expected)
    assert torch.equal(torch.stack(values["plain"]), torch.stack(values["recorded"]))
    assert recorder.replays > 0
    if "random_transforms" not in ascent:
        assert recorder.sizes == [(29, 32), (36, 40)]
        assert recorder.replays == 2 * 2 * 6 - 2  # all steps but the first at each size


def test_weights_that_moved_are_recorded_anew(tiny: DreamModel) -> None:
    with Pretended("cuda") as gpu:
        network = copy.deepcopy(tiny).to(gpu.device)
        recorder = Recorder(gpu)
        dreamer = ImageDreamer([network], settings=settings_of(), graphs=StepGraphs(recorder))
        image = IMAGE.to(gpu.device)
        before = dreamer(image)
        network.to("cpu").to(gpu.device)
        assert torch.equal(dreamer(image), before)
    assert recorder.sizes == 2 * [(29, 32), (36, 40)]


def test_a_step_of_another_size_is_the_same_graph(tiny: DreamModel) -> None:
    with Pretended("cuda") as gpu:
        network = copy.deepcopy(tiny).to(gpu.device)
        recorder = Recorder(gpu)
        dreamer = ImageDreamer([network], settings=settings_of(), graphs=StepGraphs(recorder))
        plain = ImageDreamer([network], settings=settings_of())
        image = IMAGE.to(gpu.device)
        for rate in (1.0, 2.0, 3.0):
            settings = settings_of(learning_rate=rate)
            assert torch.equal(dreamer(image, settings=settings), plain(image, settings=settings))
    assert recorder.sizes == [(29, 32), (36, 40)]


def test_a_recorder_that_fails_is_not_asked_again(tiny: DreamModel) -> None:
    asked = []

    def record(function: Function, image: Tensor, numbers: Tensor) -> Recording:
        asked.append(image)
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    with Pretended("cuda") as gpu:
        network = copy.deepcopy(tiny).to(gpu.device)
        image = IMAGE.to(gpu.device)
        expected = ImageDreamer([network], settings=settings_of())(image)
        dreamer = ImageDreamer([network], settings=settings_of(), graphs=StepGraphs(record))
        with pytest.warns(match=r"cuda_graphs.*going on without \(operation not permitted .* capturing\)"):
            assert torch.equal(dreamer(image), expected)
        assert torch.equal(dreamer(image), expected)
    assert len(asked) == 1


def test_a_lack_of_memory_frees_the_graphs(tiny: DreamModel) -> None:
    attempts: list[str] = []

    def record(function: Function, image: Tensor, numbers: Tensor) -> Recording:
        attempts.append("record")
        raise torch.OutOfMemoryError("CUDA out of memory")

    with Pretended("cuda") as gpu:
        network = copy.deepcopy(tiny).to(gpu.device)
        graphs = StepGraphs(record)
        dreamer = ImageDreamer(
            [network], settings=settings_of(), graphs=graphs, free=lambda: bool(attempts.append("free"))
        )
        image = torch.rand(1, 3, 100, 140).to(gpu.device)
        with pytest.warns(match="memory ran out: going on with tiles of 64"):
            dreamer(image)
    assert attempts == ["record", "free"]


@pytest.mark.parametrize(
    "change",
    [
        {"tile": TileSettings(tile_size=64)},
        {"objective": ObjectiveSettings(channels=("2",), channel_mode="strong", channel_capture="step")},
    ],
    ids=["tiles", "channels in each step"],
)
def test_what_cannot_be_recorded_is_not(change: dict[str, Any], tiny: DreamModel) -> None:
    settings = replace(settings_of(), **change)
    with Pretended("cuda") as gpu:
        network, recorder = copy.deepcopy(tiny).to(gpu.device), Recorder(gpu)
        image = torch.rand(1, 3, 100, 140).to(gpu.device)
        ImageDreamer([network], settings=settings, graphs=StepGraphs(recorder))(image)
    assert recorder.sizes == []


def test_graphs_are_of_no_use_on_the_cpu(tiny: DreamModel) -> None:
    def record(function: Function, image: Tensor, numbers: Tensor) -> Recording:
        raise AssertionError

    dreamer = ImageDreamer([tiny], settings=settings_of(), graphs=StepGraphs(record))
    assert torch.equal(dreamer(IMAGE), ImageDreamer([tiny], settings=settings_of())(IMAGE))


def test_the_graphs_used_last_are_kept() -> None:
    made: list[int] = []

    def record(function: Function, image: Tensor, numbers: Tensor) -> Recording:
        made.append(int(numbers))
        return Recording(lambda: None, function(image, numbers), ())

    graphs, image = StepGraphs(record), torch.zeros(1)
    for _ in range(2):
        for key in range(KEPT + 1):
            graphs(key, None, lambda image, numbers: (image,), image, torch.tensor(key))
    assert made == list(range(KEPT + 1))
    graphs(KEPT, None, lambda image, numbers: (image,), image, torch.tensor(KEPT))
    assert len(made) == KEPT + 1
    graphs(0, None, lambda image, numbers: (image,), image, torch.tensor(0))
    assert made[-1] == 0
