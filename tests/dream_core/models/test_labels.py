from pathlib import Path

import pytest

from dream_core.errors import SettingsError
from dream_core.models.labels import channel_indices, imagenet_labels, read_labels

LABELS = ("Persian cat", "catamaran", "tiger cat", "drake", "Great Dane")


def indices(*words: str, channels: int = 5, labels: tuple[str, ...] | None = LABELS) -> list[int]:
    return channel_indices(words, labels, layer="fc", channels=channels)


def test_imagenet_is_in_its_order() -> None:
    labels = imagenet_labels()
    assert len(labels) == 1000
    assert (labels[0], labels[97], labels[999]) == ("tench", "drake", "toilet tissue")


def test_a_word_means_the_labels_that_have_it_as_a_word() -> None:
    assert indices("cat") == [0, 2]
    assert indices("great dane") == [4]


def test_a_part_of_a_word_counts_where_no_word_matches() -> None:
    assert indices("amara") == [1]


def test_indices_and_words_mix_and_each_channel_comes_once() -> None:
    assert indices("3", "CAT", "2", "drake") == [3, 0, 2]


def test_indices_need_no_labels() -> None:
    assert indices("0", "4", labels=None) == [0, 4]


@pytest.mark.parametrize("word", ["5", "-1"])
def test_an_index_outside_of_the_layer(word: str) -> None:
    with pytest.raises(SettingsError, match=f"^expected a channel from 0 to 4 of layer fc, got {word}$"):
        indices(word)


def test_a_word_that_no_label_has_names_close_ones() -> None:
    with pytest.raises(SettingsError, match="no label contains 'drakke'; close: drake"):
        indices("drakke")


def test_a_word_unlike_any_label() -> None:
    with pytest.raises(SettingsError, match=r"^no label contains 'zzz'$"):
        indices("zzz")


def test_a_word_without_labels() -> None:
    with pytest.raises(
        SettingsError, match="'cat' is a word, but the classes have no names: give a `label_file`"
    ):
        indices("cat", labels=None)


def test_a_word_on_a_layer_that_is_not_the_classes() -> None:
    with pytest.raises(SettingsError, match="layer fc has 64 channels and there are 5 labels: give indices"):
        indices("cat", channels=64)


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\r\n"])
def test_a_label_file_is_read_line_by_line(tmp_path: Path, prefix: bytes, end: bytes) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(prefix + "tench \r\n\r\nkäfer".encode() + end)
    assert read_labels(path) == ("tench", "", "käfer")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the label file .*labels.txt: No such file"),
        (b"\n\n", "expected one class per line in the label file .*labels.txt, got an empty file"),
        (b"\xff\xfe\x00", "expected UTF-8 text .* in the label file .*labels.txt"),
    ],
)
def test_a_wrong_label_file(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "labels.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=message):
        read_labels(path)
