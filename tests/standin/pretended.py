"""A GPU that pretends: tensors stay on the CPU, claim to be on a device, and what fails there fails here too.

    with Pretended("mps") as gpu:
        model = DreamModel(...).to(gpu.device)
        dream(image, [model], settings=...)  # on "mps:0"
    assert gpu.waits == []

It knows where each tensor claims to be and raises what PyTorch raises: for operands on different devices, for
float64 on Apple's GPUs, for what their back end or cuDNN cannot compute. It records copies from the host and waits
for the device. It knows nothing of kernels: numbers are the CPU's, and autograd's backward pass is not watched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_leaves, tree_map

CPU = torch.device("cpu")
CUDNN_BATCH = 65536
"""Batch from which cuDNN's sampler fails: pytorch#88380."""

MPS_SINCE = {"bicubic": (2, 8), "bilinear": (2, 7), "kthvalue": (2, 9), "border": (2, 13)}
"""Version of PyTorch since when Apple's GPUs have an operation; the first two are antialiased resizing."""

MIXES = ("copy_", "__getitem__", "__setitem__", "index_put_")
"""Functions that accept tensors of the CPU beside those of a device, and copy them."""

ASKS = ("has_compatible_shallow_copy_type", "is_inference.__get__", "requires_grad.__get__")
"""Functions that compute nothing."""

WAITS = (
    "item",
    "tolist",
    "__bool__",
    "__float__",
    "__int__",
    "__index__",
    "equal",
    "nonzero",
    "masked_select",
)
"""Functions whose result the program waits for."""


def on(tensor: Tensor) -> torch.device:
    """Return the device that a tensor claims to be on."""
    device: torch.device = tensor.__dict__.get("_pretended", CPU)
    return device


def _claim(value: Any, device: torch.device) -> Any:
    def claim(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            if device == CPU:
                leaf.__dict__.pop("_pretended", None)
            else:
                leaf.__dict__["_pretended"] = device
        return leaf

    return tree_map(claim, value)


class Pretended(TorchFunctionMode):
    """Pretends that there is a device.

    Args:
        kind: cuda or mps.
        version: of PyTorch, which decides what Apple's GPUs lack.

    `copies` and `waits` name the functions that copied from the host and that waited for the device; `seen` all
    functions that computed there.
    """

    def __init__(self, kind: str, *, version: tuple[int, int] = (2, 15)) -> None:
        super().__init__()
        self.device = torch.device(kind, 0)
        self.version = version
        self.copies: list[str] = []
        self.waits: list[str] = []
        self.seen: list[str] = []
        self.fail: Callable[[str, list[Tensor]], None] = lambda name, tensors: None
        """Called before each function on the device with its name and tensors; raises what the test wants."""
        self._make_parameter = nn.Parameter.__new__

    def __enter__(self) -> Pretended:
        make = self._make_parameter

        def parameter(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
            made = make(cls, data, requires_grad)
            return made if data is None else _claim(made, on(data))

        nn.Parameter.__new__ = parameter  # type: ignore[method-assign]
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        nn.Parameter.__new__ = self._make_parameter  # type: ignore[method-assign]
        super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = _name(func)
        if name in ASKS:
            return func(*args, **kwargs)
        if name == "device.__get__":
            return on(args[0])
        if name in ("is_cuda.__get__", "is_mps.__get__"):
            return on(args[0]).type == name[3:].partition(".")[0]
        if name == "data.__set__":
            func(*args)
            _claim(args[0], on(args[1]))
            return None
        if _to_meta(args[1:], kwargs):
            return func(*args, **kwargs)
        if name in ("to", "cpu", "cuda", "type_as"):
            return self._move(name, func, args, kwargs)
        wanted = kwargs.get("device")
        if wanted is not None:
            kwargs["device"] = CPU
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        device = self._device(name, tensors)
        if device != CPU:
            self._check(name, tensors, args, kwargs)
        elif name in ("tensor", "as_tensor", "from_numpy") and wanted is not None:
            self._copied(name, torch.device(wanted))
        if name == "new_tensor":
            self._copied(name, device)
        if name == "bmm" and device.type == "cuda" and "out_dtype" in kwargs:
            sums_dtype = kwargs.pop("out_dtype")  # the CPU has no such kernel
            args = [factor.to(sums_dtype) for factor in args]
        result = func(*args, **kwargs)
        if wanted is not None:
            device = _index(torch.device(wanted))
        return self._checked(_claim(result, device))

    def _move(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        tensor, target = args[0], on(args[0])
        if name == "cpu":
            target = CPU
        elif name == "cuda":
            target = torch.device("cuda", 0)
        for value in (*args[1:], kwargs.get("device"), kwargs.get("other")):
            if isinstance(value, Tensor):
                target = on(value)
            elif isinstance(value, str | torch.device) and name != "type_as":
                target = _index(torch.device(value))
        here = [CPU if isinstance(value, str | torch.device) else value for value in args]
        kwargs = {
            key: CPU if key == "device" and value is not None else value for key, value in kwargs.items()
        }
        moved = func(*here, **kwargs) if name != "cuda" else tensor
        if target == on(tensor):
            return self._checked(_claim(moved, target))
        if moved is tensor:
            moved = tensor.detach().clone() if not tensor.requires_grad else tensor.clone()
        if target == CPU:
            self.waits.append(name)
        else:
            self._copied(name, target)
        return self._checked(_claim(moved, target))

    def _copied(self, name: str, device: torch.device) -> None:
        if device.type != "cpu":
            self.copies.append(name)

    def _device(self, name: str, tensors: list[Tensor]) -> torch.device:
        """Return the device of all operands; the CPU's own numbers, without dimensions, fit everywhere."""
        devices = {on(tensor) for tensor in tensors if tensor.ndim or on(tensor) != CPU}
        if len(devices) > 1:
            if name not in MIXES:
                found = " and ".join(sorted(map(str, devices)))
                raise RuntimeError(
                    f"Expected all tensors to be on the same device, but found at least two devices, {found}! "
                    f"({name})"
                )
            if on(tensors[0]) == CPU:
                self.waits.append(name)
                return CPU
            self.copies.append(name)
            return on(tensors[0])
        return devices.pop() if devices else CPU

    def _check(self, name: str, tensors: list[Tensor], args: Any, kwargs: Any) -> None:
        self.seen.append(name)
        self.fail(name, tensors)
        if name in ("numpy", "__array__"):
            raise TypeError(f"can't convert {self.device} device type tensor to numpy")
        if name in WAITS:
            self.waits.append(name)
        if self.device.type == "mps":
            self._check_mps(name, tensors, args, kwargs)
        elif name == "grid_sample":
            mode, padding, corners = _sampling(args, kwargs)
            if (mode, padding, corners) == ("bilinear", "zeros", True) and len(args[0]) >= CUDNN_BATCH:
                raise RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED")

    def _check_mps(self, name: str, tensors: list[Tensor], args: Any, kwargs: Any) -> None:
        if "pool2d" in name and tensors[0].requires_grad and _channels_last(tensors[0]):
            raise RuntimeError("SIGABRT: buffer is not large enough")  # pytorch#175190
        if name == "interpolate" and kwargs.get("antialias"):
            self._lacks(kwargs["mode"], f"aten::_upsample_{kwargs['mode']}2d_aa.out")
        if name == "kthvalue":
            self._lacks("kthvalue", "aten::kthvalue.values")
        if name == "grid_sample" and _sampling(args, kwargs)[:2] != ("bilinear", "zeros"):
            self._lacks("border", "aten::grid_sampler_2d")

    def _lacks(self, what: str, operator: str) -> None:
        if self.version < MPS_SINCE[what]:
            raise NotImplementedError(
                f"The operator '{operator}' is not currently implemented for the MPS device."
            )

    def _checked(self, result: Any) -> Any:
        if self.device.type == "mps":
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor) and on(leaf) != CPU and leaf.dtype == torch.float64:
                    raise TypeError(
                        "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support "
                        "float64. Please use float32 instead."
                    )
        return result


def _to_meta(args: Any, kwargs: Any) -> bool:
    values = (*args, kwargs.get("device"))
    return any(str(value) == "meta" for value in values if isinstance(value, str | torch.device))


def _index(device: torch.device) -> torch.device:
    """Return a device with its index, as tensors name it."""
    return device if device.type == "cpu" else torch.device(device.type, device.index or 0)


def _name(func: Any) -> str:
    name = str(getattr(func, "__name__", ""))
    if name in ("__get__", "__set__"):
        return f"{(resolve_name(func) or '').split('.')[-2]}.{name}"
    return name if name.startswith("__") else name.lstrip("_")


def _sampling(args: Any, kwargs: Any) -> tuple[Any, ...]:
    """Return mode, padding and align_corners of a call of `F.grid_sample`."""
    given = dict(zip(("input", "grid", "mode", "padding_mode", "align_corners"), args, strict=False)) | kwargs
    return given.get("mode", "bilinear"), given.get("padding_mode", "zeros"), bool(given.get("align_corners"))


def _channels_last(tensor: Tensor) -> bool:
    return not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)
