"""Class names, and the channels that words stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from torchvision.models import GoogLeNet_Weights

from ..errors import SettingsError


def imagenet_labels() -> tuple[str, ...]:
    """Names of ImageNet's 1000 classes, in order."""
    return tuple(GoogLeNet_Weights.IMAGENET1K_V1.meta["categories"])


def read_labels(path: Path) -> tuple[str, ...]:
    """Read a label file: UTF-8, one class per line, in order.

    Raises:
        SettingsError: the file cannot be read, is not UTF-8 text or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"expected UTF-8 text with one class per line in the label file {path}, got other bytes"
        ) from error
    except (OSError, ValueError) as error:  # a zero byte in the name is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"cannot read the label file {path}: {reason}") from error
    labels = tuple(line.strip() for line in text.rstrip().splitlines())
    if not labels:
        raise SettingsError(f"expected one class per line in the label file {path}, got an empty file")
    return labels


def is_index(word: str) -> bool:
    """Return whether a word stands for a channel by its index, not for classes by their name."""
    return re.fullmatch(r"[+-]?\d+", word) is not None


def channel_indices(
    words: Sequence[str], labels: Sequence[str] | None, *, layer: str, channels: int
) -> list[int]:
    """Translate indices and label words to channels of a layer, in the given order, without duplicates.

    A word stands for every class whose label contains it as a whole word or, if there is none, as a part of a word:
    "cat" finds "Persian cat" but not "catamaran". Case is ignored.

    Args:
        words: indices, such as "97", or words, such as "drake".
        labels: one per class, or None if the classes have no known names.
        layer: the layer's name, for error messages.
        channels: the layer's number of channels.

    Raises:
        SettingsError: an index is out of range, no label contains a word, or the labels do not name the layer's
            channels.
    """
    found = [index for word in words for index in _channels_of(word, labels, layer, channels)]
    return list(dict.fromkeys(found))


def _channels_of(word: str, labels: Sequence[str] | None, layer: str, channels: int) -> list[int]:
    if not is_index(word):
        return _labeled(word, _labels_of(layer, labels, channels, word))
    if not 0 <= int(word) < channels:
        raise SettingsError(f"expected a channel from 0 to {channels - 1} of layer {layer}, got {word}")
    return [int(word)]


def _labels_of(layer: str, labels: Sequence[str] | None, channels: int, word: str) -> Sequence[str]:
    if labels is None:
        raise SettingsError(f"channel {word!r} is a word, but the classes have no names: give a `label_file`")
    if len(labels) != channels:
        raise SettingsError(
            f"channel {word!r} is a word, but layer {layer} has {channels} channels and there are "
            f"{len(labels)} labels: give indices, or dream on the layer of classes"
        )
    return labels


def _labeled(word: str, labels: Sequence[str]) -> list[int]:
    alone = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)
    matches = [i for i, label in enumerate(labels) if alone.search(label)]
    matches = matches or [i for i, label in enumerate(labels) if word.lower() in label.lower()]
    if matches:
        return matches
    vocabulary = {part.lower(): part for label in labels for part in (label, *re.findall(r"\w+", label))}
    close = [vocabulary[match] for match in get_close_matches(word.lower(), vocabulary)]
    hint = f"; close: {', '.join(close)}" if close else ""
    raise SettingsError(f"no label contains {word!r}{hint}")
