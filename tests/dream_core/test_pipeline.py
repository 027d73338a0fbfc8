from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from dream_core import pipeline as pipeline_module
from dream_core.dreaming.dream import DreamStep, ImageDreamer
from dream_core.errors import ImageError, SettingsError, VideoError, WeightsError
from dream_core.models.dream_model import DreamModel
from dream_core.motion.flow import FlowEstimator
from dream_core.motion.flow_image import flow_image
from dream_core.pipeline import (
    dream_clip,
    load_dreamer,
    load_estimator,
    load_image_dreamer,
    load_models,
    reading_ahead,
)
from dream_core.settings import (
    AscentSettings,
    DeviceSettings,
    DreamSettings,
    FlowSettings,
    InputSettings,
    ModelName,
    ModelSettings,
    ObjectiveSettings,
    OctaveSettings,
    OutputSettings,
    PipelineSettings,
    ReliabilitySettings,
    TemporalSettings,
    TileSettings,
)
from dream_core.synthetic import synthetic_clip
from dream_core.temporal.dreamer import DreamedFrame, TemporalDreamer
from dream_core.video import Clip, Frame, KeepFolder, Output, open_clip, open_output


class Recorder:
    """An output that hands its images to a function."""

    size, memory, work = (24, 32), 0.0, None

    def __init__(self, write: Callable[..., None]) -> None:
        self.write = write


CPU = torch.device("cpu")
SIZE = (48, 64)
AS_IT_IS = InputSettings(size=0, fps=10)
PACE = [(0.0, 0.25), (0.25, 0.5), (0.75, 0.125)]
QUICK = DreamSettings(octave=OctaveSettings(octave_steps=2), ascent=AscentSettings(jitter=2))


def right_by_one(first: Tensor, second: Tensor, both: bool) -> Tensor:
    flow = torch.zeros_like(first[:, :2])
    flow[:, 0] = -1
    return torch.cat([flow, -flow] if both else [flow])


@pytest.fixture
def make_dreamer(tiny: DreamModel) -> Callable[..., TemporalDreamer]:
    def make(settings: DreamSettings = QUICK, *, independent: bool = False) -> TemporalDreamer:
        return TemporalDreamer(
            ImageDreamer([tiny], settings=settings),
            FlowEstimator(right_by_one, CPU, 1, 1),
            temporal=TemporalSettings(independent=independent, cuts=False),  # the flow is not the true one
            reliability=ReliabilitySettings(check_brightness=False),
        )

    return make


def exact(path: Path) -> OutputSettings:
    """As little loss as a video allows; a folder of images, without a suffix, has none."""
    return OutputSettings(quality=0, pixel_format="yuv444p") if path.suffix else OutputSettings()


def write(path: Path, frames: Tensor, times: list[float] | None = None) -> Path:
    with open_output(
        path, size=SIZE, fps=Fraction(10), settings=exact(path), time_base=Fraction(1, 1000)
    ) as output:
        for index, frame in enumerate(frames):
            ends = None if times is None else [*times[1:], times[-1] + 0.1][index] - times[index]
            output.write(frame, time=times[index] if times else None, duration=ends)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of 4 images."""
    clip = synthetic_clip(frames=4, height=SIZE[0], width=SIZE[1], seed=1)
    return write(tmp_path / "source", clip.frames)


def output_for(clip: Clip, path: Path) -> Output:
    return open_output(
        path,
        size=clip.size,
        fps=clip.fps,
        settings=exact(path),
        time_base=clip.time_base,
    )


def read(path: Path) -> list[Frame]:
    with open_clip(path, settings=AS_IT_IS) as clip:
        return list(clip)


def test_frames_are_dreamed_in_order_with_feedback(
    source: Path, tmp_path: Path, make_dreamer: Callable[..., TemporalDreamer]
) -> None:
    by_hand = make_dreamer()
    expected = [by_hand.step(frame.image[None]).dream[0] for frame in read(source)]
    target = tmp_path / "target"
    with open_clip(source, settings=AS_IT_IS) as clip, output_for(clip, target) as output:
        dream_clip(clip, make_dreamer(), output)
    assert [path.name for path in sorted(target.iterdir())] == [
        f"frame_{index:06d}.png" for index in range(4)
    ]
    for found, wanted, before in zip(read(target), expected, read(source), strict=True):
        assert torch.equal(found.image, (wanted * 255).round() / 255)
        assert not torch.equal(found.image, before.image)


def test_a_video_keeps_its_frames_size_and_uneven_times(
    tmp_path: Path, make_dreamer: Callable[..., TemporalDreamer]
) -> None:
    times = [0.0, 0.1, 0.15, 0.4, 0.45, 0.8]
    frames = synthetic_clip(frames=6, height=SIZE[0], width=SIZE[1], seed=2).frames
    source = write(tmp_path / "source.mp4", frames, times)
    still = DreamSettings(octave=OctaveSettings(octave_steps=0))
    with open_clip(source, settings=AS_IT_IS) as clip, output_for(clip, tmp_path / "target.mp4") as output:
        dream_clip(clip, make_dreamer(still, independent=True), output)
    found = read(tmp_path / "target.mp4")
    assert [frame.time for frame in found] == pytest.approx(times, abs=2e-3)
    for frame, before in zip(found, frames, strict=True):
        torch.testing.assert_close(frame.image, before, atol=0.04, rtol=0)


def test_times_and_durations_are_passed_to_the_output(make_dreamer: Callable[..., TemporalDreamer]) -> None:
    written: list[tuple[tuple[int, ...], float, float]] = []

    def note(image: Tensor, *, time: float, duration: float) -> None:
        written.append((tuple(image.shape), time, duration))

    clip = [Frame(torch.rand(3, 8, 9), time, duration, index) for index, (time, duration) in enumerate(PACE)]
    dream_clip(clip, make_dreamer(), Recorder(note))
    assert written == [((1, 3, 8, 9), time, duration) for time, duration in PACE]


def test_kept_files_belong_to_each_frame(
    source: Path, tmp_path: Path, make_dreamer: Callable[..., TemporalDreamer]
) -> None:
    kept, target = tmp_path / "kept", tmp_path / "target"
    steps: list[DreamedFrame] = []
    with open_clip(source, settings=AS_IT_IS) as clip, output_for(clip, target) as output:
        dream_clip(
            clip, make_dreamer(), output, keep=KeepFolder(kept), on_frame=lambda _, step: steps.append(step)
        )
    names = {str(path.relative_to(kept)) for path in kept.rglob("*.png")}
    kinds = {"frames": "frame", "dreams": "dream", "flow": "flow", "mask": "mask"}
    assert names == {f"{folder}/{name}_{i:06d}.png" for folder, name in kinds.items() for i in range(4)}
    assert (kept / "dreams/dream_000002.png").read_bytes() == (target / "frame_000002.png").read_bytes()
    for index, frame in enumerate(read(source)):
        (saved,) = read(kept / "frames" / f"frame_{index:06d}.png")
        assert torch.equal(saved.image, frame.image)
    masks = [read(kept / "mask" / f"mask_{index:06d}.png")[0].image for index in range(4)]
    assert masks[0].min() == 1  # nothing was carried, so nothing is distrusted
    carried = steps[1].carried
    assert carried is not None
    assert 0 < carried.reliability.mean() < 1
    assert torch.equal(masks[1][:1], (carried.reliability[0] * 255).round() / 255)
    flows = [read(kept / "flow" / f"flow_{index:06d}.png")[0].image for index in range(4)]
    assert flows[0].min() == 1  # white stands still
    assert torch.equal(flows[1], flow_image(carried.flow)[0])


def test_independent_frames_are_kept_too(
    source: Path, tmp_path: Path, make_dreamer: Callable[..., TemporalDreamer]
) -> None:
    kept = tmp_path / "kept"
    with open_clip(source, settings=AS_IT_IS) as clip, output_for(clip, tmp_path / "target") as output:
        dream_clip(clip, make_dreamer(independent=True), output, keep=KeepFolder(kept))
    assert len(list(kept.rglob("*.png"))) == 16


def test_files_kept_before_are_not_overwritten(tmp_path: Path) -> None:
    old = tmp_path / "kept" / "frames" / "frame_000000.png"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"precious")
    with pytest.raises(VideoError, match="frames is not empty"):
        KeepFolder(tmp_path / "kept")
    assert old.read_bytes() == b"precious"


def test_callbacks_are_called_for_every_frame_and_step(
    source: Path, tmp_path: Path, make_dreamer: Callable[..., TemporalDreamer]
) -> None:
    told: list[tuple[int, bool, int]] = []
    steps: list[DreamStep] = []
    with open_clip(source, settings=AS_IT_IS) as clip, output_for(clip, tmp_path / "target") as output:

        def note(frame: Frame, step: DreamedFrame) -> None:
            assert torch.equal(step.frame, frame.image[None])
            told.append((frame.index, step.carried is None, output.written))

        dream_clip(clip, make_dreamer(), output, on_frame=note, on_step=steps.append)
    assert told == [(0, True, 1), (1, False, 2), (2, False, 3), (3, False, 4)]
    totals = [steps[0].total, *[steps[0].total // 2] * 3]  # of two steps, one where a dream is carried
    assert [step.done for step in steps] == [done for total in totals for done in range(1, total + 1)]


def test_an_interruption_keeps_the_frames_so_far(
    source: Path, tmp_path: Path, make_dreamer: Callable[..., TemporalDreamer]
) -> None:
    def interrupt(frame: Frame, _: DreamedFrame) -> None:
        if frame.index == 1:
            raise KeyboardInterrupt

    target = tmp_path / "target.mp4"
    with (
        pytest.raises(KeyboardInterrupt),
        open_clip(source, settings=AS_IT_IS) as clip,
        output_for(clip, target) as output,
    ):
        dream_clip(clip, make_dreamer(), output, on_frame=interrupt)
    assert len(read(target)) == 2


def test_memory_does_not_grow_with_the_clip(
    make_dreamer: Callable[..., TemporalDreamer], quick_collection: None
) -> None:
    images: list[weakref.ref[Tensor]] = []
    dreams: list[weakref.ref[Tensor]] = []
    alive = []

    def frames() -> Iterator[Frame]:
        for index in range(6):
            image = torch.rand(3, 8, 9)
            images.append(weakref.ref(image))
            yield Frame(image, index / 10, 0.1, index)
            del image
            gc.collect()
            alive.append(sum(one() is not None for one in images + dreams))

    def note(image: Tensor, *, time: float, duration: float) -> None:
        dreams.append(weakref.ref(image))

    dream_clip(frames(), make_dreamer(), Recorder(note))
    assert len(alive) == 6
    assert max(alive[2:]) == alive[1] <= 4  # the last frame and dream, as they came and as they are carried


def test_frames_of_different_sizes_are_refused(make_dreamer: Callable[..., TemporalDreamer]) -> None:
    clip = [Frame(torch.rand(3, 8, width), 0.0, 0.1, 0) for width in (8, 9)]
    with pytest.raises(ImageError, match=r"^expected a frame of the clip's size \(1, 3, 8, 8\)"):
        dream_clip(clip, make_dreamer(), Recorder(lambda *_, **__: None))


# Loading


def real(test_data: Path, **changes: object) -> PipelineSettings:
    weights = test_data / "weights"
    settings = PipelineSettings(
        model=ModelSettings(
            model="squeezenet1_1_caffe", model_file=weights / "squeezenet1_1_caffe.safetensors"
        ),
        flow=FlowSettings(flow_file=weights / "raft_small.safetensors", flow_updates=4),
        dream=DreamSettings(
            octave=OctaveSettings(octaves=2, octave_scale=0.6, octave_steps=3),
            ascent=AscentSettings(optimizer="adam", learning_rate=1.5),
        ),
        temporal=TemporalSettings(blend=0.5),
        device=DeviceSettings(device="cpu"),
    )
    return replace(settings, **changes)


def test_real_networks_dream_a_real_clip(test_data: Path, tmp_path: Path) -> None:
    dreamer = load_dreamer(real(test_data))
    steps: list[DreamedFrame] = []
    settings = InputSettings(size=128, frames=3)
    with (
        open_clip(test_data / "clips" / "mallard.mp4", settings=settings) as clip,
        output_for(clip, tmp_path / "dream.mp4") as output,
    ):
        assert max(clip.size) == 128
        dream_clip(clip, dreamer, output, on_frame=lambda _, step: steps.append(step))
    assert len(read(tmp_path / "dream.mp4")) == 3
    model = dreamer.model
    layer = model.default_layer
    energies = [
        [
            model.activations(image, [layer])[layer].square().mean().item()
            for image in (step.frame, step.dream)
        ]
        for step in steps
    ]
    assert all(dreamed > 1.3 * before for before, dreamed in energies)
    assert energies[2][1] > energies[0][1]  # a carried dream is dreamed on
    carried = steps[2].carried
    assert carried is not None
    assert carried.reliability.mean() > 0.5


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_networks_compute_with_the_precision_of_the_settings(
    test_data: Path, precision: str, dtype: torch.dtype
) -> None:
    device = DeviceSettings(device="cpu, cpu", precision=precision)
    settings = real(test_data, device=device, dream=DreamSettings(tile=TileSettings(tile_size=512)))
    dreamer = load_dreamer(settings)
    assert [(model.device, model.dtype) for model in dreamer.dream.models] == [(CPU, dtype)] * 2
    assert dreamer.flow is not None
    assert dreamer.flow.device == CPU
    assert dreamer.settings is settings.dream
    assert dreamer.temporal is settings.temporal
    assert dreamer.reliability is settings.reliability


def test_each_network_is_loaded_once_per_device_and_reports_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[tuple[object, ...]] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    def load(settings: object, *, device: torch.device, dtype: torch.dtype, **rest: object) -> object:
        loaded.append((settings, device, dtype, rest))
        return SimpleNamespace(device=device)

    monkeypatch.setattr(pipeline_module, "load_model", load)
    monkeypatch.setattr(pipeline_module, "load_flow", load)

    def progress(done: int, total: int) -> None: ...

    device = DeviceSettings(device="cuda:1,cpu", flow_device="cuda:0", precision="bfloat16")
    model = ModelSettings(model="vgg16", model_dirs=(Path("models"),))
    dream = DreamSettings(
        objective=ObjectiveSettings(layers=("any",), loss="l2"),  # the networks are not asked for either
        tile=TileSettings(tile_size=512),
    )
    load_dreamer(PipelineSettings(model=model, dream=dream, device=device), progress=progress)
    told = {"progress": progress}
    assert loaded == [
        (model, torch.device("cuda:1"), torch.bfloat16, {"exact": False, **told}),
        (model, CPU, torch.bfloat16, {"exact": False, **told}),
        (FlowSettings(), torch.device("cuda:0"), torch.bfloat16, {"folders": model.model_dirs, **told}),
    ]


def test_independent_frames_need_no_flow_weights(test_data: Path, tmp_path: Path) -> None:
    nowhere = FlowSettings(flow_file=tmp_path / "none.pth")
    settings = real(test_data, flow=nowhere, temporal=TemporalSettings(independent=True))
    assert load_dreamer(settings).flow is None
    with pytest.raises(WeightsError, match=r"none\.pth does not exist"):
        load_dreamer(real(test_data, flow=nowhere))


def test_dis_needs_no_weights() -> None:
    assert load_estimator(FlowSettings(flow="dis"), DeviceSettings()).device == CPU


def test_wrong_settings_are_refused_before_the_clip_is_read(test_data: Path) -> None:
    with pytest.raises(SettingsError, match="`blend`"):
        load_dreamer(real(test_data, temporal=TemporalSettings(blend=2)))
    with pytest.raises(SettingsError, match="`flow_scale`"):
        load_dreamer(real(test_data, flow=FlowSettings(flow_scale=0)))
    with pytest.raises(SettingsError, match="expected a device"):
        load_models(ModelSettings(), DeviceSettings(device="gpu"))


@pytest.mark.parametrize(
    ("name", "expected"), [("efficientnet_lite0", torch.float32), ("bvlc_googlenet", torch.bfloat16)]
)
def test_a_network_computes_in_the_format_that_is_faster_for_it(
    test_data: Path, monkeypatch: pytest.MonkeyPatch, name: ModelName, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    settings = ModelSettings(model=name, model_dirs=(test_data / "weights",))
    (model,) = load_models(settings, DeviceSettings(device="cpu"))
    assert model.dtype == expected


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_a_clip_is_read_in_a_thread_where_a_gpu_dreams(kind: str) -> None:
    threads = set()

    def clip() -> Iterator[Frame]:
        threads.add(threading.get_ident())
        yield Frame(torch.zeros(3, *SIZE), time=0, duration=1, index=0)

    with reading_ahead(clip(), torch.device(kind)) as frames:
        assert [frame.index for frame in frames] == [0]
    assert (threads == {threading.get_ident()}) == (kind == "cpu")


@pytest.mark.parametrize("wanted", [False, True])
def test_steps_are_recorded_if_it_is_asked_for(wanted: bool) -> None:
    device = DeviceSettings(device="cpu", cuda_graphs=wanted)
    dreamer = load_image_dreamer(
        PipelineSettings(device=device, model=ModelSettings(model="efficientnet_lite0"))
    )
    assert (dreamer.graphs is not None) == wanted
