"""Nodes in the V3 schema for the tests: some make inputs, some save results."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import folder_paths
import numpy as np
import torch
from comfy.clip_model import CLIPTextModel, CLIPVisionModelProjection
from comfy.clip_vision import ClipVisionModel
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.sd import CLIP
from comfy.sd1_clip import SD1ClipModel, SD1Tokenizer
from comfy_api.latest import ComfyExtension, io
from comfy_execution.graph_utils import ExecutionBlocker, GraphBuilder
from torch.nn.modules.module import register_module_forward_pre_hook

EXECUTIONS = "executions.txt"


def schema(node_id: str, inputs: list[Any], outputs: list[Any], **options: Any) -> io.Schema:
    return io.Schema(node_id=node_id, category="tests", inputs=inputs, outputs=outputs, **options)


class ProbeFrames(io.ComfyNode):
    """Makes an IMAGE batch: a seeded texture that moves, or one of the odd ones."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        kinds = ["moving", "still", "rgba", "nan", "empty"]
        inputs = [
            io.Combo.Input("kind", options=kinds),
            *(
                io.Int.Input(name, default=default)
                for name, default in {"count": 3, "height": 64, "width": 96}.items()
            ),
            io.Int.Input("seed", default=0, optional=True),
        ]
        return schema("ProbeFrames", inputs, [io.Image.Output()])

    @classmethod
    def execute(cls, kind: str, count: int, height: int, width: int, seed: int = 0) -> io.NodeOutput:
        channels = 4 if kind == "rgba" else 3
        coarse = torch.rand(
            1, channels, height // 8, width // 8, generator=torch.Generator().manual_seed(seed)
        )
        texture = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
        by = (0, 0) if kind == "still" else (1, 2)
        frames = [texture.roll((by[0] * index, by[1] * index), (2, 3)) for index in range(count)]
        batch = torch.cat(frames).movedim(1, -1).contiguous()
        if kind == "nan":
            batch[-1, 0, 0, 0] = torch.nan
        return io.NodeOutput(batch[:0] if kind == "empty" else batch)


SMALL = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2}
"""Sizes of a small CLIP."""


class ProbeClip(io.ComfyNode):
    """Makes a CLIP and a CLIP_VISION of a small network with random weights, as ComfyUI's loaders make them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        kinds = ["nothing", "text projection", "image projection"]
        inputs = [
            io.Int.Input("width", default=64),
            io.Combo.Input("without", options=kinds, default=kinds[0]),
        ]
        return schema("ProbeClip", inputs, [io.Clip.Output(), io.ClipVision.Output()])

    @classmethod
    def execute(cls, width: int, without: str) -> io.NodeOutput:
        torch.manual_seed(0)
        vision = ClipVisionModel(
            {**SMALL, "hidden_act": "gelu", "image_size": 32, "patch_size": 8, "num_channels": 3}
            | {"projection_dim": width, "model_type": "clip_vision_model"}
        )
        config = {**SMALL, "hidden_act": "gelu", "max_position_embeddings": 77, "eos_token_id": 49407}
        texts = CLIPTextModel(config, torch.float32, torch.device("cpu"), torch.nn)
        of_texts = cls._random(texts.state_dict())
        shapes = CLIPVisionModelProjection(vision.config, torch.float32, torch.device("cpu"), torch.nn)
        of_images = cls._random(shapes.state_dict())
        if without == "text projection":
            del of_texts["text_projection.weight"]
        if without == "image projection":
            del of_images["visual_projection.weight"]
        vision.load_sd(of_images)
        kind = SimpleNamespace(params={}, clip=SD1ClipModel, tokenizer=SD1Tokenizer)
        clip = CLIP(kind, state_dict=[of_texts], model_options={"clip_l_model_config": SMALL})
        return io.NodeOutput(clip, vision)

    @staticmethod
    def _random(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: 0.1 * torch.randn(one.shape) for name, one in weights.items()}


class ProbeLikeness(io.ComfyNode):
    """Says how like a text images are, by ComfyUI's own code."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.Clip.Input("clip"), io.ClipVision.Input("clip_vision"), io.Image.Input("images")]
        return schema("ProbeLikeness", [*inputs, io.String.Input("text")], [io.Float.Output()])

    @classmethod
    def execute(cls, clip: Any, clip_vision: Any, images: torch.Tensor, text: str) -> io.NodeOutput:
        seen = clip_vision.encode_image(images)["image_embeds"]
        pooled = clip.encode_from_tokens(clip.tokenize(text), return_pooled=True)[1]
        read = clip.cond_stage_model.clip_l.transformer.text_projection(pooled)
        return io.NodeOutput(float(torch.cosine_similarity(seen, read.to(seen)).mean()))


class ProbeSee(io.ComfyNode):
    """Saves a value: tensors in a file, anything else as text."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema("ProbeSee", [io.AnyType.Input("value")], [], is_output_node=True, is_input_list=True)

    @classmethod
    def execute(cls, value: list[Any]) -> io.NodeOutput:
        shown: dict[str, list[Any]] = {"files": [], "texts": []}
        for one in value:
            tensor = one["samples"] if isinstance(one, dict) and "samples" in one else one
            if isinstance(tensor, torch.Tensor):
                path = Path(folder_paths.get_temp_directory()) / f"{uuid.uuid4().hex}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, tensor.detach().cpu().numpy())
                shown["files"].append(str(path))
            else:
                shown["texts"].append(str(one))
        return io.NodeOutput(ui=shown)


class ProbeCount(io.ComfyNode):
    """Passes a value on, and records that it ran."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ProbeCount", [io.AnyType.Input("value"), io.String.Input("label")], [io.AnyType.Output()]
        )

    @classmethod
    def execute(cls, value: Any, label: str) -> io.NodeOutput:
        path = Path(folder_paths.get_temp_directory()) / EXECUTIONS
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{label}\n")
        return io.NodeOutput(value)


class ProbeAsyncInvert(io.ComfyNode):
    """Inverts an IMAGE, after a pause."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema("ProbeAsyncInvert", [io.Image.Input("image")], [io.Image.Output()])

    @classmethod
    async def execute(cls, image: torch.Tensor) -> io.NodeOutput:
        await asyncio.sleep(0.001)
        return io.NodeOutput(1 - image)


class ProbeFail(io.ComfyNode):
    """Passes a value on, and fails at one index."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.AnyType.Input("value"), io.Int.Input("index"), io.Int.Input("at")]
        return schema("ProbeFail", inputs, [io.AnyType.Output()], display_name="Probe Fail")

    @classmethod
    def execute(cls, value: Any, index: int, at: int) -> io.NodeOutput:
        if index == at:
            raise ValueError("failed on purpose")
        return io.NodeOutput(value)


class ProbeSplit(io.ComfyNode):
    """An IMAGE as a list of two: itself and its inverse."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema("ProbeSplit", [io.Image.Input("image")], [io.Image.Output(is_output_list=True)])

    @classmethod
    def execute(cls, image: torch.Tensor) -> io.NodeOutput:
        return io.NodeOutput([image, 1 - image])


class ProbeJoin(io.ComfyNode):
    """The mean of a list of IMAGEs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema("ProbeJoin", [io.Image.Input("images")], [io.Image.Output()], is_input_list=True)

    @classmethod
    def execute(cls, images: list[torch.Tensor]) -> io.NodeOutput:
        return io.NodeOutput(torch.stack(images).mean(0))


class ProbeSlow(io.ComfyNode):
    """Passes a value on after a while; Cancel ends it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ProbeSlow", [io.AnyType.Input("value"), io.Float.Input("seconds")], [io.AnyType.Output()]
        )

    @classmethod
    def execute(cls, value: Any, seconds: float) -> io.NodeOutput:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            throw_exception_if_processing_interrupted()
            time.sleep(0.005)
        return io.NodeOutput(value)


class ProbeHurry(io.ComfyNode):
    """Passes a value on, and lets the pack record after every frame, in segments of six."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema("ProbeHurry", [io.AnyType.Input("value")], [io.AnyType.Output()])

    @classmethod
    def execute(cls, value: Any) -> io.NodeOutput:
        for name, module in list(sys.modules.items()):
            if name.endswith(".dream_core.unfinished"):
                module.SECONDS = module.SHARE = 0
            if name.endswith(".dream_core.video.encoder"):
                module.SEGMENT = 6
        return io.NodeOutput(value)


class ProbeBlock(io.ComfyNode):
    """Blocks what follows, at one index."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.AnyType.Input("value"), io.Int.Input("index"), io.Int.Input("at")]
        return schema("ProbeBlock", inputs, [io.AnyType.Output()])

    @classmethod
    def execute(cls, value: Any, index: int, at: int) -> io.NodeOutput:
        return io.NodeOutput(ExecutionBlocker(None) if index == at else value)


class ProbeSwitch(io.ComfyNode):
    """Takes one of two values and leaves the other uncomputed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            io.Int.Input("index"),
            io.AnyType.Input("even", lazy=True),
            io.AnyType.Input("odd", lazy=True),
        ]
        return schema("ProbeSwitch", inputs, [io.AnyType.Output()])

    @classmethod
    def check_lazy_status(cls, index: int, even: Any = None, odd: Any = None) -> list[str]:
        name = "odd" if index % 2 else "even"
        return [name] if {"even": even, "odd": odd}[name] is None else []

    @classmethod
    def execute(cls, index: int, even: Any = None, odd: Any = None) -> io.NodeOutput:
        return io.NodeOutput(odd if index % 2 else even)


class ProbeAdd(io.ComfyNode):
    """Adds two numbers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.AnyType.Input("left"), io.Int.Input("right", default=1)]
        return schema("ProbeAdd", inputs, [io.Int.Output()])

    @classmethod
    def execute(cls, left: int, right: int) -> io.NodeOutput:
        return io.NodeOutput(left + right)


class ProbeUsage(io.ComfyNode):
    """Outputs who queued the prompt, which nodes that cost money need."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ProbeUsage",
            [io.AnyType.Input("value")],
            [io.String.Output()],
            hidden=[io.Hidden.comfy_usage_source],
        )

    @classmethod
    def execute(cls, value: Any) -> io.NodeOutput:
        return io.NodeOutput(cls.hidden.comfy_usage_source)


class ProbeExpand(io.ComfyNode):
    """Expands into another node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema("ProbeExpand", [io.Image.Input("image")], [io.Image.Output()], enable_expand=True)

    @classmethod
    def execute(cls, image: torch.Tensor) -> io.NodeOutput:
        graph = GraphBuilder()
        node = graph.node("ImageInvert", image=image)
        return io.NodeOutput(node.out(0), expand=graph.finalize())


class ProbeOutOfMemory(io.ComfyNode):
    """Passes a value on, and makes layers whose input has more pixels run out of memory. 0 ends it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.AnyType.Input("value"), io.Int.Input("pixels")]
        return schema("ProbeOutOfMemory", inputs, [io.AnyType.Output()], not_idempotent=True)

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> str:
        return uuid.uuid4().hex

    @classmethod
    def execute(cls, value: Any, pixels: int) -> io.NodeOutput:
        def run_out(module: Any, inputs: tuple[Any, ...]) -> None:
            if (
                inputs
                and isinstance(inputs[0], torch.Tensor)
                and inputs[0].ndim == 4
                and not inputs[0].is_meta
            ):
                height, width = inputs[0].shape[-2:]
                if height * width > pixels:
                    raise torch.OutOfMemoryError("out of memory on purpose")

        if HOOKS:
            HOOKS.pop().remove()
        if pixels:
            HOOKS.append(register_module_forward_pre_hook(run_out))
        return io.NodeOutput(value)


HOOKS: list[Any] = []

NODES = [
    ProbeFrames,
    ProbeClip,
    ProbeLikeness,
    ProbeSee,
    ProbeCount,
    ProbeAsyncInvert,
    ProbeFail,
    ProbeSplit,
    ProbeJoin,
    ProbeSlow,
    ProbeHurry,
    ProbeBlock,
    ProbeSwitch,
    ProbeAdd,
    ProbeUsage,
    ProbeExpand,
    ProbeOutOfMemory,
]


class Probes(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES


async def comfy_entrypoint() -> Probes:
    return Probes()
