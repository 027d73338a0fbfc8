"""Images made by formulas, and a network trained on them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Generator, Tensor

from dream_core.models.fractal import CLASSES, Fractal
from dream_core.models.preprocessing import FRACTAL
from training.fields import FAMILIES, Canvas, Fields, draw_all
from training.images import Images
from training.train import Student, Training, folded, harder, train


@pytest.fixture(scope="module")
def fields() -> Fields:
    return draw_all(variants=2, side=48, seed=0)


def canvas(classes: int, *, seed: int = 0) -> Canvas:
    return Canvas(classes, 2, 48, Generator().manual_seed(seed))


def test_there_are_as_many_classes_as_the_network_tells_apart(fields: Fields) -> None:
    assert fields.value.shape == fields.cover.shape == (CLASSES, 2, 48, 48)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_draws_something_everywhere_and_each_class_another_way(name: str) -> None:
    draw, _ = FAMILIES[name]
    value, cover = draw(canvas(8))
    assert value.shape == cover.shape == (8, 2, 48, 48)
    for one in (value, cover):
        assert torch.isfinite(one).all()
        assert one.min() >= 0
        assert one.max() <= 1
    assert (cover.mean((2, 3)) > 0.01).all()
    seen = (value * cover).flatten(2)
    assert (seen.std(2) > 0.02).all()
    assert torch.pdist(seen[:, 0]).min() > 0.5
    assert (seen[:, 0] - seen[:, 1]).norm(dim=1).min() > 0.1


@pytest.mark.parametrize("name", FAMILIES)
def test_a_seed_means_the_same_images(name: str) -> None:
    draw, _ = FAMILIES[name]
    assert torch.equal(draw(canvas(3)).value, draw(canvas(3)).value)
    assert not torch.equal(draw(canvas(3)).value, draw(canvas(3, seed=1)).value)


def test_batches_are_images_of_their_classes(fields: Fields) -> None:
    images = Images(fields, side=32, generator=Generator().manual_seed(0))
    batch, labels = images.batch(16)
    assert batch.shape == (16, 3, 32, 32)
    assert labels.shape == (16,)
    assert batch.min() >= 0
    assert batch.max() <= 1
    assert (batch.flatten(1).std(1) > 0.02).all()
    assert not torch.equal(batch, images.batch(16)[0])


@pytest.fixture
def student(fields: Fields) -> Student:
    made = Student(CLASSES)
    images = Images(fields, side=32, generator=Generator().manual_seed(0))
    for _ in range(3):  # statistics for normalization
        made.loss(*images.batch(8))
    return made.eval()


def test_folding_changes_nothing(student: Student) -> None:
    plain = Fractal()
    plain.load_state_dict(folded(student.network))
    images = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(plain(FRACTAL(images)), student(images)[0], rtol=1e-4, atol=1e-4)


def test_a_harder_image_is_near_and_harder(student: Student) -> None:
    images, labels = torch.rand(4, 3, 48, 48) * 0.8 + 0.1, torch.arange(4)
    moved = harder(student, images, labels, 0.5)
    with torch.no_grad():
        assert student.loss(moved, labels) > student.loss(images, labels)
    assert ((moved - images).flatten(1).norm(dim=1) < 0.51).all()
    assert not moved.requires_grad


def test_training_writes_weights_that_tell_their_origin(tmp_path: Path) -> None:
    out = tmp_path / "net.safetensors"
    told = list(train(Training(out=out, steps=2, batch=4, side=24, variants=8, calm=0.0)))
    assert "300 classes drawn" in told[0]
    Fractal().load_state_dict(load_file(out))
    with safe_open(out, "pt") as weights:
        metadata = weights.metadata()
    assert "steps=2" in metadata["training"]
    assert "48 iterated_functions" in metadata["data"]
    assert float(metadata["accuracy"].split()[0]) <= 1


def test_a_seed_means_the_same_network(tmp_path: Path) -> None:
    def weights(name: str) -> dict[str, Tensor]:
        settings = Training(out=tmp_path / name, steps=1, batch=4, side=24, variants=8)
        assert list(train(settings))
        return load_file(tmp_path / name)

    one, other = weights("one.safetensors"), weights("other.safetensors")
    assert all(torch.equal(one[name], other[name]) for name in one)
