"""Training of the network inside the package: `python -m training`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dream_core.models.fractal import Edges, Fractal, padding
from dream_core.models.preprocessing import FRACTAL

from .fields import FAMILIES, Fields, draw_all
from .images import Images

WEIGHTS = Path(__file__).parents[1] / "dream_core" / "models" / "fractal.safetensors"


@dataclass(frozen=True)
class Training:
    """Settings of the training.

    Args:
        out: The weight file to write.
        steps: Number of gradient steps.
        batch: Images in each step.
        side: Side of an image in pixels.
        variants: Images drawn of each class; an eighth of them is held out to measure accuracy.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: Weight decay of AdamW.
        adversary: Length in 0..1 of the adversarial step on each image. 0 is off.
        calm: Share of the steps before the adversarial ones begin.
        seed: Seed of all random numbers.
    """

    out: Path = WEIGHTS
    steps: int = 5000
    batch: int = 64
    side: int = 72
    variants: int = 24
    learning_rate: float = 4e-3
    weight_decay: float = 0.05
    adversary: float = 0.4
    calm: float = 0.5
    seed: int = 0


def smoothed(kernel: Tensor) -> Tensor:
    """Blur kernels (O,I,k,k) by 1 2 1 to (O,I,k+2,k+2), so that they cannot respond to single pixels."""
    row = torch.tensor([1.0, 2.0, 1.0], dtype=kernel.dtype) / 4
    outputs, inputs, side, _ = kernel.shape
    blurred = F.conv2d(kernel.reshape(-1, 1, side, side), torch.outer(row, row)[None, None], padding=2)
    return blurred.view(outputs, inputs, side + 2, side + 2)


class TrainedUnit(nn.Module):
    """`fractal.Unit` with normalization, and with smooth kernels if it has a stride."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding(kernel, stride)
        learnt = kernel if stride == 1 else kernel - 2
        self.weight = nn.Parameter(torch.empty(outputs, inputs, learnt, learnt))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.norm = nn.BatchNorm2d(outputs)

    def kernel(self) -> Tensor:
        """The kernel to apply, (outputs,inputs,k,k)."""
        return self.weight if self.stride == 1 else smoothed(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B,inputs,h,w) -> (B,outputs,h,w)."""
        return F.relu(self.norm(F.conv2d(x, self.kernel(), stride=self.stride, padding=self.padding)))

    def folded(self) -> dict[str, Tensor]:
        """Fold the normalization into weight and bias of one equivalent convolution."""
        mean, variance = self.norm.running_mean, self.norm.running_var
        assert mean is not None
        assert variance is not None
        scale = self.norm.weight / (variance + self.norm.eps).sqrt()
        return {
            "conv.weight": self.kernel() * scale.view(-1, 1, 1, 1),
            "conv.bias": self.norm.bias - mean * scale,
        }


class TrainedEdges(Edges):
    """`fractal.Edges` with smooth kernels of sum 0 and length 1."""

    def __init__(self, outputs: int) -> None:
        super().__init__(outputs)
        del self.conv
        self.weight = nn.Parameter(torch.randn(outputs, 3, 4, 4))

    def kernel(self) -> Tensor:
        """The kernel to apply, (outputs,3,6,6)."""
        kernel = smoothed(self.weight)
        kernel = kernel - kernel.mean((2, 3), keepdim=True)
        return kernel / kernel.flatten(1).norm(dim=1).view(-1, 1, 1, 1)

    def found(self, x: Tensor) -> Tensor:
        """Apply the kernels: (B,3,H,W) -> (B,outputs,H/2,W/2)."""
        return F.conv2d(x, self.kernel(), stride=2, padding=padding(6, 2))

    def folded(self) -> dict[str, Tensor]:
        """Weights of the equivalent `fractal.Edges`."""
        return {"conv.weight": self.kernel(), "offset": self.offset}


class Student(nn.Module):
    """The network in training, with a second classifier half way, so that its middle layers learn objects too."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.network = Fractal(classes, TrainedUnit, TrainedEdges)
        self.half_way = nn.Linear(self.network.petals.outputs, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B,3,S,S) in 0..1 -> scores (B,C) at the end and half way."""
        seen: list[Tensor] = []
        hook = self.network.petals.register_forward_hook(lambda *args: seen.append(args[2]))
        with hook:
            scores = self.network(FRACTAL(images))
        return scores, self.half_way(seen[0].mean((2, 3)))

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Sum of the cross entropies of both classifiers, the one half way weighted by 0.4."""
        end, half = self(images)
        return F.cross_entropy(end, labels, label_smoothing=0.1) + 0.4 * F.cross_entropy(
            half, labels, label_smoothing=0.1
        )


def harder(student: Student, images: Tensor, labels: Tensor, length: float) -> Tensor:
    """Move images by a small step that raises the loss (Goodfellow et al. 2014, with a Euclidean length).

    A network trained on such images has gradients that show objects rather than noise (Santurkar et al. 2019,
    "Image Synthesis with a Single (Robust) Classifier").
    """
    start = images + 0.25 * length * _unit(torch.randn_like(images))
    start.requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = student.loss(start, labels)
    (gradient,) = torch.autograd.grad(loss, start)
    return (images + length * _unit(gradient)).clamp(0, 1).detach()


def _unit(step: Tensor) -> Tensor:
    return step / step.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)


def accuracy(student: Student, images: Images, batches: int = 20) -> float:
    """Share of images that are classified correctly."""
    student.eval()
    right = []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for _ in range(batches):
            batch, labels = images.batch(100)
            right.append(
                (student(batch.contiguous(memory_format=torch.channels_last))[0].argmax(1) == labels).float()
            )
    student.train()
    return torch.cat(right).mean().item()


def folded(network: Fractal) -> dict[str, Tensor]:
    """Weights with all normalization folded in, under the names of a plain `Fractal`."""
    state = {f"fc.{name}": tensor for name, tensor in network.fc.state_dict().items()}
    for name, unit in network.named_modules():
        if isinstance(unit, (TrainedUnit, TrainedEdges)):
            state |= {f"{name}.{own}": tensor for own, tensor in unit.folded().items()}
    return {name: tensor.detach().float().contiguous() for name, tensor in state.items()}


def train(training: Training) -> Iterator[str]:
    """Draw images, train, fold and save, yielding lines of progress."""
    torch.manual_seed(training.seed)
    began = time.perf_counter()
    fields = draw_all(variants=training.variants, side=training.side * 4 // 3, seed=training.seed)
    kept = training.variants * 7 // 8
    generator = Generator().manual_seed(training.seed + 1)
    images = Images(Fields(*(part[:, :kept] for part in fields)), side=training.side, generator=generator)
    unseen = Images(Fields(*(part[:, kept:] for part in fields)), side=training.side, generator=generator)
    unseen.share_palettes(images)
    del fields
    yield f"{images.classes} classes drawn in {time.perf_counter() - began:.0f} s"
    student = Student(images.classes).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        student.parameters(), training.learning_rate, weight_decay=training.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, total_steps=training.steps, pct_start=0.1
    )
    began, losses = time.perf_counter(), []
    for step in range(training.steps):
        batch, labels = images.batch(training.batch)
        batch = batch.contiguous(memory_format=torch.channels_last)
        ramp = (step / training.steps - training.calm) / 0.2
        length = training.adversary * min(1.0, ramp)
        if length > 0:
            batch = harder(student, batch, labels, length)
        with torch.autocast("cpu", torch.bfloat16):
            loss = student.loss(batch, labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % 250 == 0 or step + 1 == training.steps:
            told = accuracy(student, unseen, 5)
            seconds = time.perf_counter() - began
            yield (
                f"step {step + 1}: loss {sum(losses[-250:]) / len(losses[-250:]):.3f}, "
                f"accuracy {told:.1%}, {seconds:.0f} s"
            )
            if not math.isfinite(losses[-1]):
                raise RuntimeError("the loss is not finite: lower the learning rate")
    student.eval()
    final = accuracy(student, unseen)
    metadata = {
        "command": "python -m training",
        "data": f"{images.classes} classes drawn by formulas: "
        + ", ".join(f"{classes} {name}" for name, (_, classes) in FAMILIES.items()),
        "training": ", ".join(f"{name}={value}" for name, value in vars(training).items() if name != "out"),
        "accuracy": f"{final:.3f} on unseen variants",
        "date": date.today().isoformat(),
        "license": "MIT, as the package",
    }
    training.out.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(folded(student.network), training.out, metadata)
    yield f"accuracy {final:.1%}; {training.out}, {training.out.stat().st_size / 2**20:.2f} MiB"
