from __future__ import annotations

import os
from fractions import Fraction

import av
import numpy as np
import pytest
from clips import NATIVE

from dream_core.errors import SettingsError, VideoError
from dream_core.settings import InputSettings, OutputSettings
from dream_core.video import open_clip, open_output


def test_what_is_no_video_is_an_error(tmp_path, make_clip):
    with pytest.raises(VideoError, match=r"missing\.mp4 does not exist: expected a video"):
        open_clip(tmp_path / "missing.mp4", settings=NATIVE)
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(VideoError, match=r"text\.mp4 cannot be read as a video"):
        open_clip(tmp_path / "text.mp4", settings=NATIVE)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match=r"empty\.mp4 cannot be read as a video"):
        open_clip(tmp_path / "empty.mp4", settings=NATIVE)
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        samples = np.zeros((1, 800), dtype=np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(VideoError, match=r"sound\.wav contains no video stream"):
        open_clip(tmp_path / "sound.wav", settings=NATIVE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (InputSettings(size=-1), r"^expected `size` from 0 to 16384, got -1$"),
        (InputSettings(start=float("nan")), r"^expected `start` from 0 to 1000000, got nan$"),
        (InputSettings(frames=-1), r"^expected `frames` from 0 to 10000000, got -1$"),
        (InputSettings(fps=0), r"^expected `fps` from 0.01 to 1000, got 0$"),
    ],
)
def test_settings_out_of_range_are_errors(tmp_path, settings, message):
    with pytest.raises(SettingsError, match=message):
        open_clip(tmp_path, settings=settings)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("-", r"^expected a file or folder as input, got -: streams are not supported"),
        ("https://example.org/clip.mp4", r"^expected a file or folder as input, got an address, https:/"),
        ("rtsp://camera/1", r"got an address"),
        ("a" * 300 + ".mp4", r"cannot be a file \(File name too long\): choose another name"),
        ("a\0b.mp4", r"cannot be a file"),
    ],
)
def test_what_is_no_file_at_all_is_said(name, message):
    with pytest.raises(VideoError, match=message):
        open_clip(name, settings=NATIVE)
    with pytest.raises(VideoError, match=message.replace("as input", "as output")):
        open_output(name, size=(48, 64), fps=Fraction(12), settings=OutputSettings())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match=r"pipe\.mp4 is neither a file nor a folder: expected one as input"):
        open_clip(tmp_path / "pipe.mp4", settings=NATIVE)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.png"])
def test_a_file_that_may_not_be_opened_is_not_called_damaged(make_clip, tmp_path, monkeypatch, name):
    (tmp_path / name).touch()

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("dream_core.video.film.open_to_read", refuse)
    monkeypatch.setattr("PIL.Image.open", refuse)
    with pytest.raises(
        VideoError, match=rf"{name} cannot be opened \(Permission denied\): check its permissions"
    ):
        open_clip(tmp_path / name, settings=NATIVE)
