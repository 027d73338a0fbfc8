"""Consistency Report."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dream_core.synthetic import Scene, SyntheticClip, synthetic_clip

FLOW = {"flow_scale": 1.0, "flow_updates": 8, "flow_batch": 0}
SIZE = (48, 64)
FRAMES = 4
NUMBERS = ["e_warp", "flicker", "strength", "sharpness", "drift", "evenness", "coverage"]


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    scene = Scene(shapes=3, whole_pixels=True, background=(2, -1))
    return synthetic_clip(frames=FRAMES, height=SIZE[0], width=SIZE[1], scene=scene)


@pytest.fixture
def node(pack: Any) -> Any:
    return pack("nodes.report").ConsistencyReport


@pytest.fixture
def dis(pack: Any) -> Any:
    return pack("nodes.adapters.host").wrap(pack("dream_core.motion.flow").DisNetwork())


@pytest.fixture
def dream_model(pack: Any) -> Any:
    host, models = pack("nodes.adapters.host"), pack("dream_core.models.registry")
    spec = models.MODELS["squeezenet1_1"]
    torch.manual_seed(0)
    return host.wrap(host.Wrapped(pack("dream_core.models.dream_model").DreamModel(spec.build(), spec)))


@pytest.fixture
def exact_flow(clip: SyntheticClip, pack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the node the exact flow of the synthetic clip."""
    pairs = iter(range(FRAMES))

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        pair = next(pairs)
        assert torch.equal(first[0], clip.frames[pair])
        return torch.stack([clip.forward[pair], clip.backward[pair]])

    estimator = pack("dream_core.motion.flow").FlowEstimator(estimate, torch.device("cpu"), 1, 1)
    monkeypatch.setattr(pack("nodes.report"), "estimator_for", lambda patcher, settings, beside=(): estimator)


def image(images: Tensor) -> Tensor:
    """BCHW -> BHWC."""
    return images.movedim(1, -1).contiguous()


def carried(clip: SyntheticClip) -> Tensor:
    """A dream that sticks to the scene."""
    return clip.frames + 0.3 * (clip.frames.flip(1) - 0.5)


def independent(clip: SyntheticClip) -> Tensor:
    return clip.frames + 0.1 * torch.randn(clip.frames.shape, generator=torch.Generator().manual_seed(1))


def numbers(output: tuple[Any, ...]) -> dict[str, float]:
    return dict(zip(NUMBERS, output[2:], strict=True))


def test_the_outputs_are_an_image_a_table_and_numbers(
    node: Any, run: Any, clip: SyntheticClip, dis: Any, dream_model: Any, host: Any
) -> None:
    images, dreams = image(clip.frames), image(independent(clip))
    output = run(
        node,
        images=images,
        dreams=dreams,
        flow_model=dis,
        dream_model=dream_model,
        independent=dreams,
        **FLOW,
    )
    plot, table = output[:2]
    assert [one.id for one in node.define_schema().outputs] == ["plot", "table", *NUMBERS]
    assert plot.shape[0] == 1
    assert plot.shape[2:] == (1200, 3)
    assert plot.dtype == torch.float32
    assert 0 <= plot.min() < plot.max() <= 1
    found = numbers(output)
    assert all(type(value) is float and math.isfinite(value) for value in found.values())
    assert f"{found['flicker']:.3f}" in table
    assert "squeezenet1_1" in table
    counts = [(done, total) for done, total, _ in host.progress]
    assert counts == [(index, FRAMES) for index in (1, 2, 3, 4, 4)]
    assert host.progress[-1][2] is not None


@pytest.mark.usefixtures("exact_flow")
def test_a_carried_dream_does_not_flicker(node: Any, run: Any, clip: SyntheticClip) -> None:
    dreams = image(carried(clip))
    found = numbers(run(node, images=image(clip.frames), dreams=dreams, flow_model=None, **FLOW))
    assert found["flicker"] == pytest.approx(0, abs=1e-6)
    assert found["e_warp"] == pytest.approx(0, abs=1e-9)


@pytest.mark.usefixtures("exact_flow")
def test_an_independent_dream_flickers(node: Any, run: Any, clip: SyntheticClip) -> None:
    dreams = image(independent(clip))
    found = numbers(run(node, images=image(clip.frames), dreams=dreams, flow_model=None, **FLOW))
    assert found["flicker"] == pytest.approx(1, abs=0.06)


@pytest.mark.usefixtures("exact_flow")
def test_coverage_is_measured_by_the_independent_dream(node: Any, run: Any, clip: SyntheticClip) -> None:
    shapes = (clip.forward != torch.tensor([2.0, -1.0]).view(2, 1, 1)).any(1, keepdim=True)
    grain = independent(clip) - clip.frames
    faded = clip.frames + grain * torch.where(torch.cat([shapes, shapes[-1:]]), 0.25, 1.0)
    output = run(
        node,
        images=image(clip.frames),
        dreams=image(faded),
        independent=image(independent(clip)),
        flow_model=None,
        **FLOW,
    )
    found = numbers(output)
    assert found["coverage"] == pytest.approx(0.25, abs=0.01)
    assert found["evenness"] == pytest.approx(0.25, abs=0.02)
    assert [line.split()[0] for line in output[1].splitlines()[2:5]] == ["input", "dreams", "independent"]


def test_without_an_independent_dream_coverage_is_nan_and_has_no_column(
    node: Any, run: Any, clip: SyntheticClip, dis: Any
) -> None:
    output = run(node, images=image(clip.frames), dreams=image(independent(clip)), flow_model=dis, **FLOW)
    assert math.isnan(numbers(output)["coverage"])
    assert "evenness" in output[1]
    assert "coverage" not in output[1]


def test_strength_is_that_of_the_objectives_layers_and_nan_without_a_network(
    node: Any, run: Any, clip: SyntheticClip, dis: Any, dream_model: Any, pack: Any
) -> None:
    given = {"images": image(clip.frames), "dreams": image(independent(clip)), "flow_model": dis, **FLOW}
    settings = pack("dream_core.settings").ObjectiveSettings(layers=("fire2",))
    part = pack("dream_core.temporal.scheduled").ObjectivePart(settings)
    objective = (pack("nodes.adapters.objectives").WiredObjective(part),)
    default = numbers(run(node, dream_model=dream_model, **given))["strength"]
    output = run(node, dream_model=dream_model, objective=objective, **given)
    model = dream_model.model.network
    with torch.no_grad():
        dreamed, source = (
            torch.stack([model.activations(one[None], ["fire2"])["fire2"].square().mean() for one in images])
            for images in (independent(clip), clip.frames)
        )
    expected = (dreamed.sum() / source.sum()).item()
    assert numbers(output)["strength"] == pytest.approx(expected, rel=1e-5)
    assert numbers(output)["strength"] != pytest.approx(default, rel=1e-2)
    assert "squeezenet1_1 fire2" in output[1]
    assert math.isnan(numbers(run(node, **given))["strength"])


def test_a_single_frame_has_figures_that_need_no_pair(
    node: Any, run: Any, clip: SyntheticClip, dis: Any
) -> None:
    images, dreams = image(clip.frames[:1]), image(independent(clip)[:1])
    found = numbers(run(node, images=images, dreams=dreams, flow_model=dis, **FLOW))
    assert math.isnan(found["flicker"])
    assert found["sharpness"] > 1
    assert found["drift"] == 0


def test_transparency_is_left_out(node: Any, run: Any, clip: SyntheticClip, dis: Any) -> None:
    images, dreams = image(clip.frames), image(independent(clip))
    alpha = torch.zeros(*images.shape[:3], 1)
    with_alpha = run(
        node,
        images=torch.cat([images, alpha], dim=-1),
        dreams=torch.cat([dreams, alpha], dim=-1),
        flow_model=dis,
        **FLOW,
    )
    assert with_alpha[1] == run(node, images=images, dreams=dreams, flow_model=dis, **FLOW)[1]


@pytest.mark.parametrize("name", ["dreams", "independent"])
@pytest.mark.parametrize(
    ("count", "width", "message"),
    [
        (FRAMES - 1, SIZE[1], "one dream for each of the 4 images, got 3 in {name}"),
        (FRAMES, SIZE[1] - 2, "{name} in the size of images, 64 x 48, got 62 x 48"),
        (0, SIZE[1], "{name} is empty"),
    ],
)
def test_clips_of_different_length_or_size_are_refused(
    node: Any,
    run: Any,
    clip: SyntheticClip,
    dis: Any,
    pack: Any,
    count: int,
    width: int,
    message: str,
    name: str,
) -> None:
    dreams = image(independent(clip))
    given = {"dreams": dreams, name: dreams[:count, :, :width]}
    with pytest.raises(pack("dream_core.errors").ImageError, match=message.format(name=name)):
        run(node, images=image(clip.frames), flow_model=dis, **given, **FLOW)


def test_it_needs_a_flow_model(node: Any, run: Any, clip: SyntheticClip, pack: Any) -> None:
    images = image(clip.frames)
    with pytest.raises(pack("nodes.adapters.require").WireError, match="flow_model from Load Flow Model"):
        run(node, images=images, dreams=images, flow_model="raft", **FLOW)
