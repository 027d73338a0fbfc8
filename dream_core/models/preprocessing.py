"""Conversion of images to the input that a network was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """A network's normalization of images: (image * scale - mean) / std, channel by channel.

    `mean` and `std` are in the network's channel order and scale.
    """

    mean: Triple
    std: Triple = (1.0, 1.0, 1.0)
    scale: float = 1.0
    bgr: bool = False

    def __call__(self, image: Tensor) -> Tensor:
        """Convert (B,3,H,W) RGB in 0..1 to the network's input, (B,3,H,W) float32; differentiable."""
        # Python numbers, because small tensors would be copied to the device at every step.
        lines = [(self.scale / std, mean / std) for mean, std in zip(self.mean, self.std, strict=True)]
        image = image.float()
        if len(set(lines)) == 1 and not self.bgr:
            ((factor, shift),) = set(lines)
            return image * factor - shift
        planes = torch.split(image, 1, dim=1)
        normalized = [
            plane * factor - shift
            for plane, (factor, shift) in zip(planes[::-1] if self.bgr else planes, lines, strict=True)
        ]
        return torch.cat(normalized, dim=1)


def caffe(mean: Triple) -> Preprocessing:
    """BGR in 0..255, minus the mean."""
    return Preprocessing(mean=mean, scale=255.0, bgr=True)


CAFFE = caffe((104.0, 117.0, 123.0))
VGG_CAFFE = caffe((103.939, 116.779, 123.68))
PLACES205 = caffe((105.417, 113.753, 116.047))
PLACES365 = caffe((104.051, 112.514, 116.676))
IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# The scale of the TensorFlow originals of torchvision's googlenet and inception_v3, whose `transform_input`
# converts images from IMAGENET's normalization to this one.
INCEPTION = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
EFFICIENTNET_LITE = Preprocessing(mean=(127 / 128,) * 3, scale=255 / 128)
