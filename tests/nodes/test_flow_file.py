"""Save Flow and Load Flow: round trips, in ComfyUI's own folders alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

SIZE = (48, 64)
PREFIX = {"filename_prefix": "flow/clip"}
READ = {"points_to": "next", "first_missing": True}


@pytest.fixture
def module(pack: Any) -> Any:
    return pack("nodes.flow_file")


def flow_of(nodes: Any, count: int = 3, *, both: bool = True) -> Any:
    first, second = (torch.randint(-640, 640, (count, 2, *SIZE)) / 64 for _ in range(2))
    return nodes.Flow(first, second if both else None)


@pytest.mark.parametrize(("file_format", "keeps"), [("flo", False), ("png", True)])
def test_what_is_saved_is_loaded(nodes: Any, run: Any, module: Any, file_format: str, keeps: bool) -> None:
    flow, mask = flow_of(nodes), (torch.rand(3, *SIZE) > 0.5).float()
    same, name = run(module.SaveFlow, flow=flow, reliability=mask, file_format=file_format, **PREFIX)
    assert same is flow
    assert name == "flow/clip_00001"
    found, reliability = run(module.LoadFlow, folder=name, where="output", **READ)
    assert torch.equal(found.backward, flow.backward)
    assert torch.equal(found.forward, flow.forward)
    assert torch.equal(reliability, mask if keeps else torch.ones_like(mask))
    _, second = run(module.SaveFlow, flow=flow_of(nodes, both=False), file_format="flo", **PREFIX)
    assert second == "flow/clip_00002"
    assert run(module.LoadFlow, folder=second, where="output", **READ)[0].forward is None


def test_one_reliability_serves_all_and_another_number_is_refused(
    nodes: Any, run: Any, module: Any, errors: Any
) -> None:
    run(module.SaveFlow, flow=flow_of(nodes), reliability=torch.zeros(1, *SIZE), file_format="png", **PREFIX)
    _, reliability = run(module.LoadFlow, folder="flow/clip_00001", where="output", **READ)
    assert reliability.shape == (3, *SIZE)
    assert not reliability.any()
    for mask, says in (
        (torch.ones(2, *SIZE), "3 flows, got 2"),
        (torch.ones(3, 5, 5), "in the size of flow"),
    ):
        with pytest.raises(errors.ImageError, match=says):
            run(module.SaveFlow, flow=flow_of(nodes), reliability=mask, file_format="png", **PREFIX)


def test_what_a_flow_does_not_know_is_saved_without_a_mask_too(nodes: Any, run: Any, module: Any) -> None:
    flow, mask = flow_of(nodes), (torch.rand(3, 1, *SIZE) > 0.5).float()
    run(module.SaveFlow, flow=replace(flow, reliability=mask), file_format="png", **PREFIX)
    _, reliability = run(module.LoadFlow, folder="flow/clip_00001", where="output", **READ)
    assert torch.equal(reliability, mask[:, 0])


def test_files_of_another_program_are_found_in_the_inputs(
    pack: Any, run: Any, module: Any, host: Any
) -> None:
    folder = host.folder / "input" / "sintel"
    folder.mkdir(parents=True)
    to_next = torch.tensor([3.0, 0]).view(2, 1, 1).expand(2, *SIZE)
    for index in range(2):
        pack("dream_core.motion.flow_file").write_flow(folder / f"frame_{index}.flo", to_next)
    flow, reliability = run(module.LoadFlow, folder="sintel", where="input", **READ)
    assert flow.backward.mean((2, 3)).tolist() == [[0, 0], [-3, 0], [-3, 0]]
    assert reliability[1].mean() == pytest.approx(61 / 64)


@pytest.mark.parametrize("name", ["../secret", "/secret", "link", "C:\\secret"])
def test_a_workflow_cannot_leave_comfyuis_folders(
    nodes: Any, run: Any, module: Any, host: Any, pack: Any, name: str
) -> None:
    secret, output = host.folder / "secret", host.folder / "output"
    pack("dream_core.motion.flow_folder").FlowFolder(secret, ".flo").save(0, torch.zeros(2, *SIZE))
    output.mkdir()
    (output / "link").symlink_to(secret, target_is_directory=True)
    error = pack("nodes.adapters.own_folders").FolderError
    says = "stay inside ComfyUI's folder"
    with pytest.raises(error, match=says):
        run(module.LoadFlow, folder=name, where="output", **READ)
    assert says in module.LoadFlow.validate_inputs(folder=name, where="output")
    if name != "link":
        with pytest.raises(error, match=says):
            run(module.SaveFlow, flow=flow_of(nodes), file_format="flo", filename_prefix=name)
    with pytest.raises(error, match=says):
        run(module.SaveFlow, flow=flow_of(nodes), file_format="flo", filename_prefix=f"{name}/clip")
    assert sorted(one.name for one in secret.rglob("*")) == ["backward", "flow_000000.flo"]


def test_a_changed_file_is_loaded_again_and_a_wired_name_is_checked_later(
    nodes: Any, run: Any, module: Any, host: Any
) -> None:
    assert "is not there" in module.LoadFlow.fingerprint_inputs(folder="flow/clip_00001", where="output")
    _, name = run(module.SaveFlow, flow=flow_of(nodes), file_format="flo", **PREFIX)
    before = module.LoadFlow.fingerprint_inputs(folder=name, where="output")
    assert len(before) == 6
    (host.folder / "output" / name / "backward" / "flow_000002.flo").touch()
    assert module.LoadFlow.fingerprint_inputs(folder=name, where="output") != before
    assert module.LoadFlow.validate_inputs(folder=None, where="output") is True
    assert module.LoadFlow.fingerprint_inputs(folder=None, where="output") is None
    assert module.LoadFlow.validate_inputs(folder=name, where="output") is True
