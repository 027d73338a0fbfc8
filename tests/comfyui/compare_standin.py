"""Print how a stand-in's names and signatures differ from the real node API. Run it with ComfyUI's Python.

Usage: python compare_standin.py COMFYUI STANDIN
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from enum import Enum
from types import ModuleType
from typing import Any

API = "comfy_api.latest"


def load(folder: str) -> ModuleType:
    """Import the node API from a folder."""
    for name in [name for name in sys.modules if name.split(".")[0] == "comfy_api"]:
        del sys.modules[name]
    sys.path.insert(0, folder)
    module = importlib.import_module(API)
    sys.path.remove(folder)
    return module


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    """Return name, kind and default of each parameter; for a type, its io_type."""
    found = inspect.signature(function).parameters.values()
    return [(one.name, one.kind, getattr(one.default, "io_type", one.default)) for one in found]


def type_of(owner: Any) -> str | None:
    """Return the io_type of a type, or of its inputs or outputs."""
    name = getattr(owner, "io_type", None)
    return getattr(owner.Parent, "io_type", None) if isinstance(name, property) else name


def members(owner: Any) -> dict[str, Any]:
    """Return the public members of a module or class."""
    exported = getattr(owner, "__all__", None) or vars(owner)
    return {name: getattr(owner, name) for name in exported if not name.startswith("_")}


def differences(mine: Any, real: Any, path: str) -> Iterator[str]:
    """Yield what the stand-in has and the real API lacks or has otherwise."""
    if isinstance(mine, type) and issubclass(mine, Enum):
        if not {one.value for one in mine} <= {one.value for one in real}:
            yield f"{path}: {list(mine)}, really {list(real)}"
        return
    if isinstance(mine, type) and "__init__" in vars(mine) and parameters(mine) != parameters(real):
        yield f"{path}: {parameters(mine)}, really {parameters(real)}"
    if type_of(mine) not in (None, type_of(real)):
        yield f"{path}: {type_of(mine)}, really {type_of(real)}"
    for name, value in members(mine).items():
        own = getattr(value, "__module__", "").startswith(API)
        if not (isinstance(value, type | ModuleType) or inspect.isroutine(value)):
            continue
        if isinstance(value, ModuleType) or own:
            if not hasattr(real, name):
                yield f"{path}.{name}: not there"
            elif inspect.isroutine(value):
                if parameters(value) != parameters(getattr(real, name)):
                    yield f"{path}.{name}: {parameters(value)}, really {parameters(getattr(real, name))}"
            else:
                yield from differences(value, getattr(real, name), f"{path}.{name}")


if __name__ == "__main__":
    folder, standin = sys.argv[1:]
    sys.argv[1:] = ["--cpu"]  # ComfyUI reads the command line when it is imported
    sys.path.insert(0, folder)
    real = load(folder)
    sys.path.remove(folder)
    for line in differences(load(standin), real, "latest"):
        print(line)
