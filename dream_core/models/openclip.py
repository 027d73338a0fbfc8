"""Networks of open_clip (Ilharco et al. 2021), which compare images with texts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import SettingsError, WeightsError
from ..settings import TextSettings
from .image_text import ImageTextEncoder
from .preprocessing import Preprocessing
from .weights import install_command, quiet_hub

PACKAGE = "open-clip-torch"
"""Name of the package of `open_clip`."""

USUAL = "laion2b"
"""Data set of the weights that are taken where none are named (LAION-2B, Schuhmann et al. 2022)."""

SCHEMES = ("hf-hub:", "local-dir:")
"""Beginnings of the names of networks that bring weights of their own."""


def load_open_clip(settings: TextSettings, *, device: torch.device, dtype: torch.dtype) -> ImageTextEncoder:
    """Load a network of open_clip; its weights come from a file, or by open_clip's own download.

    Args:
        settings: names the network and its weights.
        device: to compute on.
        dtype: bfloat16 to compute in it; the weights, and all else, stay float32.

    Raises:
        SettingsError: open_clip is missing, or has no such network or weights.
        WeightsError: the weights cannot be loaded.
    """
    open_clip = _import_open_clip()
    name, weights = settings.text_model, _weights(settings, open_clip)
    try:
        with warnings.catch_warnings(), quiet_hub():
            warnings.simplefilter("ignore")  # about activations that weights of other names were trained with
            network = open_clip.create_model(name, pretrained=weights)
            tokenize = open_clip.get_tokenizer(name)
    except Exception as error:  # whatever the download raises: of the network, of the hub, of files
        reason = str(error).strip().partition("\n")[0].partition(". ")[0] or type(error).__name__
        raise WeightsError(
            f"open_clip could not load {weights or 'the weights'} of {name} ({reason}): connect to the internet "
            "for the first run, or give a file with weights of that network (`text_pretrained`)"
        ) from error
    network.eval().requires_grad_(False)
    return encoder_of(network.to(device), tokenize, device=device, dtype=dtype)


def encoder_of(network: Any, tokenize: Any, *, device: torch.device, dtype: torch.dtype) -> ImageTextEncoder:
    """Make an encoder of a network of open_clip and its tokenizer; see `load_open_clip`."""
    visual = network.visual
    side = visual.image_size if isinstance(visual.image_size, int) else max(visual.image_size)
    preprocessing = Preprocessing(mean=tuple(visual.image_mean), std=tuple(visual.image_std))

    def precision() -> Any:
        return torch.autocast(device.type, dtype) if dtype == torch.bfloat16 else nullcontext()

    def embed_images(images: Tensor) -> Tensor:
        with precision():
            found: Tensor = network.encode_image(preprocessing(images.to(device)))
        return found

    def embed_texts(texts: Sequence[str]) -> Tensor:
        found: Tensor = network.encode_text(tokenize(list(texts)).to(device))
        return found

    return ImageTextEncoder(embed_images, embed_texts, side=side)


def _weights(settings: TextSettings, open_clip: Any) -> str | None:
    """Choose the weights, a file or a name; None for a network that brings its own.

    Raises:
        SettingsError: open_clip has no such network or weights, or the network brings its own.
    """
    name, weights = settings.text_model, settings.text_pretrained
    if name.startswith(SCHEMES):
        if weights:
            raise SettingsError(
                f"expected no `text_pretrained` for {name}, which brings its own weights, got '{weights}'; "
                "leave it out"
            )
        return None
    if name not in open_clip.list_models():
        raise SettingsError(_unknown("a network of open_clip", "text_model", name, open_clip.list_models()))
    if weights and Path(weights).is_file():
        return weights
    known: list[str] = open_clip.list_pretrained_tags_by_model(name)
    chosen = weights or next((one for one in reversed(known) if one.startswith(USUAL)), None)
    if chosen not in known:
        what = f"a file, or the name of weights of {name}"
        raise SettingsError(_unknown(what, "text_pretrained", weights or "none", known))
    return chosen


def _unknown(what: str, option: str, name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=3) or list(known)[:6]
    return f"expected {what} as `{option}`, got '{name}'; there are {', '.join(close) or 'none'}"


def _import_open_clip() -> Any:
    try:
        import open_clip
    except ImportError as error:
        raise SettingsError(
            f"expected the package {PACKAGE} for a `text`, got none; install it: {install_command(PACKAGE)}"
        ) from error
    return open_clip
