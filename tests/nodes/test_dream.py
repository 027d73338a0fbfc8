"""Dream Objective and DeepDream: what they hand to the core, batches, memory, messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

Pack = Callable[[str], ModuleType]
Run = Callable[..., Any]

SMALL = {
    "octave_mode": {"octave_mode": "normal", "octaves": 2, "octave_scale": 0.7},
    "octave_steps": 2,
    "jitter": 4,
    "channel_capture": "once",
}


@pytest.fixture(scope="module")
def model(pack: Pack) -> Any:
    """SqueezeNet with random weights, on a wire."""
    spec = pack("dream_core.models.registry").MODELS["squeezenet1_1"]
    torch.manual_seed(3)
    host = pack("nodes.adapters.host")
    network = pack("dream_core.models.dream_model").DreamModel(spec.build(), spec)
    return host.wrap(host.Wrapped(network))


@pytest.fixture
def dream(pack: Pack, run: Run, defaults: Run, model: Any) -> Run:
    """`dream(image, tile_size=64)`: DeepDream's output."""
    node = pack("nodes.dream").Dream
    values = defaults(node) | SMALL

    def dream(image: Tensor, **changed: Any) -> Tensor:
        (result,) = run(node, **{"image": image, "dream_model": model, **values, **changed})
        return result

    return dream


@pytest.fixture
def objective(pack: Pack, run: Run, defaults: Run) -> Run:
    """`objective(layers="...")`: Dream Objective's output."""
    node = pack("nodes.objective").DreamObjective
    values = defaults(node)

    def objective(**changed: Any) -> Any:
        (result,) = run(node, **(values | changed))
        return result

    return objective


def images(count: int = 1, channels: int = 3) -> Tensor:
    return torch.rand(count, 72, 88, channels, generator=torch.Generator().manual_seed(1))


def settings_of(pack: Pack, **tile: Any) -> Any:
    core = pack("dream_core.settings")
    return core.DreamSettings(
        octave=core.OctaveSettings(octaves=2, octave_scale=0.7, octave_steps=2),
        ascent=core.AscentSettings(jitter=4),
        tile=core.TileSettings(**tile),
    )


def test_it_dreams_bit_for_bit_as_the_library_does(pack: Pack, dream: Run, model: Any) -> None:
    image, core = images(), pack("dream_core.dreaming.dream")
    planes = image.movedim(-1, 1).contiguous()
    expected = core.dream(planes, [model.model.network], settings=settings_of(pack))
    assert torch.equal(dream(image), expected.movedim(1, -1))
    assert not torch.equal(dream(image), image)


def test_it_dreams_bit_for_bit_as_the_first_frame_of_a_video(pack: Pack, dream: Run, model: Any) -> None:
    image, core = images(), pack("dream_core.settings")
    dreamer = pack("dream_core.temporal.dreamer").TemporalDreamer(
        pack("dream_core.dreaming.dream").ImageDreamer([model.model.network], settings=settings_of(pack)),
        None,
        temporal=core.TemporalSettings(independent=True),
        reliability=core.ReliabilitySettings(),
    )
    frame = pack("nodes.adapters.images").from_image(image)
    assert torch.equal(dream(image), dreamer.step(frame).dream.movedim(1, -1))


def test_each_image_of_a_batch_is_dreamed_by_itself(dream: Run) -> None:
    image = images(3)
    batch = dream(image)
    for index in range(3):
        assert torch.equal(batch[index], dream(image[index : index + 1])[0])


def test_alpha_is_kept_and_does_not_change_the_dream(dream: Run) -> None:
    image = images(2, channels=4)
    dreamed = dream(image)
    assert torch.equal(dreamed[..., 3], image[..., 3])
    assert torch.equal(dreamed[..., :3], dream(image[..., :3]))


def test_gray_images_become_colored(dream: Run) -> None:
    assert dream(images(1, channels=1)).shape == (1, 72, 88, 3)


def test_the_result_is_fit_for_any_node(dream: Run) -> None:
    dreamed = dream(images())
    assert dreamed.device.type == "cpu"
    assert dreamed.dtype == torch.float32
    assert dreamed.is_contiguous()
    assert not dreamed.requires_grad
    assert 0 <= dreamed.min() <= dreamed.max() <= 1


def test_images_made_in_inference_mode_can_be_dreamed_on(dream: Run) -> None:
    with torch.inference_mode():
        image = images() * 1.0
    assert image.is_inference()
    assert torch.equal(dream(image), dream(images()))


def test_progress_counts_the_steps_of_the_batch_and_shows_the_dream(dream: Run, host: Any) -> None:
    dream(images(3))
    assert [(done, total) for done, total, _ in host.progress] == [(step, 12) for step in range(1, 13)]
    assert all(image.shape[:2] == (1, 3) for _, _, image in host.progress)


def test_cancel_ends_the_dream(dream: Run, host: Any, pack: Pack) -> None:
    host.interrupted = True
    with pytest.raises(pack("nodes.adapters.host").Interrupted):
        dream(images())


def test_colors_are_kept_of_the_image_or_of_another(dream: Run) -> None:
    image, other = images(2), images(2).flip(0)
    own = dream(image, original_colors=True)
    assert torch.equal(own, dream(image, original_colors=True, colors=image))
    theirs = dream(image, original_colors=True, colors=other)
    assert not torch.equal(own, theirs)
    one = dream(image, original_colors=True, colors=other[:1])
    assert torch.equal(one[0], theirs[0])
    assert not torch.equal(one[1], theirs[1])


def test_steps_go_where_a_dream_is_to_be_renewed(dream: Run) -> None:
    image, renewal = images(2), torch.ones(2, 72, 88)
    assert torch.equal(dream(image, renewal=renewal[0]), dream(image))
    renewal[1] = 0
    once = dream(image, renewal=renewal, keep_brightness=False)
    assert torch.equal(once[0], dream(image, keep_brightness=False)[0])
    assert torch.equal(once[1], image[1])


@pytest.mark.parametrize(
    ("renewal", "message"),
    [
        (torch.ones(1, 72, 90), "expected renewal as one image, or one for each"),
        (torch.ones(3, 72, 88), "expected renewal as one image, or one for each"),
        (torch.full((1, 72, 88), 1.5), "expected renewal values between 0 and 1"),
    ],
)
def test_a_renewal_that_does_not_fit_is_told(pack: Pack, dream: Run, renewal: Tensor, message: str) -> None:
    with pytest.raises(pack("dream_core.errors").ImageError, match=message):
        dream(images(2), renewal=renewal)


def test_a_mask_says_where_to_dream(dream: Run) -> None:
    image, mask = images(2), torch.zeros(2, 72, 88)
    mask[0, 20:50, 30:60] = 1
    once = dream(image, mask=mask, mask_feather=4)
    changed = (once != image).any(-1)
    assert changed[0, 24:46, 34:56].float().mean() > 0.9
    assert not changed[mask == 0].any()
    inverted = dream(image, mask=1 - mask, mask_feather=4, mask_invert=True)
    assert torch.equal(inverted, once)
    # A mask made for a larger image of the same proportions.
    large = torch.zeros(1, 144, 176)
    large[:, 40:100, 60:120] = 1
    scaled = (dream(image, mask=large, mask_feather=4)[0] != image[0]).any(-1)
    assert (scaled == changed[0]).float().mean() > 0.97


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(1, 72, 95), "expected mask in the proportions of the image, 88x72 pixels, got 95x72"),
        (torch.ones(3, 72, 88), "expected mask as one, or one for each of 2 images, got 3"),
        (torch.full((1, 72, 88), 1.5), "expected mask values between 0 and 1"),
    ],
)
def test_a_mask_that_does_not_fit_is_told(pack: Pack, dream: Run, mask: Tensor, message: str) -> None:
    with pytest.raises(pack("dream_core.errors").ImageError, match=message):
        dream(images(2), mask=mask)


@pytest.mark.parametrize("shape", [(1, 72, 90, 3), (3, 72, 88, 3)])
def test_colors_of_another_size_or_number_are_told(pack: Pack, dream: Run, shape: tuple[int, ...]) -> None:
    with pytest.raises(pack("dream_core.errors").ImageError, match="expected colors as one image, or one"):
        dream(images(2), colors=torch.rand(shape))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((1, 72, 88, 3), float("nan")), "expected finite image"),
        (torch.rand(0, 72, 88, 3), "image is empty"),
        (torch.rand(1, 72, 88, 3) * 255, "divide it by 255"),
    ],
)
def test_wrong_images_are_told(pack: Pack, dream: Run, image: Tensor, message: str) -> None:
    with pytest.raises(pack("dream_core.errors").ImageError, match=message):
        dream(image)


def test_an_unknown_layer_is_told_with_close_ones_and_without_flags(
    pack: Pack, dream: Run, objective: Run
) -> None:
    wanted = objective(layers="features.3.squeez")
    with pytest.raises(
        pack("dream_core.errors").SettingsError,
        match=r"no layer 'features.3.squeez'; close: features.3.squeeze.*; the output layers of Load Dream Model",
    ):
        dream(images(), objective=wanted)


def test_settings_that_do_not_fit_are_told(pack: Pack, dream: Run, objective: Run) -> None:
    error = pack("dream_core.errors").SettingsError
    with pytest.raises(error, match="expected tile_size from 64 to 16384, or 0, got 32"):
        dream(images(), tile_size=32)
    with pytest.raises(error, match="expected optimizer to be one of"):
        dream(images(), optimizer={"optimizer": "sgd"})
    with pytest.raises(error, match="expected loss to be one of"):
        objective(loss="l3")


def test_objectives_add_up(pack: Pack, model: Any, objective: Run) -> None:
    first = objective(layers="features.3.squeeze:2", tv_weight=0.5)
    both = objective(
        objective=first,
        layers="features.6",
        tv_weight=0.25,
        channel_mode={"channel_mode": "all", "channels": "1 2"},
    )
    built = pack("nodes.dream").build(both, model.model.network)
    assert [(term.layer, term.weight, term.channels) for term in built.terms] == [
        ("features.3.squeeze", 2.0, ()),
        ("features.6", 1.0, (1, 2)),
    ]
    assert built.tv_weight == 0.75


def test_no_objective_is_the_networks_own(pack: Pack, dream: Run, objective: Run, model: Any) -> None:
    assert torch.equal(dream(images()), dream(images(), objective=objective()))
    built = pack("nodes.dream").build(None, model.model.network)
    assert built.layers == (model.model.network.default_layer,)


def test_another_objective_is_another_dream(dream: Run, objective: Run) -> None:
    shallow = objective(layers="features.3.squeeze")
    assert not torch.equal(dream(images()), dream(images(), objective=shallow))


def test_a_number_of_channels_is_chosen_in_the_image(dream: Run, objective: Run) -> None:
    strong = {"channel_mode": "strong", "channel_count": 1}
    weak = {"channel_mode": "weak", "channel_count": 1}
    few, others = (dream(images(), objective=objective(channel_mode=mode)) for mode in (strong, weak))
    assert not torch.equal(few, others)


def test_a_warning_of_the_core_is_told_on_the_node(objective: Run, host: Any) -> None:
    objective(channel_mode={"channel_mode": "ignore", "channels": ""})
    assert host.told == ["channel_mode ignore does nothing without channels: name those to ignore"]


def test_a_look_needs_nothing_but_the_image_and_hidden_values_do_nothing(
    pack: Pack, run: Run, dream: Run, objective: Run, looks: dict[str, Any]
) -> None:
    image, node = images(), pack("nodes.dream").Dream
    (dreamed,) = run(node, image=image, look="embers")
    by_hand = dream(
        image,
        dream_model=pack("nodes.adapters.networks").default_dream_model(
            pack("dream_core.settings").ModelSettings(model="squeezenet1_1")
        ),
        objective=objective(layers="features.6"),
        octave_mode={"octave_mode": "normal", "octaves": 1, "octave_scale": 0.7},
        octave_steps=4,
        learning_rate=3.0,
    )
    assert torch.equal(dreamed, by_hand)
    (hidden,) = run(node, image=image, look="embers", octave_steps=1, tile_size=64, original_colors=True)
    assert torch.equal(dreamed, hidden)
    (other,) = run(node, image=image, look="embers", seed=1)
    assert not torch.equal(dreamed, other)
    (colored,) = run(node, image=image, look="ashes")
    assert not torch.equal(dreamed, colored)


def test_a_wired_network_or_objective_wins_over_the_look(
    pack: Pack, run: Run, host: Any, objective: Run, looks: dict[str, Any]
) -> None:
    image, node = images(), pack("nodes.dream").Dream
    torch.manual_seed(3)
    spec = pack("dream_core.models.registry").MODELS["squeezenet1_1_caffe"]
    network = pack("dream_core.models.dream_model").DreamModel(spec.build(), spec)
    services = pack("nodes.adapters.host")
    wired = services.wrap(services.Wrapped(network))
    told = (
        "model squeezenet1_1_caffe is not squeezenet1_1, the network of look embers: leaving out the look's "
        "layers"
    )
    (dreamed,) = run(node, image=image, look="embers", dream_model=wired)
    assert host.told == [told]
    host.told.clear()
    default = objective(layers=network.default_layer)
    (same,) = run(node, image=image, look="embers", dream_model=wired, objective=default)
    assert torch.equal(dreamed, same)
    (other,) = run(node, image=image, look="embers", dream_model=wired, objective=objective(layers="fire2"))
    assert not torch.equal(dreamed, other)
    assert host.told == []


def test_without_a_look_and_a_network_auto_dreams(
    pack: Pack, run: Run, looks: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = pack("nodes.adapters.networks")
    monkeypatch.setattr(networks, "resolve_model", lambda settings: "squeezenet1_1")
    node, image = pack("nodes.dream").Dream, images()
    (dreamed,) = run(node, image=image, **SMALL)
    assert torch.equal(dreamed, run(node, image=image, look="custom", **SMALL)[0])


def test_a_choice_that_comfyui_does_not_know_is_refused(pack: Pack, dream: Run) -> None:
    with pytest.raises(
        pack("dream_core.errors").SettingsError, match="expected octave_mode to be one of normal, "
    ):
        dream(images(), octave_mode="bogus")


def convolves(module: nn.Module) -> bool:
    """Return whether a module convolves values: shapes alone are computed by other modules."""
    return type(module).__name__ == "PackedConvolution"


@contextmanager
def memory_for(longest: int) -> Iterator[list[int]]:
    """Memory runs out at tiles with a longer side than this; yields the longest side of each input tried."""
    tried: list[int] = []

    def run_out(module: nn.Module, inputs: tuple[Tensor]) -> None:
        if not convolves(module) or inputs[0].shape[1] != 3:
            return
        tried.append(max(inputs[0].shape[-2:]))
        if tried[-1] > longest:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = register_module_forward_pre_hook(run_out)
    try:
        yield tried
    finally:
        hook.remove()


def test_where_memory_runs_out_the_rest_of_the_batch_has_smaller_tiles(dream: Run, host: Any) -> None:
    image = images(3)
    expected = dream(image, tile_size=64)
    host.taken.clear()
    with memory_for(64) as tried:
        assert torch.equal(dream(image), expected)
    assert [side for side in tried if side > 64] == [88]  # only once
    assert host.freed == 1
    assert len(host.taken) == 3  # for its memory, and once more because it was evicted
    assert host.taken[1] > 0
    assert [message.partition(";")[0] for message in host.told] == [
        "memory ran out: going on with tiles of 64 pixels"
    ]


def test_other_models_are_evicted_before_tiles_get_smaller(dream: Run, host: Any) -> None:
    image = images(2)
    expected = dream(image)
    host.others = True
    failed = []

    def run_out(module: nn.Module, inputs: tuple[Tensor]) -> None:
        if convolves(module) and not failed:
            failed.append(True)
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = register_module_forward_pre_hook(run_out)
    try:
        assert torch.equal(dream(image), expected)
    finally:
        hook.remove()
    assert (host.freed, host.told) == (1, [])


def test_too_little_memory_for_any_tile_is_told(pack: Pack, dream: Run) -> None:
    with (
        memory_for(0),
        pytest.raises(torch.OutOfMemoryError, match=r"flow_scale 0\.5"),  # which ComfyUI takes for its own
    ):
        dream(images())


def test_another_packs_model_or_objective_is_refused_by_name(pack: Pack, dream: Run) -> None:
    wire_error, image = pack("nodes.adapters.require").WireError, torch.rand(1, 32, 32, 3)
    with pytest.raises(wire_error, match="dream_model from Load Dream Model, got Linear"):
        dream(image, dream_model=pack("nodes.adapters.host").wrap(torch.nn.Linear(1, 1)))
    for objective in ("eyes", ("eyes",)):
        with pytest.raises(
            wire_error, match="objective from Dream Objective, Dream Guide or Dream Text, got str"
        ):
            dream(image, objective=objective)
