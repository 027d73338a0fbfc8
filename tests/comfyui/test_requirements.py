"""Installing the pack replaces nothing of ComfyUI's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from comfyui_server import find

ROOT = Path(__file__).parents[2]
OFFLINE = ("dns error", "Connect", "error sending request", "offline", "timed out")


def resolve(into: Path, *files: Path) -> dict[str, str]:
    """Return the version of each package needed, those of the file `into` kept where they can be."""
    command = [
        "uv",
        "pip",
        "compile",
        "-q",
        "--no-header",
        "--no-annotate",
        *map(str, files),
        "-o",
        str(into),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"no package index: {error}")
    if done.returncode and any(sign in done.stderr for sign in OFFLINE):
        pytest.skip("no package index")
    assert done.returncode == 0, done.stderr
    return dict(line.split("==") for line in into.read_text("utf-8").splitlines() if "==" in line)


def test_the_packs_requirements_keep_every_package_of_comfyui(tmp_path: Path) -> None:
    root, _ = find()
    versions = tmp_path / "versions.txt"
    before = resolve(versions, root / "requirements.txt")
    after = resolve(versions, root / "requirements.txt", ROOT / "requirements.txt")
    assert {name: after.get(name) for name in before} == before
    assert "opencv-python-headless" in after.keys() - before.keys()
