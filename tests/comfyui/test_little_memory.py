"""With little memory, ComfyUI's own model manager leaves both networks where they compute."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from comfyui_server import find

HERE = Path(__file__).parent
SCENARIOS = ("normal:1", "lowvram:1", "novram:1", "dynamic:1")


def test_no_frame_is_dreamed_on_the_cpu_where_comfyui_has_little_memory() -> None:
    """ComfyUI evicted the dream network for RAFT's sake, and with --novram loads no weights at all."""
    root, python = find()
    paths = os.pathsep.join(map(str, (root, HERE.parent / "standin")))
    run = subprocess.run(
        [str(python), str(HERE / "little_memory.py"), *SCENARIOS],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    results = json.loads(run.stdout.splitlines()[-1])
    assert len(results) == len(SCENARIOS)
    for scenario, result in zip(SCENARIOS, results, strict=True):
        assert result["devices"] == ["cuda:0"] * 3, scenario
        # The dream network, again with memory for its activations, then both; not once per frame.
        assert result["loads"] == [1, 1, 2], scenario
        assert result["asked"][1] > 8, scenario  # MiB
        assert result["evicted_to"] == "cpu", scenario  # and they can still be evicted
        assert result["mean"] == results[0]["mean"], scenario
