from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dream_core.dreaming.atlas import Entry, contact_sheet, make_atlas, title_of
from dream_core.errors import SettingsError
from dream_core.models.dream_model import DreamModel
from dream_core.models.preprocessing import IMAGENET
from dream_core.models.registry import ModelSpec
from dream_core.models.weights import WeightSource
from dream_core.settings import AtlasSettings


class Colors(nn.Module):
    """Its channels see red, green, blue and nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Conv2d(3, 4, 1, bias=False)
        with torch.no_grad():
            self.see.weight.copy_(torch.eye(4, 3)[:, :, None, None])
        self.more = nn.Conv2d(4, 5, 3, 2, 1)
        self.classes = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.classes(self.more(self.see(x)).mean((2, 3)))


@pytest.fixture
def model() -> DreamModel:
    torch.manual_seed(0)
    spec = ModelSpec(
        name="colors",
        build=Colors,
        preprocessing=IMAGENET,
        layer="see",
        source=WeightSource("colors"),
        classifier="classes",
        size=32,
    )
    return DreamModel(Colors(), spec)


@pytest.fixture
def image() -> Tensor:
    """Gray, with a blue spot at the right and a brighter red one at the left."""
    image = torch.full((1, 3, 60, 120), 0.3)
    image[:, 2, 20:40, 90:110] = 0.6
    image[:, 0, 10:30, 10:40] = 0.9
    return image


def settings(**options: object) -> AtlasSettings:
    return AtlasSettings(**{"layer": "see", "thumbnail": 32, "thumbnail_steps": 3, **options})


def test_channels_come_by_activity_and_are_seen_where_they_are_most_active(
    model: DreamModel, image: Tensor
) -> None:
    entries = make_atlas(model, image, settings())
    assert [entry.name for entry in entries] == ["#0", "#2", "#1", "#3"]
    assert [entry.activity for entry in entries] == pytest.approx([1, 0.32, 0, 0], abs=0.01)
    by_name = {entry.name: entry for entry in entries}
    red, blue = by_name["#0"].image, by_name["#2"].image
    assert red.shape == (3, 32, 32)
    # Each is dreamed around its spot.
    assert red[0].mean() > red[2].mean() + 0.1
    assert blue[2].mean() > blue[0].mean() + 0.05


def test_a_number_of_channels_can_be_asked_for(model: DreamModel, image: Tensor) -> None:
    assert len(make_atlas(model, image, settings(count=2))) == 2


def test_layers_come_by_activity_against_gray(model: DreamModel, image: Tensor) -> None:
    entries = make_atlas(model, image, settings(layer=""))
    assert sorted(entry.name for entry in entries) == ["more", "see"]  # not that of classes
    assert entries[0].activity >= entries[1].activity
    assert entries[0].image.shape == (3, 32, 64)


def test_what_is_done_is_kept_and_a_stopped_atlas_goes_on(
    model: DreamModel, image: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dream_core.dreaming.atlas.BATCH_PIXELS", 32 * 32)
    seen: list[tuple[int, int]] = []

    def stop(done: int, total: int, _: Tensor) -> None:
        seen.append((done, total))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_atlas(model, image, settings(), cache=tmp_path, report=stop)
    assert seen == [(1, 4), (2, 4)]
    (folder,) = tmp_path.iterdir()
    assert len(list(folder.iterdir())) == 2
    whole = make_atlas(model, image, settings(), cache=tmp_path)
    kept = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    again = make_atlas(model, image, settings(), cache=tmp_path)
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == kept
    for one, other in zip(whole, again, strict=True):
        torch.testing.assert_close(one.image, other.image, atol=1 / 255, rtol=0)
    next(folder.iterdir()).write_bytes(b"damaged")
    assert len(make_atlas(model, image, settings(), cache=tmp_path)) == 4
    make_atlas(model, 1 - image, settings(count=1), cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_layer_that_is_not_there_is_named(model: DreamModel, image: Tensor) -> None:
    with pytest.raises(SettingsError, match=r"^colors has no layer 'sea'; close: see"):
        make_atlas(model, image, settings(layer="sea"))


def test_the_sheet_holds_all_pictures_and_their_labels(model: DreamModel) -> None:
    entries = [Entry(f"a_layer_with_a_long_name_{index}", 1.0, torch.ones(3, 40, 60)) for index in range(7)]
    sheet = contact_sheet(entries, title_of(model, settings(), 7))
    assert sheet.shape[:2] == (1, 3)
    assert sheet.min() >= 0
    white = (sheet[0].amin(0) == 1).sum()
    assert white >= 7 * 40 * 60
    alone = contact_sheet(entries[:1], "a title that is much wider than the only picture")
    assert alone.shape[-1] > 300
