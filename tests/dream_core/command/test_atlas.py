from pathlib import Path

import pytest
import torch

from dream_core.command import atlas
from dream_core.command.options import AtlasCommand, parse
from dream_core.settings import AtlasSettings
from dream_core.video.images import load_image, save_image


def command(tmp_path: Path, *words: str) -> AtlasCommand:
    save_image(torch.rand(3, 40, 60), tmp_path / "in.png")
    parsed = parse(["atlas", str(tmp_path / "in.png"), *words, "--quiet"])
    assert isinstance(parsed, AtlasCommand)
    return parsed


def test_the_sheet_of_a_layer_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "out.png"
    options = ("--layer", "block1", "--count", "2", "--thumbnail", "32", "--thumbnail-steps", "1")
    wanted = command(tmp_path, str(out), "--model", "efficientnet_lite0", *options)
    assert wanted.atlas == AtlasSettings(layer="block1", count=2, thumbnail=32, thumbnail_steps=1)
    assert atlas.main(wanted) == 0
    assert load_image(out).shape[-1] > 64
    assert list((tmp_path / "cache" / "deepdream-video" / "atlas").iterdir())


def test_mistakes_are_told_before_the_network_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(atlas, "load_models", None)
    assert atlas.main(command(tmp_path, str(tmp_path / "out.mp4"))) == 1
    assert "expected an image as output" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "there.png").touch()
    assert atlas.main(command(tmp_path, str(tmp_path / "there.png"))) == 1
    assert "already exists: choose another name, or replace it by --overwrite" in " ".join(
        capsys.readouterr().err.split()
    )
    assert atlas.main(command(tmp_path, str(tmp_path / "in.png"), "--overwrite")) == 1


@pytest.mark.parametrize(
    ("system", "variable", "tail"),
    [
        ("linux", "XDG_CACHE_HOME", "deepdream-video/atlas"),
        ("win32", "LOCALAPPDATA", "deepdream-video/atlas"),
    ],
)
def test_the_cache_is_where_the_system_wants_it(
    system: str, variable: str, tail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setenv(variable, str(tmp_path))
    assert atlas.cache_folder() == tmp_path / tail
