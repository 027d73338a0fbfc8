from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import copy, gray, levels, ramp, read, write
from PIL import Image

from dream_core.errors import VideoError
from dream_core.settings import OutputSettings
from dream_core.video.containers import open_to_read, open_to_write
from dream_core.video.images import load_image

NAMES = (
    "12:30 take",
    "http:x",
    "concat:a|b",
    "file:x",
    "-i",
    "take %d",
    "take_%03d%%",
    "take[12]",
    "take{a,b}*?",
    'it\'s a "take"; x=1:y=2,[out]',
    "вид с моста 橋",
    " spaces ",
    "pipe:1",
    "subfile,,start,0,end,9,,:x",
)
"""Names in which ffmpeg could see a protocol, a pattern, an option or a filter."""

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "gif"])
@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_file_as_input_and_as_output(make_clip, tmp_path, monkeypatch, name, suffix):
    monkeypatch.chdir(tmp_path)
    make_clip("clip.mp4", count=4, sound="aac").rename(f"{name}.mp4")
    target = f"{name} dream.{suffix}"
    copy(Path(f"{name}.mp4"), Path(target))
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.mp4", target}
    assert len(read(Path(target))) == 4
    with av.open(f"file:{target}") as container:
        assert bool(container.streams.audio) == (suffix != "gif")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_picture_too(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(f"{name}.png", [gray(100)])
    assert levels(read(Path(f"{name}.png"))) == pytest.approx([100])


def test_a_deep_picture_is_itself_and_not_its_neighbor(tmp_path):
    for name, level in (("shot_%d.png", 20000), ("shot_1.png", 40000)):
        frame = av.VideoFrame.from_ndarray(np.full((4, 6, 3), level, dtype=np.uint16), format="rgb48le")
        codec = av.CodecContext.create("png", "w")
        codec.width, codec.height, codec.pix_fmt, codec.time_base = 6, 4, "rgb48be", Fraction(1, 25)
        packets = codec.encode(frame.reformat(format="rgb48be")) + codec.encode(None)
        (tmp_path / name).write_bytes(b"".join(bytes(packet) for packet in packets))
    assert float(load_image(tmp_path / "shot_%d.png").mean()) == pytest.approx(20000 / 65535, abs=1e-6)


@pytest.mark.parametrize("name", ["shot_%d.ppm", "shot_[1].ppm", "shot_*.ppm"])
def test_a_picture_that_ffmpeg_reads_is_itself_too(tmp_path, name):
    Image.new("RGB", (8, 6), (100, 100, 100)).save(tmp_path / "shot_1.ppm")
    Image.new("RGB", (8, 6), (200, 200, 200)).save(tmp_path / "plain.ppm")
    (tmp_path / "plain.ppm").rename(tmp_path / name)
    assert levels(read(tmp_path / name)) == pytest.approx([200], abs=1)


@pytest.mark.parametrize("name", ["out.m3u8", "out.mpd", "out_%d.ppm", "out.ppm", "out.xyz"])
def test_an_output_of_several_files_is_refused(tmp_path, name):
    with pytest.raises(VideoError, match=rf"ffmpeg does not write {re.escape(Path(name).suffix)} files"):
        write(tmp_path / name, ramp(2), settings=OutputSettings())
    assert list(tmp_path.iterdir()) == []


def test_ffmpeg_opens_files_in_this_module_alone():
    modules = [path for folder in ("dream_core", "nodes") for path in (ROOT / folder).rglob("*.py")]
    opening = [path for path in modules if "av.open(" in path.read_text("utf-8")]
    text = {path.name: re.findall(r"av\.open\((.*?)[,)]", path.read_text("utf-8")) for path in opening}
    assert text == {"containers.py": ["_address(path", "_address(path"], "encoder.py": ["BytesIO("]}


def test_tags_in_another_encoding_do_not_matter(make_clip, tmp_path):
    path = make_clip("clip.mkv", count=3, sound="aac")
    data = path.read_bytes()
    assert b"Lavf" in data
    path.write_bytes(data.replace(b"Lavf", b"\xf1\xe9\xff!"))
    assert len(read(path)) == 3
    copy(path, tmp_path / "out.mp4")


def test_tags_that_are_no_text_are_read(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mkv"
    with open_to_write(clip, options={}) as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        output.metadata["title"] = "a title"
        frame = av.VideoFrame(32, 32, "yuv420p")
        output.mux([*stream.encode(frame), *stream.encode()])
    clip.write_bytes(clip.read_bytes().replace(b"a title", b"a\xff\xe9itle"))
    with open_to_read(clip) as container:
        assert container.metadata["title"].endswith("itle")
        assert len(list(container.decode(video=0))) == 1


def test_ffmpeg_does_not_log_through_python_while_a_file_is_open(tmp_path: Path) -> None:
    """Its threads would wait for Python, which waits for them where the file is closed."""
    source = tmp_path / "a.mkv"
    write(source, ramp(2))
    before = av.logging.get_level()
    try:
        av.logging.set_level(av.logging.ERROR)  # as older torchvision does when it is imported
        with open_to_read(source):
            assert av.logging.get_level() is None
    finally:
        av.logging.set_level(before)
