"""The command `deepdream-video cluster`."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dream_core.__main__ import run
from dream_core.cluster.engine import Workers
from dream_core.cluster.plan import Segment
from dream_core.command import cluster
from dream_core.command.cluster import pairs_of
from dream_core.command.options import ClusterCommand, parse
from dream_core.errors import Notice, SettingsError, VideoError
from dream_core.video import SAMPLE_CLIP


def test_a_clip_has_its_output_and_several_have_a_folder(tmp_path: Path) -> None:
    source, target = tmp_path / "in.mkv", tmp_path / "out.mp4"
    source.touch()
    assert pairs_of([source, target]) == [(source, target)]
    assert pairs_of([source, tmp_path]) == [(source, tmp_path / "in_dream.mkv")]
    other = tmp_path / "other.avi"
    assert pairs_of([source, other, tmp_path / "new"]) == [
        (source, tmp_path / "new" / "in_dream.mkv"),
        (other, tmp_path / "new" / "other_dream.mp4"),
    ]
    assert (tmp_path / "new").is_dir()
    with pytest.raises(SettingsError, match="expected clips of different names"):
        pairs_of([source, tmp_path / "sub" / "in.mkv", tmp_path])
    for too_few in ([], [source]):
        with pytest.raises(SettingsError, match="expected one clip and the file to write"):
            pairs_of(too_few)


def test_options_are_those_of_the_main_command_with_looks(tmp_path: Path) -> None:
    command = parse(["cluster", "a.mp4", "b.mp4", "--look", "creatures", "--octaves", "2", "--cpus", "3"])
    plain = parse(["a.mp4", "b.mp4", "--look", "creatures", "--octaves", "2"])
    assert isinstance(command, ClusterCommand)
    assert command.pipeline == plain.pipeline
    assert command.files == (Path("a.mp4"), Path("b.mp4"))
    assert (command.cluster.cpus, command.cluster.address) == (3, "local")


@pytest.mark.parametrize("split", ["10", "-50", "50.5", "always", ""])
def test_a_split_that_cannot_be_is_one_line(split: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cluster", str(SAMPLE_CLIP), "out.mp4", "--quiet", f"--split={split}"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "expected --split auto, off or a number of at least 96, 4 times --overlap, got" in line


def test_each_clip_becomes_a_job_and_failures_are_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[str, Any] = {}

    @contextmanager
    def ray_at(address: str) -> Any:
        seen["address"] = address
        yield SimpleNamespace()

    def dream_all(ray: Any, jobs: Any, workers: Workers, *, report: Any, finished: Any, warn: Any) -> Any:
        report(3, 9)
        finished(jobs[0].target, [Segment(0, 4, leads_on=True), Segment(4, 9, continues=True)])
        seen["jobs"] = jobs
        warn("a Notice of a worker", Notice)
        return [(jobs[1], VideoError("it broke"))]

    monkeypatch.setattr(cluster, "ray_at", ray_at)
    monkeypatch.setattr(cluster, "workers_of", lambda *_, **__: Workers(1, 0))
    monkeypatch.setattr(cluster, "dream_all", dream_all)
    other = tmp_path / "other.mp4"
    other.write_bytes(SAMPLE_CLIP.read_bytes())
    words = ["cluster", str(SAMPLE_CLIP), str(other), str(tmp_path / "out"), "--frames", "9"]
    assert run([*words, "--address", "auto", "--octave-steps", "3", "--seamless", "--split", "200"]) == 1
    assert seen["address"] == "auto"
    assert [job.target.name for job in seen["jobs"]] == ["rabbit_dream.mp4", "other_dream.mp4"]
    assert seen["jobs"][0].pipeline.dream.octave.octave_steps == 3
    assert seen["jobs"][0].longest == 200
    said = capsys.readouterr().err
    assert f"one worker dreams the whole of {SAMPLE_CLIP}, because with --seamless the end leads into" in said
    assert "rabbit_dream.mp4: 9 frames in 2 segments, 1 of them from within a shot on; none with" in said
    assert "other.mp4: it broke" in said
    assert "a Notice of a worker" in said


def test_one_clip_that_cannot_be_dreamed_or_is_there_already_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that the same command goes on after a stop."""
    dreamed: list[str] = []

    def dream_all(ray: Any, jobs: Any, workers: Workers, **_: Any) -> Any:
        dreamed.extend(job.source.name for job in jobs)
        return []

    monkeypatch.setattr(cluster, "ray_at", lambda address: nullcontext(SimpleNamespace()))
    monkeypatch.setattr(cluster, "workers_of", lambda *_, **__: Workers(1, 0))
    monkeypatch.setattr(cluster, "dream_all", dream_all)
    clips = [tmp_path / name for name in ("a.mp4", "b.mp4", "broken.mp4")]
    for clip in clips:
        clip.write_bytes(SAMPLE_CLIP.read_bytes() if clip.stem != "broken" else b"")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a_dream.mp4").touch()
    words = ["cluster", *map(str, clips), str(out), "--quiet"]
    assert run(words) == 1
    assert dreamed == ["b.mp4"]
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "broken.mp4" in line
    assert run([*words, "--overwrite"]) == 1
    assert dreamed == ["b.mp4", "a.mp4", "b.mp4"]
    (out / "b_dream.mp4").touch()
    assert run(["cluster", *map(str, clips[:2]), str(out)]) == 0
    assert dreamed == ["b.mp4", "a.mp4", "b.mp4"]
    assert (
        "b_dream.mp4 exists already and is left as it is; --overwrite dreams it anew"
        in capsys.readouterr().err
    )
    assert run(["cluster", *map(str, clips), str(out), "--save-last-dream", "x.safetensors"]) == 1
    assert "expected no --save-last-dream with several clips" in capsys.readouterr().err


def test_a_missing_ray_and_a_missing_input_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for source, says in ((SAMPLE_CLIP, "expected the package ray"), (tmp_path / "no.mp4", "does not exist")):
        assert run(["cluster", str(source), str(tmp_path / "out.mp4"), "--quiet"]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert says in line
