"""Files mutated at random, settings of any value, odd paths: an error of one line or a result, never anything else.

DEEPDREAM_DAMAGE_SEEDS=20000 tries more than the 200 files of every run.
"""

from __future__ import annotations

import os
import random
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import copy, gray, read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dream_core import settings as all_settings
from dream_core.checks import kinds, validate
from dream_core.command.measure import check_files
from dream_core.command.options import parse
from dream_core.errors import DeepDreamError
from dream_core.looks import load_look, save_look
from dream_core.models.labels import read_labels
from dream_core.models.registry import MODELS
from dream_core.models.weights import locate, search_folders
from dream_core.settings import InputSettings, OutputSettings
from dream_core.video import KeepFolder, open_clip, open_output
from dream_core.video.containers import require_apart

SEEDS = int(os.environ.get("DEEPDREAM_DAMAGE_SEEDS", "200"))
LONGEST = 10
"""Seconds of work after which a file counts as one that hangs."""
TARGETS = ("mp4", "mkv", "avi", "gif", "png", "webm")


@pytest.fixture
def whole(make_clip, tmp_path) -> list[Path]:
    """One small file of each kind."""
    noise = list(np.random.default_rng(0).integers(0, 255, (6, 32, 48, 3), dtype=np.uint8))
    options: dict[str, Any] = {"images": noise, "fps": 10, "gop": 3, "options": {}}
    videos = [
        make_clip("a.mp4", sound="aac", **options),
        make_clip("b.mkv", sound="aac", **options),
        make_clip("c.ts", sound="mp2", codec="mpeg2video", **(options | {"fps": 25})),
        make_clip("d.avi", sound="mp3", codec="mpeg4", **options),
        make_clip("e.webm", codec="libvpx", **options),
        make_clip("f.mov", sound="pcm_s16le", codec="mjpeg", pixel_format="yuvj420p", **options),
    ]
    images = [Image.fromarray(one) for one in noise]
    for name in ("g.gif", "h.webp", "i.png"):
        images[0].save(tmp_path / name, save_all=True, append_images=images[1:3], duration=100)
    for name in ("j.png", "k.jpg", "l.webp", "m.tif", "n.bmp"):
        images[0].save(tmp_path / name)
    return [*videos, *(tmp_path / name for name in sorted(path.name for path in tmp_path.glob("[g-n].*")))]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Change bytes, or cut, repeat, exchange or leave out a piece."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5, 30))):
        place = (
            chance.randrange(len(changed))
            if chance.random() < 0.6
            else chance.randrange(min(400, len(changed)))
        )
        length = chance.choice((1, 2, 4, 16, 200))
        match chance.randrange(6):
            case 0 | 1:
                changed[place] = chance.randrange(256)
            case 2:
                changed[place : place + length] = chance.randbytes(len(changed[place : place + length]))
            case 3:
                del changed[place : place + length]
            case 4:
                changed[place:place] = changed[place : place + length]
            case 5:
                if chance.random() < 0.3:
                    del changed[place:]
        if not changed:
            break
    return bytes(changed)


def tried(source: Path, target: Path) -> str:
    """Read and write a file: its result in a word. Anything but an error of this program's is raised."""
    began = time.process_time()
    refused = None
    try:
        copy(source, target, InputSettings(size=32, frames=8))
        assert read(target, InputSettings(size=32, frames=1))
    except DeepDreamError as error:
        refused = str(error)
    assert time.process_time() - began < LONGEST
    if refused is None:
        return "made"
    assert "\n" not in refused
    assert not target.exists()
    return "refused"


def test_files_mutated_at_random_make_a_clip_or_an_error_of_one_line(whole, tmp_path):
    contents = {path: path.read_bytes() for path in whole}
    found: Counter[tuple[str, str]] = Counter()
    (tmp_path / "out").mkdir()
    for seed in range(SEEDS):
        chance = random.Random(seed)
        original = whole[seed % len(whole)]
        source = tmp_path / f"damaged{original.suffix}"
        source.write_bytes(mutated(contents[original], chance))
        target = tmp_path / "out" / f"out.{chance.choice(TARGETS)}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found[original.name, tried(source, target)] += 1
            except BaseException as error:
                raise AssertionError(f"seed {seed}: {original.name} to {target.name}") from error
        for left in (tmp_path / "out").iterdir():
            left.unlink()
    print(*sorted(found.items()), sep="\n")
    assert sum(count for (_, result), count in found.items() if result == "made") > SEEDS / 10
    assert sum(count for (_, result), count in found.items() if result == "refused") > SEEDS / 50


def refusal(work: Callable[[], object]) -> str:
    """Text of the error that something raises, empty if it raises none."""
    try:
        work()
    except DeepDreamError as error:
        return str(error)
    return ""


NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0, 1, -1, 0.5, 1e-9, 16384, 16385, True, None, "12", "", (), (1,), b"x"]),
)


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_settings_of_any_value_are_taken_or_refused_in_one_line(data):
    classes = [
        cls
        for cls in vars(all_settings).values()
        if isinstance(cls, type) and cls.__name__.endswith("Settings")
    ]
    cls = data.draw(st.sampled_from(sorted(classes, key=lambda cls: cls.__name__)))
    names = [
        field.name for field in fields(cls) if not hasattr(kinds(cls)[field.name], "__dataclass_fields__")
    ]
    chosen = data.draw(st.dictionaries(st.sampled_from(names), NUMBERS, max_size=3)) if names else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "\n" not in refusal(lambda: validate(cls(**chosen)))


@given(
    size=st.integers(0, 70),
    start=st.floats(0, 2),
    frames=st.integers(0, 5),
    target=st.sampled_from(TARGETS),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_part_of_a_clip_at_any_size_is_written_or_refused(
    make_clip, tmp_path, size, start, frames, target
):
    path = tmp_path / "clip.mp4"
    if not path.exists():
        make_clip("clip.mp4", count=12, fps=12, sound="aac")
    output = tmp_path / f"out.{target}"
    output.unlink(missing_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused = refusal(lambda: copy(path, output, InputSettings(size=size, start=start, frames=frames)))
    if refused:
        assert start >= 1 - 1e-3, refused
        assert not output.exists()
    else:
        assert 1 <= len(read(output)) <= 12


CODECS = (None, "libx264", "libx265", "libvpx-vp9", "ffv1", "mpeg4", "mpeg2video", "mjpeg", "aac", "x")
PIXEL_FORMATS = ("yuv420p", "yuv444p", "rgb24", "gbrp", "yuvj420p", "yuv420p10le", "gray", "pal8", "?")
SUFFIXES = ("mp4", "mkv", "avi", "webm", "mov", "ts", "mpg", "flv", "ogv", "wmv", "gif", "wav", "y4m")


@given(
    codec=st.sampled_from(CODECS),
    pixel_format=st.sampled_from(PIXEL_FORMATS),
    suffix=st.sampled_from(SUFFIXES),
    rate=st.fractions(Fraction(1, 10), 240),
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_output_is_written_or_refused_at_once(tmp_path, codec, pixel_format, suffix, rate, sides):
    path = tmp_path / f"out.{suffix}"
    wanted = OutputSettings(codec=codec, pixel_format=pixel_format, overwrite=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused = refusal(lambda: open_output(path, size=sides, fps=rate, settings=wanted).discard())
        assert "\n" not in refused
        if not refused:
            with open_output(path, size=sides, fps=rate, settings=wanted) as output:
                for level in (20, 120, 220):
                    output.write(gray(level, sides))
            assert path.stat().st_size > 0


BARRED = ("a" * 300, "loop", "clip.mp4/x", "a\0b", "locked/x")
"""Too long a name, a link to itself, a path below a file, a zero byte, a path in a folder that is locked."""


def asked(tmp_path: Path, name: str) -> dict[str, Callable[[], object]]:
    """What is done with a path of this name as each kind of input and output."""
    path, clip = tmp_path / name, tmp_path / "clip.mp4"
    json = path.with_name(path.name + ".json")
    source = MODELS["squeezenet1_1"].source
    settings = OutputSettings()
    return {
        "input": lambda: open_clip(path, settings=InputSettings()),
        "video": lambda: open_output(
            path.with_name(path.name + ".mp4"), size=(48, 64), fps=Fraction(5), settings=settings
        ).discard(),
        "folder": lambda: open_output(path, size=(48, 64), fps=Fraction(5), settings=settings).discard(),
        "output of this input": lambda: require_apart(path, clip),
        "kept": lambda: KeepFolder(path).save(0, frame=gray(0)),
        "look": lambda: load_look(json),
        "saved look": lambda: save_look(json, "Mine.", model="vgg16"),
        "weights": lambda: locate(source, name="squeezenet1_1", file=path),
        "folder of weights": lambda: search_folders([path]),
        "labels": lambda: read_labels(path),
        "measured": lambda: check_files(parse(["measure", str(clip), str(clip), "--json", str(json)])),
    }


@pytest.mark.parametrize("name", BARRED)
def test_a_path_that_cannot_be_looked_at_is_refused_in_one_line(tmp_path, make_clip, monkeypatch, name):
    make_clip("clip.mp4", count=2)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for suffix in (".mp4", ".json"):
        (tmp_path / f"loop{suffix}").symlink_to(tmp_path / f"loop{suffix}")
    if name == "locked/x":
        stat = Path.stat

        def locked(path: Path, **options: Any) -> os.stat_result:  # root may look everywhere
            if "locked" in path.parts:
                raise PermissionError(13, "Permission denied", str(path))
            return stat(path, **options)

        monkeypatch.setattr(Path, "stat", locked)
    for use, ask in asked(tmp_path, name).items():
        with pytest.raises(DeepDreamError) as told:
            ask()
        assert len(str(told.value).splitlines()) == 1, use
