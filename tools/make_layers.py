"""Write web/layers.json, the names of the layers of all networks, for the list that Dream Objective shows.

    uv run tools/make_layers.py

Run it when a network has changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

from dream_core.models.dream_model import outline
from dream_core.settings import ModelName

FILE = Path(__file__).resolve().parents[1] / "web" / "layers.json"


def layers_of_networks() -> dict[str, list[str]]:
    """Return network -> names of its layers, from shallow to deep."""
    return {name: list(outline(name).layers()) for name in get_args(ModelName)}


def main() -> None:
    """Write the file, a network a line."""
    lines = [f"{json.dumps(name)}: {json.dumps(layers)}" for name, layers in layers_of_networks().items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
