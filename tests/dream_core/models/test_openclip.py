"""Networks of open_clip: its own code, of a small network with random weights, loaded from a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dream_core.dreaming.dream import ImageDreamer
from dream_core.dreaming.objectives import text_objective
from dream_core.errors import SettingsError, WeightsError
from dream_core.models.dream_model import DreamModel
from dream_core.models.openclip import load_open_clip
from dream_core.settings import AscentSettings, DreamSettings, OctaveSettings, TextSettings

NAME = "ViT-tiny-test"
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}
CPU = {"device": torch.device("cpu"), "dtype": torch.float32}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with weights of a network that open_clip then knows by `NAME`."""
    open_clip = pytest.importorskip("open_clip")
    folder = tmp_path_factory.mktemp("open_clip")
    (folder / f"{NAME}.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    save_file(open_clip.create_model(NAME).state_dict(), folder / "tiny.safetensors")
    return folder / "tiny.safetensors"


def test_a_network_from_a_file_embeds_images_and_texts(weights: Path) -> None:
    import open_clip

    encoder = load_open_clip(TextSettings(text_model=NAME, text_pretrained=str(weights)), **CPU)
    assert encoder.side == 32
    network = open_clip.create_model(NAME, pretrained=str(weights)).eval()
    images = torch.rand(2, 3, 32, 32)
    mean, std = (
        torch.tensor(one).view(3, 1, 1) for one in (network.visual.image_mean, network.visual.image_std)
    )
    with torch.no_grad():
        found = network.encode_image((images - mean) / std, normalize=True)
        text = network.encode_text(open_clip.get_tokenizer(NAME)(["a forest"]), normalize=True)
    torch.testing.assert_close(encoder.embed_images(images), found)
    torch.testing.assert_close(encoder.embed_text("a forest"), text[0])


def test_a_dream_becomes_more_like_a_text_or_less(weights: Path, tiny: DreamModel) -> None:
    settings = TextSettings(text=("a forest",), text_crops=4, text_model=NAME, text_pretrained=str(weights))
    objective = text_objective(settings, load_open_clip(settings, **CPU))
    image = torch.rand(1, 3, 40, 48)
    steps = DreamSettings(
        octave=OctaveSettings(octaves=1, octave_steps=4), ascent=AscentSettings(optimizer="adam", jitter=3)
    )
    less, more = (
        ImageDreamer([tiny], settings=steps, objective=weight * objective)(image) for weight in (-1.0, 1.0)
    )
    low, before, high = (
        objective.texts[0].gradient(one, torch.Generator().manual_seed(1))[0] for one in (less, image, more)
    )
    assert low + 0.001 < before < high - 0.001


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"text_model": "ViT-B-33"},
            r"^expected a network of open_clip as `text_model`, got 'ViT-B-33'; there are .*ViT-B-32",
        ),
        (
            {"text_pretrained": "laion2b_s34b"},
            r"^expected a file, or the name of weights of ViT-B-32 as `text_pretrained`, got 'laion2b_s34b'; "
            r"there are laion2b_s34b_b79k",
        ),
        (
            {"text_model": "hf-hub:some/where", "text_pretrained": "laion2b_s34b_b79k"},
            r"^expected no `text_pretrained` for hf-hub:some/where, which brings its own weights, got 'laion",
        ),
        ({"text_model": NAME}, r"as `text_pretrained`, got 'none'; there are none$"),
    ],
)
def test_an_unknown_name_is_an_error(weights: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_open_clip(TextSettings(**options), **CPU)  # type: ignore[arg-type]


def test_weights_of_another_network_are_an_error(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"x": torch.ones(1)}, other)
    with pytest.raises(
        WeightsError, match=r"^open_clip could not load .*other.safetensors of ViT-tiny-test \("
    ):
        load_open_clip(TextSettings(text_model=NAME, text_pretrained=str(other)), **CPU)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(
        SettingsError, match=r"expected the package open-clip-torch .* install .*open-clip-torch$"
    ):
        load_open_clip(TextSettings(text=("a",)), **CPU)
