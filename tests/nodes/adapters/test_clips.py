"""A CLIP and a CLIP_VISION that belong together, and those that do not."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

Pack = Callable[[str], ModuleType]


class Means(nn.Module):
    """The mean color, and nothing in the other channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.pad(images.mean((2, 3)), (0, self.width - 3))


def clip_of(**widths: int) -> Any:
    """A CLIP whose text encoders know red and nothing."""
    red = {name: torch.eye(width)[:1] for name, width in widths.items()}
    return SimpleNamespace(encoders={name: {"": one, "red": one} for name, one in red.items()})


def vision_of(pack: Pack, width: int | None) -> Any:
    host = pack("nodes.adapters.host")
    if width is None:
        return SimpleNamespace(vision=None)
    patcher = host.wrap(host.Wrapped(Means(width)))
    return SimpleNamespace(vision=host.Vision(patcher, width, 8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))


def test_the_text_encoder_of_the_vision_reads_the_texts(pack: Pack) -> None:
    pair = pack("nodes.adapters.clips").ClipPair
    both = pair(clip_of(clip_l=768, clip_g=1280), vision_of(pack, 1280))
    assert (both.side, both.at_once) == (8, 1)
    assert both.embed_text("red").shape == (1280,)
    red, gray = both.embed_images(
        torch.stack([torch.eye(3)[0].view(3, 1, 1).expand(3, 8, 8), torch.ones(3, 8, 8)])
    )
    assert (red @ both.embed_text("red")).item() == pytest.approx(1)
    assert (gray @ both.embed_text("red")).item() == pytest.approx(3**-0.5)
    assert pair(clip_of(clip_l=768), vision_of(pack, 768)).at_once == 4


@pytest.mark.parametrize(
    ("widths", "width", "message"),
    [
        (
            {"clip_l": 768},
            1280,
            r"got texts of ViT-L \(clip_l\) and images of ViT-bigG \(clip_g\); load the CLIP Vision of ViT-L "
            r"\(clip_l\), or the CLIP of ViT-bigG \(clip_g\)$",
        ),
        ({"clip_l": 768, "clip_g": 1280}, 1024, r"of ViT-L \(clip_l\) and ViT-bigG .* images of ViT-H"),
        ({"clip_l": 64}, 48, r"got texts of width 64 and images of width 48"),
        (
            {},
            768,
            r"got one without its projection, .*; load the whole file of ViT-L \(clip_l\) by Load CLIP",
        ),
        (
            {"clip_l": 768},
            None,
            r"got one without a projection; load that of ViT-L .* or ViT-bigG \(clip_g\)$",
        ),
    ],
)
def test_what_does_not_belong_together_is_named(
    pack: Pack, widths: dict[str, int], width: int | None, message: str
) -> None:
    error = pack("nodes.adapters.require").WireError
    with pytest.raises(error, match=message):
        pack("nodes.adapters.clips").ClipPair(clip_of(**widths), vision_of(pack, width))


def test_pairs_are_digested_by_their_weights_and_texts(pack: Pack) -> None:
    digest = pack("nodes.adapters.digests").digest
    pair = pack("nodes.adapters.clips").ClipPair
    one, other = (pair(clip_of(clip_l=768), vision_of(pack, 768)) for _ in range(2))
    assert digest([one]) == digest([other])
    one.embed_text("red")
    assert digest([one]) != digest([other])
