from collections.abc import Callable
from pathlib import Path

import av
import pytest
import torch
from pretended import Pretended
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dream_core.errors import ImageError, SettingsError, WeightsError
from dream_core.models.bvlc_googlenet import BVLCGoogLeNet
from dream_core.models.dream_model import DreamModel, load_model
from dream_core.models.preprocessing import Preprocessing
from dream_core.models.registry import MODELS, ModelSpec
from dream_core.models.weights import WeightSource
from dream_core.settings import ModelSettings

CPU = torch.device("cpu")
RAW = Preprocessing(mean=(0.0, 0.0, 0.0))


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 5)
        self.pool = nn.MaxPool2d(3, 2)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.conv(x)))


class Fused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


SPEC = ModelSpec(
    name="squeezenet1_1",
    build=Tiny,
    preprocessing=RAW,
    layer="pool",
    source=WeightSource("tiny.pth"),
    classes=6,
    classifier="head",
    aliases={"pool1/3x3": "pool"},
    size=32,
)


@pytest.fixture
def tiny() -> DreamModel:
    return DreamModel(Tiny(), SPEC)


def meta_model(name: str) -> DreamModel:
    with torch.device("meta"):
        return DreamModel(MODELS[name].build(), MODELS[name])


def test_layers_are_listed_by_known_name_with_their_channels(tiny: DreamModel) -> None:
    assert list(tiny.layers().items()) == [
        ("conv", 4),
        ("pool1/3x3", 4),
        ("head.0", 4),
        ("head.1", 4),
        ("head", 6),
        ("head.2", 6),
    ]
    assert tiny.channels("head") == 6


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vgg16", {"conv1_1": 64, "relu3_3": 256, "conv5_3": 512, "pool5": 512, "fc7": 4096, "fc8": 1000}),
        ("bvlc_googlenet", {"conv1_7x7_s2": 64, "inception_4d_3x3_reduce": 144, "inception_5b_output": 1024}),
        (
            "googlenet",
            {"inception_4d_3x3_reduce": 144, "inception_4d_output": 528, "inception4d.branch1.conv": 112},
        ),
        ("inception_v3", {"Mixed_6b": 768, "Mixed_7c": 2048, "fc": 1000}),
        ("resnet50", {"layer1.0.conv1": 64, "layer3.2": 1024, "layer4": 2048}),
        ("squeezenet1_1", {"fire8": 512, "fire2/squeeze1x1": 16, "pool10": 1000}),
    ],
)
def test_known_channel_counts(name: str, expected: dict[str, int]) -> None:
    layers = meta_model(name).layers()
    assert {layer: layers[layer] for layer in expected} == expected


def test_no_layer_is_listed_twice_under_its_number() -> None:
    assert not [layer for layer in meta_model("vgg19").layers() if layer.startswith("features.")]


@pytest.mark.parametrize("layer", ["pool", "pool1/3x3", "pool1_3x3", "Pool1.3X3"])
def test_a_layer_answers_to_all_its_spellings(tiny: DreamModel, layer: str) -> None:
    x = torch.rand(1, 3, 9, 9)
    activation = tiny.activations(x, [layer])
    assert list(activation) == [layer]
    torch.testing.assert_close(activation[layer], tiny.network.pool(tiny.network.conv(x)))


def test_several_layers_come_from_one_cut_that_is_made_once(tiny: DreamModel) -> None:
    x = torch.rand(2, 3, 9, 9)
    found = tiny.activations(x, ["head", "conv", "pool", "pool1/3x3"])
    assert [tuple(a.shape) for a in found.values()] == [
        (2, 6, 1, 1),
        (2, 4, 5, 5),
        (2, 4, 2, 2),
        (2, 4, 2, 2),
    ]
    torch.testing.assert_close(found["head"].flatten(1), tiny.network(x))
    assert tiny.extractor(["conv", "pool"]) is tiny.extractor(["pool1/3x3", "conv"])


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["con"], r"^squeezenet1_1 has no layer 'con'; close: conv; `print_layers` lists them$"),
        (["xyzzy"], r"^squeezenet1_1 has no layer 'xyzzy'; `print_layers` lists them$"),
        ([], r"^expected at least one layer, got none$"),
    ],
)
def test_unknown_layers(tiny: DreamModel, layers: list[str], message: str) -> None:
    asks: list[Callable[[list[str]], object]] = [
        tiny.extractor,
        lambda names: tiny.activations(torch.rand(1, 3, 9, 9), names),
    ]
    if layers:
        asks.append(tiny.smallest_side)
    for ask in asks:
        with pytest.raises(SettingsError, match=message):
            ask(layers)


def test_a_dream_without_layers_has_no_least_size(tiny: DreamModel) -> None:
    assert tiny.smallest_side([]) == 1


@pytest.mark.parametrize("shape", [(3, 9, 9), (1, 1, 9, 9)])
def test_wrong_images(tiny: DreamModel, shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ImageError, match=rf"^expected image \(B,3,H,W\) in floating point, got \({shape[0]}, "
    ):
        tiny.activations(torch.rand(shape), ["conv"])
    with pytest.raises(
        ImageError, match=r"^expected image \(1,3,H,W\) in floating point, got \(2, 3, 9, 9\)"
    ):
        tiny.classify(torch.rand(2, 3, 9, 9))


def test_smallest_side_by_hand(tiny: DreamModel) -> None:
    # A 5x5 kernel needs 5 pixels; a 3x3 window after it needs 3 of those, so 7.
    assert tiny.smallest_side(["conv"]) == 5
    assert (
        tiny.smallest_side(["pool"])
        == tiny.smallest_side(["conv", "pool"])
        == tiny.smallest_side(["head"])
        == 7
    )


def test_smallest_side_of_inception_is_the_documented_one() -> None:
    assert meta_model("inception_v3").smallest_side(["Mixed_7c"]) == 75


@pytest.mark.parametrize("name", ["bvlc_googlenet", "googlenet", "vgg16", "resnet50", "squeezenet1_1"])
def test_smallest_side_runs_and_the_next_does_not(name: str) -> None:
    model = meta_model(name)
    layer = [model.default_layer]
    side = model.smallest_side(layer)
    extractor = model.extractor(layer)
    assert all(a.numel() for a in extractor(torch.empty(1, 3, side, side + 30, device="meta")).values())
    if side > 1:
        with pytest.raises(RuntimeError):
            extractor(torch.empty(1, 3, side - 1, 64, device="meta"))


@pytest.mark.parametrize("size", [(1, 1), (3, 20), (20, 6), (7, 7)])
def test_small_images_repeat_their_border_and_pass_gradients(tiny: DreamModel, size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size, requires_grad=True)
    activation = tiny.activations(image, ["pool"])["pool"]
    activation.sum().backward()
    assert activation.shape[2] == max((size[0] - 4 - 3) // 2 + 1, 1)
    assert image.grad.abs().sum() > 0
    if size == (1, 1):
        flat = image.detach().expand(1, 3, 7, 7)
        torch.testing.assert_close(activation, tiny.network.pool(tiny.network.conv(flat)))


def test_the_network_is_frozen_and_in_evaluation_mode(tiny: DreamModel) -> None:
    assert not any(parameter.requires_grad for parameter in tiny.parameters())
    assert not tiny.network.training


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_and_activations_have_the_layout_of_their_device(dtype: torch.dtype) -> None:
    image = torch.rand(1, 3, 16, 16)

    def formats(model: DreamModel, image: Tensor) -> set[bool]:
        """Whether weights and activation are channels_last."""
        activation = model.activations(image, ["conv"])["conv"]
        (weight,) = (one for one in model.extractor(["conv"]).parameters() if one.ndim == 4)
        return {
            one.is_contiguous(memory_format=torch.channels_last) and not one.is_contiguous()
            for one in (weight, activation)
        }

    model = DreamModel(Tiny(), SPEC, dtype=dtype)
    assert formats(model, image) == {True}
    with Pretended("mps") as gpu:
        for module in model.network.children():  # as ComfyUI moves a network
            module.to(gpu.device)
        assert formats(model, image.to(gpu.device)) == {False}
        assert formats(model.to("cpu"), image) == {True}


def test_bfloat16_computes_in_it_and_keeps_the_image_in_float32() -> None:
    network = Tiny()
    exact, rounded = DreamModel(network, SPEC), DreamModel(network, SPEC, dtype=torch.bfloat16)
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    activation = rounded.activations(image, ["pool"])["pool"]
    activation.float().sum().backward()
    assert activation.dtype == torch.bfloat16
    assert image.grad.dtype == torch.float32
    assert network.conv.weight.dtype == torch.float32
    expected = exact.activations(image, ["pool"])["pool"]
    torch.testing.assert_close(activation.float(), expected, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cuts_follow_the_network_to_its_device(dtype: torch.dtype) -> None:
    model = DreamModel(Tiny(), SPEC, dtype=dtype)
    model.activations(torch.rand(1, 3, 9, 9), ["pool"])
    model = model.to("meta")
    assert model.device.type == "meta"
    assert model.activations(torch.empty(1, 3, 9, 9, device="meta"), ["pool"])["pool"].device.type == "meta"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cuts_follow_weights_that_are_moved_module_by_module(dtype: torch.dtype) -> None:
    """Move weights as ComfyUI does; fused convolutions and truncated networks in bfloat16 hold their own."""
    model = DreamModel(Fused(), SPEC, dtype=dtype)
    assert model.extractor(["norm"]) is model.extractor(["norm"])
    for module in model.network.children():
        module.to("meta")
    assert {weight.device.type for weight in model.extractor(["norm"]).parameters()} == {"meta"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cuts_follow_weights_that_are_replaced(dtype: torch.dtype) -> None:
    """Weights as ComfyUI leaves them when it evicts them in inference mode."""
    model, other = (DreamModel(Fused(), SPEC, dtype=dtype) for _ in range(2))
    image = torch.rand(1, 3, 8, 8)
    assert not torch.equal(*(one.activations(image, ["norm"])["norm"] for one in (model, other)))
    for name, module in model.network.named_children():
        for kind, weight in other.network.get_submodule(name).named_parameters():
            setattr(module, kind, nn.Parameter(weight.clone(), requires_grad=False))
        for kind, buffer in other.network.get_submodule(name).named_buffers():
            setattr(module, kind, buffer.clone())
    assert torch.equal(*(one.activations(image, ["norm"])["norm"] for one in (model, other)))


def test_average_pooling_reaches_the_activations() -> None:
    network = Tiny()
    image = torch.rand(1, 3, 9, 9)
    found = DreamModel(network, SPEC, pooling="avg").activations(image, ["pool"])["pool"]
    torch.testing.assert_close(found, nn.functional.avg_pool2d(network.conv(image), 3, 2))


def test_classify_names_the_best_classes_first(tiny: DreamModel) -> None:
    nn.init.zeros_(tiny.network.head[2].weight)
    tiny.network.head[2].bias.copy_(torch.tensor([0.0, 3.0, 1.0, 2.0, 0.0, 0.0]))
    probabilities = torch.tensor([0.0, 3.0, 1.0, 2.0, 0.0, 0.0]).softmax(0)
    image = torch.rand(1, 3, 40, 50)
    best = tiny.classify(image, 2)
    assert [label for label, _ in best] == ["1", "3"]
    assert [p for _, p in best] == pytest.approx([float(probabilities[1]), float(probabilities[3])])
    assert len(tiny.classify(image, 99)) == 6
    tiny.labels = ("a", "b", "c")  # a list too short falls back to indices
    assert [label for label, _ in tiny.classify(image, 2)] == ["b", "3"]


def frame(clip: Path) -> Tensor:
    with av.open(str(clip)) as container:
        pixels = next(container.decode(video=0)).to_ndarray(format="rgb24")
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255  # HWC -> BCHW


@pytest.mark.parametrize("name", ["efficientnet_lite0", "bvlc_googlenet", "squeezenet1_1_caffe"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_real_weights_see_the_duck(test_data: Path, name: str, dtype: torch.dtype) -> None:
    settings = ModelSettings(model=name, model_dirs=(test_data / "weights",))
    model = load_model(settings, device=CPU, dtype=dtype)
    [(label, probability)] = model.classify(frame(test_data / "clips" / "mallard.mp4"), 1)
    assert label == "drake"
    assert probability > 0.9


def gradients() -> Tensor:
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    return torch.stack([x / 127, y / 95, ((x + y) % 32) / 31])[None]


@pytest.mark.parametrize(
    ("layer", "shape", "mean", "std", "value"),
    [
        ("conv1_7x7_s2", (1, 64, 48, 64), 1.048228, 193.249481, -85.435478),
        ("pool2_3x3_s2", (1, 192, 12, 16), 28.754129, 41.281109, 45.737900),
        ("inception_4a_pool", (1, 480, 6, 8), 24.665722, 47.619892, 0.0),
        ("inception_4d_3x3_reduce", (1, 144, 6, 8), -14.594427, 32.874950, -25.385227),
        ("inception_5b_output", (1, 1024, 3, 4), 0.500531, 1.766262, 0.0),
    ],
)
def test_googlenet_agrees_with_another_implementation(
    test_data: Path, layer: str, shape: tuple[int, ...], mean: float, std: float, value: float
) -> None:
    """Figures from neural-dream's conversion of the Caffe model, on the same image."""
    settings = ModelSettings(model_file=test_data / "weights" / "bvlc_googlenet.safetensors")
    activation = load_model(settings, device=CPU, dtype=torch.float32).activations(gradients(), [layer])[
        layer
    ]
    assert activation.shape == shape
    assert activation.mean().item() == pytest.approx(mean, rel=1e-3)
    assert activation.std().item() == pytest.approx(std, rel=1e-3)
    assert activation[0, 3, 1, 2].item() == pytest.approx(value, rel=1e-3, abs=1e-3)


@pytest.fixture
def state() -> dict[str, Tensor]:
    return BVLCGoogLeNet().state_dict()


def load(path: Path, **settings) -> DreamModel:
    return load_model(ModelSettings(model_file=path, **settings), device=CPU, dtype=torch.float32)


def test_pth_and_safetensors_load_alike_with_the_names_of_both(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    save_file(state, tmp_path / "net.safetensors")
    auxiliary = {"loss1_conv.bias": torch.rand(128), "loss2_fc_1.weight": torch.rand(4, 4)}
    renamed = {n.replace("loss3_classifier", "loss3_classifier_1"): t for n, t in state.items()}
    torch.save(renamed | auxiliary, tmp_path / "net.pth", _use_new_zipfile_serialization=False)
    for name in ("net.safetensors", "net.pth"):
        torch.testing.assert_close(dict(load(tmp_path / name).network.state_dict()), dict(state))


def test_weights_of_another_network_name_the_model_and_its_file(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    save_file(state, tmp_path / "net.safetensors")
    message = (
        r"net\.safetensors does not fit SqueezeNet: .*; it was read as the weights of `model` squeezenet1_1: "
        r"the right file is at https://.*/squeezenet1_1-.*\.pth; if it is another network's, change `model`$"
    )
    with pytest.raises(WeightsError, match=message):
        load(tmp_path / "net.safetensors", model="squeezenet1_1")


def test_a_file_without_classifier_dreams_but_does_not_classify(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    torch.save({n: t for n, t in state.items() if not n.startswith("loss3")}, tmp_path / "net.pth")
    model = load(tmp_path / "net.pth")
    assert list(model.layers())[-1] == "pool5_drop_7x7_s1"
    assert model.activations(torch.rand(1, 3, 32, 32), ["inception_5b_output"])["inception_5b_output"].numel()
    with pytest.raises(
        SettingsError, match="the loaded weights of bvlc_googlenet lack layer loss3_classifier"
    ):
        model.channels("loss3_classifier")
    with pytest.raises(
        WeightsError, match="bvlc_googlenet cannot classify: its weight file has no loss3_classif"
    ):
        model.classify(torch.rand(1, 3, 32, 32))


def test_a_file_of_another_network(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file(state, tmp_path / "net.safetensors")
    message = (
        r"net.safetensors does not fit SqueezeNet: features.0.weight is missing; features.0.bias is missing"
    )
    with pytest.raises(WeightsError, match=message):
        load(tmp_path / "net.safetensors", model="squeezenet1_1")


def test_a_file_of_another_number_of_classes(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file(state, tmp_path / "net.safetensors")
    message = r"expected loss3_classifier.weight \(365, 1024\), got \(1000, 1024\)"
    with pytest.raises(WeightsError, match=message):
        load(tmp_path / "net.safetensors", model="googlenet_places365")


def test_an_unknown_model() -> None:
    message = r"^expected `model` to be one of auto, efficientnet_lite0, .*, bvlc_googlenet, .*, got 'vgg11'$"
    with pytest.raises(SettingsError, match=message):
        load_model(ModelSettings(model="vgg11"), device=CPU, dtype=torch.float32)


def test_the_settings_mean_and_labels_win(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file(state, tmp_path / "net.safetensors")
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    plain = load(tmp_path / "net.safetensors")
    assert plain.labels[97] == "drake"
    assert plain.preprocessing == MODELS["bvlc_googlenet"].preprocessing
    model = load(tmp_path / "net.safetensors", model_mean=(1.0, 2.0, 3.0), label_file=tmp_path / "labels.txt")
    assert model.labels == ("one", "two")
    assert model.preprocessing == Preprocessing(mean=(1.0, 2.0, 3.0), scale=255.0, bgr=True)


def test_places_has_no_labels_of_its_own(tmp_path: Path) -> None:
    save_file(BVLCGoogLeNet(205).state_dict(), tmp_path / "net.safetensors")
    assert load(tmp_path / "net.safetensors", model="googlenet_places205").labels is None


def test_the_files_of_test_data_hold_no_training_classifiers(test_data: Path) -> None:
    names = load_file(test_data / "weights" / "bvlc_googlenet.safetensors")
    assert set(names) == set(BVLCGoogLeNet().state_dict())


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 4), (torch.bfloat16, 2)])
def test_the_memory_of_a_gradient_is_that_of_the_activations_twice(dtype: torch.dtype, size: int) -> None:
    model = DreamModel(Tiny(), SPEC, dtype=dtype)
    image, conv, pool = 3 * 21 * 31, 4 * 17 * 27, 4 * 8 * 13
    assert model.gradient_memory((21, 31), ["conv"]) == 2 * size * (image + conv)
    assert model.gradient_memory((21, 31), ["pool", "conv"]) == 2 * size * (image + conv + pool)
    assert model.gradient_memory((1, 1), ["conv"]) == model.gradient_memory((5, 5), ["conv"])


def test_memory_is_estimated_without_computing_anything() -> None:
    model = meta_model("bvlc_googlenet")
    layer = model.default_layer
    small, large = (model.gradient_memory(size, [layer]) for size in ((270, 480), (2160, 3840)))
    assert large == pytest.approx(64 * small, rel=0.02)
    # Measured for a gradient at 1280x720 on the CPU: 701 MiB.
    assert 701 <= model.gradient_memory((720, 1280), [layer]) / 2**20 <= 1300
