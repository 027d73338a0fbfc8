"""From CLIP and CLIP_VISION sockets to what compares images with texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...dream_core.models.image_text import CROPS_AT_ONCE, ImageTextEncoder
from ...dream_core.models.preprocessing import Preprocessing
from . import host
from .require import WireError

PAIRS = {768: "ViT-L (clip_l)", 1024: "ViT-H (clip_h)", 1280: "ViT-bigG (clip_g)"}
"""Width of the embeddings -> the network, and its text encoder in ComfyUI."""

LARGE = 1024
"""Width from which the embeddings are those of a network so large that it sees one crop at a time."""


class ClipPair(ImageTextEncoder):
    """A CLIP and a CLIP_VISION that embed texts and images in one space.

    Args:
        clip: from a CLIP socket.
        clip_vision: from a CLIP_VISION socket.

    Raises:
        WireError: one of them does not embed images beside texts, or they do not belong together.
    """

    def __init__(self, clip: Any, clip_vision: Any) -> None:
        vision = host.vision_of(clip_vision)
        if vision is None:
            raise WireError(
                "expected a CLIP Vision that embeds images beside texts, got one without a projection; load that "
                f"of {_either(PAIRS.values())}"
            )
        widths = host.text_encoders(clip)
        encoder = next((name for name, width in widths.items() if width == vision.width), None)
        if encoder is None:
            raise WireError(_mismatch(vision.width, widths))
        self.vision = vision
        preprocess = Preprocessing(mean=_triple(vision.mean), std=_triple(vision.std))

        def embed_images(images: Tensor) -> Tensor:
            return host.embed_images(vision, preprocess(images))

        def embed_texts(texts: Sequence[str]) -> Tensor:
            return host.embed_text(clip, encoder, *texts)

        at_once = 1 if vision.width > LARGE else CROPS_AT_ONCE
        super().__init__(embed_images, embed_texts, side=vision.side, at_once=at_once)


def _mismatch(width: int, widths: dict[str, int]) -> str:
    wanted = PAIRS.get(width, f"width {width}")
    if not widths:
        return (
            "expected a CLIP that embeds texts beside images, got one without its projection, which "
            f"clip_l.safetensors leaves out; load the whole file of {wanted} by "
            "Load CLIP, or clip_g.safetensors with clip_vision_g"
        )
    found = " and ".join(PAIRS.get(one, f"width {one}") for one in widths.values())
    return (
        f"expected a CLIP and a CLIP Vision of one network, got texts of {found} and images of {wanted}; load the "
        f"CLIP Vision of {found}, or the CLIP of {wanted}"
    )


def _either(names: Any) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue
