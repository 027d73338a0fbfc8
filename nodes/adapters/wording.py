"""The core speaks of the command's flags; people at nodes know widgets and sockets."""

from __future__ import annotations

import re

ELSEWHERE = {
    "print-layers": "the output layers of Load Dream Model",
    "model-file": "weights of Load Dream Model",
    "flow-file": "model of Load Flow Model",
}
"""Flags that no widget of the same name stands for."""


def as_widgets(message: str) -> str:
    """A message with its flags named as the widgets are: --octave-scale -> octave_scale."""
    message = re.sub(r"`(\w+)`", lambda f: ELSEWHERE.get(f[1].replace("_", "-"), f[1]), message)
    return re.sub(
        r"(?<![\w-])--([a-z][a-z0-9-]*)",
        lambda flag: ELSEWHERE.get(flag[1], flag[1].replace("-", "_")),
        message,
    )
