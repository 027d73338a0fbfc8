"""Networks that embed images and texts in one space, such as CLIP (Radford et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import SettingsError
from ..text_weights import TextEntry, total_weight

CROPS_AT_ONCE = 4
"""Images whose activations are in memory together, unless the network is very large."""


class ImageTextEncoder:
    """Tells how like a text an image is: by the cosine between their embeddings.

    Args:
        images: (N,3,S,S) RGB in 0..1 -> embeddings (N,D). Gradients pass it. Preprocessing is its own.
        texts: texts -> embeddings (N,D).
        side: S, of the images that it takes.
        at_once: number of images whose activations are in memory together.
    """

    def __init__(
        self,
        images: Callable[[Tensor], Tensor],
        texts: Callable[[Sequence[str]], Tensor],
        *,
        side: int,
        at_once: int = CROPS_AT_ONCE,
    ) -> None:
        self.side, self.at_once = side, at_once
        self._images, self._texts = images, texts
        self.known: dict[str, Tensor] = {}
        """Texts that were embedded: (D,) each."""

    def embed_images(self, images: Tensor) -> Tensor:
        """Embed images (N,3,S,S) RGB in 0..1: (N,D) float32, of length 1."""
        return F.normalize(self._images(images).float(), dim=1)

    def embed_text(self, text: str) -> Tensor:
        """Embed a text, only once: (D,) float32, of length 1.

        Raises:
            SettingsError: the embedding is not one vector of numbers.
        """
        if text not in self.known:
            with torch.no_grad():
                found = self._texts([text]).float()
            if found.ndim != 2 or len(found) != 1 or not found.isfinite().all():
                raise SettingsError(
                    f"expected one finite embedding for `text` '{text}', got shape {tuple(found.shape)}; "
                    "take other weights"
                )
            self.known[text] = F.normalize(found[0], dim=0)
        return self.known[text]

    def goal(self, entries: tuple[TextEntry, ...]) -> Tensor:
        """Add up texts by their weights: (D,). Magnitudes that add up to more than 1 count as shares of 1."""
        whole = max(1.0, total_weight(entries))
        return torch.stack([one.weight / whole * self.embed_text(one.text) for one in entries]).sum(0)
