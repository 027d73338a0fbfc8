"""DeepDream Video: a ComfyUI node pack. ComfyUI loads this file; the library is `dream_core`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """The nodes, for ComfyUI.

    Raises:
        ImportError: a package that the nodes need is not installed; the message says how to install it.
    """
    try:
        from .nodes import DeepDreamExtension
    except ModuleNotFoundError as error:
        requirements = Path(__file__).with_name("requirements.txt")
        wanted = f'-r "{requirements}"'
        if error.name == "cv2":
            # Uninstalling another of OpenCV's packages removes the files they share; pip sees no need to act.
            wanted = "--force-reinstall --no-deps opencv-python-headless"
        raise ImportError(
            f"DeepDream Video needs the package '{error.name}', which is not installed: run "
            f'"{sys.executable}" -m pip install {wanted}'
        ) from error
    return DeepDreamExtension()
