"""Fixtures of the tests of the feedback."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from dream_core.models.dream_model import DreamModel
from dream_core.models.image_text import ImageTextEncoder
from dream_core.models.preprocessing import Preprocessing
from dream_core.models.registry import ModelSpec
from dream_core.models.weights import WeightSource


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


SPEC = ModelSpec(
    name="squeezenet1_1",
    build=Tiny,
    preprocessing=Preprocessing(mean=(0.0, 0.0, 0.0)),
    layer="conv",
    source=WeightSource("tiny.pth"),
    size=32,
)


@pytest.fixture(autouse=True)
def _in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute all in turn, unless a test asks for threads."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.fixture
def with_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reading, motion and writing run beside the dream."""
    monkeypatch.setenv("OMP_NUM_THREADS", "0")


@pytest.fixture
def tiny() -> DreamModel:
    """A network of one seeded random convolution, for tests that do not depend on the network."""
    return DreamModel(Tiny(), SPEC)


COLORS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}


@pytest.fixture
def colors() -> ImageTextEncoder:
    """An encoder whose embedding is the mean color, and whose texts are colors: what a dream does can be seen."""
    return ImageTextEncoder(
        lambda images: images.mean((2, 3)),
        lambda texts: torch.tensor([COLORS[text] for text in texts]),
        side=8,
    )


@pytest.fixture
def quick_collection() -> Iterator[None]:
    """Leave the objects of all other tests out of garbage collections, which would take a second each."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
