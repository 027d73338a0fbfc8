import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dream_core.dreaming.transforms import AffineView, View, random_int, random_view
from dream_core.settings import AscentSettings

X = torch.tensor([[1, 2, 3], [4, 5, 6]])[None, None]


def draw(count: int = 200, *, seed: int = 0, optimizer: str = "classic", **options) -> list:
    generator = torch.Generator().manual_seed(seed)
    settings = AscentSettings(optimizer=optimizer, **options)
    return [random_view(settings, generator) for _ in range(count)]


def affine(*, down: float = 0, right: float = 0, degrees: float = 0, scale: float = 1) -> AffineView:
    return AffineView(down, right, degrees, scale, View())


def test_each_transform_by_hand() -> None:
    assert View(down=1).apply(X).tolist() == [[[[4, 5, 6], [1, 2, 3]]]]
    assert View(right=1).apply(X).tolist() == [[[[3, 1, 2], [6, 4, 5]]]]
    assert View(turns=1).apply(X).tolist() == [[[[3, 6], [2, 5], [1, 4]]]]
    assert View(flip=True).apply(X).tolist() == [[[[3, 2, 1], [6, 5, 4]]]]
    assert View(right=1, turns=1, flip=True).apply(X).tolist() == [[[[5, 2], [4, 1], [6, 3]]]]


@settings(max_examples=30, deadline=None)
@given(
    view=st.builds(
        View, st.integers(-99, 99), st.integers(-99, 99), turns=st.integers(0, 3), flip=st.booleans()
    ),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
)
def test_a_view_is_undone_exactly(view: View, height: int, width: int) -> None:
    x = torch.rand(1, 2, height, width)
    assert torch.equal(view.undo(view.apply(x)), x)
    assert torch.equal(view.apply(x).flatten().sort().values, x.flatten().sort().values)


def test_an_affine_view_that_moves_nothing_is_the_image() -> None:
    image = torch.rand(1, 3, 9, 14)
    torch.testing.assert_close(affine().apply(image), image)


def test_a_shifted_view_is_mirrored_at_the_edge() -> None:
    row = torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(1, 1, 2, 4)
    assert affine(right=2).apply(row)[0, 0, 0].tolist() == pytest.approx([2, 1, 1, 2])
    assert affine(right=-1).apply(row)[0, 0, 0].tolist() == pytest.approx([2, 3, 4, 4])
    column = row.mT.contiguous()
    assert affine(down=2).apply(column)[0, 0, :, 0].tolist() == pytest.approx([2, 1, 1, 2])


@pytest.mark.parametrize(("height", "width"), [(24, 24), (24, 40)])
def test_an_affine_view_turns_in_pixels_whatever_the_shape(height: int, width: int) -> None:
    image = torch.rand(1, 1, height, width)
    turned = affine(degrees=90).apply(image)
    middle = slice(height // 2 - 6, height // 2 + 6), slice(width // 2 - 6, width // 2 + 6)
    expected = torch.rot90(image[..., middle[0], middle[1]], 1, (-2, -1))
    torch.testing.assert_close(turned[..., middle[0], middle[1]], expected, atol=1e-4, rtol=0)


def test_an_affine_view_is_scaled_about_its_center() -> None:
    ramp = torch.arange(20.0).expand(1, 1, 8, 20)
    center, half = 9.5, affine(scale=2).apply(ramp)[0, 0, 4]
    assert half.tolist() == pytest.approx([center + (x - center) / 2 for x in range(20)], abs=1e-4)


def test_an_affine_view_applies_the_exact_one_first() -> None:
    image = torch.rand(1, 3, 6, 10)
    both = AffineView(0, 2, 0, 1, View(turns=1, flip=True))
    torch.testing.assert_close(
        both.apply(image), affine(right=2).apply(View(turns=1, flip=True).apply(image))
    )


def test_clean_views_follow_the_settings() -> None:
    views = draw(optimizer="clean", jitter=2, turn=7, stretch=10, random_transforms="flip")
    assert {view.down for view in views} == {view.right for view in views} == set(range(-2, 3))
    assert 6 < max(view.degrees for view in views) <= 7
    assert -7 <= min(view.degrees for view in views) < -6
    assert 1.08 < max(view.scale for view in views) <= 1.1
    assert 0.9 <= min(view.scale for view in views) < 0.92
    assert {view.exact.flip for view in views} == {False, True}
    still = draw(optimizer="clean", jitter=0, turn=0, stretch=0)
    assert {(view.degrees, view.scale) for view in still} == {(0, 1)}


def test_integers_reach_both_ends() -> None:
    generator = torch.Generator().manual_seed(0)
    assert {random_int(-1, 2, generator) for _ in range(100)} == {-1, 0, 1, 2}


def test_views_follow_the_settings() -> None:
    plain = draw(jitter=3)
    assert {view.down for view in plain} == {view.right for view in plain} == set(range(-3, 4))
    assert {(view.turns, view.flip) for view in plain} == {(0, False)}
    assert set(draw(jitter=0)) == {View()}
    assert {(view.turns, view.flip) for view in draw(random_transforms="flip")} == {(0, False), (0, True)}
    assert {view.turns for view in draw(random_transforms="rotate")} == {0, 1, 2, 3}
    assert not any(view.flip for view in draw(random_transforms="rotate"))
    assert len({(view.turns, view.flip) for view in draw(random_transforms="all")}) == 8


def test_a_seed_decides_the_views() -> None:
    assert draw(seed=1) == draw(seed=1) != draw(seed=2)
