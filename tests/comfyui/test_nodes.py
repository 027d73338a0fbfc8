"""Every node in the real ComfyUI, also on odd images."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from comfyui_server import Node, Run, Server
from studio import QUICK, QUICK_FLOW, Studio

Seen = Callable[[Run, Node], list[np.ndarray]]


def make_video(path: Path, *, frames: int = 4, pixel_aspect: Fraction = Fraction(1)) -> None:
    """A small clip with a tone."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.codec_context.sample_aspect_ratio = pixel_aspect
        audio = container.add_stream("aac", rate=16000)
        texture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
        for index in range(frames):
            image = av.VideoFrame.from_ndarray(np.roll(texture, index, 1), format="rgb24")
            container.mux(video.encode(image))
        container.mux(video.encode())
        for start in range(0, 16000 * frames // 10, 1024):
            tone = np.sin(np.arange(start, start + 1024) / 8).astype(np.float32)[None]
            sound = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 16000, start, Fraction(1, 16000)
            container.mux(audio.encode(sound))
        container.mux(audio.encode())


def keyframes(text: str) -> dict[str, str]:
    """Values of a Schedule's widgets."""
    return {"source": "keyframes", "source.keyframes": text}


def test_every_node_runs(comfyui: Server, seen: Seen) -> None:
    make_video(comfyui.base / "input" / "clip.mp4")
    draft = Studio()
    sample = draft.add("DeepDreamSampleClip")
    objective = draft.add("DeepDreamObjective", layers="fire4/expand1x1")
    growing = draft.add("DeepDreamSchedule", setting="learning_rate", **keyframes("0: 1, 2: 3"))
    line = draft.add("CurveEditor", curve={"points": [[0, 0], [1, 1]], "interpolation": "linear"})
    drawn = {"curve": line, "frames": 3, "lowest": 1.0, "highest": 2.0}
    weight = draft.add(
        "DeepDreamSchedule",
        setting="dream_weight",
        source="curve",
        **{f"source.{name}": value for name, value in drawn.items()},
    )
    objective = draft.add(
        "DeepDreamObjective",
        layers="fire5/expand3x3",
        objective=objective,
        **{"schedules.schedule_0": weight},
    )
    objective = draft.add(
        "DeepDreamGuide", images=draft.frames, layers="fire5/expand3x3", objective=objective
    )
    clip = draft.add("ProbeClip", without="nothing")
    objective = draft.add(
        "DeepDreamText", clip=clip, clip_vision=clip[1], text="a forest", objective=objective
    )
    flow = draft.flow(draft.frames)
    mask = draft.add("DeepDreamOcclusionMask", flow=flow, frames=draft.frames)
    moving = draft.add("DeepDreamFlowMask", flow=flow)
    warped = draft.add("DeepDreamFlowWarp", input=draft.frames, flow=flow, from_previous=True)
    warped_mask = draft.add("DeepDreamFlowWarp", input=mask, flow=flow)
    latent = draft.add("EmptyLatentImage", width=96, height=64, batch_size=3)
    warped_latent = draft.add("DeepDreamFlowWarp", input=latent, flow=flow)
    image = draft.add("DeepDreamFlowPicture", flow=flow)
    camera = draft.add("DeepDreamFlowPicture", flow=draft.add("DeepDreamCameraFlow", image=draft.frames))
    halved = draft.add("DeepDreamFlowMath", flow=flow, **{"operation": "scale", "operation.factor": 0.5})
    foreign = draft.add("DeepDreamFlowConvert", any_flow=halved, points_to="previous", first_missing=False)
    returned = draft.add(
        "DeepDreamFlowConvert", any_flow=foreign[1], points_to="previous", first_missing=False
    )
    kept = draft.add("DeepDreamSaveFlow", flow=returned, filename_prefix="flow/every", file_format="flo")
    loaded = draft.add("DeepDreamLoadFlow", folder=kept[1], where="output")
    back = draft.add("DeepDreamFlowMath", flow=loaded, **{"operation": "scale", "operation.factor": 2.0})
    again = draft.add("DeepDreamFlowPicture", flow=back)
    blend = draft.add("DeepDreamTemporalBlend", frame=draft.frames, warped=warped, reliability=mask)
    dream = draft.dream(blend, objective=objective)
    start = draft.add("DeepDreamLoopOpen", frames=draft.frames)
    rate = draft.add("DeepDreamValueAtFrame", schedule=growing, index=start[4], time=start[6])
    end = draft.add("DeepDreamLoopClose", loop=start, result=draft.dream(start[1], learning_rate=rate))
    video = draft.video(objective=objective, **{"schedules.schedule_0": growing})
    report = draft.add(
        "DeepDreamConsistencyReport",
        images=draft.frames,
        dreams=video,
        flow_model=draft.flow_model,
        dream_model=draft.dream_model,
        objective=objective,
        **QUICK_FLOW,
    )
    atlas = draft.add(
        "DeepDreamAtlas",
        image=draft.frames,
        dream_model=draft.dream_model,
        layer="fire2/squeeze1x1",
        count=2,
        thumbnail=64,
        thumbnail_steps=1,
    )
    compared = draft.add(
        "DeepDreamCompareVideos",
        **{
            "clips.clip_0": draft.frames,
            "clips.clip_1": video,
            "layout": "difference",
            "layout.amplify": 2.0,
        },
        labels="frames dream",
    )
    file = draft.add(
        "DeepDreamVideoFile",
        video=draft.add("LoadVideo", file="clip.mp4"),
        dream_model=draft.dream_model,
        flow_model=draft.flow_model,
        **QUICK,
        **QUICK_FLOW,
        size=0,
        seamless=True,
        seamless_frames=2,
        **{"schedules.schedule_0": growing},
    )
    parts = draft.add("GetVideoComponents", video=file)
    saved = draft.add("SaveVideo", video=file)
    curve = draft.add("DeepDreamSoundCurve", audio=parts[1], setting="blend", fps=parts[2], video=file)
    images = [draft.see(node) for node in (warped, image, again, camera, blend, dream, end, video)]
    masks = [draft.see(value) for value in (mask, moving, warped_mask, video[2])]
    latents = draft.see(warped_latent)
    streamed = draft.see(parts)
    film = [draft.see(draft.add("GetVideoComponents", video=sample)), draft.see(sample[1])]
    layers = draft.see(draft.dream_model[1])
    both, chosen = draft.see(compared), draft.see(atlas[1])
    heard = draft.see(curve[2])
    plot, table, strength = (draft.see(report[slot]) for slot in (0, 1, 4))
    run = comfyui.run(draft.graph)

    for node in images:
        (image,) = seen(run, node)
        assert image.shape == (3, 64, 96, 3), node
        assert image.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1
    for node in masks:
        (found,) = seen(run, node)
        assert found.shape == (3, 64, 96)
    (drawn,), (from_file,) = seen(run, images[1]), seen(run, images[2])
    assert np.array_equal(drawn, from_file)
    assert seen(run, both)[0].shape == (3, 64, 2 * 96 + 4, 3)
    assert seen(run, latents)[0].shape == (3, 4, 8, 12)
    assert seen(run, streamed)[0].shape == (4, 64, 96, 3)
    (core,), (ours,) = (seen(run, node) for node in film)
    assert core.shape == ours.shape == (75, 360, 640, 3)
    assert np.abs(core - ours).mean() < 0.01
    assert "fire2/squeeze1x1: 16 channels" in run.outputs[layers.id]["texts"][0]
    assert len(run.outputs[chosen.id]["texts"][0].split()) == 2
    assert seen(run, plot)[0].shape[2:] == seen(run, heard)[0].shape[2:] == (1200, 3)
    assert "fire4/expand1x1, fire5/expand3x3" in run.outputs[table.id]["texts"][0]
    assert float(run.outputs[strength.id]["texts"][0]) > 1
    file_saved = run.outputs[saved.id]["images"][0]
    path = comfyui.base / "output" / file_saved["subfolder"] / file_saved["filename"]
    with av.open(str(path)) as container:
        assert len(container.streams.audio) == 1
    known = {name for name in comfyui.get("/object_info") if name.startswith("DeepDream")}
    used = {node["class_type"] for node in draft.graph.values()} | {"DeepDreamLoopRunner"}
    assert known - used == set()


def test_a_dream_becomes_more_like_a_text_or_less(comfyui: Server, seen: Seen) -> None:
    """As ComfyUI itself compares images with texts."""
    draft = Studio(kind="still", count=1)
    clip = draft.add("ProbeClip", without="nothing")
    both = {"clip": clip, "clip_vision": clip[1]}
    more, less = (
        draft.add("DeepDreamText", text=f"a forest:{weight}", smallest_crop=0.9, **both) for weight in (1, -1)
    )
    steps = {"octave_steps": 6, "jitter": 0, "turn": 0, "stretch": 0}
    images = [
        draft.frames,
        draft.dream(draft.frames, objective=more, **steps),
        draft.dream(draft.frames, objective=less, **steps),
        draft.video(objective=more, **steps),
    ]
    found = [draft.see(draft.add("ProbeLikeness", images=image, text="a forest", **both)) for image in images]
    run = comfyui.run(draft.graph)
    before, high, low, video = (float(run.outputs[one.id]["texts"][0]) for one in found)
    assert low + 0.001 < before < high - 0.001
    assert before < video - 0.001


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"width": 48},
            "expected a CLIP and a CLIP Vision of one network, got texts of width 64 and images of",
        ),
        ({"without": "text projection"}, "expected a CLIP that embeds texts beside images, got one without"),
        ({"without": "image projection"}, "expected a CLIP Vision that embeds images beside texts, got one"),
    ],
)
def test_what_does_not_compare_texts_with_images_is_refused(
    comfyui: Server, values: dict[str, Any], message: str
) -> None:
    draft = Studio(count=1)
    clip = draft.add("ProbeClip", **{"without": "nothing", **values})
    text = draft.add("DeepDreamText", clip=clip, clip_vision=clip[1], text="a forest")
    draft.see(draft.dream(draft.frames, objective=text))
    run = comfyui.run(draft.graph)
    assert run.error is not None
    assert run.error["exception_message"].startswith(message)


def test_the_dream_differs_from_its_image_and_shows_how_it_goes(comfyui: Server, seen: Seen) -> None:
    draft = Studio(seed=1)
    dream = draft.dream(draft.frames)
    frames, dreams = draft.see(draft.frames), draft.see(dream)
    run = comfyui.run(draft.graph)
    assert np.abs(seen(run, dreams)[0] - seen(run, frames)[0]).max() > 1 / 255
    steps = [(value, most) for node, value, most in run.progress if node == dream.id]
    assert steps[-1] == (12, 12)  # 3 images, 2 octaves, 2 steps
    assert any(node == dream.id for node, _ in run.previews)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"warp": "bilinear", "blend": 0.25, "original_colors": True},
        {"check_consistency": False, "seed": 3},
        {"carry": "image"},
        {"carried_steps": QUICK["octave_steps"]},
    ],
    ids=["defaults", "other settings", "one-way flow", "image", "same steps everywhere"],
)
def test_the_loop_wired_from_nodes_gives_the_pixels_of_the_single_node(
    comfyui: Server, seen: Seen, values: dict[str, Any]
) -> None:
    draft = Studio(count=5)

    def own(class_type: str) -> dict[str, Any]:
        names = {name for group in comfyui.info(class_type)["input"].values() for name in group}
        return {name: value for name, value in values.items() if name in names}

    start = draft.add("DeepDreamLoopOpen", frames=draft.frames)
    _, frame, previous_frame, previous_result = (start[slot] for slot in range(4))
    flow = draft.flow(frame, previous=previous_frame, both_ways=values.get("check_consistency", True))
    mask = draft.add(
        "DeepDreamOcclusionMask",
        flow=flow,
        frames=frame,
        previous=previous_frame,
        **own("DeepDreamOcclusionMask"),
    )
    warped = draft.add("DeepDreamFlowWarp", input=previous_result, flow=flow, **own("DeepDreamFlowWarp"))
    also = {}
    if values.get("carry") != "image":
        also["warped_frame"] = draft.add(
            "DeepDreamFlowWarp", input=previous_frame, flow=flow, **own("DeepDreamFlowWarp")
        )
    blend = draft.add(
        "DeepDreamTemporalBlend",
        frame=frame,
        warped=warped,
        reliability=mask,
        **also,
        **own("DeepDreamTemporalBlend"),
    )
    renewal = {} if "carried_steps" in values else {"renewal": blend[1]}
    dream = draft.dream(blend, colors=frame, **renewal, **own("DeepDreamImage"))
    wired = draft.see(draft.add("DeepDreamLoopClose", loop=start, result=dream))
    single = draft.see(draft.video(**values))
    run = comfyui.run(draft.graph)
    (one,), (other,) = seen(run, wired), seen(run, single)
    assert one.shape == (5, 64, 96, 3)
    assert np.array_equal(one, other), np.abs(one - other).max(axis=(1, 2, 3))


def test_cores_flow_model_works_in_our_nodes(comfyui: Server, seen: Seen) -> None:
    draft = Studio(height=128, width=128)
    draft.flow_model = draft.add("OpticalFlowLoader", model_name="raft_large.safetensors")
    core = draft.see(draft.add("DeepDreamFlowPicture", flow=draft.flow(draft.frames)))
    draft.flow_model = draft.add("DeepDreamLoadFlowModel", model="raft_large")
    ours = draft.see(draft.add("DeepDreamFlowPicture", flow=draft.flow(draft.frames)))
    run = comfyui.run(draft.graph)
    assert np.array_equal(seen(run, core)[0], seen(run, ours)[0])


def test_our_flow_model_works_in_cores_nodes_even_after_ours(comfyui: Server, seen: Seen) -> None:
    draft = Studio(count=5, height=256, width=256)
    draft.flow_model = draft.add("DeepDreamLoadFlowModel", model="raft_large")
    noise = draft.add(
        "VOIDWarpedNoise",
        optical_flow=draft.flow_model,
        video=draft.add("DeepDreamFlowPicture", flow=draft.flow(draft.frames)),
        width=256,
        height=256,
        length=5,
    )
    see = draft.see(noise)
    (found,) = seen(comfyui.run(draft.graph), see)
    assert np.isfinite(found).all()


def test_a_list_is_dreamed_as_one_clip_and_its_dream_goes_on_in_the_next(comfyui: Server, seen: Seen) -> None:
    draft = Studio(count=4, height=48, width=64)
    whole = draft.video()
    batches = draft.add("RebatchImages", images=draft.frames, batch_size=2)
    first, second = (
        draft.add("ImageFromBatch", image=draft.frames, batch_index=start, length=2) for start in (0, 2)
    )
    listed = draft.video(images=batches)
    part = draft.video(images=first)
    following = draft.video(images=second, previous_dream=[part.id, 3])
    sees = [draft.see(one) for one in (whole, listed, part, following)]
    run = comfyui.run(draft.graph)
    (all_frames,), pieces, (one,), (two,) = (seen(run, see) for see in sees)
    assert [len(piece) for piece in pieces] == [2, 2]
    assert np.array_equal(np.concatenate(pieces), all_frames)
    assert np.array_equal(np.concatenate([one, two]), all_frames)


def test_what_a_batch_cannot_hold_of_its_file_is_told(comfyui: Server) -> None:
    path = comfyui.base / "input" / "wide.mp4"
    make_video(path, frames=2, pixel_aspect=Fraction(4, 3))
    draft = Studio()
    parts = draft.add("GetVideoComponents", video=draft.add("LoadVideo", file="wide.mp4"))
    video = draft.video(images=draft.add("ImageScaleBy", image=parts, upscale_method="area", scale_by=1.0))
    draft.see(video)
    (text,) = (text for node, text in comfyui.run(draft.graph).texts if node == video.id)
    assert text.startswith("wide.mp4 has pixels that are not square, which a batch of images cannot hold")


def look_of_the_package(comfyui: Server) -> str:
    """Name of a look whose network is installed: a new node has it."""
    _, options = comfyui.info("DeepDreamImage")["input"]["optional"]["look"]
    return str(options["default"])


def test_a_look_needs_nothing_but_its_images_also_after_its_network_was_evicted(
    comfyui: Server, seen: Seen
) -> None:
    make_video(comfyui.base / "input" / "clip.mp4", frames=2)
    look = look_of_the_package(comfyui)
    for seed in (0, 1):
        draft = Studio(count=2, height=48, width=64)
        del draft.graph[draft.dream_model.id], draft.graph[draft.flow_model.id]
        image = draft.add("DeepDreamImage", image=draft.frames, look=look, seed=seed)
        video = draft.add("DeepDreamVideo", images=draft.frames, look=look, seed=seed)
        clip = draft.add("LoadVideo", file="clip.mp4")
        file = draft.add("DeepDreamVideoFile", video=clip, look=look, size=64, frames=1, seed=seed)
        parts = draft.add("GetVideoComponents", video=file)
        frames, *dreams = (draft.see(value) for value in (draft.frames, image, video, parts))
        run = comfyui.run(draft.graph)
        assert [seen(run, one)[0].shape for one in dreams] == [(2, 48, 64, 3), (2, 48, 64, 3), (1, 44, 64, 3)]
        assert np.abs(seen(run, dreams[0])[0] - seen(run, frames)[0]).max() > 0.05
        assert {image.id, video.id} <= set(run.executed)
        comfyui.post("/free", {"unload_models": True})
    again = comfyui.run(draft.graph)
    assert {image.id, video.id} <= set(again.cached)


def test_hidden_values_beside_a_look_do_nothing(comfyui: Server, seen: Seen) -> None:
    draft = Studio(count=1)
    look = look_of_the_package(comfyui)
    bare, full = (
        draft.see(draft.add("DeepDreamImage", image=draft.frames, look=look, **values))
        for values in ({}, {**QUICK, "tile_size": 64, "original_colors": True})
    )
    run = comfyui.run(draft.graph)
    assert np.array_equal(seen(run, bare)[0], seen(run, full)[0])


def test_a_choice_that_does_not_exist_is_refused_by_the_node(comfyui: Server) -> None:
    draft = Studio()
    draft.see(draft.dream(draft.frames, octave_mode="bogus"))
    run = comfyui.run(draft.graph)
    assert run.error is not None
    assert "expected octave_mode to be one of normal, advanced" in run.error["exception_message"]


def test_a_look_and_a_network_that_are_gone_are_refused_with_the_nearest(comfyui: Server) -> None:
    draft = Studio(count=1)
    draft.graph[draft.dream_model.id]["inputs"]["model"] = "squeezenet"
    draft.see(draft.dream(draft.frames, look="creature"))
    draft.see(draft.video(look="creature"))
    refused = comfyui.run(draft.graph).refused
    assert refused is not None
    told = {
        found["class_type"]: {error["details"].partition(" - ")[2] for error in found["errors"]}
        for found in refused["node_errors"].values()
    }
    (model,), (dream,), (video,) = (told[f"DeepDream{name}"] for name in ("LoadDreamModel", "Image", "Video"))
    assert model.endswith("got 'squeezenet'; did you mean squeezenet1_1?")
    assert dream == video
    assert video.endswith("got 'creature'; did you mean creatures?")


@pytest.mark.parametrize("name", ["../secret", "/secret", "link/clip"])
def test_a_workflow_cannot_leave_comfyuis_folders(comfyui: Server, name: str) -> None:
    secret = comfyui.base / "secret"
    secret.mkdir(exist_ok=True)
    link = comfyui.base / "output" / "link"
    if not link.is_symlink():
        link.symlink_to(secret, target_is_directory=True)
    draft = Studio()
    draft.add("DeepDreamSaveFlow", flow=draft.flow(draft.frames), filename_prefix=name, file_format="flo")
    run = comfyui.run(draft.graph)
    assert run.error is not None
    assert "to stay inside ComfyUI's folder" in run.error["exception_message"]
    draft = Studio()
    draft.see(
        draft.add("DeepDreamFlowPicture", flow=draft.add("DeepDreamLoadFlow", folder=name, where="output"))
    )
    refused = comfyui.run(draft.graph).refused
    assert refused is not None
    assert "to stay inside ComfyUI's folder" in str(refused["node_errors"])
    assert not list(secret.iterdir())

    draft = Studio()
    draft.see(draft.add("DeepDreamLoadDreamModel", model="auto", weights=name)[1])
    refused = comfyui.run(draft.graph).refused
    assert refused is not None
    assert "value_not_in_list" in str(refused["node_errors"])
    draft = Studio()
    draft.see(draft.add("DeepDreamLoadDreamModel", model="auto", weights="auto", other_network=name)[1])
    run = comfyui.run(draft.graph)
    assert run.error is not None
    assert "timm:NAME, torchvision:NAME, got" in run.error["exception_message"]


TAKERS: dict[str, Callable[[Studio], Node]] = {
    "dream": lambda draft: draft.dream(draft.frames),
    "flow image": lambda draft: draft.add("DeepDreamFlowPicture", flow=draft.flow(draft.frames)),
    "warp": lambda draft: draft.add("DeepDreamFlowWarp", input=draft.frames, flow=draft.flow(draft.frames)),
    "video": lambda draft: draft.video(),
}


@pytest.mark.parametrize("taker", TAKERS)
def test_a_single_frame_works(comfyui: Server, seen: Seen, taker: str) -> None:
    draft = Studio(count=1)
    see = draft.see(TAKERS[taker](draft))
    assert seen(comfyui.run(draft.graph), see)[0].shape == (1, 64, 96, 3)


@pytest.mark.parametrize("taker", ["dream", "warp", "video"])
def test_transparency_survives(comfyui: Server, seen: Seen, taker: str) -> None:
    draft = Studio("rgba")
    see = draft.see(TAKERS[taker](draft))
    assert seen(comfyui.run(draft.graph), see)[0].shape == (3, 64, 96, 4)


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize(("kind", "says"), [("nan", "NaN or infinite"), ("empty", "is empty")])
def test_what_is_no_image_is_refused_on_the_node(comfyui: Server, taker: str, kind: str, says: str) -> None:
    draft = Studio(kind)
    draft.see(TAKERS[taker](draft))
    run = comfyui.run(draft.graph)
    assert run.error is not None
    assert run.error["node_type"].startswith("DeepDream")
    assert says in run.error["exception_message"]


def test_two_sizes_are_refused_with_both_named(comfyui: Server) -> None:
    draft = Studio()
    other = draft.add("ProbeFrames", kind="moving", height=64, width=64)
    draft.see(draft.flow(draft.frames, previous=other))
    run = comfyui.run(draft.graph)
    assert run.error is not None
    assert "96" in run.error["exception_message"]
    assert "64" in run.error["exception_message"]


def test_an_unknown_layer_is_refused_with_close_ones(comfyui: Server) -> None:
    draft = Studio()
    objective = draft.add("DeepDreamObjective", layers="fire3/expand9x9")
    draft.see(draft.dream(draft.frames, objective=objective))
    run = comfyui.run(draft.graph)
    assert run.error is not None
    assert "fire3/expand3x3" in run.error["exception_message"]
    assert "--" not in run.error["exception_message"]


def test_a_video_made_of_odd_sized_transparent_images_is_dreamed(comfyui: Server, seen: Seen) -> None:
    draft = Studio("rgba", count=2, height=63, width=97)
    file = draft.add(
        "DeepDreamVideoFile",
        video=draft.add("CreateVideo", images=draft.frames, fps=10),
        dream_model=draft.dream_model,
        **QUICK,
        size=0,
        independent=True,
    )
    see = draft.see(draft.add("GetVideoComponents", video=file))
    assert seen(comfyui.run(draft.graph), see)[0].shape == (2, 64, 98, 3)
