"""Dream with networks that have no code of their own here, and print what becomes of each.

    uv run benchmarks/networks.py [NAME ...]

A network has its weights if they are found or can be downloaded, and random ones otherwise. The columns:
whether it has weights, the number of its layers, the default layer, the multiple of pixels that it wants ("224
only" for crops), the folded BatchNorms, the share of the pixels that the gradient reaches, and the highest peak
of the dream's spectrum at the frequencies of strides (1/2, 1/4, 1/8, 1/16 of a cycle per pixel) over what is
beside them: a checkerboard has a peak of more than 10. With random weights these two are the median of four
draws, because one draw may like any frequency.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from dream_core.dreaming.dream import dream
from dream_core.dreaming.objectives import layer
from dream_core.dreaming.tiling import whole_gradient
from dream_core.errors import WeightsError
from dream_core.image import resize
from dream_core.models.dream_model import DreamModel, load_model, outline
from dream_core.settings import DreamSettings, InputSettings, ModelSettings, OctaveSettings
from dream_core.video import SAMPLE_CLIP, open_clip

FAMILIES = {
    "ResNet": ("torchvision:resnet18", "timm:resnet26d"),
    "DenseNet": ("torchvision:densenet121",),
    "RegNet": ("torchvision:regnet_y_400mf", "timm:regnety_002"),
    "MobileNet": ("torchvision:mobilenet_v3_small", "timm:efficientnet_b0", "timm:ghostnet_100"),
    "ConvNeXt": ("torchvision:convnext_tiny", "timm:convnextv2_atto"),
    "ViT": ("timm:vit_tiny_patch16_224", "timm:deit_tiny_patch16_224", "torchvision:vit_b_16"),
    "Swin": ("torchvision:swin_t", "timm:swin_tiny_patch4_window7_224"),
    "MLP": ("timm:mixer_s32_224", "timm:resmlp_12_224"),
    "hybrid": ("timm:levit_128s", "timm:mobilevit_xxs", "timm:poolformer_s12", "timm:xcit_nano_12_p16_224"),
    "other": ("timm:hrnet_w18_small", "timm:dla34", "timm:repvgg_a0"),
}
SIZE = (192, 288)
BRIEF = DreamSettings(octave=OctaveSettings(octaves=2, octave_steps=4))
CPU = torch.device("cpu")
DRAWS = 4
PERIODS = (2, 4, 8, 16)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*")
    chosen = parser.parse_args().names
    with open_clip(SAMPLE_CLIP, settings=InputSettings(size=max(SIZE))) as clip:
        image = resize(next(clip).image[None], SIZE).clamp(0, 1)
    print(
        "| family | network | weights | layers | default layer | sizes | folded | reached | peak | seconds |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for family, names in FAMILIES.items():
        for name in names:
            if not chosen or name in chosen:
                print(row(family, name, image), flush=True)


def row(family: str, name: str, image: Tensor) -> str:
    """Dream with one network and write its row of the table."""
    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes that are too small for crops
        try:
            models = [load_model(ModelSettings(model=name), device=CPU, dtype=torch.float32)]
            weights = "own"
        except WeightsError:
            models = list(random_models(name))
            weights = "random"
        found = [
            (reached(model, image), peak(dream(image, [model], settings=BRIEF) - image)) for model in models
        ]
    reach, highest = (statistics.median(column) for column in zip(*found, strict=True))
    spec, look = models[0].spec, models[0].spec.look
    assert look is not None
    sizes = f"{look.size} only" if look.multiple == 0 else str(look.multiple)
    told = f"{weights} | {len(models[0].layers())} | {spec.layer} | {sizes} | {len(look.folds)}"
    seconds = time.perf_counter() - begun
    return f"| {family} | {name} | {told} | {reach:.0%} | {highest:.1f} | {seconds:.0f} |"


def random_models(name: str) -> Iterator[DreamModel]:
    """Make a network several times, each with other random weights.

    Some networks start their training with norms that let nothing through; these do.
    """
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        model = outline(name)
        for module in model.network.modules():
            if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
                nn.init.ones_(module.weight)
        yield model


def reached(model: DreamModel, image: Tensor) -> float:
    """Return the share of the pixels that the gradient of the default layer reaches; NaN if it is not finite."""
    _, gradient = whole_gradient(model, layer(model.default_layer), image)
    return float((gradient.abs().sum(1) > 0).float().mean()) if gradient.isfinite().all() else math.nan


def peak(residual: Tensor) -> float:
    """Return the highest ratio of a frequency of strides to the median of those beside it, across and down."""
    power = torch.fft.fft2(residual).abs().square().mean((0, 1))
    highest = 0.0
    for line in (power[:, 1:8].mean(1), power[1:8].mean(0)):
        for period in PERIODS:
            place = round(len(line) / period)
            beside = torch.cat([line[place - 6 : place - 1], line[place + 2 : place + 7]])
            highest = max(highest, float(line[place] / beside.median()))
    return highest


if __name__ == "__main__":
    main()
