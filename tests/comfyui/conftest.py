"""One real ComfyUI for all tests of this folder, with random but seeded weights in its model folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_page import Page
from comfyui_page import find as find_chromium
from comfyui_server import Node, Run, Server, find
from safetensors.torch import save_file
from studio import PACKS
from templates import write_checkpoints
from torchvision.models import squeezenet1_1
from torchvision.models.optical_flow import raft_large, raft_small


def _write_weights(models: Path) -> None:
    for folder, build in (
        ("deepdream", squeezenet1_1),
        ("optical_flow", raft_small),
        ("optical_flow", raft_large),
    ):
        torch.manual_seed(0)
        path = models / folder / f"{build.__name__}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(build(weights=None).state_dict(), path)


def pytest_runtest_setup() -> None:
    """Skip without ComfyUI: here and not in the fixture, so that pytest prints one line for all skips."""
    try:
        find()
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without network, with a home of its own."""
    root, _ = find()
    base = tmp_path_factory.mktemp("comfyui")
    _write_weights(base / "models")
    before = _files(root)
    with Server(base, packs=PACKS) as server:
        yield server
    assert _files(root) == before, "something was written into ComfyUI's own folder"
    assert list((base / "home").rglob("*")) == [], "something was written into the home"


@pytest.fixture(scope="session")
def chromium() -> None:
    """Skip without Chromium."""
    try:
        find_chromium()
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def page(comfyui: Server, chromium: None) -> Iterator[Page]:
    """ComfyUI's page, of a server that has a checkpoint."""
    write_checkpoints(comfyui)
    with Page(f"http://127.0.0.1:{comfyui.port}/") as page:
        yield page


def _files(root: Path) -> dict[Path, int]:
    """Path -> time of change, without Python's caches."""
    places = (path for path in root.rglob("*") if not {"__pycache__", ".git"} & set(path.parts))
    return {path: path.lstat().st_mtime_ns for path in places if path.is_file()}


@pytest.fixture(autouse=True)
def _log_of_the_server(comfyui: Server, request: pytest.FixtureRequest) -> Iterator[None]:
    before = comfyui.log.stat().st_size
    yield
    with comfyui.log.open("rb") as log:
        log.seek(before)
        request.node.add_report_section("teardown", "ComfyUI", log.read().decode("utf-8", "replace"))


@pytest.fixture
def seen() -> Callable[[Run, Node], list[np.ndarray]]:
    """`seen(run, node)`: the tensors that a ProbeSee saved. The run must have succeeded."""

    def seen(run: Run, node: Node) -> list[np.ndarray]:
        assert run.refused is None, run.refused
        assert run.error is None, run.error and run.error["exception_message"]
        return [np.load(file) for file in run.outputs[node.id]["files"]]

    return seen


@pytest.fixture
def executions(comfyui: Server) -> Callable[[], list[str]]:
    """`executions()`: the labels of the ProbeCounts that ran since the test began or since the last call."""
    path = comfyui.base / "temp" / "executions.txt"

    def executions() -> list[str]:
        lines = path.read_text("utf-8").split() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    executions()
    return executions
