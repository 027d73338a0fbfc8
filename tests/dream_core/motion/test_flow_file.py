"""Files of flow: round trips, bytes of other programs, and what is no flow."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dream_core.errors import VideoError
from dream_core.motion.flow_file import flow_size, is_flow, read_flow, require_format, write_flow
from dream_core.motion.warp import warp

FLOW = torch.randn(1, 2, 5, 7, generator=torch.Generator().manual_seed(0)) * 20
KNOWN = (torch.rand(1, 1, 5, 7, generator=torch.Generator().manual_seed(1)) > 0.3).float()


def test_middleburys_files_come_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.flo"
    write_flow(path, FLOW)
    found = read_flow(path)
    assert torch.equal(found.flow, FLOW)
    assert found.reliability.eq(1).all()
    assert flow_size(path) == (5, 7)


def test_middleburys_bytes_are_pieh_width_height_and_pairs_x_first(tmp_path: Path) -> None:
    path = tmp_path / "a.flo"
    path.write_bytes(b"PIEH" + struct.pack("<ii4f", 2, 1, 3.0, -2.0, 1.5e9, 0.0))
    found = read_flow(path)
    assert found.flow.tolist() == [[[[3, 0]], [[-2, 0]]]]
    assert found.reliability.tolist() == [[[[1, 0]]]]  # above 1e9 is unknown
    write_flow(tmp_path / "b.flo", found.flow)
    assert (tmp_path / "b.flo").read_bytes() == b"PIEH" + struct.pack("<ii4f", 2, 1, 3, -2, 0, 0)


def test_kittis_files_keep_steps_of_a_64th_and_validity(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    steps = (FLOW * 64).round() / 64
    write_flow(path, steps, reliability=KNOWN)
    found = read_flow(path)
    assert torch.equal(found.flow, steps)
    assert torch.equal(found.reliability, KNOWN)
    assert flow_size(path) == (5, 7)
    write_flow(path, FLOW)
    assert (read_flow(path).flow - FLOW).abs().max() <= 1 / 128


def test_kittis_red_is_x_green_is_y_and_blue_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    blue_green_red = np.array([[[1, 2**15 - 128, 2**15 + 192]]], np.uint16)
    cv2.imwrite(str(path), blue_green_red)
    found = read_flow(path)
    assert found.flow.flatten().tolist() == [3, -2]
    assert found.reliability.item() == 1


def test_an_stmap_keeps_flow_and_reliability_and_names_the_place_from_the_lower_left(tmp_path: Path) -> None:
    openexr = pytest.importorskip("OpenEXR")
    path = tmp_path / "a.exr"
    write_flow(path, FLOW, reliability=KNOWN)
    found = read_flow(path)
    assert (found.flow - FLOW).abs().max() < 1e-5
    assert torch.equal(found.reliability, KNOWN)
    assert flow_size(path) == (5, 7)
    write_flow(path, torch.zeros(2, 5, 7))
    with openexr.File(str(path), separate_channels=True) as file:
        channels = {name: one.pixels for name, one in file.channels().items()}
    assert channels["R"][0] == pytest.approx((np.arange(7) + 0.5) / 7)
    assert channels["G"][:, 0] == pytest.approx(1 - (np.arange(5) + 0.5) / 5)


def test_an_stmap_without_alpha_is_reliable(tmp_path: Path) -> None:
    openexr = pytest.importorskip("OpenEXR")
    path = tmp_path / "a.exr"
    half = np.full((2, 2), 0.5, np.float32)
    openexr.File({"type": openexr.scanlineimage}, {"R": half, "G": half}).write(str(path))
    found = read_flow(path)
    assert found.reliability.eq(1).all()
    image = torch.rand(1, 3, 2, 2)
    torch.testing.assert_close(warp(image, found.flow), image.mean((2, 3), keepdim=True).expand_as(image))


def test_without_its_package_an_exr_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(VideoError, match="pip install OpenEXR"):
        require_format(".exr")
    require_format(".flo")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.flo", b"PIEHxxxx", "no .flo file: expected it to begin with PIEH"),
        ("a.flo", b"P6\n10 10\n255\n" + bytes(300), "no .flo file"),
        ("a.flo", b"PIEH" + struct.pack("<ii", -1, 3), "-1x3 pixels"),
        ("a.flo", b"PIEH" + struct.pack("<iif", 2, 1, 3), "expected 28 bytes .* got 16: it is cut off"),
        ("a.png", b"PNG", "is no flow: expected KITTI's"),
        ("a.png", bytes(cv2.imencode(".png", np.zeros((2, 2, 3), np.uint8))[1]), "is no flow"),
        ("a.tif", b"", "ending in .flo, .png, .exr"),
    ],
    ids=["short", "other", "size", "cut off", "damaged", "8 bits", "suffix"],
)
def test_what_is_no_flow_says_so(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(VideoError, match=says):
        read_flow(path)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    for suffix in (".flo", ".png"):
        with pytest.raises(VideoError, match="cannot be read"):
            flow_size(tmp_path / f"none{suffix}")
    with pytest.raises(VideoError, match="cannot be written"):
        write_flow(tmp_path / "none" / "a.flo", FLOW)


@pytest.mark.parametrize(
    ("name", "flow", "says"),
    [
        ("a.flo", torch.zeros(2, 2, 3, 3), "expected a flow"),
        ("a.flo", torch.full((2, 3, 3), torch.nan), "NaN or infinite"),
        ("a.png", torch.full((2, 3, 3), 600.0), "within 512 pixels .* got 600: write .flo"),
    ],
)
def test_what_does_not_fit_is_not_written(tmp_path: Path, name: str, flow: torch.Tensor, says: str) -> None:
    with pytest.raises(VideoError, match=says):
        write_flow(tmp_path / name, flow)
    assert not list(tmp_path.iterdir())


def test_reliability_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="in the size of the flow, 7x5"):
        write_flow(tmp_path / "a.png", FLOW, reliability=torch.ones(1, 4, 4))


def test_names_of_flow_end_in_its_suffixes() -> None:
    assert is_flow(Path("a.FLO"))
    assert not is_flow(Path("a.jpg"))
