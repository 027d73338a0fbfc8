from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from pretended import Pretended

from dream_core.checks import validate
from dream_core.device import (
    backends,
    choose_devices,
    choose_dtype,
    choose_flow_device,
    constants_used,
    is_out_of_memory,
    kept_on_device,
    layout,
    parse_device,
    send,
)
from dream_core.errors import SettingsError
from dream_core.settings import DeviceSettings, Precision

CPU = torch.device("cpu")
Pretend = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Pretend that this machine has some CUDA devices, or Apple's."""

    def pretend(*, cuda: int = 0, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.mark.parametrize(
    ("has", "fastest"), [({}, "cpu"), ({"mps": True}, "mps"), ({"cuda": 1}, "cuda"), ({"cuda": 2}, "cuda")]
)
def test_auto_takes_the_fastest_kind(machine: Pretend, has: dict[str, int], fastest: str) -> None:
    machine(**has)
    assert parse_device("auto") == torch.device(fastest)
    assert choose_devices(DeviceSettings()) == (torch.device(fastest),)


@pytest.mark.parametrize("name", ["cpu", "mps", "cuda", "cuda:0", "cuda:1"])
def test_names_mean_the_same_as_in_torch(machine: Pretend, name: str) -> None:
    machine(cuda=2, mps=True)
    assert parse_device(name) == torch.device(name)


@pytest.mark.parametrize(
    "name", ["", "gpu", "0", "c", "CUDA", "meta", "cpu:0", "cpu:", "mps:0", ":0", "cuda 0"]
)
def test_other_names_are_refused(machine: Pretend, name: str) -> None:
    refused(machine, name)


@pytest.mark.parametrize("index", ["", "-1", "01", "x", "²", "0:1", "0\n"])
def test_other_cuda_indices_are_refused(machine: Pretend, index: str) -> None:
    refused(machine, f"cuda:{index}")


def refused(machine: Pretend, name: str) -> None:
    machine(cuda=2, mps=True)
    with pytest.raises(SettingsError) as caught:
        parse_device(name)
    assert str(caught.value) == f"expected a device auto, cpu, mps, cuda or cuda:N, got '{name}'"


@pytest.mark.parametrize(("name", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2), ("cuda:128", 2)])
def test_absent_cuda_devices_are_refused(machine: Pretend, name: str, count: int) -> None:
    machine(cuda=count)
    with pytest.raises(SettingsError) as caught:
        parse_device(name)
    assert str(caught.value) == (
        f"expected a CUDA device that exists, got '{name}' (PyTorch finds {count}); use `device` auto or cpu"
    )


def test_an_absent_apple_device_is_refused(machine: Pretend) -> None:
    machine()
    with pytest.raises(
        SettingsError,
        match=r"^expected a device .* got 'mps', which needs Apple silicon .*; use `device` cpu$",
    ):
        parse_device("mps")


def test_several_devices_keep_their_order(machine: Pretend) -> None:
    machine(cuda=3)
    found = choose_devices(DeviceSettings(device="cuda:2, cuda:0,cpu"))
    assert found == (torch.device("cuda:2"), torch.device("cuda:0"), CPU)


@pytest.mark.parametrize(("names", "wrong"), [("cpu,", ""), ("cpu,,cpu", ""), ("cpu;cpu", "cpu;cpu")])
def test_a_list_with_gaps_is_refused(names: str, wrong: str) -> None:
    with pytest.raises(SettingsError, match=rf"got '{wrong}'$"):
        choose_devices(DeviceSettings(device=names))


def test_flow_uses_the_first_device_by_default(machine: Pretend) -> None:
    machine(cuda=2)
    assert choose_flow_device(DeviceSettings(device="cuda:1,cuda:0")) == torch.device("cuda:1")
    assert choose_flow_device(DeviceSettings(device="cuda:1", flow_device="cpu")) == CPU
    with pytest.raises(SettingsError, match="expected a CUDA device that exists, got 'cuda:2'"):
        choose_flow_device(DeviceSettings(device="cuda:1", flow_device="cuda:2"))


@pytest.mark.parametrize("device", [CPU, torch.device("cuda"), torch.device("mps")])
def test_a_named_precision_is_used_on_every_device(device: torch.device) -> None:
    assert choose_dtype("float32", device) == torch.float32
    assert choose_dtype("bfloat16", device) == torch.bfloat16
    assert choose_dtype("float16", device) == torch.float16


@pytest.mark.parametrize("native", [True, False])
def test_auto_asks_cuda_for_bfloat16_that_is_not_emulated(
    monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native
    )
    monkeypatch.setattr(torch.cuda, "device", nullcontext)  # the machine may have no CUDA device
    expected = torch.bfloat16 if native else torch.float32
    assert choose_dtype("auto", torch.device("cuda")) == expected


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"architecture": "aarch64", "bf16": True}, torch.bfloat16),
        ({"architecture": "x86_64", "avx2": True, "avx512_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_auto_asks_the_cpu_for_its_instructions(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, object], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert choose_dtype("auto", CPU) == expected
    assert choose_dtype("auto", CPU, on_cpu=False) == torch.float32
    assert choose_dtype("bfloat16", CPU, on_cpu=False) == torch.bfloat16


def test_auto_is_float32_if_the_capabilities_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)  # an older PyTorch
    assert choose_dtype("auto", CPU) == torch.float32
    assert choose_dtype("auto", torch.device("mps")) == torch.float32


def test_the_layout_is_channels_last_but_on_apples_gpus() -> None:
    formats = [layout(torch.device(kind)) for kind in ("cpu", "cuda", "mps")]
    assert formats == [torch.channels_last, torch.channels_last, torch.contiguous_format]


def flags() -> tuple[bool, bool, bool]:
    return torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark, torch.backends.mkldnn.enabled


@pytest.mark.parametrize("cudnn", [True, False])
@pytest.mark.parametrize("autotune", [True, False])
@pytest.mark.parametrize("mkldnn", [True, False])
def test_back_ends_are_switched_and_switched_back(cudnn: bool, autotune: bool, mkldnn: bool) -> None:
    before = flags()
    with backends(DeviceSettings(cudnn=cudnn, cudnn_autotune=autotune, mkldnn=mkldnn)):
        assert flags() == (cudnn, autotune, mkldnn)
    assert flags() == before


def test_back_ends_are_switched_back_after_an_error() -> None:
    before = flags()
    with (
        pytest.raises(KeyboardInterrupt),
        backends(DeviceSettings(cudnn=False, cudnn_autotune=True, mkldnn=False)),
    ):
        raise KeyboardInterrupt
    assert flags() == before


def test_switching_back_ends_gives_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for on in (True, False):
            with backends(DeviceSettings(mkldnn=on, deterministic=on, precision="float32")):
                pass


@pytest.mark.parametrize(("precision", "tf32"), [("auto", True), ("bfloat16", True), ("float32", False)])
def test_float32_is_not_tf32_if_it_is_named(precision: Precision, tf32: bool) -> None:
    assert torch.backends.cudnn.allow_tf32  # PyTorch's default
    with backends(DeviceSettings(precision=precision)):
        assert torch.backends.cudnn.allow_tf32 == tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("wanted", [True, False])
def test_determinism_is_asked_for_only_while_it_is_wanted(wanted: bool) -> None:
    with backends(DeviceSettings(deterministic=wanted)):
        assert torch.are_deterministic_algorithms_enabled() == wanted
        if wanted:
            assert torch.is_deterministic_algorithms_warn_only_enabled()
            assert not torch.utils.deterministic.fill_uninitialized_memory
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_timing_does_not_go_with_determinism() -> None:
    with pytest.raises(SettingsError, match="expected `cudnn_autotune` off with `deterministic`"):
        validate(DeviceSettings(cudnn_autotune=True, deterministic=True))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
        ),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB)"),
        RuntimeError("Invalid buffer size: 12.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
        MemoryError(),
    ],
)
def test_out_of_memory_errors_are_recognized(error: BaseException) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shapes do not match"),
        RuntimeError("CUDNN_STATUS_BAD_PARAM"),
        ValueError("out of memory"),
    ],
)
def test_other_errors_are_not_about_memory(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def test_the_error_of_the_cpu_is_recognized() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_a_constant_is_made_once_and_held_by_who_uses_it() -> None:
    @kept_on_device
    def ramp(length: int, device: torch.device) -> torch.Tensor:
        return torch.arange(length).to(device)

    with Pretended("cuda") as gpu:
        first = ramp(3, gpu.device)
        with constants_used() as used:
            assert ramp(3, gpu.device) is first
            other = ramp(4, gpu.device)
        ramp(3, gpu.device)
        assert gpu.copies == ["to", "to"]
    assert [id(one) for one in used] == [id(first), id(other)]


def test_what_is_sent_is_a_copy() -> None:
    tensor = torch.rand(3)
    assert send(tensor, CPU).data_ptr() != tensor.data_ptr()
    with Pretended("cuda") as gpu:
        there = send(tensor, gpu.device)
        assert there.device == gpu.device
        assert (gpu.copies, gpu.waits) == (["to"], [])
    assert torch.equal(there, tensor)
