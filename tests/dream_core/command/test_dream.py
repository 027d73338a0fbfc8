"""The command, from its arguments to its files, exit codes and messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from docstring_parser import google
from safetensors.torch import save_file

from dream_core.__main__ import run as main
from dream_core.command.console import Teller
from dream_core.command.dream import default_output, dream_file, step_saver
from dream_core.command.options import ATLAS, COMPARE, FLOW, MEASURE, REPEATED, Command, as_flags, parse
from dream_core.dreaming.dream import DreamStep
from dream_core.looks import load_look
from dream_core.models.registry import MODELS
from dream_core.resume import work_folder
from dream_core.settings import InputSettings, OutputSettings
from dream_core.synthetic import synthetic_clip
from dream_core.video import Clip, open_clip, open_output

ROOT = Path(__file__).parents[3]
FRAMES = 5


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.safetensors"
    save_file(MODELS["squeezenet1_1"].build().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    frames = synthetic_clip(frames=FRAMES, height=48, width=64, seed=1).frames
    with open_output(path, size=(48, 64), fps=Fraction(10), settings=OutputSettings(quality=5)) as output:
        for frame in frames:
            output.write(frame)
    return path


@pytest.fixture
def quick(weights: Path) -> list[str]:
    """Options that make a run quick and need no download."""
    network = [
        "--model",
        "squeezenet1_1",
        "--model-file",
        str(weights),
        "--layers",
        "fire2",
        "--flow",
        "dis",
    ]
    steps = ["--octaves", "1", "--octave-steps", "2", "--carried-steps", "2"]
    return [*network, "--size", "64", *steps, "--device", "cpu"]


def read(path: Path) -> list[torch.Tensor]:
    with open_clip(path, settings=InputSettings(size=0)) as clip:
        return [frame.image for frame in clip]


def test_a_clip_becomes_a_dreamed_clip(clip: Path, quick: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    assert main([str(clip), str(output), *quick]) == 0
    dreamed, source = read(output), read(clip)
    assert len(dreamed) == FRAMES
    assert dreamed[0].shape == source[0].shape
    change = (torch.stack(dreamed) - torch.stack(source)).abs().mean() * 255
    assert 0.5 < change < 30  # dreamed, and still the clip
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("name", ["out.gif", "out", "out.mkv"])
def test_other_kinds_of_output(name: str, clip: Path, quick: list[str], tmp_path: Path) -> None:
    assert main([str(clip), str(tmp_path / name), *quick, "--frames", "2"]) == 0
    assert len(read(tmp_path / name)) == 2


def test_an_image_becomes_an_image(clip: Path, quick: list[str], tmp_path: Path) -> None:
    assert main([str(clip), str(tmp_path / "first.png"), *quick, "--frames", "1"]) == 0
    assert main([str(tmp_path / "first.png"), *quick]) == 0
    assert read(tmp_path / "first_dream.png")[0].shape == (3, 48, 64)


def test_part_of_the_clip(clip: Path, quick: list[str], tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    main([str(clip), str(whole), *quick, "--independent"])
    main([str(clip), str(part), *quick, "--independent", "--start", "0.2", "--frames", "2"])
    assert all(torch.equal(a, b) for a, b in zip(read(part), read(whole)[2:4], strict=True))


def test_material_is_kept(clip: Path, quick: list[str], tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    options = ["--keep", str(kept), "--save-every", "1", "--frames", "2"]
    assert main([str(clip), str(tmp_path / "out.mp4"), *quick, *options]) == 0
    found = sorted(str(path.relative_to(kept)) for path in kept.rglob("*.png"))
    expected = [
        f"{folder}_{i:06d}"
        for folder in ("dreams/dream", "flow/flow", "frames/frame", "mask/mask")
        for i in (0, 1)
    ]
    expected += [f"steps/frame_{i:06d}_step_{step:04d}" for i in (0, 1) for step in (1, 2)]
    assert found == [f"{name}.png" for name in expected]


def test_saved_steps_have_the_number_of_the_frame_that_is_dreamed(tmp_path: Path) -> None:
    """Which may be written later."""
    numbers = iter([7, 8])
    save = step_saver(tmp_path / "steps", 2, lambda: next(numbers))
    for done in (1, 2, 3, 4):
        image = torch.rand(1, 3, 4, 5)
        save(DreamStep(done=done, total=4, image=image, octave=1, octaves=1, objective=torch.tensor(0.0)))
    names = sorted(path.name for path in (tmp_path / "steps").iterdir())
    assert names == ["frame_000007_step_0002.png", "frame_000008_step_0004.png"]


def test_a_run_that_was_killed_before_its_first_record_keeps_on(
    clip: Path, quick: list[str], tmp_path: Path
) -> None:
    kept, target = tmp_path / "kept", tmp_path / "out.mp4"
    words = [str(clip), str(target), *quick, "--keep", str(kept), "--frames", "2"]
    command = parse(words)
    assert isinstance(command, Command)
    work = work_folder(clip, target, pipeline=command.pipeline, reading=command.read, writing=command.write)
    work.open()
    work.commit({"growing": "out.part.mp4", "written": 0, "sink": None, "run": None})
    work.close()
    (kept / "frames").mkdir(parents=True)
    (kept / "frames" / "frame_000000.png").touch()
    assert main(words) == 0
    assert len(list(kept.rglob("frame_00000?.png"))) == 2


def interrupted_after(count: int) -> Clip:
    """A clip whose reading is stopped by ctrl-C once this many frames are dreamed."""

    def frames() -> Iterator[tuple[torch.Tensor, Fraction]]:
        for index in range(count + 1):  # one frame is read ahead
            yield torch.rand(3, 48, 64), Fraction(index, 10)
        raise KeyboardInterrupt

    return Clip(
        frames(),
        load=lambda frame: frame,
        size=(48, 64),
        fps=Fraction(10),
        time_base=Fraction(1, 10240),  # that of the clip
        frame_count=FRAMES,
        limit=None,
        sound=None,
    )


def test_ctrl_c_leaves_what_is_done_and_the_same_command_goes_on(
    clip: Path, quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, growing = tmp_path / "out.mp4", tmp_path / "out.part.mp4"
    arguments = [str(clip), str(output), *quick]
    assert dream_file(interrupted_after(3), parse(arguments), Teller()) == 130
    assert len(read(growing)) == 3
    assert (
        f"stopped: {growing} has the 3 images done so far; the same again goes on after image 3, --restart begins"
        in capsys.readouterr().err
    )
    assert main([*arguments, "--octave-steps", "3"]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert (
        f"{output} is unfinished: expected what it was begun with, got --octave-steps 3 instead of 2" in error
    )
    assert main(arguments) == 0
    assert "going on after frame 3, where an earlier run was stopped" in capsys.readouterr().err
    assert len(read(output)) == FRAMES
    assert list(tmp_path.iterdir()) == [output]


def test_ctrl_c_before_the_first_frame_leaves_nothing(clip: Path, quick: list[str], tmp_path: Path) -> None:
    command = parse([str(clip), str(tmp_path / "out.mp4"), *quick])
    with pytest.raises(KeyboardInterrupt):
        dream_file(interrupted_after(0), command, Teller())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layers", "features.99"], "features.99"),
        (["--model-file", "missing.pth"], "missing.pth"),
        (["--device", "tpu"], "expected a device auto, cpu, mps, cuda or cuda:N, got 'tpu'"),
        (["--blend", "2"], "expected --blend from 0 to 1, got 2"),
        (["--size", "-1"], "size"),
        (["--codec", "h265"], "h265"),
        (["--octaves", "0"], "--octaves"),
        (["--save-every", "1"], "add --keep FOLDER"),
        (["--brightness-threshold", "-1"], "--brightness-threshold from 0 to 255, got -1"),
        (["--tile-overlap", "0.9"], "--tile-overlap"),
    ],
)
def test_mistakes_get_one_line(
    options: list[str],
    message: str,
    clip: Path,
    quick: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([str(clip), str(tmp_path / "out.mp4"), *quick, *options]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not list(tmp_path.iterdir())


def test_without_an_input_the_sample_clip_is_dreamed(
    quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [option for option in quick if option not in ("--layers", "fire2")]
    assert main([*options, "--frames", "3", "--start", "1"]) == 0
    told = capsys.readouterr().err
    assert "no INPUT is given: dreaming the sample clip" in told
    assert "Blender Foundation" in told
    with open_clip(tmp_path / "rabbit_dream.mp4", settings=InputSettings(size=0)) as clip:
        assert clip.size == (36, 64)
        assert clip.has_sound
        assert len(list(clip)) == 3


def test_a_missing_input_and_one_that_a_list_took(
    quick: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["missing.mp4", *quick]) == 1
    assert "missing.mp4 does not exist" in capsys.readouterr().err
    assert main(["--layers", "fire2", "clip.mp4"]) == 1
    assert "put INPUT before options that take lists (--layers)" in capsys.readouterr().err


def test_an_existing_output_is_spared(
    clip: Path, quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"
    output.write_bytes(b"precious")
    assert main([str(clip), str(output), *quick]) == 1
    assert "exists already" in capsys.readouterr().err
    assert output.read_bytes() == b"precious"
    assert main([str(clip), str(output), *quick, "--overwrite", "--frames", "1"]) == 0
    assert len(read(output)) == 1


def test_the_input_is_never_overwritten(
    clip: Path, quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "clip.mp4"
    copy.write_bytes(clip.read_bytes())
    assert main([str(copy), str(copy), *quick, "--overwrite"]) == 1
    assert "is the input" in capsys.readouterr().err
    assert copy.read_bytes() == clip.read_bytes()


def test_an_unknown_option_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["clip.mp4", "--octave-stpes", "3"])
    assert exit_.value.code == 2
    assert "--octave-steps" in capsys.readouterr().err


def test_layers_are_listed(quick: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*quick, "--print-layers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(re.fullmatch(r"fire2 +128 channels.*", line) for line in lines)
    assert sum("(default)" in line for line in lines) == 1


@pytest.mark.parametrize("name", MODELS)
def test_layers_are_listed_without_weights(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("DEEPDREAM_MODELS", raising=False)
    assert main(["--model", name, "--print-layers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("(default)" in line for line in lines) == 1
    assert any(f"{MODELS[name].classes} channels" in line for line in lines)
    assert not list(tmp_path.iterdir())  # nothing was downloaded


def test_channels_and_classes_are_printed(
    clip: Path, quick: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--channels", "3", "--channel-mode", "strong", "--print-channels", "--classify", "2"]
    assert main([str(clip), *quick, *options]) == 0
    *classes, channels = capsys.readouterr().out.splitlines()
    assert len(classes) == 2
    assert all(re.fullmatch(r" +0\.\d{4}  \S.*", line) for line in classes)
    assert re.fullmatch(r"fire2: \d+, \d+, \d+", channels)


def test_the_objective_is_printed(
    clip: Path, quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(clip), str(tmp_path / "out.mp4"), *quick, "--print-every", "2", "--frames", "2"]) == 0
    steps = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    assert len(steps) == 2
    assert all(re.fullmatch(r"step 2/2, octave 1/1: objective [\d.e+]+", line) for line in steps)


def test_steps_are_spared(clip: Path, quick: list[str], tmp_path: Path) -> None:
    kept = tmp_path / "kept" / "steps" / "frame_000000_step_0001.png"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"precious")
    options = [*quick, "--frames", "1", "--keep", str(tmp_path / "kept"), "--save-every", "1"]
    assert main([str(clip), str(tmp_path / "out.mp4"), *options]) == 1
    assert kept.read_bytes() == b"precious"


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+.*|not installed", capsys.readouterr().out.strip())


def test_quiet_says_nothing(
    clip: Path, quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(clip), str(tmp_path / "out.mp4"), *quick, "--quiet", "--frames", "1"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a/b.avi", "a/b_dream.mp4"),
        ("b.mov", "b_dream.mov"),
        ("b.gif", "b_dream.gif"),
        ("b.jpg", "b_dream.jpg"),
    ],
)
def test_default_output(source: str, expected: str) -> None:
    assert default_output(Path(source)) == Path(expected)


def test_default_output_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_output(tmp_path) == tmp_path.with_name(tmp_path.name + "_dream")
    (tmp_path / "clip" / "frames").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "clip" / "frames")
    assert default_output(Path()) == tmp_path / "clip" / "frames_dream"
    assert default_output(Path("..")) == tmp_path / "clip_dream"


@pytest.mark.parametrize(("target", "says"), [(".", "exists already"), ("/", "ends in a name")])
def test_an_output_without_a_name_of_its_own_is_one_line(
    clip: Path,
    quick: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    target: str,
    says: str,
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine").touch()
    monkeypatch.chdir(tmp_path / "here")
    assert main([str(clip), target, *quick, "--quiet"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line


def help_text(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit) as exit_:
        main([*command, "--help"])
    assert exit_.value.code == 0
    return capsys.readouterr().out


def test_help_explains_every_setting_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # one column of groups
    lines = help_text(capsys).splitlines()
    groups = [group for group in vars(Command()).values() if hasattr(group, "__dataclass_fields__")]
    texts = {
        one.arg_name: one.description for group in groups for one in google.parse(type(group).__doc__).params
    }
    assert texts.keys() == {name for group in groups for name in vars(group)}
    assert len(texts) == sum(len(vars(group)) for group in groups) > 60
    for name, text in texts.items():
        flag = "--" + name.replace("_", "-")
        starts = [index for index, line in enumerate(lines) if re.match(rf"[│ ] {flag}( |,|$)", line)]
        assert len(starts) == 1, flag
        shown = " ".join(" ".join(lines[starts[0] : starts[0] + 16]).replace("│", " ").split())
        ending = "(repeatable)" if name in REPEATED else "(default: "
        assert f"{' '.join(as_flags(text).split())} {ending}" in shown, flag


@pytest.mark.parametrize(
    "document",
    ["README.md", "docs/command.md", "docs/from-deepdream-video-pytorch.md", "docs/how-it-works.md"],
)
def test_documents_name_only_options_that_exist(document: str, capsys: pytest.CaptureFixture[str]) -> None:
    every = help_text(capsys) + "".join(help_text(capsys, name) for name in (MEASURE, COMPARE, ATLAS, FLOW))
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+[a-z]", every))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+[a-z]", (ROOT / document).read_text("utf-8")))
    assert named - {"--help"} <= flags


def test_a_look_is_saved_and_dreams_the_same(clip: Path, quick: list[str], tmp_path: Path) -> None:
    saved = tmp_path / "mine.json"
    given = [*quick, "--frames", "1", "--seed", "5"]
    assert main([str(clip), str(tmp_path / "a.png"), *given, "--save-look", str(saved)]) == 0
    look = load_look(saved)
    assert look.description == "squeezenet1_1, fire2"
    assert look.options == {
        "model": "squeezenet1_1",
        "layers": ("fire2",),
        "octaves": 1,
        "octave_steps": 2,
        "seed": 5,
        "carried_steps": 2,
    }
    files = [option for option in quick[: quick.index("--octaves")] if option not in ("--layers", "fire2")]
    assert main([str(clip), str(tmp_path / "b.png"), *files, "--frames", "1", "--look", str(saved)]) == 0
    for one, other in zip(read(tmp_path / "a.png"), read(tmp_path / "b.png"), strict=True):
        assert torch.equal(one, other)


def test_a_look_of_another_network_is_told_in_one_line(
    clip: Path, quick: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    look = tmp_path / "mine.json"
    content = {"description": "Mine.", "options": {"model": "vgg16", "layers": ["conv3_1"]}}
    look.write_text(json.dumps(content), "utf-8")
    assert main([str(clip), str(tmp_path / "a.mp4"), *quick, "--frames", "1", "--look", str(look)]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "--look" in line]
    assert told == [
        "--model squeezenet1_1 is not vgg16, the network of --look mine: leaving out the look's --layers"
    ]
