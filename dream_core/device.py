"""Choice of devices and number formats, and switches of PyTorch's back ends."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache, wraps
from typing import Any, ParamSpec, cast

import torch

from .errors import SettingsError
from .settings import DeviceSettings, Precision


def parse_device(name: str) -> torch.device:
    """Parse the name of a device: auto, cpu, mps, cuda or cuda:N; auto is the fastest kind available.

    Raises:
        SettingsError: the name is not one of these, or this machine does not have the device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if not re.fullmatch(r"cpu|mps|cuda(:(0|[1-9][0-9]*))?", name):
        raise SettingsError(f"expected a device auto, cpu, mps, cuda or cuda:N, got '{name}'")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise SettingsError(
            "expected a device that this machine has, got 'mps', which needs Apple silicon and a PyTorch "
            "built for it; use `device` cpu"
        )
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"expected a CUDA device that exists, got '{name}' (PyTorch finds {torch.cuda.device_count()}); "
            "use `device` auto or cpu"
        )
    return torch.device(name)


def choose_devices(settings: DeviceSettings) -> tuple[torch.device, ...]:
    """Choose the devices to dream on from the comma-separated list in the settings."""
    return tuple(parse_device(name.strip()) for name in settings.device.split(","))


def choose_flow_device(settings: DeviceSettings) -> torch.device:
    """Choose the device to estimate optical flow on."""
    return parse_device(settings.flow_device) if settings.flow_device else choose_devices(settings)[0]


NAMED = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_dtype(precision: Precision, device: torch.device, *, on_cpu: bool = True) -> torch.dtype:
    """Choose the number format of a network; auto is bfloat16 if the device has instructions for it.

    PyTorch emulates bfloat16 on other devices, slower than float32.

    Args:
        precision: the user's choice.
        device: where the network computes.
        on_cpu: whether bfloat16 makes this network faster on CPUs that have it.
    """
    if precision != "auto":
        return NAMED[precision]
    if device.type == "cuda":
        with torch.cuda.device(device):
            native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and on_cpu and _cpu_has_bfloat16()
    return torch.bfloat16 if native else torch.float32


def _cpu_has_bfloat16() -> bool:
    # The oldest PyTorch that we support lacks this function.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def layout(device: torch.device) -> torch.memory_format:
    """Return the memory layout in which convolutional networks compute on a device.

    channels_last is faster on CPUs and NVIDIA's GPUs. On Apple's, gradients of pooling abort in it or are wrong:
    https://github.com/pytorch/pytorch/issues/175190.
    """
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor to a device. For an NVIDIA GPU it is copied into pinned memory, and the program goes on."""
    if device.type != "cuda" or tensor.device.type != "cpu" or not torch.cuda.is_available():
        return tensor.to(device, copy=True)
    return tensor.pin_memory().to(device, non_blocking=True)


def fetch(tensor: torch.Tensor) -> torch.Tensor:
    """Copy a tensor to the CPU, from an NVIDIA GPU through pinned memory. The program waits for it."""
    if tensor.device.type != "cuda" or not torch.cuda.is_available():
        return tensor.cpu()
    here = torch.empty_like(tensor, device="cpu", pin_memory=True)
    here.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensor.device).synchronize()
    return here


P = ParamSpec("P")

_used: list[torch.Tensor] | None = None


def kept_on_device(make: Callable[P, torch.Tensor]) -> Callable[P, torch.Tensor]:
    """Decorate a function that copies a constant to a device: its latest results are kept.

    Copies from the host in every step would make the program wait for a GPU.
    """
    kept = cast("Callable[P, torch.Tensor]", lru_cache(maxsize=32)(make))

    @wraps(make)
    def constant(*args: P.args, **kwargs: P.kwargs) -> torch.Tensor:
        tensor = kept(*args, **kwargs)
        if _used is not None:
            _used.append(tensor)
        return tensor

    return constant


@contextmanager
def constants_used() -> Iterator[list[torch.Tensor]]:
    """List the constants of `kept_on_device` that are used inside the block. A CUDA graph has to hold them."""
    global _used
    before, _used = _used, []
    try:
        yield _used
    finally:
        _used = before


def sums_in_float32() -> bool:
    """Return whether CUDA multiplies matrices of 16 bits into float32, without rounding; since PyTorch 2.8."""
    return hasattr(torch.ops.aten.bmm, "dtype") and torch.version.hip is None


OUT_OF_MEMORY = re.compile(
    r"can't allocate memory|not enough memory|out of memory|Invalid buffer size"
    r"|CU(BLAS|DNN)_STATUS_ALLOC_FAILED|CUDNN_STATUS_INTERNAL_ERROR|_ALLOCATION_FAILED"
    r"|unable to find an engine|find a valid cuDNN algorithm"
)
"""What errors say where memory ran out: PyTorch's for CPU, CUDA and Apple's GPUs, those of cuBLAS and cuDNN."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error reports that memory ran out; CUDA has a class for it, others only a message."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error)) is not None


@contextmanager
def backends(settings: DeviceSettings) -> Iterator[None]:
    """Switch cuDNN, its autotuning, oneDNN and determinism as in the settings; restore all on exit.

    With `precision` float32, cuDNN computes in float32 too, where it would take TF32 with its 10 bits of mantissa.
    The switches hold for the whole process.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.enabled, cudnn.benchmark
    cudnn.enabled, cudnn.benchmark = settings.cudnn, settings.cudnn_autotune
    try:
        with (
            tf32(settings.precision != "float32"),
            nullcontext() if settings.mkldnn else _without_mkldnn(),
            _deterministic() if settings.deterministic else nullcontext(),
        ):
            yield
    finally:
        cudnn.enabled, cudnn.benchmark = before


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let cuDNN take TF32, with its 10 bits of mantissa, for float32, unless that is switched off already."""
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32
    cudnn.allow_tf32 = before and allowed
    try:
        yield
    finally:
        cudnn.allow_tf32 = before


@contextmanager
def _deterministic() -> Iterator[None]:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS wants it, read before its first use
    filling: Any = torch.utils.deterministic  # a module that PyTorch gives a property
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        filling.fill_uninitialized_memory,
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    filling.fill_uninitialized_memory = False  # takes time, and nothing here reads such memory
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        filling.fill_uninitialized_memory = before[2]


@contextmanager
def _without_mkldnn() -> Iterator[None]:
    with warnings.catch_warnings():
        # The context manager also sets a flag for Intel GPUs, about which PyTorch warns.
        warnings.filterwarnings("ignore", message="TF32 acceleration", category=UserWarning)
        with torch.backends.mkldnn.flags(enabled=False):
            yield
