"""Dream a clip with ComfyUI's own model manager, on a GPU that pretends and has little memory.

    PYTHONPATH=COMFYUI:tests/standin COMFYUI_PYTHON tests/comfyui/little_memory.py normal:8 novram:1

Each argument is how ComfyUI handles memory (normal, lowvram, novram or dynamic) and the free GiB that it finds.
Prints a JSON list with one result for each.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SCENARIOS = sys.argv[1:]
sys.argv = ["main.py", "--cpu"]

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import comfy.memory_management  # noqa: E402
import comfy.model_management as management  # noqa: E402
import comfy.model_patcher  # noqa: E402
import server  # noqa: E402
import torch  # noqa: E402
from pretended import Pretended  # noqa: E402
from torchvision.models import squeezenet1_1  # noqa: E402
from torchvision.models.optical_flow import raft_small  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
WIDGETS = {
    "octave_mode": {"octave_mode": "normal", "octaves": 1, "octave_scale": 0.7},
    "octave_steps": 1,
    "flow_updates": 1,
    "scene_cuts": False,
}


def pretend_hardware(gpu: Pretended) -> None:
    """Let ComfyUI take the device for the one that it computes on."""
    management.cpu_state = management.CPUState.GPU
    management.get_torch_device = lambda: gpu.device
    management.get_all_torch_devices = lambda exclude_current=False: [gpu.device]
    management.soft_empty_cache = lambda force=False: None
    torch.cuda.synchronize = lambda device=None: None
    torch.cuda.device = nullcontext
    torch.cuda.is_bf16_supported = lambda including_emulation=True: False
    server.PromptServer.instance = SimpleNamespace(client_id=None)


def pretend_memory(handling: str, free: float) -> None:
    """Let ComfyUI handle memory in one of its ways, and always find the same free memory."""
    states = {"lowvram": management.VRAMState.LOW_VRAM, "novram": management.VRAMState.NO_VRAM}
    management.vram_state = states.get(handling, management.VRAMState.NORMAL_VRAM)
    if handling == "dynamic":  # as main.py does where its package for it works
        comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
        comfy.memory_management.aimdo_enabled = True

    def get_free_memory(dev: Any = None, torch_free_too: bool = False) -> Any:
        return (free, 0) if torch_free_too else free

    management.get_free_memory = get_free_memory
    management.get_total_memory = lambda device=None, torch_total_too=False: 8 * 2**30


def load_pack() -> Any:
    """Load the pack by its path, as ComfyUI does, and return a function that imports its modules."""
    name = "a pack"
    spec = importlib.util.spec_from_file_location(
        name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return lambda part: importlib.import_module(f"{name}.{part}")


def dream(pack: Any) -> dict[str, Any]:
    """Dream three frames and tell where."""
    host, spec = pack("nodes.adapters.host"), pack("dream_core.models.registry").MODELS["squeezenet1_1"]
    torch.manual_seed(0)
    model = pack("dream_core.models.dream_model").DreamModel(squeezenet1_1(), spec)
    dream_model, flow_model = host.wrap(host.Wrapped(model)), host.wrap(raft_small(weights=None).eval())
    frames = torch.rand(1, 128, 128, 3) * torch.linspace(0.5, 1, 3).view(3, 1, 1, 1)
    devices: list[str] = []
    loads: list[int] = []
    asked: list[float] = []
    dreaming, load = pack("dream_core.dreaming.dream"), management.load_models_gpu
    original = dreaming.dream_octaves

    def watched_dream(image: Any, models: Any, **options: Any) -> Any:
        devices.append(str(models[0].device))
        return original(image, models, **options)

    def watched_load(models: Any, **options: Any) -> None:
        loads.append(len(models))
        asked.append(options["memory_required"] / 2**20)
        load(models, **options)

    dreaming.dream_octaves, management.load_models_gpu = watched_dream, watched_load
    try:
        with torch.inference_mode():
            output = pack("nodes.video").DeepDreamVideo.execute(
                images=[frames], dream_model=[dream_model], flow_model=[flow_model], **WIDGETS
            )
    finally:
        dreaming.dream_octaves, management.load_models_gpu = original, load
    host.free_memory()
    return {
        "devices": devices,
        "loads": loads,
        "asked": asked,
        "mean": output.args[0][0].mean().item(),
        "evicted_to": str(model.device),
    }


def main() -> None:
    """Run all scenarios."""
    results = []
    with Pretended("cuda") as gpu:
        pretend_hardware(gpu)
        pack = load_pack()
        for scenario in SCENARIOS:
            handling, _, free = scenario.partition(":")
            pretend_memory(handling, float(free) * 2**30)
            results.append(dream(pack))
    print(json.dumps(results))


main()
