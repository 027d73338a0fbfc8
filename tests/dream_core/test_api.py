"""The main functions."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor

import dream_core
from dream_core import Dreamer, dream_image, dream_video
from dream_core.errors import ImageError, Notice, SettingsError, VideoError
from dream_core.models.image_text import ImageTextEncoder
from dream_core.settings import InputSettings, OutputSettings
from dream_core.video import open_clip, open_output
from dream_core.video.images import load_image, save_image

QUICK = {"model": "efficientnet_lite0", "flow": "dis", "octaves": 2, "octave_steps": 2}


@pytest.fixture
def image() -> Tensor:
    return torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def clip(tmp_path: Path, image: Tensor) -> Path:
    path = tmp_path / "clip.mp4"
    with open_output(path, size=(48, 64), fps=Fraction(10), settings=OutputSettings()) as output:
        for index in range(3):
            output.write(image.roll(index, -1))
    return path


def test_a_video_is_dreamed_with_flat_options(clip: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    target = dream_video(
        str(clip),
        tmp_path / "out.mp4",
        on_frame=lambda frame, _: seen.append(frame.index),
        size=64,
        frames=2,
        **QUICK,
    )
    assert target == tmp_path / "out.mp4"
    assert seen == [0, 1]
    with open_clip(target, settings=InputSettings(size=0)) as dreamed:
        assert [tuple(frame.image.shape) for frame in dreamed] == [(3, 48, 64)] * 2


def test_a_dream_is_as_strong_as_the_sound_is_loud(tmp_path: Path, image: Tensor) -> None:
    """The correlation of both at the same frame, as `deepdream-video measure` would show it."""
    count, rate = 16, 8000
    loudness = 0.55 - 0.45 * np.cos(2 * np.pi * np.arange(count * rate // 8) / rate)
    wave = 20_000 * loudness * np.sin(2 * np.pi * 440 * np.arange(count * rate // 8) / rate)
    song = tmp_path / "song.wav"
    with av.open(str(song), "w") as container:
        track = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        sound = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None], format="s16", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = rate, 0, Fraction(1, rate)
        container.mux(track.encode(sound))
        container.mux(track.encode(None))
    clip, exact = tmp_path / "still.mp4", {"quality": 0, "pixel_format": "yuv444p"}
    with open_output(clip, size=(48, 64), fps=Fraction(8), settings=OutputSettings(**exact)) as output:
        for _ in range(count):
            output.write(image)
    options = {**QUICK, **exact, "octaves": 1, "size": 64}
    dreamed = dream_video(
        clip, tmp_path / "out.mp4", listen=["learning_rate=level:0.3..4"], listen_to=song, **options
    )
    with open_clip(dreamed, settings=InputSettings(size=0)) as frames:
        energies = [float((frame.image - image).square().mean()) for frame in frames]
    heard = loudness[:: rate // 8][:count]
    assert np.corrcoef(energies, heard)[0, 1] > 0.8


def test_only_a_video_has_a_sound(image: Tensor) -> None:
    for refused in (Dreamer, lambda **options: dream_image(image, **options)):
        with pytest.raises(SettingsError, match=r"for `listen`, got .*; use dream_video"):
            refused(listen=["learning_rate=level:0..1"], **QUICK)


def stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_parts_of_a_clip_dream_as_the_whole(clip: Path, tmp_path: Path) -> None:
    last, options = tmp_path / "last.safetensors", {"size": 0, **QUICK}
    dream_video(clip, tmp_path / "whole", **options)
    dream_video(clip, tmp_path / "one", frames=1, save_last_dream=last, **options)
    following = {"start": 0.1, "previous_dream": last, **options}
    with pytest.raises(KeyboardInterrupt):
        dream_video(clip, tmp_path / "two", on_frame=stop, **following)
    dream_video(clip, tmp_path / "two", **following)
    whole = [load_image(path) for path in sorted((tmp_path / "whole").iterdir())]
    parts = [load_image(path) for part in ("one", "two") for path in sorted((tmp_path / part).iterdir())]
    assert torch.equal(torch.stack(whole), torch.stack(parts))
    with pytest.raises(SettingsError, match=r"expected frames of 64x48, the size of .* got 32x24"):
        dream_video(clip, tmp_path / "small", previous_dream=last, **{**options, "size": 32})
    with pytest.raises(
        SettingsError, match=r"expected a new file for `save_last_dream`, got .* which exists"
    ):
        dream_video(clip, tmp_path / "again", save_last_dream=last, **options)
    assert not (tmp_path / "again").exists()


def test_a_schedule_goes_on_with_a_run_that_was_stopped_and_counts_frames(clip: Path, tmp_path: Path) -> None:
    options = {"size": 0, "schedule": ["learning_rate=0: 1, 0.2s: 6", "blend=0: 0, 2: 0.5"], **QUICK}
    dream_video(clip, tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        dream_video(clip, tmp_path / "again", on_frame=stop, **options)
    dream_video(clip, tmp_path / "again", **options)
    whole, again = (
        [load_image(path) for path in sorted((tmp_path / one).iterdir())] for one in ("whole", "again")
    )
    assert torch.equal(torch.stack(whole), torch.stack(again))
    dreamer = Dreamer(**{name: value for name, value in options.items() if name != "size"})
    with open_clip(clip, settings=InputSettings(size=0)) as frames:
        dreams = [dreamer.step(frame.image, seconds=frame.time) for frame in frames]
    assert (torch.stack(dreams) - torch.stack(whole)).abs().max() < 0.51 / 255


def test_an_image_has_the_values_of_a_schedule_at_frame_0(image: Tensor) -> None:
    with pytest.warns(Notice, match="`schedule` gives an image its values at frame 0"):
        scheduled = dream_image(image, schedule="learning_rate=0: 1, 9: 5", **QUICK)
    assert torch.equal(scheduled, dream_image(image, learning_rate=1.0, **QUICK))


def test_a_video_is_not_dreamed_into_itself(clip: Path) -> None:
    with pytest.raises(VideoError, match="is the input: choose another name"):
        dream_video(clip, clip, **QUICK)


def test_an_image_keeps_its_shape_and_may_be_a_file(image: Tensor, tmp_path: Path) -> None:
    dreamed = dream_image(image, **QUICK)
    assert dreamed.shape == image.shape
    assert not torch.equal(dreamed, image)
    assert torch.equal(dream_image(image[None], **QUICK)[0], dreamed)
    save_image(image, tmp_path / "image.png")
    from_file = dream_image(str(tmp_path / "image.png"), **QUICK)
    assert from_file.shape == image.shape


def test_an_image_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ImageError, match=r"expected image \(1,3,H,W\)"):
        dream_image(torch.zeros(1, 48, 64), **QUICK)


def test_a_mask_says_where_to_dream(image: Tensor, clip: Path, tmp_path: Path) -> None:
    mask = torch.zeros(48, 64)
    mask[10:40, 10:40] = 1
    save_image(mask[None], tmp_path / "mask.png")
    options = {"mask_feather": 4, **QUICK}
    dreamed = dream_image(image, mask=mask, **options)
    assert torch.equal(dream_image(image, mask=tmp_path / "mask.png", **options), dreamed)
    assert torch.equal(Dreamer(**options).step(image, mask=mask), dreamed)
    changed = (dreamed != image).any(0)
    assert changed[mask == 1].float().mean() > 0.8
    assert not changed[mask == 0].any()
    target = dream_video(clip, tmp_path / "out", mask=tmp_path / "mask.png", size=0, **options)
    with open_clip(clip, settings=InputSettings(size=0)) as frames:
        for frame, path in zip(frames, sorted(target.iterdir()), strict=True):
            kept = load_image(path)[:, mask == 0]
            assert torch.equal(kept, (frame.image[:, mask == 0] * 255).round() / 255)
    with pytest.raises(ImageError, match=r"expected one mask \(H,W\), got \(3, 48, 64\)"):
        dream_image(image, mask=image, **QUICK)


def test_a_dreamer_continues_the_dream_until_it_is_reset(image: Tensor) -> None:
    dreamer = Dreamer(**QUICK)
    first, second = dreamer.step(image), dreamer.step(image)
    assert torch.equal(first, dream_image(image, **QUICK))
    assert not torch.equal(first, second)
    dreamer.reset()
    assert torch.equal(dreamer.step(image[None])[0], first)
    assert dreamer.settings.octave.octave_steps == 2


@pytest.mark.parametrize(
    ("name", "hint"),
    [("octave_step", "did you mean `octave_steps`?"), ("zzzz", "dream_core.settings lists the options")],
)
def test_an_unknown_option_names_the_nearest(name: str, hint: str, image: Tensor) -> None:
    with pytest.raises(SettingsError) as told:
        dream_image(image, **{name: 1})
    assert str(told.value) == f"expected options of dream_core, got `{name}`; {hint}"


def test_a_dreamer_takes_flow_that_is_known(image: Tensor) -> None:
    """The same frame again has exactly no motion; another flow makes another dream."""
    still = torch.zeros(2, *image.shape[-2:])
    dreams = []
    for flow in (None, (still, still), (still[None], still[None]), still + 3):
        dreamer = Dreamer(**QUICK)
        dreamer.step(image)
        dreams.append(dreamer.step(image, flow=flow))
    assert torch.equal(dreams[0], dreams[1])
    assert torch.equal(dreams[0], dreams[2])
    assert not torch.equal(dreams[0], dreams[3])


@pytest.mark.parametrize("value", [255.0, float("nan")])
def test_a_dreamer_checks_the_values_of_its_frames(image: Tensor, value: float) -> None:
    dreamer = Dreamer(**QUICK)
    with pytest.raises(ImageError, match=r"in 0\.\.1, got"):
        dreamer.step(image.clone().fill_(value))


def test_a_dreamer_computes_with_the_libraries_that_its_options_allow(image: Tensor) -> None:
    seen: list[bool] = []
    Dreamer(**QUICK, mkldnn=False).step(image, on_step=lambda _: seen.append(torch.backends.mkldnn.enabled))
    assert set(seen) == {False}
    assert torch.backends.mkldnn.enabled


def test_frames_and_dreams_are_kept_where_asked(clip: Path, tmp_path: Path) -> None:
    dream_video(clip, tmp_path / "out.mp4", keep=str(tmp_path / "kept"), frames=1, **QUICK)
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"frames", "dreams", "flow", "mask"}


def test_a_look_gives_options_and_keywords_win(image: Tensor, tmp_path: Path) -> None:
    look = tmp_path / "mine.json"
    options = {"model": "efficientnet_lite0", "layers": ["block3"], "octaves": 2, "octave_steps": 2}
    look.write_text(json.dumps({"description": "Mine.", "options": options}), "utf-8")
    dreamed = dream_image(image, look=look)
    assert torch.equal(dreamed, dream_image(image, **options))
    assert torch.equal(dream_image(image, look=str(look), layers="block10"), dream_image(image, **QUICK))
    assert torch.equal(Dreamer(look=look, flow="dis").step(image), dreamed)


def test_a_video_is_dreamed_with_a_look(clip: Path, tmp_path: Path) -> None:
    look = tmp_path / "mine.json"
    content = {"description": "Mine.", "options": {"model": QUICK["model"], "octave_steps": 1}}
    look.write_text(json.dumps(content), "utf-8")
    steps: list[int] = []
    options = {"flow": "dis", "frames": 1, "octaves": 1, "size": 64}
    dream_video(clip, tmp_path / "a.mp4", look=look, on_step=lambda step: steps.append(step.done), **options)
    assert steps == [1]


def test_importing_the_package_loads_nothing_and_unknown_names_raise() -> None:
    code = "import dream_core, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        dream_core.nothing  # noqa: B018


def test_a_text_is_what_is_dreamed_of(image: Tensor, colors: ImageTextEncoder) -> None:
    options = {**QUICK, "optimizer": "classic", "keep_brightness": False, "encoder": colors}
    red = dream_image(image, text="red", **options)
    both = dream_image(image, text=["red:0.5", "blue:-1"], layers="block4", text_weight=4, **options)
    for found in (red, both):
        change = (found - image).mean((1, 2))
        assert change[0] > change[2] + 0.005
    place = torch.zeros(48, 64)
    place[:, :32] = 1
    there = dream_image(image, text="red", regions={"text": place}, **options)
    assert torch.equal(there[..., 32:], image[..., 32:])
    assert not torch.equal(there[..., :32], image[..., :32])


def test_texts_fade_into_each_other_along_a_clip(image: Tensor, colors: ImageTextEncoder) -> None:
    options = {**QUICK, "optimizer": "classic", "keep_brightness": False, "blend": 0.5, "cuts": False}
    dreamer = Dreamer(encoder=colors, schedule=["text=0: red, 4: blue"], **options)
    changes = [(dreamer.step(image) - image).mean((1, 2)) for _ in range(6)]
    assert changes[0][0] > changes[0][2] + 0.005
    assert changes[-1][2] > changes[-1][0] + 0.005
