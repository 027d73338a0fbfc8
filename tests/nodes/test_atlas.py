"""Dream Atlas: a sheet, the names in it, and a cache in ComfyUI's own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture
def node(pack: Any) -> Any:
    return pack("nodes.atlas").DreamAtlas


def test_the_channels_of_a_layer_are_listed(run: Any, node: Any, networks: Any, clip: Any) -> None:
    values = {"layer": "fire2/squeeze1x1", "count": 3, "thumbnail": 32, "thumbnail_steps": 1}
    sheet, names = run(node, image=clip(2), dream_model=networks["dream_model"], **values)
    assert sheet.ndim == 4
    assert sheet.shape[-1] == 3
    assert torch.isfinite(sheet).all()
    assert len(names.split()) == 3
    assert all(0 <= int(name) < 16 for name in names.split())


def test_another_default_network_is_drawn_anew(node: Any, monkeypatch: pytest.MonkeyPatch, pack: Any) -> None:
    monkeypatch.setattr(pack("nodes.atlas"), "dream_fingerprint", lambda name: f"of {name}")
    assert node.fingerprint_inputs(layer="") == "of auto"
    assert node.fingerprint_inputs(layer="", dream_model=None) is None


def test_what_is_kept_stays_in_comfyuis_folder(
    run: Any, node: Any, networks: Any, clip: Any, pack: Any
) -> None:
    temporary = pack("nodes.adapters.host").temporary_folder("deepdream_atlas")
    before = set(temporary.parent.parent.rglob("*.safetensors"))
    values = {"layer": "fire2/squeeze1x1", "count": 1, "thumbnail": 32, "thumbnail_steps": 1}
    run(node, image=1 - clip(1), dream_model=networks["dream_model"], **values)
    made = set(temporary.parent.parent.rglob("*.safetensors")) - before
    assert made
    assert all(Path(temporary) in path.parents for path in made)
    with pytest.raises(Exception, match=r"has no layer '\.\./\.\./elsewhere'"):
        run(
            node, image=clip(1), dream_model=networks["dream_model"], **{**values, "layer": "../../elsewhere"}
        )
