"""Run jeremicna/deepdream-video-pytorch as it is, in a process of its own; `compare.py` starts this.

It gets two things that it would otherwise download: RAFT small in place of RAFT large, and the network's weights as
the .pth file it expects. The clip is first cut to the wanted frames; this is not timed.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import cv2
import torch
from safetensors.torch import load_file
from torchvision.models.optical_flow import Raft_Small_Weights, raft_small


def save_weights(weights: Path, target: Path) -> None:
    """Write BVLC GoogLeNet's weights under the predecessor's names; its unused classifiers keep noise."""
    from neural_dream.models.googlenet.bvlc_googlenet import BVLC_GOOGLENET

    network = BVLC_GOOGLENET()
    ours = {
        name.replace("loss3_classifier.", "loss3_classifier_1."): w for name, w in load_file(weights).items()
    }
    state = network.state_dict()
    torch.save({name: ours.get(name, tensor) for name, tensor in state.items()}, target)


def cut_clip(clip: Path, target: Path, frames: int) -> None:
    source = cv2.VideoCapture(str(clip))
    size = int(source.get(cv2.CAP_PROP_FRAME_WIDTH)), int(source.get(cv2.CAP_PROP_FRAME_HEIGHT))
    sink = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), source.get(cv2.CAP_PROP_FPS), size)
    for _ in range(frames):
        sink.write(source.read()[1])
    sink.release()


def peak_memory(device: torch.device) -> int:
    """Measure peak memory as `compare.py` does, including the processes that the predecessor starts on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(who).ru_maxrss for who in whose) * 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("predecessor", "clip", "model-file", "flow-file", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--gpu", required=True)
    parser.add_argument("options", nargs="*")
    args = parser.parse_args()
    sys.path.insert(0, str(args.predecessor))

    import optical_flow
    import video_dream

    weights, clip = args.work / "bvlc_googlenet.pth", args.work / "clip.mp4"
    save_weights(args.model_file, weights)
    cut_clip(args.clip, clip, args.frames)
    device = torch.device("cpu" if args.gpu == "c" else "cuda")

    def init_raft():
        network = raft_small(weights=None)
        network.load_state_dict(load_file(args.flow_file))
        return network.to(device).eval(), Raft_Small_Weights.DEFAULT.transforms(), device

    optical_flow.init_raft = init_raft
    settings = argparse.Namespace(
        content_video=str(clip),
        output_video=str(args.work / "out.mp4"),
        temp_dir=str(args.work / "temp"),
        blend=0.5,
        update_interval=args.frames + 1,
        independent=False,
        verbose=False,
        keep_temp=True,
    )
    options = [
        "-gpu",
        args.gpu,
        "-model_file",
        str(weights),
        "-seed",
        "0",
        "-num_iterations",
        "1",
        *args.options,
    ]
    started = time.perf_counter()
    video_dream.process_video(settings, options)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "peak_bytes": peak_memory(device)}))


if __name__ == "__main__":
    main()
