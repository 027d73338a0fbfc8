"""Translation of commands of deepdream-video-pytorch, this program's predecessor."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import SettingsError

THERE = "deepdream-video-pytorch"


@dataclass(frozen=True)
class Old:
    """An option of the predecessor.

    Args:
        here: what replaces it, for people.
        becomes: flags for its value, with all options given beside it; none where nothing is to be said.
        takes_value: False for a switch.
        answer: True if the translated command cannot say it, so that `here` is told.
    """

    here: str
    becomes: Callable[[str, dict[str, str]], Sequence[str]] = lambda value, given: ()
    takes_value: bool = True
    answer: bool = False


def _renamed(flag: str) -> Old:
    return Old(flag, lambda value, _: (flag, value))


def _switch(flag: str) -> Old:
    return Old(flag, lambda *_: (flag,), takes_value=False)


def _unless(flag: str, off: str) -> Old:
    """Rename an option that one value switches off."""
    return Old(flag, lambda value, _: () if value == off else (flag, value))


def _answered(here: str, *, takes_value: bool = True) -> Old:
    return Old(here, takes_value=takes_value, answer=True)


def _entries(flag: str, *, off: str) -> Old:
    return Old(flag, lambda value, _: () if value == off else (flag, *re.split(r"[,\s]+", value.strip())))


def _octave_scale(value: str, given: dict[str, str]) -> Sequence[str]:
    is_list = given.get("octave_mode", "normal").startswith("manual")
    return ("--octave-sizes", *value.split(",")) if is_list else ("--octave-scale", value)


def _device(value: str, given: dict[str, str]) -> Sequence[str]:
    names = {"c": "cpu", "mps": "mps"}
    devices = [names.get(one, f"cuda:{one}") for one in value.split(",")]
    tiles = ("--tile-size", "512") if len(devices) > 1 and given.get("tile_size", "0") == "0" else ()
    return ("--device", ",".join(devices), *tiles)


_MODELS = {
    "bvlc": "bvlc_googlenet",
    "places205": "googlenet_places205",
    "places365": "googlenet_places365",
    "sos": "googlenet_sos",
    "googlenet": "googlenet",
    "vgg16": "vgg16",
    "vgg-16": "vgg16",
    "vgg19": "vgg19",
    "vgg-19": "vgg19",
    "resnet50": "resnet50",
    "inceptionv3": "inception_v3",
    "inception_v3": "inception_v3",
}


def _model(value: str, given: dict[str, str]) -> Sequence[str]:
    name = next((model for part, model in _MODELS.items() if part in Path(value).name.lower()), None)
    if name is None:
        raise SettingsError(
            f"expected a network of this program, got -model_file {value}: see --model in --help"
        )
    if name.startswith("vgg") and given.get("model_type", "auto") in ("auto", "caffe"):
        name += "_caffe"
    return ("--model", name, "--model-file", value)


def _backend(value: str, _: dict[str, str]) -> Sequence[str]:
    fast = value.split(",")
    return (*(() if "cudnn" in fast else ("--no-cudnn",)), *(("--no-mkldnn",) if fast == ["nn"] else ()))


_STEPS = "--print-every N, counted in gradient steps"
_NUMBERS = "a folder as OUTPUT, whose images are numbered from frame_000000.png on"

OPTIONS: dict[str, Old] = {
    "content_video": Old("INPUT, the first argument"),
    "content_image": Old("INPUT, the first argument"),
    "output_video": Old("OUTPUT, the second argument"),
    "output_image": Old("OUTPUT, the second argument"),
    "blend": _renamed("--blend"),
    "independent": _switch("--independent"),
    "update_interval": _renamed("--update-interval"),
    "temp_dir": Old("--keep FOLDER"),
    "keep_temp": Old(
        "--keep FOLDER", lambda _, given: ("--keep", given.get("temp_dir", "temp")), takes_value=False
    ),
    "verbose": _switch("--verbose"),
    "image_size": _renamed("--size"),
    "gpu": Old("--device", _device),
    "multidevice_strategy": _answered(
        "--device cuda:0,cuda:1 --tile-size 512: devices share each image's tiles"
    ),
    "backend": Old("--cudnn and --mkldnn", _backend),
    "cudnn_autotune": _switch("--cudnn-autotune"),
    "optimizer": _renamed("--optimizer"),
    "lbfgs_num_correction": _renamed("--lbfgs-history"),
    "learning_rate": _renamed("--learning-rate"),
    "num_iterations": _renamed("--iterations"),
    "init": _renamed("--init"),
    "seed": _unless("--seed", "-1"),
    "clamp": Old("--clamp, which is on", takes_value=False),
    "adjust_contrast": _unless("--contrast", "-1"),
    "dream_layers": _entries("--layers", off=""),
    "dream_weight": _renamed("--dream-weight"),
    "normalize_weights": _switch("--normalize-weights"),
    "loss_mode": _renamed("--loss"),
    "tv_weight": _renamed("--tv-weight"),
    "l2_weight": _renamed("--l2-weight"),
    "channels": _entries("--channels", off="-1"),
    "channel_mode": _renamed("--channel-mode"),
    "channel_capture": Old(
        "--channel-capture", lambda value, _: ("--channel-capture", "octave" if value == "iter" else value)
    ),
    "image_capture_size": _answered(
        "--size: channels are chosen, and classes seen, in the image as it is dreamed"
    ),
    "print_channels": _switch("--print-channels"),
    "print_layers": _switch("--print-layers"),
    "label_file": _unless("--label-file", ""),
    "classify": _unless("--classify", "0"),
    "num_octaves": _renamed("--octaves"),
    "octave_scale": Old("--octave-scale, or --octave-sizes in manual modes", _octave_scale),
    "octave_iter": _renamed("--octave-steps"),
    "octave_mode": _renamed("--octave-mode"),
    "jitter": _renamed("--jitter"),
    "random_transforms": _renamed("--random-transforms"),
    "layer_sigma": _renamed("--gradient-blur"),
    "lap_scale": _renamed("--laplacian-levels"),
    "sigma": _renamed("--laplacian-sigma"),
    "use_fft": Old(
        "--fft-block", lambda _, given: ("--fft-block", given.get("fft_block", "25")), takes_value=False
    ),
    "fft_block": Old("--fft-block"),
    "norm_percent": _renamed("--norm-percent"),
    "abs_percent": _renamed("--abs-percent"),
    "mean_percent": _renamed("--mean-percent"),
    "percent_mode": _answered("nothing: there is one way to drop a percentage, and it is exact and fast"),
    "original_colors": Old(
        "--original-colors", lambda value, _: ("--original-colors",) if value == "1" else ()
    ),
    "zoom": _renamed("--zoom"),
    "zoom_mode": _renamed("--zoom-mode"),
    "tile_size": _renamed("--tile-size"),
    "overlap_percent": Old(
        "--tile-overlap", lambda value, _: ("--tile-overlap", f"{min(0.5, float(value)):g}")
    ),
    "disable_roll": _switch("--no-tile-roll"),
    "print_tile": _answered(_STEPS),
    "print_tile_iter": _answered(_STEPS),
    "print_iter": _answered(_STEPS),
    "print_octave_iter": _unless("--print-every", "0"),
    "save_iter": _answered("--save-every N with --keep FOLDER, counted in gradient steps"),
    "save_octave_iter": Old(
        "--save-every with --keep FOLDER",
        lambda value, given: (
            ()
            if value == "0"
            else ("--save-every", value, *(() if "keep_temp" in given else ("--keep", "steps")))
        ),
    ),
    "output_start_num": _answered(_NUMBERS),
    "leading_zeros": _answered(_NUMBERS),
    "create_gif": Old("an OUTPUT named .gif", takes_value=False),
    "frame_duration": Old(
        "--frame-duration", lambda value, given: ("--frame-duration", value) if "create_gif" in given else ()
    ),
    "model_file": Old("--model and --model-file", _model),
    "model_type": _answered("--model: each network has its own preprocessing"),
    "model_mean": _entries("--model-mean", off="auto"),
    "pooling": _renamed("--pooling"),
    "disable_check": _answered(
        "nothing: weights are checked by their names and shapes alone", takes_value=False
    ),
}
"""Every option of video_dream.py and dreamer.py."""


@dataclass(frozen=True)
class Translation:
    """A translated command.

    Args:
        command: to be typed.
        answers: a line for each option that the command cannot say.
    """

    command: str
    answers: list[str]


def translate(text: str, *, program: str) -> Translation:
    """Translate a command such as `python video_dream.py -content_video in.mp4 -blend 0.5`.

    Args:
        text: the command, or its options alone.
        program: name of this one's.

    Raises:
        SettingsError: it cannot be read, or has an option that the predecessor does not have.
    """
    given = _options(_words(text))
    source = given.get("content_video") or given.get("content_image") or "input.mp4"
    target = given.get("output_video") or given.get("output_image") or "output.mp4"
    if "create_gif" in given:
        target = str(Path(target).with_suffix(".gif"))
    flags = [word for name, value in given.items() for word in OPTIONS[name].becomes(value, given)]
    answers = [f"-{name}: {OPTIONS[name].here}" for name in given if OPTIONS[name].answer]
    return Translation(shlex.join([program, source, target, *flags]), answers)


def old_option(word: str) -> str | None:
    """Return the predecessor's option that a word names, as -image_size does; None if it names none."""
    name = word[1:].partition("=")[0]
    return name if word.startswith("-") and not word.startswith("--") and name in OPTIONS else None


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise SettingsError(f"expected a command as one would type it, got {text!r} ({error})") from error
    script = next((index for index, word in enumerate(words) if word.endswith(".py")), -1)
    return words[script + 1 :]


def _options(words: list[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    position = 0
    while position < len(words):
        name, _, value = words[position].lstrip("-").partition("=")
        if not words[position].startswith("-") or name not in (known := _known(name)):
            raise SettingsError(_unknown(words[position], known if words[position].startswith("-") else []))
        position += 1
        if OPTIONS[name].takes_value and not value:
            if position == len(words):
                raise SettingsError(f"expected a value after -{name}, got none")
            value = words[position]
            position += 1
        given[name] = value
    return given


def _known(name: str) -> list[str]:
    return [name] if name in OPTIONS else difflib.get_close_matches(name, OPTIONS, n=1)


def _unknown(word: str, close: list[str]) -> str:
    hint = f"; do you mean -{close[0]}?" if close else ": put a command with spaces in quotes"
    return f"expected options of {THERE}, got {word}{hint}"
