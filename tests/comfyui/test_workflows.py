"""The workflows that come with the pack, in the real ComfyUI: each runs as it is, at the first click."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from comfyui_server import PACK, ROOT, Run, Server, fetch
from make_thumbnails import THUMBNAILS
from PIL import Image
from refresh_workflows import FOLDER
from studio import PACKS
from templates import CHECKPOINTS, FOLDERS, NAMES, read

from dream_core.looks import named_look
from dream_core.measure.measure import LayerEnergy
from dream_core.models.dream_model import load_model
from dream_core.motion.camera import camera_flow
from dream_core.motion.warp import warp
from dream_core.settings import CameraSettings, InputSettings, ModelSettings, ObjectiveSettings
from dream_core.video import SAMPLE_CLIP, open_clip

FPS = 25
"""Of the sample clip."""
VIDEOS = [name for name in NAMES if name.startswith("deepdream_video") or name == "long_video_loop"]
NOTE = "MarkdownNote"
"""The page's own: the server does not know it."""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A ComfyUI as after its installation: no file in its folders for input and for models."""
    with Server(tmp_path_factory.mktemp("fresh"), packs=PACKS) as server:
        yield server


@pytest.fixture(scope="module")
def first_click(fresh: Server) -> Callable[[str], Run]:
    """`first_click(name)`: the run of a template that nobody has changed, which must succeed."""

    @cache
    def first_click(name: str) -> Run:
        run = fresh.run(read(f"api/{name}"), timeout=1200)
        assert run.refused is None, run.refused
        assert run.error is None, run.error and run.error["exception_message"]
        return run

    return first_click


def only(graph: Any, class_type: str) -> str:
    """The id of the one node of a class."""
    (found,) = (node_id for node_id, node in graph.items() if node["class_type"] == class_type)
    return str(found)


def layers_of(graph: Any) -> set[str]:
    """The layers that a template dreams on: of its objective, else of its looks."""
    values = [node["inputs"] for node in graph.values()]
    texts = [one["layers"] for one in values if "layers" in one]
    looks = [one["look"] for one in values if "look" in one]
    return {layer for text in texts for layer in text.split()} or {
        layer for look in looks for layer in named_look(look).settings(ObjectiveSettings).layers
    }


def part(graph: Any) -> range:
    """The frames of the clip that a template takes."""
    trims = [node["inputs"] for node in graph.values() if node["class_type"] == "Video Slice"]
    if not trims:
        return range(graph[only(graph, "DeepDreamVideoFile")]["inputs"]["frames"])
    (trim,) = trims
    start = round(trim["start_time"] * FPS)
    return range(start, start + round(trim["duration"] * FPS))


def film(indices: Iterable[int], shape: tuple[int, ...]) -> np.ndarray:
    """Frames of the sample clip, (T,H,W,3) in 0..1, scaled to a height and width."""
    with open_clip(SAMPLE_CLIP, settings=InputSettings(size=0)) as clip:
        frames = [frame.image.movedim(0, -1).numpy() for frame in clip]  # CHW -> HWC
    height, width = shape
    return np.stack(
        [cv2.resize(frames[index], (width, height), interpolation=cv2.INTER_AREA) for index in indices]
    )


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


def test_an_image_is_dreamed_by_four_looks(
    fresh: Server, first_click: Callable[[str], Run], strength: Any
) -> None:
    run = first_click("deepdream_image")
    saved = run.outputs[only(run.graph, "SaveImage")]["images"]
    dreams = [np.asarray(Image.open(path_of(fresh, one))).astype(np.float32) / 255 for one in saved]
    largest = run.graph[only(run.graph, "ImageScaleToMaxDimension")]["inputs"]["largest_size"]
    assert {max(dreamed.shape) for dreamed in dreams} == {largest}
    index = run.graph[only(run.graph, "ImageFromBatch")]["inputs"]["batch_index"]
    source = film([index], dreams[0].shape[:2])[0]
    looks = [node["inputs"]["look"] for node in run.graph.values() if node["class_type"] == "DeepDreamImage"]
    assert len(looks) == len(set(looks)) == len(dreams) == 4
    for one, other in combinations([source, *dreams], 2):
        assert np.abs(one - other).mean() > 0.04
    for look, dreamed in zip(looks, dreams, strict=True):
        for layer in named_look(look).settings(ObjectiveSettings).layers:
            assert strength(dreamed[None], source[None], layer) > 1.1


@pytest.mark.parametrize("name", VIDEOS)
def test_a_clip_is_dreamed_with_its_sound(
    fresh: Server, first_click: Callable[[str], Run], strength: Any, name: str
) -> None:
    run = first_click(name)
    (saved,) = run.outputs[only(run.graph, "SaveVideo")]["images"]
    dreams, sounds = decoded(path_of(fresh, saved))
    assert len(dreams) == len(part(run.graph))
    assert sounds == 1
    (layer,) = layers_of(run.graph)
    sources = film(part(run.graph), dreams.shape[1:3])
    for dreamed, source in list(zip(dreams, sources, strict=True))[::6]:
        assert strength(dreamed[None], source[None], layer) > 1.2


def test_flow_mask_and_warp_error_are_shown_for_every_frame(
    fresh: Server, first_click: Callable[[str], Run]
) -> None:
    run = first_click("flow_and_occlusion")
    shown = {
        run.graph[node_id]["_meta"]["title"]: outputs["images"] for node_id, outputs in run.outputs.items()
    }
    images = {
        title: np.stack([np.asarray(Image.open(path_of(fresh, one))) for one in images])
        for title, images in shown.items()
    }
    assert {len(batch) for batch in images.values()} == {len(part(run.graph))}
    flow, mask, error = (
        next(batch for title, batch in images.items() if title.startswith(kind))
        for kind in ("Flow", "Mask", "Warp error")
    )
    assert flow.shape == mask.shape == error.shape
    assert flow[1:].std() > 1  # arrows, at least
    trusted = mask[1:] > 128
    assert 0.5 < trusted.mean() < 1  # the camera stands still, the rabbit moves
    assert error[1:][trusted].mean() < 0.5 * error[1:][~trusted].mean()


def test_a_dream_that_is_carried_flickers_less(
    fresh: Server, first_click: Callable[[str], Run], strength: Any
) -> None:
    run = first_click("independent_vs_temporal")
    (saved,) = run.outputs[only(run.graph, "SaveVideo")]["images"]
    both, _ = decoded(path_of(fresh, saved))
    assert len(both) == len(part(run.graph))
    width = both.shape[2] // 2
    sources = film(part(run.graph), (both.shape[1], width))
    (layer,) = layers_of(run.graph)
    for dreams in (both[:, :, :width], both[:, :, width:]):
        assert strength(dreams[::6], sources[::6], layer) > 1.2
    for node_id, node in run.graph.items():
        if node["class_type"] == "PreviewImage":
            assert len(run.outputs[node_id]["images"]) == 1

    reports = [
        node_id for node_id, node in run.graph.items() if node["class_type"] == "DeepDreamConsistencyReport"
    ]
    slots = fresh.info("DeepDreamConsistencyReport")["output_name"]
    probes = {
        f"{name} of {node_id}": {"class_type": "ProbeSee", "inputs": {"value": [node_id, slots.index(name)]}}
        for name in ("flicker", "coverage")
        for node_id in reports
    }
    again = fresh.run({**run.graph, **probes})  # from ComfyUI's cache
    alone, carried, no_coverage, coverage = (float(again.outputs[probe]["texts"][0]) for probe in probes)
    assert carried < 0.7 * alone
    assert math.isnan(no_coverage)
    assert 0.2 < coverage < 2


def test_a_still_is_flown_into(fresh: Server, first_click: Callable[[str], Run], strength: Any) -> None:
    run = first_click("endless_zoom")
    (saved,) = run.outputs[only(run.graph, "SaveVideo")]["images"]
    dreams, _ = decoded(path_of(fresh, saved))
    assert len(dreams) == run.graph[only(run.graph, "RepeatImageBatch")]["inputs"]["amount"]
    index = run.graph[only(run.graph, "ImageFromBatch")]["inputs"]["batch_index"]
    still = film([index], dreams.shape[1:3])
    camera = run.graph[only(run.graph, "DeepDreamCameraFlow")]["inputs"]
    assert camera["zoom_factor"] > 1
    settings = CameraSettings(**{key: camera[key] for key in ("zoom_factor", "rotation", "pan_x", "pan_y")})
    backward, _ = camera_flow(dreams.shape[1:3], settings)
    moved = torch.from_numpy(still).movedim(-1, 1)  # BHWC -> BCHW
    layers = layers_of(run.graph)
    for number, dreamed in enumerate(dreams):
        moved = warp(moved, backward).clamp(0, 1)
        if number % 12 == 6:
            frame = moved.movedim(1, -1).numpy()
            for layer in layers:
                assert strength(dreamed[None], frame, layer) > 1.1
            # It flies along: the still, moved as far, is nearer than the still itself.
            assert np.abs(dreamed - frame[0]).mean() < np.abs(dreamed - still[0]).mean()


def test_a_camera_flies_through_a_depth_map_that_moves_along(fresh: Server) -> None:
    graph = read("api/depth_flight")
    loop, camera, close = (
        only(graph, kind) for kind in ("DeepDreamLoopOpen", "DeepDreamCameraFlow", "DeepDreamLoopClose")
    )
    outputs = fresh.info("DeepDreamLoopOpen")["output_name"]
    depth = graph[loop]["inputs"]["initial.carried_0"]
    assert graph[depth[0]]["class_type"] == "FeatherMask"
    assert graph[camera]["inputs"]["depth"] == [loop, outputs.index("time") + 1]
    assert graph[close]["inputs"]["carried.carried_0"][0] == camera
    graph[only(graph, "RepeatImageBatch")]["inputs"]["amount"] = 3  # of 48: the dream takes a minute
    run = fresh.run(graph)
    assert (run.refused, run.error) == (None, None)
    (saved,) = run.outputs[only(graph, "SaveVideo")]["images"]
    dreams, _ = decoded(path_of(fresh, saved))
    assert len(dreams) == 3


def test_flow_is_saved_and_loaded_again_at_the_first_click(fresh: Server) -> None:
    dreaming = ("DeepDreamVideo", "CreateVideo", "SaveVideo")  # the dream takes a minute
    whole = read("api/saved_flow")
    run = fresh.run({key: node for key, node in whole.items() if node["class_type"] not in dreaming})
    assert (run.refused, run.error) == (None, None)
    (folder,) = (fresh.base / "output" / "flow").iterdir()
    shown = run.outputs[only(run.graph, "PreviewImage")]["images"]
    assert (
        len(list((folder / "backward").iterdir())) == len(list((folder / "forward").iterdir())) == len(shown)
    )
    dream = whole[only(whole, "DeepDreamVideo")]["inputs"]
    assert whole[dream["flow"][0]]["class_type"] == "DeepDreamFlowConvert"


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_template_with_a_checkpoint_lacks_nothing_but_that(fresh: Server, name: str) -> None:
    graph = read(f"api/{name}")
    run = fresh.run(graph)
    assert run.refused is not None
    files = CHECKPOINTS[name]
    assert set(run.refused["node_errors"]) == {only(graph, kind) for kind in files}
    for loader in (node for node in read(name)["nodes"] if node["type"] in files):
        (model,) = loader["properties"]["models"]
        assert model["name"] == loader["widgets_values"][0] == files[loader["type"]]
        assert model["directory"] == FOLDERS[loader["type"]]
        assert model["url"].endswith(model["name"])


def path_of(server: Server, shown: dict[str, str]) -> Path:
    """The file of an image or a video that a node shows."""
    return server.base / shown["type"] / shown["subfolder"] / shown["filename"]


def decoded(path: Path) -> tuple[np.ndarray, int]:
    """Frames (T,H,W,3) in 0..1, and how many sound tracks there are."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return np.stack(frames).astype(np.float32) / 255, len(container.streams.audio)
