"""Long videos in a real ComfyUI that is killed: the same graph, queued again, goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from comfyui_server import Draft, Run, Server
from safetensors.torch import save_file
from studio import PACKS, QUICK
from torchvision.models import squeezenet1_1

FORKED = Path(__file__).with_name("forked.py")
FRAMES = 16


class Killed(Server):
    """A server that can be killed and started again, see forked.py."""

    def __enter__(self) -> Killed:
        self._process = self._launch([str(FORKED)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def start(self) -> None:
        """Start a server that has nothing in its cache."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        while not (line := self._process.stdout.readline()).startswith(b"server "):
            assert line, self.log.read_text("utf-8", "replace")[-4000:]
        self._server = int(line.split()[1])
        self._get_ready()

    def kill(self) -> None:
        """Kill it without a chance to do anything."""
        os.kill(self._server, signal.SIGKILL)


class Film(Draft):
    """A dreamed video file, and a loop over it that carries an image, a number and what a node keeps itself."""

    def __init__(self) -> None:
        super().__init__()
        self.dream = self.add(
            "DeepDreamVideoFile",
            video=self.add("ProbeHurry", value=self.add("LoadVideo", file="clip.mp4")),
            dream_model=self.add("DeepDreamLoadDreamModel", model="squeezenet1_1"),
            flow_model=self.add("DeepDreamLoadFlowModel", model="dis"),
            **{**QUICK, "octave_mode.octaves": 1, "size": 0, "quality": 0},
        )
        start = self.add("DeepDreamLoopOpen", frames=self.dream, **{"initial.carried_0": 10})
        mean = self.add("ProbeMean", image=start[1])
        mixed = self.add("ImageBlend", image1=mean, image2=start[3], blend_factor=0.5, blend_mode="normal")
        slow = self.add("ProbeSlow", value=mixed, seconds=0.02)
        number = self.add("ProbeAdd", left=start[7], right=1)
        self.loop = self.add(
            "DeepDreamLoopClose", loop=start, result=slow, quality=0, **{"carried.carried_0": number}
        )
        self.number = self.add("ProbeSee", value=self.loop[1])
        self.add("SaveVideo", video=self.loop, filename_prefix="film", format="auto", codec="auto")


def make_clip(path: Path) -> None:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        texture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
        for index in range(FRAMES):
            image = av.VideoFrame.from_ndarray(np.roll(texture, index, 1), format="rgb24")
            container.mux(video.encode(image))
        container.mux(video.encode())


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def wait_for(run: Run, node_id: str, value: float) -> None:
    """Wait until a node's progress bar is there."""
    end = time.monotonic() + 60
    while not any(one == node_id and done >= value for one, done, _ in list(run.progress)):
        assert time.monotonic() < end, (node_id, value, run.progress[-3:], run.error)
        assert not run.ended.is_set(), (run.progress, run.texts, run.executed)
        time.sleep(0.002)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a quick fork")
def test_a_comfyui_that_is_killed_five_times_loses_no_frame(tmp_path: Path) -> None:
    """Twice in DeepDream Video File, three times in the loop after it; then all is made anew without a stop."""
    chance, film, went_on = random.Random(0), Film(), []
    (tmp_path / "models" / "deepdream").mkdir(parents=True)
    save_file(squeezenet1_1().state_dict(), tmp_path / "models" / "deepdream" / "squeezenet1_1.safetensors")
    lasting = tmp_path / "output" / ".deepdream"
    with Killed(tmp_path, packs=PACKS) as comfyui:
        make_clip(tmp_path / "input" / "clip.mp4")
        runner = f"{film.loop.id}.runner"
        for node_id, done in (
            (film.dream.id, 4), (film.dream.id, 10), (runner, 2), (runner, 6), (runner, 11),
        ):  # fmt: skip
            comfyui.start()
            run = comfyui.queue(film.graph)
            wait_for(run, node_id, done)
            time.sleep(chance.uniform(0, 0.05))
            comfyui.kill()
            went_on += [(node, text) for node, text in run.texts if text.startswith("goes on after frame")]
        comfyui.start()
        run = comfyui.run(film.graph)
        assert run.error is None, run.error
        went_on += [(node, text) for node, text in run.texts if text.startswith("goes on after frame")]
        # Told on nodes that the page shows: the loop's runner is none.
        assert [node for node, _ in went_on] == [film.dream.id] * 2 + [film.loop.id] * 3, went_on
        assert run.outputs[film.number.id]["texts"] == [str(10 + FRAMES)]
        made = {path: frames_of(path) for path in lasting.glob("*.mp4")}
        assert sorted(map(len, made.values())) == [FRAMES] * 2
        assert not list(lasting.glob("*.mp4.resume"))
        again = comfyui.run(film.graph)
        assert film.dream.id in again.cached
        for path in made:
            path.unlink()
        again = comfyui.run(film.graph)
        assert again.error is None, again.error
        for path, frames in made.items():
            assert all(map(np.array_equal, frames, frames_of(path)))
        assert [len(frames_of(path)) for path in (tmp_path / "output").glob("film*.mp4")] == [FRAMES] * 2
