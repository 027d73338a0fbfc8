"""Figures of dreams: streamed, as text, drawn, and as a command."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dream_core.__main__ import run
from dream_core.errors import ImageError
from dream_core.measure.measure import INPUT, Figures, LayerEnergy, Link, Measured, Report, flow_link, measure
from dream_core.measure.metrics import drift, e_warp, flicker, sharpness, strength
from dream_core.measure.plot import COLORS, INPUT_COLOR, plot, ticks
from dream_core.measure.tables import as_json, as_text
from dream_core.models.dream_model import DreamModel
from dream_core.models.registry import MODELS
from dream_core.motion.flow import DisNetwork, estimator_of
from dream_core.settings import FlowSettings, InputSettings, OutputSettings
from dream_core.synthetic import Scene, SyntheticClip, synthetic_clip
from dream_core.video import open_clip, open_output
from dream_core.video.images import load_image

SIZE = (60, 80)


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    scene = Scene(shapes=3, whole_pixels=True, background=(2, -1))
    return synthetic_clip(frames=5, height=SIZE[0], width=SIZE[1], scene=scene)


def exact(clip: SyntheticClip) -> Link:
    """Flow and mask of a synthetic clip, pair after pair."""
    links = zip(clip.forward, clip.visible_next, strict=True)
    return lambda frame, following: next(links)


def carried(clip: SyntheticClip) -> Tensor:
    """A dream that sticks to the scene: a function of its colors."""
    return clip.frames + 0.3 * (clip.frames.flip(1) - 0.5)


def independent(clip: SyntheticClip) -> Tensor:
    return clip.frames + 0.1 * torch.randn(clip.frames.shape, generator=torch.Generator().manual_seed(1))


def test_a_carried_pattern_scores_zero_and_an_independent_one_high(clip: SyntheticClip) -> None:
    dreams = {"carried": carried(clip), "independent": independent(clip)}
    report = measure(clip.frames, dreams, exact(clip))
    steady, unsteady = (dream.overall for dream in report.dreams)
    assert steady.flicker == pytest.approx(0, abs=1e-6)
    assert steady.e_warp == pytest.approx(0, abs=1e-9)
    assert unsteady.flicker == pytest.approx(1, abs=0.03)
    assert unsteady.e_warp == pytest.approx(2 * 0.1**2, rel=0.05)
    for figures in report.dreams[1].frames[1:]:
        assert figures.flicker == pytest.approx(1, abs=0.06)
    assert [dream.name for dream in report.dreams] == ["carried", "independent"]


def test_streaming_gives_the_figures_of_the_whole_clip(clip: SyntheticClip, tiny: DreamModel) -> None:
    dreamed, links = independent(clip), (clip.forward, clip.visible_next)
    report = measure(clip.frames, {"dream": dreamed}, exact(clip), energy=LayerEnergy(tiny, ("conv",)))
    with torch.no_grad():
        dream_seen, source_seen = (tiny.activations(x, ["conv"])["conv"] for x in (dreamed, clip.frames))
    overall = report.dreams[0].overall
    assert overall.e_warp == pytest.approx(e_warp(dreamed, *links), rel=1e-9)
    assert overall.flicker == pytest.approx(flicker(dreamed, clip.frames, *links), rel=1e-9)
    assert overall.strength == pytest.approx(strength(dream_seen, source_seen), rel=1e-6)
    assert overall.sharpness == pytest.approx(sharpness(dreamed) / sharpness(clip.frames), rel=1e-9)
    assert overall.drift == pytest.approx(drift(dreamed, clip.frames), rel=1e-9)
    assert report.layers == "squeezenet1_1 conv"


def test_the_input_is_measured_beside_its_dreams(clip: SyntheticClip, tiny: DreamModel) -> None:
    noisy = independent(clip)
    report = measure(noisy, {"dream": carried(clip)}, exact(clip), energy=LayerEnergy(tiny, ("conv",)))
    assert report.input.name == INPUT
    assert report.input.overall == Figures(
        e_warp=pytest.approx(e_warp(noisy, clip.forward, clip.visible_next), rel=1e-9),
        flicker=None,
        strength=1.0,
        sharpness=1.0,
        drift=0.0,
    )


def test_the_figures_of_a_frame_are_those_of_the_step_into_it(clip: SyntheticClip) -> None:
    dreamed = carried(clip)
    dreamed[3] = independent(clip)[3] + 0.02
    frames = measure(clip.frames, {"dream": dreamed}, exact(clip)).dreams[0].frames
    assert frames[0].e_warp is frames[0].flicker is None
    unsteady = [figures.flicker is not None and figures.flicker > 0.1 for figures in frames]
    assert unsteady == [False, False, False, True, True]  # into the odd frame, and out of it
    assert frames[0].drift == 0
    assert frames[3].drift == pytest.approx(drift(dreamed[[0, 3]], clip.frames[[0, 3]]))
    assert frames[2].sharpness == pytest.approx(sharpness(dreamed[2:3]) / sharpness(clip.frames[2:3]))


def test_strength_by_several_layers_is_the_mean_of_their_ratios(
    clip: SyntheticClip, tiny: DreamModel
) -> None:
    dreamed = independent(clip)
    twice = measure(clip.frames, {"d": dreamed}, exact(clip), energy=LayerEnergy(tiny, ("conv", "conv")))
    once = measure(clip.frames, {"d": dreamed}, exact(clip), energy=LayerEnergy(tiny, ("conv",)))
    assert twice.dreams[0].overall.strength == pytest.approx(once.dreams[0].overall.strength)


def test_what_is_not_defined_is_none(clip: SyntheticClip) -> None:
    black = torch.zeros(3, 3, *SIZE)
    nothing = torch.zeros(2, *SIZE), torch.zeros(1, *SIZE)
    report = measure(black, {"dream": clip.frames[:3]}, lambda frame, following: nothing)
    none = Figures(
        e_warp=None, flicker=None, strength=None, sharpness=None, drift=report.dreams[0].overall.drift
    )
    assert report.dreams[0].overall == none
    assert report.layers is None


def test_a_single_frame_has_no_pair_to_compare(clip: SyntheticClip) -> None:
    frame = measure(clip.frames[:1], {"dream": carried(clip)[:1]}, exact(clip)).dreams[0].overall
    assert frame.e_warp is frame.flicker is None
    assert frame.drift == 0
    assert frame.sharpness == pytest.approx(sharpness(carried(clip)[:1]) / sharpness(clip.frames[:1]))


def test_two_frames_of_each_clip_are_held_at_most() -> None:
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def stream(brightness: float) -> Iterator[Tensor]:
        nonlocal most
        for index in range(20):
            frame = torch.full((3, 16, 16), brightness + index / 100)
            alive.append(weakref.ref(frame))
            most = max(most, sum(one() is not None for one in alive))
            yield frame
            del frame

    still = torch.zeros(2, 16, 16), torch.ones(1, 16, 16)
    seen: list[int] = []
    measure(stream(0.1), {"dream": stream(0.3)}, lambda a, b: still, on_frame=seen.append)
    assert most <= 4
    assert seen == list(range(20))


def test_flow_is_estimated_once_for_each_pair_and_in_its_direction(clip: SyntheticClip) -> None:
    estimator = estimator_of(DisNetwork(), FlowSettings(flow="dis"), device=torch.device("cpu"))
    link, pairs = flow_link(estimator), []

    def counted(frame: Tensor, following: Tensor) -> tuple[Tensor, Tensor]:
        pairs.append((frame, following))
        return link(frame, following)

    dreams = {"one": carried(clip), "other": independent(clip)}
    report = measure(clip.frames, dreams, counted)
    assert len(pairs) == 4
    flow, mask = link(clip.frames[0], clip.frames[1])
    right, wrong = ((flow - way[0]).norm(dim=0)[mask[0] > 0].mean() for way in (clip.forward, clip.backward))
    assert right < wrong / 3
    one, other = (dream.overall.flicker for dream in report.dreams)
    assert one is not None
    assert other is not None
    assert one < 0.1 < 0.9 < other


@pytest.mark.parametrize(
    ("source", "dreams", "message"),
    [
        (4, (5,), "input ends after 4 frames and dream 0 goes on.*`frames` 4"),
        (5, (5, 3), "dream 1 ends after 3 frames and input goes on.*`frames` 3"),
        (0, (0,), "at least one frame"),
    ],
)
def test_lengths_must_be_equal(
    clip: SyntheticClip, source: int, dreams: tuple[int, ...], message: str
) -> None:
    dreamed = {f"dream {index}": carried(clip)[:length] for index, length in enumerate(dreams)}
    with pytest.raises(ImageError, match=message):
        measure(clip.frames[:source], dreamed, exact(clip))


def test_a_dream_may_be_called_input(clip: SyntheticClip) -> None:
    (dream,) = measure(clip.frames, {INPUT: independent(clip)}, exact(clip)).dreams
    assert dream.overall.flicker == pytest.approx(1, abs=0.03)


def test_sizes_must_be_equal(clip: SyntheticClip) -> None:
    with pytest.raises(ImageError, match="expected small in the size of the input, 80x60, got 79x60"):
        measure(clip.frames, {"small": clip.frames[..., 1:]}, exact(clip))


# Text


def figures(value: float, *, strength: float | None = None, first: bool = False) -> Figures:
    pair = None if first else value
    return Figures(pair, pair, strength, 1 + value, value)


@pytest.fixture
def report() -> Report:
    own = Measured(INPUT, Figures(0.002, None, None, 1.0, 0.0), (Figures(None, None, None, 1.0, 0.0),) * 3)
    frames = (figures(0, first=True), figures(0.25), figures(0.5))
    return Report(own, (Measured("[bold]a.mp4", figures(0.25), frames),), None)


def test_the_table_names_every_figure_and_leaves_out_what_is_none(report: Report) -> None:
    head, _, own, dream = as_text(report).splitlines()
    assert head.split() == ["clip", "E_warp", "flicker", "strength", "sharpness", "drift"]
    assert own.split() == ["input", "2.000e-03", "-", "-", "x1.00", "+0.00"]
    assert dream.split() == ["[bold]a.mp4", "2.500e-01", "0.250", "-", "x1.25", "+0.25"]


def test_json_holds_every_frame(report: Report) -> None:
    read = json.loads(as_json(report))
    assert read["input"]["overall"]["flicker"] is None
    assert [frame["flicker"] for frame in read["dreams"][0]["frames"]] == [None, 0.25, 0.5]
    assert read["dreams"][0]["overall"]["sharpness"] == 1.25


# Plot


def rgb(color: str) -> Tensor:
    return torch.tensor([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255


def where(image: Tensor, color: str) -> Tensor:
    """(n,2): rows and columns of pixels of a color."""
    return ((image[0] - rgb(color)[:, None, None]).abs().amax(0) < 1e-3).nonzero()


def test_a_plot_shows_every_dream_in_a_color_of_its_own_and_the_input_in_gray(report: Report) -> None:
    image = plot(report)
    assert image.shape[:2] == (1, 3)
    assert image.shape[-1] == 1200
    for color in (COLORS[0], INPUT_COLOR):
        assert len(where(image, color)) > 100
    assert len(where(image, COLORS[1])) == 0
    two = plot(Report(report.input, report.dreams * 2, None))
    assert len(where(two, COLORS[1])) > 100


def test_a_figure_that_was_not_measured_has_no_panel(report: Report) -> None:
    dream = report.dreams[0]
    with_strength = tuple(figures(0.5, strength=3.0) for _ in dream.frames)
    taller = plot(Report(report.input, (Measured(dream.name, dream.overall, with_strength),), "layer"))
    assert taller.shape[-2] > plot(report).shape[-2]


def test_a_curve_rises_with_its_values_and_ends_at_the_right(report: Report) -> None:
    image = plot(report)
    height, width = image.shape[-2:]
    drift_panel = where(image, COLORS[0])
    drift_panel = drift_panel[drift_panel[:, 0] > height - 200]
    first, last = drift_panel[drift_panel[:, 1].argmin()], drift_panel[drift_panel[:, 1].argmax()]
    assert last[0] < first[0] - 50  # rows count downwards
    assert last[1] > width - 40


def test_a_missing_value_leaves_a_gap_and_a_single_one_is_a_dot() -> None:
    own = Measured(INPUT, figures(0), (Figures(None, None, None, None, None),) * 5)

    def columns(values: list[float | None]) -> set[int]:
        frames = tuple(Figures(None, value, None, None, None) for value in values)
        image = plot(Report(own, (Measured("d", frames[0], frames),), None))
        found = where(image, COLORS[0])
        return set(found[found[:, 0] > 60, 1].tolist())

    whole, broken, dots = (
        columns(values) for values in ([0.5] * 5, [0.5, 0.5, None, 0.5, 0.5], [None, 0.5, None, None, None])
    )
    assert len(whole) > 1000
    assert 400 < len(broken) < 600
    assert 3 <= len(dots) <= 8


def test_long_names_take_further_lines(report: Report) -> None:
    many = Report(
        report.input, tuple(Measured("a" * 90, d.overall, d.frames) for d in report.dreams * 4), None
    )
    image = plot(many)
    assert image.shape[-2] > plot(report).shape[-2]
    edge = image[..., -10:]
    assert edge.min() == 1  # nothing is cut off


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0, 10, 5, [0, 2, 4, 6, 8, 10]),
        (0, 0.0021, 4, [0, 0.001, 0.002, 0.003]),
        (-3, 2, 4, [-4, -2, 0, 2]),
        (0, 0, 4, [0, 0.5, 1]),
        (1, 1.2, 2, [1, 1.1, 1.2]),
    ],
)
def test_ticks_are_round_and_enclose_the_range(
    low: float, high: float, most: int, expected: list[float]
) -> None:
    assert ticks(low, high, most=most) == pytest.approx(expected)


def test_ticks_of_frames_are_whole() -> None:
    assert ticks(0, 3, most=10, whole=True) == [0, 1, 2, 3]


# The command


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the input, at twice the dreams' size, two dreams as images, and weights."""
    folder = tmp_path_factory.mktemp("measure")
    clip = synthetic_clip(frames=4, height=96, width=128, seed=1)
    small = torch.nn.functional.interpolate(clip.frames, (48, 64), mode="area")
    noise = 0.15 * torch.randn(small.shape, generator=torch.Generator().manual_seed(1))
    steady = (small + 0.3 * (small.flip(1) - 0.5)).clamp(0, 1)
    for name, frames in {"clip": clip.frames, "steady": steady, "noisy": (small + noise).clamp(0, 1)}.items():
        size = (frames.shape[-2], frames.shape[-1])
        with open_output(folder / name, size=size, fps=Fraction(10), settings=OutputSettings()) as output:
            for frame in frames:
                output.write(frame)
    torch.manual_seed(0)
    save_file(MODELS["squeezenet1_1"].build().state_dict(), folder / "squeezenet.safetensors")
    return folder


@pytest.fixture
def options(files: Path) -> list[str]:
    network = ["--model", "squeezenet1_1", "--model-file", str(files / "squeezenet.safetensors")]
    return [*network, "--layers", "fire2", "--flow", "dis", "--device", "cpu", "--quiet"]


def read(path: Path, size: int) -> Tensor:
    with open_clip(path, settings=InputSettings(size=size)) as clip:
        return torch.stack([frame.image for frame in clip])


def test_the_command_measures_files(
    files: Path, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = ["--json", str(tmp_path / "figures.json"), "--plot", str(tmp_path / "plot.png")]
    clips = [str(files / name) for name in ("clip", "steady", "noisy")]
    assert run(["measure", *clips, *options, *outputs, "--per-frame"]) == 0

    read_back = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    steady, noisy = (dream["overall"] for dream in read_back["dreams"])
    assert [dream["name"] for dream in read_back["dreams"]] == clips[1:]
    assert steady["flicker"] < 0.2 < 0.8 < noisy["flicker"]
    assert read_back["layers"] == "squeezenet1_1 fire2"
    source, dreamed = read(files / "clip", 64), read(files / "noisy", 0)
    assert noisy["drift"] == pytest.approx(drift(dreamed, source))
    assert noisy["sharpness"] == pytest.approx(sharpness(dreamed) / sharpness(source))
    assert noisy["strength"] > 0
    assert len(read_back["dreams"][0]["frames"]) == 4

    printed = capsys.readouterr().out
    assert f"{steady['flicker']:.3f}" in printed
    assert f"{read_back['dreams'][1]['frames'][2]['flicker']:.3f}" in printed
    assert load_image(tmp_path / "plot.png").shape[-1] == 1200


def test_part_of_the_clip_can_be_measured_without_a_network(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "figures.json"
    part = ["--start", "0.2", "--fps", "10", "--frames", "2", "--flow", "dis", "--no-strength"]
    assert (
        run(["measure", str(files / "clip"), str(files / "steady"), *part, "--json", str(target), "--quiet"])
        == 0
    )
    read_back = json.loads(target.read_text("utf-8"))
    assert len(read_back["input"]["frames"]) == 2
    assert read_back["dreams"][0]["overall"]["strength"] is None
    source, dreamed = read(files / "clip", 64)[2:], read(files / "steady", 0)[:2]
    assert read_back["dreams"][0]["overall"]["drift"] == pytest.approx(drift(dreamed, source))
    assert "E_warp" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["clip"], "at least one DREAMED clip"),
        (["clip", "missing"], "missing does not exist"),
        (["clip", "steady", "clip"], "64x48, the size of the first dream"),
        (["clip", "steady", "--start", "0.08"], "goes on"),
        (["clip", "steady", "--json", "figures.mp4"], "--json FILE ending in .json"),
        (["clip", "steady", "--plot", "plot.txt"], "--plot FILE ending in .png"),
        (["clip", "steady", "--plot", "none/plot.png"], "folder none does not exist"),
        (["clip", "steady", "--layers", "fire99"], "has no layer 'fire99'"),
    ],
)
def test_mistakes_are_told_in_one_line(
    files: Path,
    options: list[str],
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(files)
    first_flag = next((at for at, one in enumerate(arguments) if one.startswith("--")), len(arguments))
    assert run(["measure", *arguments[:first_flag], *options, *arguments[first_flag:]]) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_measure_is_a_word_of_the_command_and_a_file_of_that_name_is_reached_by_its_path(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(files)
    assert run(["measure", "clip", "steady", "--flow", "dis", "--no-strength"]) == 0
    assert "flicker" in capsys.readouterr().out
    assert run(["./measure", "out.png"]) == 1
    assert "measure does not exist: expected a video" in " ".join(capsys.readouterr().err.split())
