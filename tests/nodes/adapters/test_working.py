"""The surroundings of a node's work."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn


@pytest.fixture
def working(pack: Any) -> Any:
    return pack("nodes.adapters.working").working


def warn_as(file: str, message: str) -> None:
    warnings.warn_explicit(message, UserWarning, file, 1)


def test_gradients_work_although_nodes_run_in_inference_mode(working: Any) -> None:
    layer = nn.Linear(2, 1)
    with torch.inference_mode(), working():
        x = torch.ones(1, 2, requires_grad=True)
        layer(x).sum().backward()
    assert torch.equal(x.grad, layer.weight)


def test_cancel_is_heard_after_a_layer(working: Any, host: Any, pack: Any) -> None:
    host.interrupted = True
    nn.Identity()(torch.zeros(1))  # outside of a node's work nothing listens
    with pytest.raises(pack("nodes.adapters.host").Interrupted), working():
        nn.Identity()(torch.zeros(1))
    nn.Identity()(torch.zeros(1))


def test_on_a_gpu_no_layer_is_listened_to(
    working: Any, host: Any, pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack("nodes.adapters.host"), "compute_device", lambda: torch.device("cuda"))
    host.interrupted = True
    with working():
        nn.Identity()(torch.zeros(1))
        with pytest.raises(pack("nodes.adapters.host").Interrupted):
            pack("nodes.adapters.host").Progress().update(1, 2)  # as after every step


def test_cancel_is_heard_on_the_way_back(working: Any, host: Any, pack: Any) -> None:
    with working():
        x = torch.ones(1, 2, requires_grad=True)
        y = nn.Linear(2, 1)(x).sum()
        host.interrupted = True
        with pytest.raises(pack("nodes.adapters.host").Interrupted):
            y.backward()


def test_the_packs_warnings_appear_on_the_node_and_others_do_not(working: Any, host: Any, pack: Any) -> None:
    with warnings.catch_warnings(record=True) as others, working():
        warn_as(pack("dream_core.settings").__file__, "`octave_scale` does nothing")
        warn_as("/elsewhere.py", "from elsewhere")
    assert host.told == ["octave_scale does nothing"]
    assert [str(one.message) for one in others] == ["from elsewhere"]


def test_errors_of_the_core_name_widgets(working: Any, errors: Any) -> None:
    with pytest.raises(errors.SettingsError, match=r"^expected tile_size of 64$"), working():
        raise errors.SettingsError("expected `tile_size` of 64")


def test_other_errors_go_through_as_they_are(working: Any) -> None:
    error = RuntimeError("`octave_scale`")
    with pytest.raises(RuntimeError) as raised, working():
        raise error
    assert raised.value is error
