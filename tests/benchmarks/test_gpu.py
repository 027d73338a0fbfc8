"""The benchmark for GPUs, on the CPU, with small images and a small network: its logic, not its numbers."""

from __future__ import annotations

import json
from pathlib import Path

import gpu
import pytest
import torch

TINY = [
    *("--device", "cpu", "--networks", "squeezenet1_1", "--sizes", "160x128", "--check-size", "160x128"),
    *("--frames", "1", "--octave-steps", "1", "--flow-scales", "1", "--matmul", "64"),
]


def test_it_checks_then_measures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "WARM_UPS", 1)
    monkeypatch.setattr(gpu, "WAYS", [(False, True)])
    monkeypatch.setenv("OMP_NUM_THREADS", "0")  # room for work beside the dream
    results = gpu.main([*TINY, "--json", str(tmp_path / "gpu.json")])
    assert results.failed == []
    done = {check.name for check in results.checks if check.result == "ok"}
    assert {"squeezenet1_1 in bfloat16", "RAFT", "optimizer lbfgs", "determinism of squeezenet1_1"} <= done
    assert "motion beside squeezenet1_1" in done
    (speed,) = results.speeds
    assert not speed.left_out
    assert min(speed.frames_per_second, speed.milliseconds_per_step, speed.floor_milliseconds) > 0
    written = json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    assert len(written["checks"]) == len(results.checks)
    assert "squeezenet1_1" in capsys.readouterr().out


def test_what_the_time_does_not_allow_is_named() -> None:
    results = gpu.main([*TINY, "--seconds", "0"])
    assert {check.result for check in results.checks} == {"left out: no time is left"}
    assert [speed.left_out for speed in results.speeds] == ["no time is left"]


def test_a_wrong_result_fails() -> None:
    def wrong() -> str:
        return gpu.require_at_most(0.5, 0.1)

    check = gpu.run_check("any", wrong)
    assert check.result == "failed"
    assert check.detail.startswith("AssertionError: expected at most 0.1, got 0.5 (gpu.py:")


def test_a_machine_without_a_gpu_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SystemExit, match="expected a CUDA device that exists, got 'cuda'"):
        gpu.main([])
