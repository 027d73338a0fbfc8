"""Gradient steps recorded as CUDA graphs: their hundreds of small kernels are then started by one call.

A graph computes the same function as without it, on tensors that stay in their places.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..device import constants_used, is_out_of_memory, send

Function = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
"""A function of an image and of numbers that reads no value on the CPU."""

KEPT = 32
"""Number of graphs to keep: one for each octave's size, and for each turn and flip of `random_transforms`."""

WARM_UPS = 3
"""Runs before the recording, in which libraries choose their kernels and take their memory."""


class Recording(NamedTuple):
    """A recorded function.

    Args:
        replay: computes the results once more, from the tensors that the function was recorded with.
        results: where they are.
        constants: other tensors that it reads.
    """

    replay: Callable[[], None]
    results: tuple[Tensor, ...]
    constants: Sequence[Tensor]


Record = Callable[[Function, Tensor, Tensor], Recording]


class CudaRecorder:
    """Records functions as CUDA graphs, which share their memory: never replay two at the same time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Function, image: Tensor, numbers: Tensor) -> Recording:
        """Record a function of two tensors."""
        with torch.cuda.device(image.device):
            side, current = torch.cuda.Stream(), torch.cuda.current_stream()
            side.wait_stream(current)
            with torch.cuda.stream(side):
                for _ in range(WARM_UPS):
                    function(image, numbers)
            current.wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with (
                constants_used() as constants,
                torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"),
            ):
                results = function(image, numbers)
        return Recording(graph.replay, results, tuple(constants))


class _Kept(NamedTuple):
    owner: object
    image: Tensor
    numbers: Tensor
    recording: Recording


class StepGraphs:
    """Computes functions by graphs that are recorded when a function comes for the second time.

    If a recording fails, a warning says so, and all functions are computed without graphs from then on.

    Args:
        record: for tests; by default as CUDA graphs.
    """

    def __init__(self, record: Record | None = None) -> None:
        self._given = self._record = record
        self._seen: set[Hashable] = set()
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._works = True

    def clear(self) -> None:
        """Free the memory of all graphs."""
        self._seen.clear()
        self._kept.clear()
        self._record = self._given

    def __call__(
        self, key: Hashable, owner: object, function: Function, image: Tensor, numbers: Tensor
    ) -> tuple[Tensor, ...]:
        """Compute a function.

        Args:
            key: equal for functions that compute the same.
            owner: of the weights; a graph is dropped once another one comes with its key.
            function: reads tensors only.
            image: on the GPU.
            numbers: on the CPU.

        Returns:
            Its results, valid until the next call.
        """
        if not self._works or key not in self._seen:
            self._seen.add(key)
            return function(image, send(numbers, image.device))
        kept = self._kept.pop(key, None)
        if kept is None or kept.owner is not owner:
            del kept  # frees its memory first
            fresh = self._recorded(owner, function, image, numbers)
            if fresh is None:
                return function(image, send(numbers, image.device))
            kept = fresh
        self._kept[key] = kept
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        kept.image.copy_(image)
        kept.numbers.copy_(send(numbers, image.device))
        kept.recording.replay()
        return kept.recording.results

    def _recorded(self, owner: object, function: Function, image: Tensor, numbers: Tensor) -> _Kept | None:
        self._record = self._record or CudaRecorder()
        own_image, own_numbers = image.detach().clone(), send(numbers, image.device)
        try:
            return _Kept(owner, own_image, own_numbers, self._record(function, own_image, own_numbers))
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            problem = str(error).partition("\n")[0]
        self.clear()
        self._works = False
        warnings.warn(f"`cuda_graphs` does not work here: going on without ({problem})", stacklevel=2)
        return None
