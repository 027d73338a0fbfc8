"""Fixtures of all tests: the folder of real weights and clips, and one seed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores, and so do the programs that they start.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with real weights and clips, or a skip that says how to get it."""
    folder = os.environ.get("DEEPDREAM_TEST_DATA")
    if not folder:
        pytest.skip(
            "needs real weights: set DEEPDREAM_TEST_DATA to the folder that holds weights/ and clips/"
        )
    return Path(folder)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
