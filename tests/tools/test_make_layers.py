"""The list of layers for ComfyUI's page."""

from __future__ import annotations

import json

from make_layers import FILE, layers_of_networks


def test_the_page_knows_the_layers_of_all_networks() -> None:
    """If this fails: uv run tools/make_layers.py."""
    assert json.loads(FILE.read_text("utf-8")) == layers_of_networks()
