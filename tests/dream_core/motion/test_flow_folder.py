"""Folders of flow: what was saved comes back, and what does not belong together is refused first."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dream_core.errors import VideoError
from dream_core.motion.flow_file import write_flow
from dream_core.motion.flow_folder import FlowFolder, flow_files, load_flows

SIZE = (6, 8)


def test_a_clip_comes_back_with_both_directions_and_reliability(tmp_path: Path) -> None:
    backward, forward = (torch.randint(-99, 99, (12, 2, *SIZE)) / 64 for _ in range(2))
    known = (torch.rand(12, 1, *SIZE) > 0.5).float()
    folder = FlowFolder(tmp_path / "new" / "clip", ".png")
    for index in range(12):
        folder.save(index, backward[index], forward=forward[index], reliability=known[index])
    found = load_flows(folder.path)
    assert torch.equal(found.backward, backward)
    assert found.forward is not None
    assert torch.equal(found.forward, forward)
    assert torch.equal(found.reliability, known)


def test_files_of_another_program_lead_to_the_next_frame_and_leave_out_the_first(tmp_path: Path) -> None:
    for index in (10, 9):  # in natural order
        write_flow(tmp_path / f"frame_{index}.flo", torch.full((2, *SIZE), float(index - 8)))
    found = load_flows(tmp_path)
    assert found.backward.mean((1, 2, 3)).tolist() == [0, -1, -2]
    assert found.forward is not None
    assert found.forward.mean((1, 2, 3)).tolist() == [0, 1, 2]
    assert found.reliability[0].eq(1).all()
    assert found.reliability[1, 0, 0].eq(0).all()  # the top row came into view
    back = load_flows(tmp_path, to_next=False, first_missing=False)
    assert back.backward.mean((1, 2, 3)).tolist() == [1, 2]
    assert back.forward is None
    one = load_flows(tmp_path / "frame_9.flo", to_next=False, first_missing=False)
    assert one.backward.shape == (1, 2, *SIZE)


def test_a_file_of_another_size_is_named_before_any_is_read(tmp_path: Path) -> None:
    write_flow(tmp_path / "a.flo", torch.zeros(2, *SIZE))
    write_flow(tmp_path / "b.flo", torch.zeros(2, 3, 4))
    with pytest.raises(VideoError, match=r"got a.flo with 8x6 and b.flo with 4x3 pixels"):
        load_flows(tmp_path)


def test_folders_of_unequal_length_and_without_flow_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"ending in \.flo, .*, got none"):
        flow_files(tmp_path)
    folder = FlowFolder(tmp_path, ".flo")
    folder.save(0, torch.zeros(2, *SIZE), forward=torch.zeros(2, *SIZE))
    folder.save(1, torch.zeros(2, *SIZE))
    with pytest.raises(VideoError, match="got 1 and 2: save the flow again"):
        flow_files(tmp_path)
    with pytest.raises(VideoError, match="is not empty"):
        FlowFolder(tmp_path, ".flo")
