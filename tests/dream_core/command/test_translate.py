from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from dream_core.command.options import Command, parse
from dream_core.command.translate import OPTIONS, old_option, translate
from dream_core.errors import SettingsError

VALUES = {
    "content_video": "a.mp4",
    "content_image": "a.png",
    "output_video": "b.mp4",
    "output_image": "b.png",
    "gpu": "c",
    "multidevice_strategy": "4,7,29",
    "backend": "cudnn",
    "optimizer": "lbfgs",
    "init": "random",
    "loss_mode": "bce",
    "dream_layers": "inception_4d,inception_5b",
    "channels": "3,tabby",
    "channel_mode": "all",
    "channel_capture": "iter",
    "label_file": "labels.txt",
    "octave_mode": "advanced",
    "random_transforms": "flip",
    "percent_mode": "slow",
    "original_colors": "1",
    "zoom_mode": "pixel",
    "overlap_percent": "0.4",
    "model_file": "models/bvlc_googlenet.pth",
    "model_type": "caffe",
    "model_mean": "103.9,116.8,123.7",
    "pooling": "avg",
    "temp_dir": "temp",
}
NAMES = [
    "content_image",
    "image_size",
    "gpu",
    "dream_weight",
    "normalize_weights",
    "tv_weight",
    "l2_weight",
    "num_iterations",
    "jitter",
    "init",
    "optimizer",
    "learning_rate",
    "lbfgs_num_correction",
    "loss_mode",
    "print_iter",
    "print_octave_iter",
    "save_iter",
    "save_octave_iter",
    "output_image",
    "output_start_num",
    "num_octaves",
    "octave_scale",
    "octave_iter",
    "octave_mode",
    "channels",
    "channel_mode",
    "channel_capture",
    "layer_sigma",
    "lap_scale",
    "sigma",
    "use_fft",
    "fft_block",
    "zoom",
    "zoom_mode",
    "leading_zeros",
    "tile_size",
    "overlap_percent",
    "print_tile",
    "disable_roll",
    "print_tile_iter",
    "image_capture_size",
    "create_gif",
    "frame_duration",
    "original_colors",
    "pooling",
    "model_file",
    "model_type",
    "model_mean",
    "label_file",
    "disable_check",
    "backend",
    "cudnn_autotune",
    "seed",
    "clamp",
    "random_transforms",
    "adjust_contrast",
    "classify",
    "dream_layers",
    "multidevice_strategy",
    "print_layers",
    "print_channels",
    "norm_percent",
    "abs_percent",
    "mean_percent",
    "percent_mode",
    "content_video",
    "output_video",
    "temp_dir",
    "blend",
    "update_interval",
    "verbose",
    "independent",
    "keep_temp",
]
"""Every option of the predecessor."""


def command_of(text: str) -> Command:
    command = parse(shlex.split(translate(text, program="deepdream-video").command)[1:])
    assert isinstance(command, Command)
    return command


def test_every_option_of_the_predecessor_is_known():
    assert len(NAMES) == 73
    assert sorted(OPTIONS) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_translated_into_a_command_that_can_be_read(name):
    words = [f"-{name}", VALUES.get(name, "64")] if OPTIONS[name].takes_value else [f"-{name}"]
    translation = translate(shlex.join(["python", "video_dream.py", *words]), program="deepdream-video")
    assert isinstance(parse(shlex.split(translation.command)[1:]), Command)
    assert len(translation.answers) == OPTIONS[name].answer


def test_a_whole_command():
    command = command_of(
        "python video_dream.py -content_video in.mp4 -output_video 'my dream.mp4' -num_iterations 1 "
        "-image_size 640 -blend 0.5 -dream_layers inception_4d_3x3_reduce,inception_5b -octave_scale 0.7 "
        "-gpu 0,1 -seed -1 -use_fft"
    )
    assert (command.input, command.output) == (Path("in.mp4"), Path("my dream.mp4"))
    assert command.octave.iterations == 1
    assert command.read.size == 640
    assert command.temporal.blend == 0.5
    assert command.objective.layers == ("inception_4d_3x3_reduce", "inception_5b")
    assert command.octave.octave_scale == 0.7
    assert (command.device.device, command.tile.tile_size) == ("cuda:0,cuda:1", 512)
    assert command.ascent.seed == 0
    assert command.ascent.fft_block == 25


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-octave_mode manual -octave_scale 90,160,180,320", "--octave-sizes 90 160 180 320"),
        ("-keep_temp -temp_dir kept", "--keep kept"),
        ("-model_file models/vgg19-d01eb7cb.pth", "--model vgg19_caffe"),
        ("-model_file models/vgg16.pth -model_type pytorch", "--model vgg16 --model-file"),
        ("-create_gif -frame_duration 80", "input.mp4 output.gif --frame-duration 80"),
        ("-gpu c -backend nn", "--device cpu --no-cudnn --no-mkldnn"),
        ("-blend=0.25", "--blend 0.25"),
        ("dreamer.py -content_image a.png -output_image b.png", "a.png b.png"),
    ],
)
def test_what_depends_on_more(text, expected):
    assert expected in translate(text, program="deepdream-video").command


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("python video_dream.py -image_siz 512", r"got -image_siz; do you mean -image_size\?"),
        ("python video_dream.py -image_size", r"expected a value after -image_size, got none"),
        ("python video_dream.py in.mp4", r"expected options of deepdream-video-pytorch, got in\.mp4"),
        ("-content_video 'a", r"expected a command as one would type it"),
        ("-model_file models/nin_imagenet.pth", r"expected a network of this program, got -model_file"),
    ],
)
def test_what_cannot_be_translated_is_said(text, message):
    with pytest.raises(SettingsError, match=message):
        translate(text, program="deepdream-video")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("-image_size", "image_size"),
        ("-blend=0.5", "blend"),
        ("--blend", None),
        ("-1", None),
        ("blend", None),
    ],
)
def test_old_options_are_recognized(word, expected):
    assert old_option(word) == expected


def test_the_command_translates_and_answers(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["translate", "python video_dream.py -content_video in.mp4 -leading_zeros 4"])
    assert ended.value.code == 0
    printed = capsys.readouterr()
    assert printed.out == "deepdream-video in.mp4 output.mp4\n"
    assert printed.err == f"-leading_zeros: {OPTIONS['leading_zeros'].here}\n"
    with pytest.raises(SystemExit) as ended:
        parse(["translate", "python", "video_dream.py", "-oops"])
    assert ended.value.code == 2


@pytest.mark.parametrize("name", ["content_video", "image_size", "dream_layers", "percent_mode"])
def test_an_old_option_in_a_command_is_answered_by_the_new_one(capsys, name):
    with pytest.raises(SystemExit) as ended:
        parse(["in.mp4", f"-{name}", "1"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"-{name} is an option of deepdream-video-pytorch: here it is {OPTIONS[name].here}" in said
    assert 'deepdream-video translate "python video_dream.py ..."' in said


def test_the_documentation_names_every_option():
    text = (Path(__file__).parents[3] / "docs" / "from-deepdream-video-pytorch.md").read_text("utf-8")
    assert set(re.findall(r"`-(\w+)", text)) >= set(NAMES)
