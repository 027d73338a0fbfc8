"""Free memory, in folders that stand for the system's."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from dream_core import free_memory as module
from dream_core.free_memory import control_groups, free_memory, room_in

CPU = torch.device("cpu")


def group(folder: Path, **files: object) -> Path:
    """Write the files of a control group; `memory_max` becomes memory.max."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("memory_", "memory.")).write_text(f"{content}\n")
    return folder


@pytest.mark.parametrize(
    ("files", "room"),
    [
        ({"memory_max": 1000, "memory_current": 700}, 300),
        (
            {
                "memory_max": 1000,
                "memory_current": 700,
                "memory_stat": "inactive_file 80\nactive_file 40",
            },
            400,
        ),
        ({"memory_max": 1000, "memory_high": 900, "memory_current": 700}, 200),
        ({"memory_max": 1000, "memory_high": "max", "memory_current": 1200}, 0),
        ({"memory_max": "max", "memory_high": "max", "memory_current": 700}, math.inf),
        ({"memory_limit_in_bytes": 1000, "memory_usage_in_bytes": 600}, 400),
        (
            {
                "memory_limit_in_bytes": 1000,
                "memory_usage_in_bytes": 600,
                "memory_stat": "inactive_file 9\ntotal_inactive_file 100\ntotal_active_file 10",
            },
            505,
        ),
        ({"memory_limit_in_bytes": 9223372036854771712, "memory_usage_in_bytes": 600}, math.inf),
        ({}, math.inf),
    ],
)
def test_the_room_of_a_control_group(files: dict[str, object], room: float, tmp_path: Path) -> None:
    assert room_in(group(tmp_path, **files)) == room


@pytest.mark.parametrize(
    ("cgroup", "mount", "groups"),
    [
        ("0::/a/b", "30 1 0:26 / {top} rw - cgroup2 cgroup rw", ["a/b", "a", "."]),
        ("4:memory:/a/b", "30 1 0:26 / {top} rw - cgroup cgroup rw,memory", ["a/b", "a", "."]),
        # In a container, which sees its own group alone.
        ("0::/docker/1/c", "30 1 0:26 /docker/1 {top} rw - cgroup2 cgroup rw", ["c", "."]),
        ("4:cpu,memory:/docker/1", "30 1 0:26 /docker/1 {top} rw - cgroup x rw,cpu,memory", ["."]),
        ("0::/../elsewhere", "30 1 0:26 / {top} rw - cgroup2 cgroup rw", ["."]),
        ("3:cpu:/a", "30 1 0:26 / {top} rw - cgroup cgroup rw,cpu", []),
        ("0::/a", "30 1 0:26 / {top} rw shared:9 - tmpfs tmpfs rw", []),
    ],
)
def test_control_groups_are_found_up_to_the_top(
    cgroup: str, mount: str, groups: list[str], tmp_path: Path
) -> None:
    top, process = tmp_path / "cgroup", tmp_path / "self"
    process.mkdir()
    (process / "cgroup").write_text(cgroup + "\n")
    (process / "mountinfo").write_text(mount.format(top=top) + "\n")
    assert list(control_groups(process)) == [top / name for name in groups]


def test_without_control_groups_there_are_none(tmp_path: Path) -> None:
    assert list(control_groups(tmp_path)) == []


def test_the_cpu_has_the_least_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "control_groups", lambda: [tmp_path / "inner", tmp_path])
    group(tmp_path / "inner", memory_max=5000, memory_current=1000)
    assert free_memory(CPU) == 4000
    group(tmp_path, memory_max=1500, memory_current=1000)  # a limit above counts too
    assert free_memory(CPU) == 500
    monkeypatch.setattr(module, "address_space", lambda: 50.0)
    assert free_memory(CPU) == 50
    monkeypatch.undo()
    assert 0 < free_memory(CPU) <= psutil.virtual_memory().total


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_limit_of_the_address_space_counts() -> None:
    program = (
        "import resource, psutil; from dream_core.free_memory import address_space; before = address_space(); "
        "limit = psutil.Process().memory_info().vms + 2**30; "
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit)); print(before, address_space())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert before == math.inf
    assert 0.9 * 2**30 < after <= 2**30


def test_a_gpu_has_what_is_free_and_what_is_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 8000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 700)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 300)
    assert free_memory(torch.device("cuda")) == 1400


def test_apples_gpus_share_the_systems_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 9000)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 2000)
    assert free_memory(torch.device("mps")) == 7000
    monkeypatch.setattr(module, "address_space", lambda: 50.0)
    assert free_memory(torch.device("mps")) == 50
