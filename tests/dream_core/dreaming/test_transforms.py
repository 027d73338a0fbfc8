import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dream_core.dreaming.transforms import View, random_int, random_view
from dream_core.settings import AscentSettings

X = torch.tensor([[1, 2, 3], [4, 5, 6]])[None, None]


def draw(count: int = 200, *, seed: int = 0, **options) -> list[View]:
    generator = torch.Generator().manual_seed(seed)
    return [random_view(AscentSettings(**options), generator) for _ in range(count)]


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
