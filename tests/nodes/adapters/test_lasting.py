"""Videos that nodes make, in a folder that outlasts the server."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

Pack = Callable[[str], ModuleType]
DAY = 86_400


@pytest.fixture
def lasting(pack: Pack) -> Any:
    return pack("nodes.adapters.lasting")


def made(lasting: Any, number: int, *, age: float = 0.0, finished: bool = True) -> Path:
    """Make a video, or begin one."""
    path, work = lasting.place_for({"number": number})
    assert work.path.parent == path.parent
    path.parent.mkdir(parents=True, exist_ok=True)
    if finished:
        path.write_text("video", "utf-8")
        files = [path]
    else:
        work.open()
        work.commit({"growing": "", "written": 0})
        work.close()
        growing = path.with_name(f"{path.stem}.part.mp4")
        growing.write_text("part", "utf-8")
        files = [growing, *work.path.iterdir(), work.path]
    for file in files:
        os.utime(file, (time.time() - age,) * 2)
    return path


def test_the_same_conditions_have_the_same_place(lasting: Any, host: Any) -> None:
    path, _ = lasting.place_for({"size": 8, "zoom": 1.0}, torch.ones(2))
    again, _ = lasting.place_for({"zoom": 1.0, "size": 8}, torch.ones(2))
    other, _ = lasting.place_for({"size": 8, "zoom": 1.0}, torch.zeros(2))
    assert path == again != other
    assert path.parent == host.folder / "output" / ".deepdream"


def test_what_has_no_digest_is_a_temporary_file_without_a_record(lasting: Any, host: Any) -> None:
    path, work = lasting.place_for({}, object())
    assert path.parent == host.folder / "temp"
    assert work is None


def test_unfinished_ones_are_kept_for_a_week_whatever_their_number(lasting: Any, host: Any) -> None:
    begun = [made(lasting, number, age=number * DAY, finished=False) for number in range(7)]
    lasting.clean()
    assert all(lasting.unfinished(path).exists() for path in begun)
    assert host.told == []


def test_the_last_unfinished_ones_are_kept_for_longer_and_the_loss_of_others_is_told(
    lasting: Any, host: Any
) -> None:
    begun = [made(lasting, number, age=(8 + number) * DAY, finished=False) for number in range(7)]
    lasting.clean()
    assert [lasting.unfinished(path).exists() for path in begun] == [True] * 5 + [False] * 2
    names = {path.name.partition(".")[0] for path in begun[0].parent.iterdir()}
    assert names == {path.stem for path in begun[:5]}
    assert host.told == [
        f"removed the unfinished {path.name}: nobody has gone on with it for {days} days"
        for path, days in zip(begun[5:], (13, 14), strict=True)
    ]


def test_what_a_run_has_open_stays(lasting: Any) -> None:
    oldest = made(lasting, 0, age=40 * DAY, finished=False)
    work = lasting.unfinished(oldest)
    work.open()
    lasting.clean()
    assert work.exists()
    work.close()
    os.utime(work.path, (time.time() - 40 * DAY,) * 2)
    for file in work.path.iterdir():
        os.utime(file, (time.time() - 40 * DAY,) * 2)
    lasting.clean()
    assert not work.path.exists()


def test_a_record_whose_lock_cannot_be_opened_stays(lasting: Any) -> None:
    path = made(lasting, 0, finished=False)
    lock = lasting.unfinished(path).file("lock")
    lock.unlink(missing_ok=True)
    lock.mkdir()
    for file in (lock, *path.parent.iterdir(), *lasting.unfinished(path).path.iterdir()):
        os.utime(file, (time.time() - 40 * DAY,) * 2)
    lasting.clean()
    assert lasting.unfinished(path).exists()


def test_a_folder_that_cannot_be_read_does_not_keep_the_nodes_from_loading(
    pack: Pack, lasting: Any, host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(lasting, "_files", refuse)
    asyncio.run(pack("nodes").DeepDreamExtension().on_load())
    assert [".deepdream is not tidied up (Permission denied)" in told for told in host.told] == [True]


def test_finished_ones_are_kept_for_a_day_and_the_last_for_longer(lasting: Any) -> None:
    new = [made(lasting, number, age=60 * number) for number in range(9)]
    old = [made(lasting, number, age=number * DAY) for number in (9, 10, 11)]
    ancient = made(lasting, 12, age=31 * DAY)
    lasting.clean()
    assert all(path.exists() for path in new)
    assert [path.exists() for path in old] == [True, False, False]
    assert not ancient.exists()


def test_a_result_that_is_gone_is_counted_once(lasting: Any, host: Any) -> None:
    host.graph = {"1": {"class_type": "Dream", "inputs": {"seed": 1}}}
    before = lasting.times_lost("1")
    path = made(lasting, 0)
    lasting.remember("1", path)
    assert lasting.times_lost("1") == before
    path.unlink()
    assert lasting.times_lost("1") == lasting.times_lost("1") == before + 1
    host.graph["1"]["inputs"]["seed"] = 2  # another result of the same node
    assert lasting.times_lost("1") == 0


def test_only_the_results_of_the_last_prompt_count(lasting: Any, host: Any) -> None:
    first, second = made(lasting, 0), made(lasting, 1)
    host.prompt = "one"
    lasting.remember("2", first)
    host.prompt = "two"
    lasting.remember("2", second)
    before = lasting.times_lost("2")
    first.unlink()
    assert lasting.times_lost("2") == before
