"""Embeddings of images and texts in one space."""

from __future__ import annotations

import pytest
import torch

from dream_core.errors import SettingsError
from dream_core.models.image_text import ImageTextEncoder
from dream_core.text_weights import TextEntry


def test_embeddings_have_length_1_and_a_text_is_embedded_once() -> None:
    asked: list[str] = []

    def texts(given: object) -> torch.Tensor:
        asked.extend(given)  # type: ignore[call-overload]
        return torch.tensor([[3.0, 4.0]])

    encoder = ImageTextEncoder(lambda images: images[:, :2, 0, 0], texts, side=4)
    assert encoder.embed_text("one").tolist() == pytest.approx([0.6, 0.8])
    assert torch.equal(encoder.embed_text("one"), encoder.embed_text("one"))
    assert asked == ["one"]
    assert encoder.embed_images(torch.rand(3, 3, 4, 4)).norm(dim=1).tolist() == pytest.approx([1, 1, 1])


def test_weights_of_texts_are_shares_unless_they_add_up_to_less_than_1(colors: ImageTextEncoder) -> None:
    goal = colors.goal((TextEntry("red", 3), TextEntry("blue", -1)))
    assert goal.tolist() == pytest.approx([0.75, 0, -0.25])
    goal = colors.goal((TextEntry("red", 0.5), TextEntry("blue", -0.25)))
    assert goal.tolist() == pytest.approx([0.5, 0, -0.25])
    assert not colors.goal((TextEntry("red", 0),)).any()


@pytest.mark.parametrize("found", [torch.zeros(2, 4), torch.full((1, 4), torch.nan), torch.zeros(4)])
def test_a_wrong_embedding_is_an_error(found: torch.Tensor) -> None:
    with pytest.raises(SettingsError, match="expected one finite embedding"):
        ImageTextEncoder(lambda images: images, lambda texts: found, side=4).embed_text("a")
