"""The workflows that come with the pack, in the real ComfyUI."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from comfyui_server import PACK, ROOT, Node, Run, Server, fetch
from make_thumbnails import THUMBNAILS
from PIL import Image
from refresh_workflows import FOLDER
from workflow_inputs import FRAMES, HEIGHT, WIDTH, read

from dream_core.measure.measure import LayerEnergy
from dream_core.models.dream_model import load_model
from dream_core.motion.camera import camera_flow
from dream_core.motion.warp import warp
from dream_core.settings import CameraSettings, ModelSettings

Seen = Callable[[Run, Node], list[np.ndarray]]

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
DIFFUSING = ["latent_warp", "stable_diffusion_loop"]
VIDEOS = [name for name in NAMES if name.startswith("deepdream_video")]
SMALLER = {
    "octave_steps": 4,
    "octave_mode.octaves": 2,
    "jitter": 4,
    "largest_size": WIDTH,
    "megapixels": 0.01,  # 128 x 80
    "amount": FRAMES,
    "size": WIDTH,
}
NOTE = "MarkdownNote"
"""The page's own: the server does not know it."""


def twin(name: str) -> dict[str, Any]:
    """The twin for the API, made small."""
    graph = read(f"api/{name}")
    for node in graph.values():
        node["inputs"] |= {key: value for key, value in SMALLER.items() if key in node["inputs"]}
    return graph


def only(graph: dict[str, Any], class_type: str) -> str:
    """The id of the one node of a class."""
    (found,) = (node_id for node_id, node in graph.items() if node["class_type"] == class_type)
    return found


@pytest.fixture(scope="module")
def strength() -> Callable[[np.ndarray, np.ndarray, str], float]:
    """`strength(dreams, sources, layer)`: how much more a layer of EfficientNet-Lite0 is excited, as a ratio."""
    model = load_model(
        ModelSettings(model="efficientnet_lite0"), device=torch.device("cpu"), dtype=torch.float32
    )

    def strength(dreams: np.ndarray, sources: np.ndarray, layer: str) -> float:
        energy = LayerEnergy(model, (layer,))
        # BHWC -> BCHW
        dreamed, source = (
            sum(float(energy(torch.from_numpy(one).movedim(-1, 0))) for one in batch)
            for batch in (dreams, sources)
        )
        return dreamed / source

    return strength


def test_there_are_workflows_with_thumbnails() -> None:
    assert {"deepdream_image", "deepdream_video", "deepdream_video_loop"} <= set(NAMES)
    assert sorted(path.stem for path in FOLDER.glob("*.jpg")) == NAMES
    assert sorted(THUMBNAILS) == NAMES
    for name in NAMES:
        assert (FOLDER / f"{name}.jpg").stat().st_size < 150_000
    assert sorted(path.stem for path in (FOLDER / "api").glob("*.json")) == NAMES


def test_the_template_browser_lists_them_with_their_thumbnails(comfyui: Server) -> None:
    assert sorted(comfyui.get("/workflow_templates")[PACK]) == NAMES
    for name in NAMES:
        address = f"http://127.0.0.1:{comfyui.port}/api/workflow_templates/{PACK}/{name}.jpg"
        assert fetch(address) == (FOLDER / f"{name}.jpg").read_bytes()


def test_workflows_and_twins_are_up_to_date_with_the_nodes(comfyui: Server) -> None:
    """If this fails: uv run tools/refresh_workflows.py, with --rename for what was renamed."""
    url = f"http://127.0.0.1:{comfyui.port}"
    command = [sys.executable, str(ROOT / "tools" / "refresh_workflows.py"), "--check", "--server", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_and_its_twin_are_the_same_graph(comfyui: Server, name: str) -> None:
    page, graph = read(name), read(f"api/{name}")
    nodes = {str(node["id"]): node for node in page["nodes"]}
    notes = {node_id for node_id, node in nodes.items() if node["type"] == NOTE}
    assert notes, "a note says what to try"
    assert nodes.keys() - notes == graph.keys()
    wires = {
        (str(target), nodes[str(target)]["inputs"][slot]["name"], str(source), source_slot)
        for _, source, source_slot, target, slot, _ in page["links"]
    }
    assert wires == {
        (node_id, key, *value)
        for node_id, node in graph.items()
        for key, value in node["inputs"].items()
        if isinstance(value, list)
    }
    for node_id, node in graph.items():
        assert comfyui.info(node["class_type"])["input"], node["class_type"]
        assert nodes[node_id]["type"] == node["class_type"]
        values = nodes[node_id].get("widgets_values_named", {})
        assert list(values.values()) == nodes[node_id].get("widgets_values", [])
        alone = {name: value for name, value in node["inputs"].items() if not isinstance(value, list)}
        assert alone.items() <= values.items()


@pytest.mark.usefixtures("inputs")
def test_an_image_is_dreamed_on_three_layers(comfyui: Server, seen: Seen, strength: Any) -> None:
    graph = twin("deepdream_image")
    scaled = only(graph, "ImageScaleToMaxDimension")
    graph["source"] = {"class_type": "ProbeSee", "inputs": {"value": [scaled, 0]}}
    dreams = [node_id for node_id, node in graph.items() if node["class_type"] == "DeepDreamImage"]
    for node_id in dreams:
        graph[f"see {node_id}"] = {"class_type": "ProbeSee", "inputs": {"value": [node_id, 0]}}
    run = comfyui.run(graph)
    (source,) = seen(run, Node("source"))
    layers = []
    for node_id in dreams:
        (dreamed,) = seen(run, Node(f"see {node_id}"))
        layers.append(graph[graph[node_id]["inputs"]["objective"][0]]["inputs"]["layers"])
        assert strength(dreamed, source, layers[-1]) > 1.1
    assert len(set(layers)) == 3
    (saved,) = run.outputs[only(graph, "SaveImage")]["images"]
    with Image.open(comfyui.base / "output" / saved["subfolder"] / saved["filename"]) as sheet:
        assert sheet.size == (2 * WIDTH, 2 * HEIGHT)


@pytest.mark.usefixtures("inputs")
@pytest.mark.parametrize("name", VIDEOS)
def test_a_clip_is_dreamed_with_its_sound(comfyui: Server, strength: Any, name: str) -> None:
    graph = twin(name)
    run = comfyui.run(graph)
    assert run.refused is None, run.refused
    assert run.error is None, run.error and run.error["exception_message"]
    (saved,) = run.outputs[only(graph, "SaveVideo")]["images"]
    dreams, sounds = decoded(comfyui.base / "output" / saved["subfolder"] / saved["filename"])
    height = HEIGHT + 2 * (name == "deepdream_video_file")  # which rounds by itself
    assert dreams.shape == (FRAMES, height, WIDTH, 3)
    assert sounds == 1
    source, _ = decoded(comfyui.base / "input" / "video.mp4")
    source = resized(source, (WIDTH, height))
    layer = graph[only(graph, "DeepDreamObjective")]["inputs"]["layers"]
    for dreamed, frame in zip(dreams, source, strict=True):
        assert strength(dreamed[None], frame[None], layer) > 1.2


@pytest.mark.usefixtures("inputs")
def test_flow_mask_and_warp_error_are_shown_for_every_frame(comfyui: Server) -> None:
    graph = twin("flow_and_occlusion")
    run = comfyui.run(graph)
    assert run.refused is None, run.refused
    assert run.error is None, run.error and run.error["exception_message"]
    shown = {graph[node_id]["_meta"]["title"]: outputs["images"] for node_id, outputs in run.outputs.items()}
    images = {
        title: np.stack([np.asarray(Image.open(comfyui.base / "temp" / one["filename"])) for one in images])
        for title, images in shown.items()
    }
    assert {batch.shape for batch in images.values()} == {(FRAMES, HEIGHT, WIDTH, 3)}
    flow, mask, error = (
        next(batch for title, batch in images.items() if title.startswith(kind))
        for kind in ("Flow", "Mask", "Warp error")
    )
    assert flow[1:].std() > 1  # arrows, at least
    assert mask[1:].mean() > 128  # most of a clip that only pans is to be trusted
    inner = error[1:, 8:-8, 8:-8]
    assert inner.mean() < 8


@pytest.mark.usefixtures("inputs")
def test_a_dream_that_is_carried_flickers_less(comfyui: Server, strength: Any) -> None:
    graph = twin("independent_vs_temporal")
    reports = [
        node_id for node_id, node in graph.items() if node["class_type"] == "DeepDreamConsistencyReport"
    ]
    for node_id in reports:
        flicker = comfyui.info("DeepDreamConsistencyReport")["output_name"].index("flicker")
        graph[f"see {node_id}"] = {"class_type": "ProbeSee", "inputs": {"value": [node_id, flicker]}}
    run = comfyui.run(graph)
    assert run.refused is None, run.refused
    assert run.error is None, run.error and run.error["exception_message"]
    (saved,) = run.outputs[only(graph, "SaveVideo")]["images"]
    both, _ = decoded(comfyui.base / "output" / saved["subfolder"] / saved["filename"])
    assert both.shape == (FRAMES, HEIGHT, 2 * WIDTH, 3)
    source, _ = decoded(comfyui.base / "input" / "video.mp4")
    layer = graph[only(graph, "DeepDreamObjective")]["inputs"]["layers"]
    for dreams in (both[:, :, :WIDTH], both[:, :, WIDTH:]):
        assert strength(dreams, resized(source, (WIDTH, HEIGHT)), layer) > 1.2
    alone, carried = (float(run.outputs[f"see {node_id}"]["texts"][0]) for node_id in reports)
    assert carried < 0.7 * alone
    for node_id, node in graph.items():
        if node["class_type"] == "PreviewImage":
            assert len(run.outputs[node_id]["images"]) == 1


@pytest.mark.usefixtures("inputs")
@pytest.mark.parametrize("name", DIFFUSING)
def test_a_workflow_with_stable_diffusion_lacks_nothing_but_the_checkpoint(
    comfyui: Server, name: str
) -> None:
    graph = twin(name)
    run = comfyui.run(graph)
    assert run.refused is None, run.refused
    assert run.error is not None  # the file in its place is empty
    assert run.error["node_id"] == only(graph, "CheckpointLoaderSimple")
    (loader,) = (node for node in read(name)["nodes"] if node["type"] == "CheckpointLoaderSimple")
    (model,) = loader["properties"]["models"]
    assert model["name"] == loader["widgets_values"][0]
    assert model["directory"] == "checkpoints"
    assert model["url"].endswith(model["name"])


@pytest.mark.usefixtures("inputs")
def test_a_still_is_flown_into(comfyui: Server, strength: Any) -> None:
    graph = twin("endless_zoom")
    run = comfyui.run(graph)
    assert run.refused is None, run.refused
    assert run.error is None, run.error and run.error["exception_message"]
    (saved,) = run.outputs[only(graph, "SaveVideo")]["images"]
    dreams, _ = decoded(comfyui.base / "output" / saved["subfolder"] / saved["filename"])
    assert dreams.shape == (FRAMES, HEIGHT, WIDTH, 3)
    with Image.open(comfyui.base / "input" / "example.png") as image:
        still = np.asarray(image)[None].astype(np.float32) / 255
    camera = graph[only(graph, "DeepDreamCameraFlow")]["inputs"]
    assert camera["zoom_factor"] > 1
    settings = CameraSettings(**{key: camera[key] for key in ("zoom_factor", "rotation", "pan_x", "pan_y")})
    backward, _ = camera_flow((HEIGHT, WIDTH), settings)
    moved, last = torch.from_numpy(still).movedim(-1, 1), np.inf  # BHWC -> BCHW
    for dreamed in dreams:
        moved = warp(moved, backward).clamp(0, 1)
        frame = moved.movedim(1, -1).numpy()
        for layer in graph[only(graph, "DeepDreamObjective")]["inputs"]["layers"].split():
            assert strength(dreamed[None], frame, layer) > 1.1
        # It flies along: the still, moved as far, is nearer than the still itself.
        last = np.abs(dreamed - frame[0]).mean()
        assert last < np.abs(dreamed - still[0]).mean()
    assert last < 0.2


def resized(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Frames (T,H,W,3) in another width and height."""
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


def decoded(path: Path) -> tuple[np.ndarray, int]:
    """Frames (T,H,W,3) in 0..1, and how many sound tracks there are."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return np.stack(frames).astype(np.float32) / 255, len(container.streams.audio)
