import pytest
import torch
from torchvision import models

from dream_core.models import preprocessing
from dream_core.models.preprocessing import Preprocessing


def pixel(red: float, green: float, blue: float) -> torch.Tensor:
    return torch.tensor([red, green, blue]).reshape(1, 3, 1, 1)


def test_caffe_takes_bgr_levels_minus_the_mean() -> None:
    result = preprocessing.CAFFE(pixel(1.0, 0.2, 0.0))
    torch.testing.assert_close(result.flatten(), torch.tensor([0 - 104.0, 51 - 117.0, 255 - 123.0]))


def test_imagenet_takes_rgb_in_units_of_the_standard_deviation() -> None:
    result = preprocessing.IMAGENET(pixel(1.0, 0.456, 0.0))
    expected = torch.tensor([(1 - 0.485) / 0.229, 0.0, -0.406 / 0.225])
    torch.testing.assert_close(result.flatten(), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("build", [models.googlenet, models.inception_v3])
def test_inception_is_imagenet_after_torchvisions_own_transform(build) -> None:
    network = build(init_weights=False, transform_input=True)
    image = torch.rand(2, 3, 5, 4)
    expected = network._transform_input(preprocessing.IMAGENET(image))
    torch.testing.assert_close(preprocessing.INCEPTION(image), expected, atol=1e-5, rtol=1e-5)


def test_every_pixel_of_a_batch_is_treated_alike() -> None:
    image = torch.rand(2, 3, 4, 5)
    result = Preprocessing(mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0), scale=10.0, bgr=True)(image)
    mean, std = torch.tensor([1.0, 2, 3]), torch.tensor([2.0, 4, 8])
    expected = (image.flip(1) * 10 - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(result, expected)


def test_it_computes_in_float32_and_passes_gradients() -> None:
    image = torch.rand(1, 3, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    result = preprocessing.CAFFE(image)
    result.sum().backward()
    assert result.dtype == torch.float32
    torch.testing.assert_close(image.grad, torch.full_like(image, 255.0))
