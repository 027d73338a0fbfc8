"""Measure peak memory of the command for a short and a long part of a clip: it must not grow with the length.

    uv run benchmarks/memory.py --clip mallard.mp4 --model-file bvlc_googlenet.safetensors \\
        --flow-file raft_small.safetensors

Each length runs in a process of its own, with one gradient step per frame: memory, not time, is measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path


def peak_of(command: list[str]) -> int:
    """Run a command and return its peak of resident memory in bytes."""
    # The package is found whatever the working folder, to which the paths given are relative.
    folders = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))}
    process = os.spawnve(os.P_NOWAIT, command[0], command, environment)
    _, status, usage = os.wait4(process, 0)
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    return usage.ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("clip", "model-file", "flow-file"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--frames", type=int, nargs=2, default=[30, 300])
    parser.add_argument("--size", default="512")
    args = parser.parse_args()
    peaks = []
    for frames in args.frames:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "dream_core", str(args.clip), f"{folder}/out.mp4", "--quiet"]
            command += ["--model-file", str(args.model_file), "--flow-file", str(args.flow_file)]
            command += ["--frames", str(frames), "--size", args.size, "--octaves", "1", "--octave-steps", "1"]
            peaks.append(peak_of([*command, "--flow-updates", "2"]))
        print(f"{frames:5d} frames: {peaks[-1] / 2**20:.0f} MiB")
    print(f"ratio {peaks[1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()
