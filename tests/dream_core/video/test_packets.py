from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from dream_core.video.containers import open_to_read
from dream_core.video.packets import continuous_packets, may_jump

COUNT, FPS = 24, 12


def times(path, kind: str) -> list[float]:
    with open_to_read(path) as container:
        packets = [packet for packet in continuous_packets(container) if packet.stream.type == kind]
        return sorted(float(packet.pts * packet.time_base) for packet in packets if packet.pts is not None)


@pytest.mark.parametrize("second", [0, 3600, 0.5])
@pytest.mark.parametrize("suffix", ["ts", "mpg"])
def test_time_runs_on_where_a_second_recording_begins(make_clip, tmp_path, suffix, second):
    options = {"count": COUNT, "fps": FPS, "sound": "mp2", "codec": "mpeg2video", "options": {"bf": "0"}}
    parts = [
        make_clip(f"{index}.{suffix}", muxer={"output_ts_offset": str(offset)}, **options)
        for index, offset in enumerate((1, 1 + second))
    ]
    path = tmp_path / f"joined.{suffix}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    images = times(path, "video")
    assert len(images) == 2 * COUNT
    assert [later - earlier for earlier, later in pairwise(images)] == pytest.approx([1 / FPS] * 47, abs=0.02)
    sound = times(path, "audio")
    assert all(abs(later - earlier) < 0.15 for earlier, later in pairwise(sound))
    # Sound and images jump by the same.
    assert sound[-1] - sound[0] == pytest.approx(images[-1] - images[0], abs=0.25)


@pytest.mark.parametrize(("suffix", "expected"), [("mp4", False), ("mkv", False), ("ts", True)])
def test_only_some_formats_jump_and_the_others_are_left_alone(make_clip, suffix, expected):
    path = make_clip(f"clip.{suffix}", count=3, stamps=[0, 1, 400], time_base=Fraction(1, 12))
    with open_to_read(path) as container:
        assert may_jump(container) == expected
    if not expected:
        assert times(path, "video")[-1] == pytest.approx(400 / 12, abs=0.1)


def test_sound_that_pauses_does_not_jump(tmp_path):
    path = tmp_path / "clip.ts"
    with av.open(str(path), "w") as container:
        image, sound = (
            container.add_stream(codec, rate=rate) for codec, rate in (("mpeg2video", 5), ("mp2", 48000))
        )
        image.width, image.height, image.pix_fmt, image.codec_context.max_b_frames = 64, 48, "yuv420p", 0
        container.start_encoding()
        for index in range(150):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), dtype=np.uint8))
            frame.pts = index
            container.mux(image.encode(frame))
            if index % 100 == 0:
                piece = av.AudioFrame.from_ndarray(
                    np.zeros((1, 1152), dtype=np.int16), format="s16", layout="mono"
                )
                piece.sample_rate, piece.pts, piece.time_base = 48000, index * 9600, Fraction(1, 48000)
                container.mux(sound.encode(piece))
        container.mux(image.encode(None))
    images = times(path, "video")
    assert [later - earlier for earlier, later in pairwise(images)] == pytest.approx([0.2] * 149, abs=0.01)
    assert times(path, "audio")[1] - times(path, "audio")[0] == pytest.approx(20, abs=0.1)
