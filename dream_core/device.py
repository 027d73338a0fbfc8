"""Which device computes, and how exactly."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from .errors import SettingsError
from .settings import DeviceSettings, Precision


def parse_device(name: str) -> torch.device:
    """One device from its name: auto, cpu, mps, cuda or cuda:N; auto takes the fastest kind there is.

    Raises:
        SettingsError: the name is none of these, or this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if not re.fullmatch(r"cpu|mps|cuda(:(0|[1-9][0-9]*))?", name):
        raise SettingsError(f"expected a device auto, cpu, mps, cuda or cuda:N, got '{name}'")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise SettingsError("device 'mps' needs Apple silicon and a PyTorch built for it; use `device` cpu")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"device '{name}' is not here: PyTorch sees {torch.cuda.device_count()} CUDA devices; "
            "use `device` auto or cpu"
        )
    return torch.device(name)


def choose_devices(settings: DeviceSettings) -> tuple[torch.device, ...]:
    """The devices that dream, from a comma-separated list."""
    return tuple(parse_device(name.strip()) for name in settings.device.split(","))


def choose_flow_device(settings: DeviceSettings) -> torch.device:
    """The device that estimates optical flow."""
    return parse_device(settings.flow_device) if settings.flow_device else choose_devices(settings)[0]


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The networks' number format on a device: `precision`, or for auto what the device computes natively.

    Emulated bfloat16 is slower than float32, so auto asks for the instructions, not for the mere ability.
    """
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        with torch.cuda.device(device):
            native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and _cpu_has_bfloat16()
    return torch.bfloat16 if native else torch.float32


def _cpu_has_bfloat16() -> bool:
    # Newer than the oldest PyTorch that we take.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: CUDA has a class for it, the CPU and MPS only a message."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    message = r"can't allocate memory|not enough memory|out of memory"
    return isinstance(error, RuntimeError) and re.search(message, str(error)) is not None


@contextmanager
def backends(settings: DeviceSettings) -> Iterator[None]:
    """PyTorch's back ends switched as asked for, and back again."""
    before = torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark
    torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark = settings.cudnn, settings.cudnn_autotune
    try:
        with nullcontext() if settings.mkldnn else _without_mkldnn():
            yield
    finally:
        torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark = before


@contextmanager
def _without_mkldnn() -> Iterator[None]:
    with warnings.catch_warnings():
        # PyTorch warns about a flag for Intel GPUs that this context manager sets along.
        warnings.filterwarnings("ignore", message="TF32 acceleration", category=UserWarning)
        with torch.backends.mkldnn.flags(enabled=False):
            yield
