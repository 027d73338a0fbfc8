"""Memory that can still be taken, on the CPU and on GPUs: asked before it runs out, when it is too late."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

if sys.platform != "win32":
    import resource

ENDLESS = 2**60
"""Control groups say so, or more, where they have no limit."""


def free_memory(device: torch.device) -> float:
    """Return the bytes that this process can still take on a device; infinite where nothing says it.

    On a CPU it is the least of what the system can give, what the control groups leave (Linux's limits of
    containers and services, versions 1 and 2) and what the address space leaves (`ulimit -v`). On a GPU it includes
    what PyTorch keeps in its cache.
    """
    if device.type == "cuda":
        if not torch.cuda.is_available():
            return math.inf
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    system: float = min(psutil.virtual_memory().available, *map(room_in, control_groups()), address_space())
    if device.type == "mps" and torch.backends.mps.is_available():  # it shares the system's memory
        return float(min(system, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()))
    return system


def address_space() -> float:
    """Return the bytes that the limit of the address space leaves; infinite without one."""
    if sys.platform == "win32":
        return math.inf
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return math.inf if limit == resource.RLIM_INFINITY else max(0, limit - psutil.Process().memory_info().vms)


def control_groups(process: Path = Path("/proc/self")) -> Iterator[Path]:
    """Yield the folders of the control groups that count this process's memory, each with those above it.

    Args:
        process: the folder that describes a process.
    """
    try:
        groups = [line.split(":", 2) for line in (process / "cgroup").read_text().splitlines()]
        mounts = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
    except OSError:  # not Linux
        return
    for _, controllers, group in groups:
        for mount in mounts:
            if _is_of(mount, controllers):
                yield from _upwards(Path(mount[4]), root=mount[3], group=group)


def _is_of(mount: list[str], controllers: str) -> bool:
    """Return whether a line of mountinfo is the tree of these controllers, none for version 2, and has memory."""
    kind, options = mount[mount.index("-") + 1], mount[-1].split(",")
    if not controllers:
        return kind == "cgroup2"
    return kind == "cgroup" and "memory" in controllers.split(",") and "memory" in options


def _upwards(top: Path, *, root: str, group: str) -> Iterator[Path]:
    """Yield a group's folder and those above it, up to the one that is mounted at `top`."""
    # Inside a container the mounted tree may begin at the container's own group.
    inside = Path(group).relative_to(root) if Path(group).is_relative_to(root) else Path()
    folder = top if ".." in inside.parts else top / inside
    yield folder
    while folder != top:
        folder = folder.parent
        yield folder


def room_in(group: Path) -> float:
    """Return the bytes that a control group leaves, with what it can drop; infinite without a limit."""
    for limits, usage, prefix in (
        (("memory.max", "memory.high"), "memory.current", ""),
        (("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_"),
    ):
        limit = min(_number(group / name) for name in limits)
        used = _number(group / usage)
        if limit < ENDLESS and used < ENDLESS:
            return max(0, limit - used + _droppable(group, prefix))
    return math.inf


def _droppable(group: Path, prefix: str) -> float:
    """Return the bytes of files that a group can drop: all that lie unused, half of the others."""
    try:
        lines = [line.split() for line in (group / "memory.stat").read_text().splitlines()]
    except OSError:
        return 0
    found = {name: int(value) for name, value in lines}
    return found.get(f"{prefix}inactive_file", 0) + found.get(f"{prefix}active_file", 0) / 2


def _number(file: Path) -> float:
    """Read a number; infinite for "max" and where there is no such file."""
    try:
        return float(file.read_text().replace("max", "inf"))
    except (OSError, ValueError):
        return math.inf
