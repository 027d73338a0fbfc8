"""Entry point of `python -m training`, which makes the weights inside the package."""

from __future__ import annotations

import tyro

from .train import Training, train

if __name__ == "__main__":
    for line in train(tyro.cli(Training, description="Train the network inside the package.")):
        print(line, flush=True)
