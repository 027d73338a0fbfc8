"""The pack without ComfyUI: loaded as ComfyUI loads it, by path, on the stand-ins of this folder.

    load()
    flow = pack("nodes.flow")

This folder must be in PYTHONPATH, for comfy_api.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

STANDIN = Path(__file__).resolve().parent
ROOT = STANDIN.parents[1]
NAME = "pack-under any name 2"


def load() -> None:
    """Load the pack, once."""
    _load(NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    standin = _load(f"{NAME}.nodes.adapters.host", STANDIN / "host.py")
    importlib.import_module(f"{NAME}.nodes.adapters").host = standin  # type: ignore[attr-defined]


def pack(name: str) -> ModuleType:
    """Any module of the loaded pack, such as "nodes.flow"."""
    return importlib.import_module(f"{NAME}.{name}")


def _load(name: str, path: Path, **options: Any) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path, **options)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
