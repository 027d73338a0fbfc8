"""The context that a node works in: gradients, Cancel, warnings and errors."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from ...dream_core.errors import DeepDreamError, OutOfMemoryError
from . import host
from .widgets import as_widgets

PACK = Path(__file__).parents[2]


@contextmanager
def working() -> Iterator[None]:
    """Run the work of a node.

    Gradients work, although ComfyUI runs nodes in inference mode. Cancel stops after the current step; on a CPU,
    where a step may take seconds, after the current layer, forwards or backwards. The library's warnings appear on
    the node, and its errors name widgets. A lack of memory is raised as ComfyUI's own: it then shows its advice and
    unloads all models.
    """
    with torch.inference_mode(False), speaking(), _layers_listened_to():
        yield


@contextmanager
def speaking() -> Iterator[None]:
    """Show the library's warnings on the node, and let its errors name widgets; see `working`."""
    try:
        with _warnings_on_the_node():
            yield
    except OutOfMemoryError as error:
        raise host.out_of_memory(as_widgets(str(error))) from error
    except DeepDreamError as error:
        raise type(error)(as_widgets(str(error))) from error


@contextmanager
def _layers_listened_to() -> Iterator[None]:
    """Hear Cancel after each layer; on a GPU listening would take a fifth of a step's time."""
    if host.compute_device().type != "cpu":
        yield
        return
    hook = register_module_forward_hook(_listen)
    try:
        yield
    finally:
        hook.remove()


def _listen(module: nn.Module, inputs: Any, output: Any) -> None:
    host.check_interrupted()
    if isinstance(output, Tensor) and output.requires_grad:
        output.register_hook(_listen_backwards)


def _listen_backwards(gradient: Tensor) -> None:
    host.check_interrupted()


@contextmanager
def _warnings_on_the_node() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        show = warnings.showwarning

        def on_the_node(message: Any, category: Any, filename: str, *rest: Any, **named: Any) -> None:
            if PACK in Path(filename).parents:
                host.tell(as_widgets(str(message)))
            else:
                show(message, category, filename, *rest, **named)

        warnings.showwarning = on_the_node
        yield
