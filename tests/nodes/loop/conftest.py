"""Fixtures of loops, see `fake_loop`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_loop import Loop


@pytest.fixture
def loop(pack: Any) -> Loop:
    return Loop(pack)


@pytest.fixture
def error(pack: Any) -> type[Exception]:
    found: type[Exception] = pack("nodes.loop.body").LoopError
    return found


@pytest.fixture
def film(pack: Any, video: Path) -> Any:
    """The video of `swinging` as VIDEO."""
    return pack("nodes.adapters.videos").InputImpl.VideoFromFile(str(video))
