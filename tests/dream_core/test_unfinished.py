"""The state of unfinished work on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dream_core import unfinished
from dream_core.errors import SettingsError, VideoError
from dream_core.unfinished import Unfinished, digest_of

BEGUN = {"octave_steps": 10, "layers": ["conv"], "keep": None, "input": "0123"}


def opened(target: Path, *, restart: bool = False, **changed: object) -> Unfinished:
    work = Unfinished(target, conditions={**BEGUN, **changed}, restart=restart)
    work.open()
    return work


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An output of which one commit was made."""
    work = opened(tmp_path / "out.mp4")
    work.save_tensors("a", {"image": torch.rand(1, 3, 4, 5)})
    work.commit({"frames": 3}, files=["a"])
    work.close()
    return work.target


def test_a_commit_is_found_again_and_removed_once_all_is_done(target: Path) -> None:
    work = opened(target)
    assert work.state == {"frames": 3}
    work.remove()
    assert not work.path.exists()
    assert opened(target).state is None


def test_tensors_keep_their_values_and_their_order_in_memory(tmp_path: Path) -> None:
    work = opened(tmp_path / "out.mp4")
    image = torch.rand(1, 3, 4, 5)
    last = image.contiguous(memory_format=torch.channels_last)
    work.save_tensors("a", {"plain": image, "last": last, "half": image.bfloat16()})
    found = work.load_tensors("a")
    for name, wanted in (("plain", image), ("last", last), ("half", image.bfloat16())):
        assert torch.equal(found[name], wanted)
        assert found[name].stride() == wanted.stride()
        assert found[name].dtype == wanted.dtype


def test_no_tensors_come_back_too(target: Path) -> None:
    work = opened(target)
    work.save_tensors("none.safetensors", {})
    assert work.load_tensors("none.safetensors") == {}


def test_who_works_on_an_output_is_known(target: Path) -> None:
    assert not Unfinished(target, conditions={}).in_use()
    work = opened(target)
    assert Unfinished(target, conditions={}).in_use()
    work.close()
    assert not Unfinished(target, conditions={}).in_use()


def test_a_lock_that_cannot_be_opened_counts_as_in_use(target: Path) -> None:
    work = Unfinished(target, conditions={})
    work.file("lock").unlink(missing_ok=True)
    work.file("lock").mkdir()
    assert work.in_use()


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def acquire(self: object, timeout: float) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(unfinished.FileLock, "acquire", acquire)
    with pytest.raises(VideoError, match=r"out\.mp4 cannot be kept in .*its file system has no locks"):
        opened(tmp_path / "out.mp4")
    (tmp_path / "out.mp4.resume" / "lock").touch()
    assert Unfinished(tmp_path / "out.mp4", conditions={}).in_use()


def test_a_record_is_due_after_a_while_and_later_where_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(unfinished.time, "monotonic", lambda: now[0])
    pace = unfinished.Pace()
    assert not pace.due()
    now[0] = unfinished.SECONDS
    assert pace.due()
    with pace.recording():
        now[0] += 3
    now[0] += 3 * unfinished.SHARE - 1
    assert not pace.due()
    now[0] += 1
    assert pace.due()


def test_a_commit_removes_what_it_does_not_name(target: Path) -> None:
    work = opened(target)
    work.save_tensors("b", {"image": torch.rand(2)})
    work.commit({"frames": 4}, files=["b"])
    assert not work.file("a").exists()
    assert torch.equal(work.load_tensors("b")["image"], work.load_tensors("b")["image"])


def test_what_came_after_the_last_commit_does_not_count(target: Path) -> None:
    work = opened(target)
    work.file("state.json.new").write_text("{")  # a kill in the middle of a commit
    work.save_tensors("b", {"image": torch.rand(2)})
    work.close()
    again = opened(target)
    assert again.state == {"frames": 3}
    assert {file.name for file in again.path.iterdir()} - {"lock"} == {"a", "state.json"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"octave_steps": 4}, "`octave_steps` 4 instead of 10"),
        ({"keep": "folder", "layers": []}, "`layers` empty instead of conv, `keep` folder instead of unset"),
        ({"label_file": "0af3" * 16}, "`label_file` file 0af30af3 instead of unset"),
        ({"input": "4567"}, "another input, or one that was changed"),
        ({"a": 1, "b": 2, "c": 3, "d": True}, "`c` 3 instead of unset and 1 more"),
    ],
)
def test_other_conditions_are_refused_and_named(target: Path, changed: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        opened(target, **changed)
    assert f"out.mp4 is unfinished: expected what it was begun with, got {said}" in str(
        refused.value
    ).replace("`a` 1 instead of unset, `b` 2 instead of unset, ", "")
    assert opened(target).state == {"frames": 3}  # and nothing is lost


def test_restart_begins_anew_under_any_conditions(target: Path) -> None:
    work = opened(target, octave_steps=4, restart=True)
    assert work.state is None
    assert [file.name for file in work.path.iterdir()] == ["lock"]


def test_two_runs_never_make_the_same_output(target: Path) -> None:
    first = opened(target)
    with pytest.raises(VideoError, match=r"another run is making .*out\.mp4: wait for it"):
        opened(target)
    first.close()
    assert opened(target).state == {"frames": 3}


@pytest.mark.parametrize("name", ["state.json", "a"])
def test_damage_is_told(target: Path, name: str) -> None:
    path = Unfinished(target, conditions={}).file(name)
    path.write_text("no") if name == "state.json" else path.unlink()
    with pytest.raises(VideoError, match=rf"its state is damaged \(.*{name}\): `restart` begins anew"):
        opened(target)


def test_damaged_tensors_are_told(target: Path) -> None:
    work = opened(target)
    work.file("a").write_bytes(work.file("a").read_bytes()[:-3])
    with pytest.raises(VideoError, match="its state is damaged"):
        work.load_tensors("a")


def test_a_folder_that_is_gone_is_told(target: Path) -> None:
    work = opened(target)
    for file in work.path.iterdir():
        file.unlink()
    work.path.rmdir()
    with pytest.raises(VideoError, match=r"the state of .*out\.mp4 cannot be kept in .*\(No such file"):
        work.commit({"frames": 4})


def test_the_name_of_the_folder_is_never_too_long(tmp_path: Path) -> None:
    assert opened(tmp_path / ("ä" * 120 + ".mp4")).path.is_dir()


def test_a_digest_changes_with_what_is_in_a_file_or_folder(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "a"
    file.parent.mkdir()
    digests = set()
    for content in (b"a" * 3_000_000, b"a" * 3_000_001, b"a" * 2_999_999 + b"b"):
        file.write_bytes(content)
        digests |= {digest_of(file), digest_of(file.parent)}
    file.rename(file.with_name("b"))
    digests.add(digest_of(file.parent))
    assert len(digests) == 7
