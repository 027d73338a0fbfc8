"""What holds for the repository as a whole."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.build import build_wheel

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "dream_core").rglob("*.py"))


def test_the_wheel_ships_dream_core_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with zipfile.ZipFile(tmp_path / build_wheel(str(tmp_path))) as wheel:
        names = wheel.namelist()
    tops = {name.split("/", 1)[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"dream_core"}
    assert "dream_core/py.typed" in names


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_imports_itself_relatively_and_nothing_of_comfyui(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        tops = {name.split(".", 1)[0] for name in names}
        assert not tops & {
            "dream_core",
            "nodes",
            "comfy",
            "comfy_api",
            "comfy_extras",
            "folder_paths",
            "execution",
        }


def test_importing_prints_nothing_and_needs_no_window_system() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "DISPLAY"}
    code = "import dream_core, dream_core.cli, cv2"
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:dream_core", "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
