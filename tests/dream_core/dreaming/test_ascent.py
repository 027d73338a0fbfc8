import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dream_core.checks import validate
from dream_core.dreaming.ascent import LEVEL, BoundedLBFGS, ClassicAscent, CleanAscent, ascend
from dream_core.dreaming.step_plan import LARGEST_STEP, Box, StepPlan
from dream_core.settings import AscentSettings, DreamSettings

OPTIMIZERS = ("clean", "adam", "classic", "lbfgs")
STILL = {
    "jitter": 0,
    "turn": 0,
    "stretch": 0,
    "natural_colors": 0,
    "spectrum": 0,
    "learning_rate": 1.5,
    "laplacian_sigma": 1.0,
    "lbfgs_history": 100,
}
TARGET = torch.linspace(0.2, 0.8, 3 * 6 * 8).reshape(1, 3, 6, 8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Pixels:
    """A network whose only layer is the image itself."""

    dtype = torch.float32

    def smallest_side(self, layers: object) -> int:
        return 1

    def activations(self, image: Tensor, layers: object) -> dict[str, Tensor]:
        return {"image": image}


class Formula:
    """An objective that is a function of the image."""

    layers = terms = ("image",)
    texts = ()
    strength = 1.0
    chooses_channels = has_penalties = needs_whole = False

    def __init__(self, value: Callable[[Tensor], Tensor]) -> None:
        self.value = value

    def __call__(self, activations: dict[str, Tensor]) -> Tensor:
        return self.value(activations["image"])

    def seen(self, look: object) -> Any:
        return self


def towards_target(image: Tensor) -> Tensor:
    """A concave objective whose maximum is TARGET."""
    return -(image - TARGET).square().sum()


def upwards(image: Tensor) -> Tensor:
    """A convex objective, which becomes ever steeper, as those of networks often do."""
    return (image - 0.4).square().sum()


def climb(
    image: Tensor,
    value: Callable[[Tensor], Tensor],
    *,
    steps: int,
    settings: AscentSettings,
    **options: Any,
) -> Tensor:
    options = {"plan": StepPlan(whole=steps), **options}
    whole = DreamSettings(ascent=settings)
    return ascend(image, [Pixels()], Formula(value), settings=whole, generator=generator(), **options)


def move(
    image: Tensor, value: Callable[[Tensor], Tensor] = towards_target, *, steps: int = 1, **options: Any
) -> Tensor:
    return climb(image, value, steps=steps, settings=AscentSettings(**(STILL | options)))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_first_step_is_the_learning_rate_in_levels(optimizer: str) -> None:
    image = torch.full((1, 3, 6, 8), 0.5)
    moved = move(image, optimizer=optimizer, learning_rate=3) - image
    assert moved.abs().mean().item() == pytest.approx(3 * LEVEL, rel=1e-3)
    assert torch.equal(moved.sign(), (TARGET - image).sign())


def test_the_classic_step_by_hand() -> None:
    gradient = torch.tensor([1.0, -2.0, 9.0]).reshape(1, 3, 1, 1)
    moved = move(
        torch.full((1, 3, 1, 1), 0.5),
        lambda image: (image * gradient).sum(),
        optimizer="classic",
        learning_rate=25.5,
    )
    torch.testing.assert_close(moved, 0.5 + 0.1 * gradient / 4)


def test_clean_steps_shrink_toward_black_and_white() -> None:
    parameter = torch.tensor([0.5, 0.5, 0.875, 0.875, 0.0625, 1.0, 0.0, 1.0])
    parameter.grad = torch.tensor([-1.0, 1.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0])
    before = parameter.clone()
    CleanAscent([parameter], lr=0.01).step()
    moved = (parameter - before) / 0.01
    expected = torch.tensor([1.0, -1.0, 0.25, -1.0, -0.0625, 0.0, 0.0, -1.0])
    torch.testing.assert_close(moved, expected, atol=1e-4, rtol=0)


def test_a_clean_dream_does_not_burn_out() -> None:
    image = 0.1 + 0.8 * torch.rand(1, 3, 16, 16)
    clipped = {}
    for optimizer in ("clean", "classic"):
        dreamed = move(image, upwards, steps=40, optimizer=optimizer, learning_rate=6)
        clipped[optimizer] = ((dreamed <= 0) | (dreamed >= 1)).float().mean().item()
        assert (dreamed - image).abs().mean() > 0.1
    assert clipped["clean"] == 0 < 0.1 < clipped["classic"]


def test_the_gradient_returns_through_a_turned_and_stretched_view() -> None:
    """A bright spot grows where it is, although each step sees it elsewhere."""
    image = torch.full((1, 3, 48, 48), 0.4)
    image[..., 30:33, 10:13] = 0.6

    def above_half(view: Tensor) -> Tensor:
        return view.clamp_min(0.5).sum()

    settings = AscentSettings(
        optimizer="clean",
        jitter=8,
        turn=20,
        stretch=20,
        natural_colors=0,
        spectrum=0,
        gradient_blur=0,
        learning_rate=0.01,
    )
    moved = (climb(image, above_half, steps=5, settings=settings) - image)[0].mean(0)
    inside = moved[30:33, 10:13]
    assert inside.min() > 2 * LEVEL
    moved[27:36, 7:16] = 0
    assert moved.abs().max() < 1e-6


def test_adam_is_torch_adam() -> None:
    image = torch.rand(1, 3, 6, 8)
    ours = move(image, steps=7, optimizer="adam", learning_rate=2, gradient_blur=0, clamp=False)
    parameter = image.clone().requires_grad_()
    adam = torch.optim.Adam([parameter], lr=2 / 255)
    for _ in range(7):
        adam.zero_grad()
        (-towards_target(parameter)).backward()
        adam.step()
    torch.testing.assert_close(ours, parameter.detach())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("gradient", [towards_target, upwards])
def test_the_objective_rises(optimizer: str, gradient) -> None:
    values: list[float] = []
    climb(
        torch.rand(1, 3, 6, 8),
        gradient,
        steps=10,
        settings=AscentSettings(optimizer=optimizer, jitter=0, turn=0, stretch=0),
        on_step=lambda value, image: values.append(value.item()),
    )
    assert all(later > earlier for earlier, later in itertools.pairwise(values))


def test_lbfgs_finds_the_maximum_of_a_badly_scaled_objective() -> None:
    slopes = torch.logspace(0, 1.5, TARGET.numel()).reshape(TARGET.shape)

    def hill(image: Tensor) -> Tensor:
        return -(slopes * (image - TARGET).square()).sum()

    start = TARGET + 0.05
    left = {
        optimizer: (move(start, hill, steps=40, optimizer=optimizer) - TARGET).abs().max().item()
        for optimizer in ("lbfgs", "classic")
    }
    assert left["lbfgs"] < 0.005 < left["classic"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("factor", [1e-3, 1e5])
def test_a_factor_of_the_objective_changes_nothing(optimizer: str, factor: float) -> None:
    def scaled(image: Tensor) -> Tensor:
        return upwards(image) * factor

    image = torch.rand(1, 3, 6, 8)
    plain = move(image, upwards, steps=6, optimizer=optimizer)
    # Adam divides by the slope plus 1e-8.
    torch.testing.assert_close(move(image, scaled, steps=6, optimizer=optimizer), plain, atol=3e-4, rtol=0)


def test_lbfgs_steps_stay_bounded_where_the_objective_curves_upwards() -> None:
    """Plain L-BFGS diverges here, because the curvature is negative."""
    images = [torch.rand(1, 3, 6, 8)]
    settings = AscentSettings(optimizer="lbfgs", clamp=False, jitter=2, learning_rate=1.5)
    noise = generator(5)

    def noisy(image: Tensor) -> Tensor:
        return upwards(image) + 0.5 * (image * torch.randn(image.shape, generator=noise)).sum()

    climb(
        images[0],
        noisy,
        steps=30,
        settings=settings,
        on_step=lambda value, image: images.append(image),
    )
    steps = [(b - a).abs().mean() / LEVEL for a, b in itertools.pairwise(images)]
    assert max(steps) <= 1.5 * 1.001
    assert min(steps[-10:]) > 0.05
    assert upwards(images[-1]) > upwards(images[0])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_zero_gradient_changes_nothing(optimizer: str) -> None:
    image = torch.rand(1, 3, 6, 8)
    still = move(image, lambda p: (0 * p).sum(), steps=3, optimizer=optimizer)
    assert torch.equal(still, image)


def test_lbfgs_stores_as_many_steps_as_it_is_told() -> None:
    parameter = torch.rand(1, 3, 2, 2)
    optimizer = BoundedLBFGS(parameter, lr=0.01, history_size=3)

    for _ in range(6):
        parameter.grad = (parameter - 0.5) * 2
        optimizer.step()
    assert len(optimizer._pairs) == 3


def test_a_classic_step_is_the_gradient_over_its_mean_magnitude() -> None:
    parameter = torch.zeros(2)
    parameter.grad = torch.tensor([1.0, -3.0])
    ClassicAscent([parameter], lr=2.0).step()
    assert parameter.tolist() == [-1.0, 3.0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_clamp_keeps_the_range_after_each_step(optimizer: str) -> None:
    image = torch.rand(1, 3, 6, 8)
    seen: list[Tensor] = []

    def run(*, clamp: bool) -> Tensor:
        settings = AscentSettings(optimizer=optimizer, learning_rate=60, clamp=clamp, jitter=0)
        return climb(
            image,
            upwards,
            steps=4,
            settings=settings,
            on_step=lambda value, image: seen.append(image),
        )

    run(clamp=True)
    assert all(p.min() >= 0 and p.max() <= 1 for p in seen)
    assert max(p.max() for p in seen) == 1
    free = run(clamp=False)
    assert free.min() < 0
    assert free.max() > 1


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_input_is_not_modified_and_zero_steps_return_it(optimizer: str) -> None:
    image = torch.rand(1, 3, 6, 8)
    before = image.clone()
    move(image, steps=3, optimizer=optimizer)
    assert torch.equal(image, before)
    assert torch.equal(move(image, steps=0, optimizer=optimizer), before)


def test_each_step_is_reported_with_a_copy_of_the_image() -> None:
    told: list[tuple[float, Tensor]] = []
    image = torch.rand(1, 3, 6, 8)
    result = climb(
        image,
        towards_target,
        steps=3,
        settings=AscentSettings(jitter=0, turn=0, stretch=0),
        on_step=lambda value, image: told.append((value.item(), image)),
    )
    assert len(told) == 3
    before = [image, *(after for _, after in told[:2])]
    assert [value for value, _ in told] == pytest.approx([towards_target(one).item() for one in before])
    assert torch.equal(told[-1][1], result)
    assert not torch.equal(told[0][1], told[1][1])


def test_the_gradient_of_a_view_is_turned_back() -> None:
    """The gradient of the brightest pixel must arrive at that pixel, whatever the view."""
    image = torch.rand(1, 3, 6, 6) * 0.5
    image[..., 1, 4] = 0.9
    views: list[Tensor] = []

    def of_brightest(view: Tensor) -> Tensor:
        views.append(view.detach())
        return view.amax()

    settings = AscentSettings(
        optimizer="classic", jitter=3, random_transforms="all", learning_rate=0.01, gradient_blur=0
    )
    moved = climb(image, of_brightest, steps=12, settings=settings) - image
    assert (moved[..., 1, 4] > 0).all()
    moved[..., 1, 4] = 0
    assert moved.abs().max() == 0
    assert len({tuple(view.flatten().tolist()) for view in views}) > 6


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_is_due_is_a_factor_of_each_step(optimizer: str) -> None:
    image, settings = torch.rand(1, 3, 6, 8) * 0.2 + 0.4, AscentSettings(optimizer=optimizer, jitter=0)
    due = torch.tensor([0.0, 0.5, 1.0, 3.0]).repeat(2).expand(1, 1, 6, 8)

    def moved(plan: StepPlan) -> Tensor:
        return climb(image, upwards, steps=1, settings=settings, plan=plan) - image

    plain = moved(StepPlan(whole=1))
    assert plain.abs().min() > 0
    torch.testing.assert_close(moved(StepPlan(whole=1, due=due)), due * plain, atol=1e-6, rtol=1e-4)
    most = moved(StepPlan(whole=1, due=100 * torch.ones_like(due)))
    torch.testing.assert_close(most, LARGEST_STEP * plain, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_extra_steps_change_the_box_alone_and_see_little_more(optimizer: str) -> None:
    image = torch.rand(1, 3, 128, 128) * 0.2 + 0.4
    due = torch.full((1, 1, 128, 128), 0.5)
    due[..., 32:64, 64:96] = 6
    seen: list[tuple[int, int]] = []

    def note(view: Tensor) -> Tensor:
        seen.append((view.shape[-2], view.shape[-1]))
        return upwards(view)

    plan = StepPlan(whole=1, extra=2, box=Box(top=0.25, left=0.5, height=0.25, width=0.25), due=due)
    settings = AscentSettings(optimizer=optimizer, jitter=0)
    moved = climb(image, note, steps=3, settings=settings, plan=plan) - image
    once = climb(image, upwards, steps=1, settings=settings, plan=StepPlan(whole=1, due=due)) - image
    assert seen == [(128, 128), (64, 64), (64, 64)]
    inside = (..., slice(32, 64), slice(64, 96))
    outside = torch.ones(128, 128, dtype=torch.bool)
    outside[inside[1:]] = False
    assert torch.equal(moved[..., outside], once[..., outside])
    assert moved[inside].abs().mean() > 6 * moved[..., outside].abs().mean()


def test_steps_on_a_box_are_as_large_as_on_the_whole() -> None:
    """A box in which the gradient is weak dreams weakly: it is no reason to amplify it there."""
    weight = torch.ones(1, 1, 96, 96)
    weight[..., :48] = 0.1
    image = torch.full((1, 3, 96, 96), 0.5)
    settings = AscentSettings(**(STILL | {"optimizer": "classic", "gradient_blur": 0}))

    def weighted(view: Tensor) -> Tensor:
        part = weight if view.shape[-1] == 96 else weight[..., : view.shape[-2], : view.shape[-1]]
        return (view * part).sum()

    due = torch.full((1, 1, 96, 96), 2.0)
    box = Box(top=0, left=0, height=1 / 3, width=1 / 3)
    whole = climb(image, weighted, steps=2, settings=settings, plan=StepPlan(whole=2, due=due))
    part = climb(
        image, weighted, steps=2, settings=settings, plan=StepPlan(whole=1, extra=1, box=box, due=due)
    )
    torch.testing.assert_close(part[..., :32, :32], whole[..., :32, :32])


def test_the_gradient_is_filtered() -> None:
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(move(image, torch.sum, fft_block=1, optimizer="classic"), image)
    assert not torch.equal(move(image, torch.sum, optimizer="classic"), image)


def test_generators_accept_the_largest_seed() -> None:
    validate(AscentSettings(seed=2**64 - 1))
    torch.Generator().manual_seed(2**64 - 1)
