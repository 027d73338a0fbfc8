"""Folders of ComfyUI's node menu. locales/*/main.json translates their names."""

from __future__ import annotations

from typing import Final

DREAM: Final = "DeepDream"
MODELS: Final = f"{DREAM}/models"
OBJECTIVES: Final = f"{DREAM}/objectives"
MOTION: Final = f"{DREAM}/motion"
LOOP: Final = f"{DREAM}/loop"
SCHEDULES: Final = f"{DREAM}/schedules"
MEASURE: Final = f"{DREAM}/measure"
