"""Rules for the whole repository."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.build import build_wheel
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "dream_core").rglob("*.py"))
NODE_MODULES = sorted((ROOT / "nodes").rglob("*.py"))
SERVICES = {"comfy", "comfy_execution", "comfy_extras", "execution", "folder_paths", "nodes", "server"}


def imported(module: Path) -> set[str]:
    """The absolute names that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
    return names


def tops(names: set[str]) -> set[str]:
    return {name.split(".", 1)[0] for name in names}


def test_the_wheel_ships_dream_core_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with zipfile.ZipFile(tmp_path / build_wheel(str(tmp_path))) as wheel:
        names = wheel.namelist()
    folders = {name.split("/", 1)[0] for name in names}
    assert {top for top in folders if not top.endswith(".dist-info")} == {"dream_core"}
    assert {"dream_core/py.typed", "dream_core/video/rabbit.mp4", "dream_core/video/rabbit.txt"} <= set(names)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_imports_itself_relatively_and_nothing_of_comfyui(module: Path) -> None:
    assert not tops(imported(module)) & {"dream_core", "comfy_api", *SERVICES}


@pytest.mark.parametrize("module", NODE_MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_nodes_import_the_pack_relatively_and_comfyui_through_one_door(module: Path) -> None:
    names = imported(module)
    assert "dream_core" not in tops(names)
    assert {name for name in names if name.split(".", 1)[0] == "comfy_api"} <= {"comfy_api.latest"}
    if module != ROOT / "nodes" / "adapters" / "host.py":
        assert not tops(names) & SERVICES


FLOORS = (
    ("__main__",),
    ("command",),
    ("cluster",),
    ("api",),
    ("pipeline",),
    ("resume",),
    ("measure",),
    ("temporal",),
    ("dreaming",),
    ("synthetic",),
    ("motion",),
    ("models",),
    ("sound",),
    ("video",),
    ("beside",),
    ("unfinished",),
    ("tensor_file",),
    ("panels",),
    ("device",),
    ("free_memory",),
    ("image",),
    ("looks",),
    ("flat_options",),
    ("settings",),
    ("schedules",),
    ("layer_weights", "text_weights"),
    ("checks",),
    ("errors",),
)
"""The rooms of dream_core from the top down. A room imports from its own floor and from those below."""


def relative_imports(module: Path, top: Path) -> set[str]:
    """The rooms below `top` that a module imports from: "motion" for `from ..motion.warp import warp`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = module.parents[node.level - 1]
            inside = list(folder.relative_to(top).parts) if folder.is_relative_to(top) else None
            if inside is not None:
                path = [*inside, *(node.module or "").split(".")]
                found |= {next(filter(None, path))} if any(path) else {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_imports_downwards_only(module: Path) -> None:
    core = ROOT / "dream_core"
    floors = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    room = module.relative_to(core).with_suffix("").parts[0]
    if room == "__init__":  # the facade
        return
    upwards = {name for name in relative_imports(module, core) if floors[name] < floors[room]}
    beside = relative_imports(module, core) & set(FLOORS[floors[room]]) - {room}
    assert not upwards, f"{room} imports from above"
    assert not beside, f"{room} imports from beside"


@pytest.mark.parametrize("module", NODE_MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_adapters_know_no_node_and_nothing_imports_the_nodes(module: Path) -> None:
    nodes = ROOT / "nodes"
    room = module.relative_to(nodes).parts[0]
    if room == "adapters":
        assert relative_imports(module, nodes) <= {"adapters"}
    if room == "loop":
        assert relative_imports(module, nodes) <= {"adapters", "loop"}


UNTESTED = {
    ROOT / "dream_core" / "errors.py",  # classes without code
    ROOT / "dream_core" / "command" / "exit_codes.py",  # three numbers
    ROOT / "nodes" / "adapters" / "categories.py",  # names
}
"""Modules without a test file of their own."""


def mirrored(module: Path) -> Path:
    """Path of a module's test file: tests/dream_core/motion/test_warp.py for dream_core/motion/warp.py."""
    place = module.relative_to(ROOT)
    return ROOT / "tests" / place.parent / f"test_{place.stem.strip('_')}.py"


def test_every_module_has_a_test_file_at_its_place() -> None:
    modules = {module for module in (*MODULES, *NODE_MODULES) if module.name != "__init__.py"}
    assert {module for module in modules if not mirrored(module).is_file()} == UNTESTED


LOAD = """
import asyncio, importlib.util, sys
spec = importlib.util.spec_from_file_location("any-name 2", {path!r}, submodule_search_locations=[{folder!r}])
module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""


def python(code: str) -> str:
    """Output of a program that first loads the pack as ComfyUI does."""
    load = LOAD.format(path=str(ROOT / "__init__.py"), folder=str(ROOT))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "standin")}
    command = [sys.executable, "-c", load + code]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout


def test_looking_at_the_pack_imports_no_node() -> None:
    assert python("print(sorted({'torch', 'comfy_api', 'any-name 2.nodes'} & sys.modules.keys()))") == "[]\n"


@pytest.mark.parametrize(
    ("package", "wanted"),
    [
        ("av", f'-r "{ROOT / "requirements.txt"}"'),
        # Gone with opencv-python, whose files it shares: pip would find nothing to do in requirements.txt.
        ("cv2", "--force-reinstall --no-deps opencv-python-headless"),
    ],
)
def test_a_missing_package_names_itself_and_the_command(package: str, wanted: str) -> None:
    code = f"""
import types
sys.modules[f"{{spec.name}}.nodes.adapters.host"] = types.ModuleType("host")
sys.modules["{package}"] = None
try:
    asyncio.run(module.comfy_entrypoint())
except ImportError as error:
    print(error)
"""
    message = python(code)
    assert f"'{package}'" in message
    assert f'"{sys.executable}" -m pip install {wanted}' in message


def test_the_nodes_ask_for_what_the_library_needs_but_never_for_another_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = set(map(Requirement, project["dependencies"]))
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    asked = {Requirement(line) for line in lines if not line.startswith("#")}
    assert {one.name for one in needed - asked} == {"torch", "torchvision"}
    assert asked <= needed


def test_options_are_read_before_torch_is_loaded() -> None:
    code = "import sys, dream_core.__main__, dream_core.command.options; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_importing_prints_nothing_and_needs_no_window_system() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "DISPLAY"}
    code = (
        "import dream_core, dream_core.command.dream, dream_core.command.measure, cv2, sys\n"
        "assert 'matplotlib' not in sys.modules, 'only a plot is worth its second'"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:dream_core", "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
