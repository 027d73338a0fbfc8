"""An atlas: what each layer of a network dreams in one's own frame, or each channel of a layer.

Channels are dreamed on small parts of the frame, each where it is most active, many at the same time. What is done
is kept in a folder, so that the same atlas comes at once, and one that was stopped goes on.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..errors import SettingsError
from ..image import Size, require_image, resize, scaled_size, size_of
from ..models.dream_model import DreamModel
from ..settings import AscentSettings, AtlasSettings
from ..tensor_file import pack, unpack
from .ascent import LEVEL, CleanAscent
from .gradients import shape_gradient
from .objectives import Objective, layer
from .terms import Activations, LossSum, Term
from .transforms import random_view

SIDE = 512
"""Longest side in pixels of the frame that activity is measured in, and that channels see parts of."""

BATCH_PIXELS = 300_000
"""Pixels to dream at the same time."""

OCTAVE = 0.6
"""The smaller of the two sizes of a thumbnail, as a part of it."""

ASCENT = AscentSettings(jitter=8, learning_rate=3.0)
"""Steps on thumbnails: they are few, and must not lose what they see."""

VERSION = 1
"""Of the method; another one makes the kept thumbnails useless."""


class Entry(NamedTuple):
    """One picture of an atlas.

    Args:
        name: of the layer, or the index of the channel.
        activity: in the frame: of a layer, its root mean square divided by that in a gray image; of a channel, the
            mean of what is positive, divided by that of the most active one.
        image: (3,h,w) RGB in 0..1.
    """

    name: str
    activity: float
    image: Tensor


Report = Callable[[int, int, Tensor], None]
"""Called after each batch with the number of pictures that are done and of all, and one of them, (1,3,h,w)."""


@dataclass(frozen=True)
class _EachChannel(Term):
    """Raises in each image of a batch the mean of a channel of its own."""

    own: tuple[int, ...] = ()

    def loss_sum(self, activations: Activations) -> LossSum:
        activation = activations[self.layer]
        chosen = torch.stack([activation[index, channel] for index, channel in enumerate(self.own)]).float()
        return LossSum(chosen.sum(), chosen.numel() // len(self.own), activation.shape[1])

    def value(self, loss_sum: LossSum) -> Tensor:
        return loss_sum.sum / loss_sum.values


class _EachAscent(CleanAscent):
    """Clean steps whose length is that of each image by itself."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                size = parameter.grad.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-12)
                self._move(parameter, size, group["lr"])


def make_atlas(
    model: DreamModel,
    image: Tensor,
    settings: AtlasSettings,
    *,
    cache: Path | None = None,
    report: Report | None = None,
) -> list[Entry]:
    """Dream the layers of a network in a frame, or the channels of one layer; the most active ones come first.

    Args:
        model: the network.
        image: (1,3,H,W) RGB in 0..1, the frame.
        settings: the layer, the number of pictures and their size; accepted by `validate`.
        cache: folder for what is done; made if it is missing. None keeps nothing.
        report: called after each batch.

    Raises:
        ImageError: the image has the wrong shape or type.
        SettingsError: the network has no such layer, or none that looks at places.
    """
    require_image(image, batch=1)
    image = image.to(model.device, torch.float32)
    small = resize(image, scaled_size(size_of(image), min(1.0, SIDE / max(size_of(image))))).clamp(0, 1)
    folder = None if cache is None else cache / _digest(model, small, settings)
    work = (_channels if settings.layer else _layers)(model, small, settings)
    entries: list[Entry] = []
    for part, (names, activities, starts, objective) in enumerate(work.batches):
        file = None if folder is None else folder / f"{part:05d}.safetensors"
        images = _kept(file, starts.shape)
        if images is None:
            images = _dream(model, starts, objective, steps=settings.thumbnail_steps)
            _keep(file, images)
        entries += [Entry(*one) for one in zip(names, activities, images.unbind(), strict=True)]
        if report:
            report(len(entries), work.total, images[:1])
    return entries


class _Batch(NamedTuple):
    names: Sequence[str]
    activities: Sequence[float]
    starts: Tensor
    objective: Objective


class _Work(NamedTuple):
    total: int
    batches: Iterator[_Batch]


def _channels(model: DreamModel, image: Tensor, settings: AtlasSettings) -> _Work:
    with torch.no_grad():
        activation = model.activations(image, [settings.layer])[settings.layer][0].float()
    means = activation.clamp_min(0).mean((1, 2))
    order = means.argsort(descending=True, stable=True).tolist()[: settings.count or None]
    most = means.max().clamp_min(1e-12)
    side = settings.thumbnail
    seen = image if min(size_of(image)) >= side else resize(image, _covering(size_of(image), side))
    at_once = max(1, BATCH_PIXELS // side**2)

    def batches() -> Iterator[_Batch]:
        for first in range(0, len(order), at_once):
            own = order[first : first + at_once]
            yield _Batch(
                [f"#{channel}" for channel in own],
                (means[own] / most).tolist(),
                torch.cat([_part(seen, activation[channel], side) for channel in own]),
                Objective((_EachChannel(settings.layer, own=tuple(own)),)),
            )

    return _Work(len(order), batches())


def _covering(size: Size, side: int) -> Size:
    factor = side / min(size)
    return max(side, round(size[0] * factor)), max(side, round(size[1] * factor))


def _part(image: Tensor, activation: Tensor, side: int) -> Tensor:
    """Cut a square out of an image (1,3,H,W) around the place where an activation (h,w) is largest."""
    place = int(activation.argmax())
    rows, columns = activation.shape
    starts = []
    for at, count, length in zip(divmod(place, columns), (rows, columns), size_of(image), strict=True):
        middle = (at + 0.5) / count * length
        starts.append(min(max(0, round(middle - side / 2)), length - side))
    return image[..., starts[0] : starts[0] + side, starts[1] : starts[1] + side]


def _layers(model: DreamModel, image: Tensor, settings: AtlasSettings) -> _Work:
    names = list(model.layers())
    with torch.no_grad():
        seen = model.activations(image, names)
        gray = model.activations(torch.full_like(image, 0.5), names)
    activity = {
        name: float(_strength(seen[name]) / _strength(gray[name]).clamp_min(1e-12))
        for name in names
        if min(seen[name].shape[2:]) > 1
    }
    if not activity:
        raise SettingsError(
            f"expected a layer that looks at places in {model.spec.name}, got none; choose another `model`"
        )
    order = sorted(activity, key=lambda name: -activity[name])[: settings.count or None]
    frame = resize(image, scaled_size(size_of(image), 2 * settings.thumbnail / max(size_of(image)))).clamp(
        0, 1
    )
    batches = (_Batch([name], [activity[name]], frame, layer(name)) for name in order)
    return _Work(len(order), batches)


def _strength(activation: Tensor) -> Tensor:
    return activation.float().square().mean().sqrt()


def _dream(model: DreamModel, starts: Tensor, objective: Objective, *, steps: int) -> Tensor:
    """Dream a batch (B,3,h,w) at two sizes; each image as if it were alone, but from the same random views."""
    generator = torch.Generator().manual_seed(ASCENT.seed)
    residual = torch.zeros_like(starts)
    size = size_of(starts)
    for octave in (scaled_size(size, OCTAVE), size):
        base = resize(starts, octave)
        current = base + resize(residual, octave)
        optimizer = _EachAscent([current], lr=ASCENT.learning_rate * LEVEL)
        for _ in range(steps):
            current.grad = -_gradient(model, current, objective, generator)
            optimizer.step()
            current.clamp_(0, 1)
        residual = current - base
    return (starts + residual).clamp(0, 1).cpu()


def _gradient(model: DreamModel, images: Tensor, objective: Objective, generator: torch.Generator) -> Tensor:
    view = random_view(ASCENT, generator)
    leaf = images.detach().requires_grad_()
    with torch.enable_grad():
        value = objective(model.activations(view.apply(leaf), objective.layers))
    return shape_gradient(torch.autograd.grad(value, leaf)[0], ASCENT)


def _digest(model: DreamModel, image: Tensor, settings: AtlasSettings) -> str:
    """Name what an atlas depends on."""
    weights = list(model.network.parameters())
    told = (VERSION, model.spec.name, model.pooling, str(model.dtype), str(model.preprocessing), settings)
    digest = hashlib.sha256(repr(told).encode())
    for tensor in (weights[0], weights[-1], (255 * image).round()):
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def _kept(file: Path | None, shape: torch.Size) -> Tensor | None:
    """Read the images of a batch; None if they are not there, or damaged."""
    if file is None:
        return None
    try:
        images = unpack(file.read_bytes())[0].get("images")
    except (OSError, ValueError):
        return None
    return images.float() / 255 if images is not None and images.shape == shape else None


def _keep(file: Path | None, images: Tensor) -> None:
    """Write the images of a batch, whole or not at all; a disk that takes nothing more costs the cache only."""
    if file is None:
        return
    partial = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(pack({"images": (255 * images).round().to(torch.uint8)}))
        partial.replace(file)
    except OSError:
        with suppress(OSError):
            partial.unlink()


# The sheet

GAP = 4
MARGIN = 12
BACKGROUND, TEXT, FAINT = (22, 22, 24), (236, 236, 236), (150, 150, 155)


def contact_sheet(entries: Sequence[Entry], title: str) -> Tensor:
    """Draw an atlas as one image with labels, (1,3,H,W) in 0..1.

    Args:
        entries: at least one, with images of one size.
        title: the line above them.
    """
    height, width = entries[0].image.shape[-2:]
    points = max(11, min(13, width // 7))
    font, large = ImageFont.load_default(points), ImageFont.load_default(points + 6)
    line = points + 5
    shares = [f"{entry.activity:.2f}" for entry in entries]
    beside = all(
        font.getlength(entry.name) + font.getlength(share) + GAP <= width
        for entry, share in zip(entries, shares, strict=True)
    )
    cell = width + GAP, height + (line if beside else 2 * line) + GAP
    # As wide as a screen.
    columns = max(1, min(len(entries), round(math.sqrt(len(entries) * 1.6 * cell[1] / cell[0]))))
    rows = math.ceil(len(entries) / columns)
    top = 2 * MARGIN + points + 6
    wide = max(columns * cell[0] - GAP, round(large.getlength(title))) + 2 * MARGIN
    sheet = Image.new("RGB", (wide, top + rows * cell[1] + MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, font=large, fill=TEXT)
    for index, (entry, share) in enumerate(zip(entries, shares, strict=True)):
        left, upper = MARGIN + index % columns * cell[0], top + index // columns * cell[1]
        pixels = (255 * entry.image.clamp(0, 1)).round().to(torch.uint8).permute(1, 2, 0).numpy()
        sheet.paste(Image.fromarray(np.ascontiguousarray(pixels)), (left, upper))
        below = upper + height + 2
        draw.text((left, below), _shortened(entry.name, font, width), font=font, fill=TEXT)
        if beside:
            draw.text((left + width, below), share, font=font, fill=FAINT, anchor="ra")
        else:
            draw.text((left, below + line), share, font=font, fill=FAINT)
    return torch.from_numpy(np.asarray(sheet).copy()).permute(2, 0, 1)[None].float() / 255


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float) -> str:
    """Cut the middle out of a text that is too long: the ends of names tell them apart."""
    if font.getlength(text) <= room:
        return text
    for kept in range(len(text) - 1, 1, -1):
        head = kept // 3
        shorter = f"{text[:head]}..{text[len(text) - (kept - head) :]}"
        if font.getlength(shorter) <= room:
            return shorter
    return text[-2:]


def title_of(model: DreamModel, settings: AtlasSettings, count: int) -> str:
    """Write the line above a sheet."""
    if not settings.layer:
        return f"{model.spec.name}: {count} layers, by how active each is in the frame, against plain gray"
    return f"{model.spec.name} {settings.layer}: {count} channels, by how active each is in the frame"
