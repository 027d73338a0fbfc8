"""RAFT (Teed and Deng 2020, "Recurrent All-Pairs Field Transforms"), in both directions at once.

Network and weights are torchvision's. The results are the same but computed faster: both directions share the
features of the frames, correlation pyramids are built without pooling the volume, and the part of each recurrent
convolution that depends on the context alone is computed once instead of in every update.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.optical_flow import Raft_Large_Weights, Raft_Small_Weights, raft_large, raft_small
from torchvision.models.optical_flow.raft import RAFT, ConvGRU

from ..device import layout, sums_in_float32
from ..errors import WeightsError
from ..image import vector_like
from ..models.weights import (
    State,
    WeightSource,
    advice_for,
    load_strictly,
    read_state_dict,
    torchvision_source,
)
from ..settings import FlowName

STRIDE = 8
"""Factor by which RAFT's features are smaller than the frames."""

SMALLEST_SIDE = 128
"""Least side in pixels, torchvision's: below it the smallest pyramid level is a single value."""

BUILDERS: dict[FlowName, Callable[..., RAFT]] = {"raft_large": raft_large, "raft_small": raft_small}


SOURCES: dict[FlowName, WeightSource] = {
    "raft_large": torchvision_source(Raft_Large_Weights.C_T_SKHT_V2),
    "raft_small": torchvision_source(Raft_Small_Weights.C_T_V2),
}

VOLUMES = 5 * 2**29
"""Bytes up to which the correlations of all pairs of pixels are kept. Above, it is faster to compute parts anew."""

FEATURES: dict[int, FlowName] = {256: "raft_large", 128: "raft_small"}
"""Variant of RAFT by its number of feature channels, to recognize weights."""


def load_raft(name: FlowName, path: Path) -> RAFT:
    """Build a RAFT and load its weights from a file, in torchvision's or princeton-vl's key names.

    Raises:
        WeightsError: the file cannot be read, or does not fit this network.
    """
    network = BUILDERS[name](weights=None, progress=False)
    advice = advice_for(SOURCES[name], option="flow", name=name)
    state = torchvision_keys(read_state_dict(path, advice=advice))
    load_strictly(network, state, path=path, advice=advice)
    return network.eval().requires_grad_(False)


def raft_of(state: State, *, path: Path) -> RAFT:
    """Build the RAFT, large or small, that a state dict belongs to, and load it.

    Args:
        state: tensors under torchvision's or princeton-vl's names.
        path: the file that the state came from, for the error message.

    Raises:
        WeightsError: the state dict belongs to another network.
    """
    state = torchvision_keys(state)
    width = state.get("feature_encoder.conv.weight")
    name = FEATURES.get(len(width)) if width is not None else None
    if name is None:
        raise WeightsError(
            f"expected weights of RAFT, large or small, with torchvision's or princeton-vl's names in {path}, got "
            f"{', '.join(list(state)[:3]) or 'nothing'}; choose a file of RAFT's weights"
        )
    network = BUILDERS[name](weights=None, progress=False)
    load_strictly(network, state, path=path, advice=f"it was recognized as {name}")
    return network.eval().requires_grad_(False)


PRINCETON_NAMES = (
    (r"^fnet\.", "feature_encoder."),
    (r"^cnet\.", "context_encoder."),
    (r"(encoder\.layer\d\.\d)\.conv(\d)\.", r"\1.convnormrelu\2.0."),
    (r"(encoder\.layer\d\.\d)\.norm(\d)\.", r"\1.convnormrelu\2.1."),
    (r"^(feature|context)_encoder\.conv1\.", r"\1_encoder.convnormrelu.0."),
    (r"^(feature|context)_encoder\.norm1\.", r"\1_encoder.convnormrelu.1."),
    (r"^(feature|context)_encoder\.conv2\.", r"\1_encoder.conv."),
    (r"^update_block\.encoder\.conv([cf])(\d)\.", r"update_block.motion_encoder.conv\1\2.0."),
    (r"motion_encoder\.convc", "motion_encoder.convcorr"),
    (r"motion_encoder\.convf(\d)", r"motion_encoder.convflow\1"),
    (r"^update_block\.encoder\.conv\.", "update_block.motion_encoder.conv.0."),
    (r"^update_block\.gru\.conv([zrq])(\d)\.", r"update_block.recurrent_block.convgru\2.conv\1."),
    (r"^update_block\.gru\.conv([zrq])\.", r"update_block.recurrent_block.convgru1.conv\1."),
    (r"^update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
    (r"^update_block\.mask\.2\.", "mask_predictor.conv."),
)


def torchvision_keys(state: State) -> State:
    """Rename princeton-vl's keys to torchvision's; a state with torchvision's keys is returned as it is."""
    if not any(name.startswith("fnet.") for name in state):
        return state
    return {_torchvision_key(name): tensor for name, tensor in state.items() if not _is_twin(name, state)}


def _torchvision_key(name: str) -> str:
    for pattern, replacement in PRINCETON_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _is_twin(name: str, state: State) -> bool:
    """True if it is the norm of a shortcut, which princeton-vl's files also hold as downsample.1."""
    match = re.match(r"(.*\.layer\d\.\d)\.norm(\d)\.", name)
    return match is not None and f"{match[1]}.conv{match[2]}.weight" not in state


class Correlation:
    """All-pairs correlation of two feature maps, pooled over the second (the paper's section 3.2).

    Pooling is linear, so correlating with the pooled map gives the pooled correlation without pooling the volume,
    the largest tensor of all.

    Args:
        first, second: (B,C,h,w).
        levels: number of levels, each half the size of the one before.
        radius: half the side of the window to look up, in pixels of each level.
    """

    def __init__(self, first: Tensor, second: Tensor, *, levels: int, radius: int) -> None:
        queries = first.flatten(2).transpose(1, 2) / math.sqrt(first.shape[1])  # BCHW -> B(HW)C
        self.pyramid = []
        for level in range(levels):
            second = F.avg_pool2d(second, 2) if level else second
            volume = _products(queries, second.flatten(2))
            self.pyramid.append(volume.view(-1, 1, *second.shape[-2:]))
        neighbors = _neighbors(radius, first.device)
        # -1 and 1 are the outer edges of a level. With -1 and 1 at the centers of its outermost values, PyTorch
        # would take cuDNN's sampler, which fails from 65536 entries: github.com/pytorch/pytorch/issues/88380.
        scales = [2 / vector_like(neighbors, [v.shape[-1], v.shape[-2]]) for v in self.pyramid]
        self.windows = [neighbors * scale + (scale / 2 - 1) for scale in scales]
        self.steps = [scale / 2**level for level, scale in enumerate(scales)]

    def look_up(self, positions: Tensor, *, dtype: torch.dtype) -> Tensor:
        """Look up the correlations around positions (B,2,h,w), x first: (B, levels * (2 radius + 1)^2, h, w)."""
        batch, _, height, width = positions.shape
        center = positions.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2)  # BCHW -> (BHW)11C
        shape = len(center), len(self.pyramid), self.windows[0][..., 0].numel()
        found = torch.empty(shape, dtype=dtype, device=center.device)
        for index, (level, window, step) in enumerate(
            zip(self.pyramid, self.windows, self.steps, strict=True)
        ):
            grid = torch.addcmul(window, center, step)
            found[:, index] = F.grid_sample(level, grid, align_corners=False).flatten(1)
        features: Tensor = found.view(batch, height, width, -1).permute(0, 3, 1, 2)  # BHWC -> BCHW
        return features


class BlockedCorrelation:
    """What `Correlation` looks up, without its volumes: correlated anew in each look-up, where it is needed.

    A block of neighboring pixels looks at one small part of the other frame. For large frames that takes a fraction
    of the memory, which no longer grows with the fourth power of the sides, and less time. It reads positions on
    the CPU.

    Args:
        first, second, levels, radius: see `Correlation`.
    """

    SIDE = 32
    """Side of a block. Many smaller ones would each take a moment; larger ones look at more than they need."""

    def __init__(self, first: Tensor, second: Tensor, *, levels: int, radius: int) -> None:
        self._queries = (first / math.sqrt(first.shape[1])).permute(0, 2, 3, 1).contiguous()  # BCHW -> BHWC
        self._keys = [second]
        for _ in range(levels - 1):
            self._keys.append(F.avg_pool2d(self._keys[-1], 2))
        self._radius = radius
        self._neighbors = _neighbors(radius, first.device)

    def look_up(self, positions: Tensor, *, dtype: torch.dtype) -> Tensor:
        """See `Correlation.look_up`."""
        batch, _, height, width = positions.shape
        count = self._neighbors[..., 0].numel()
        found = positions.new_empty((batch, height, width, len(self._keys), count), dtype=dtype)
        highest = F.max_pool2d(positions, self.SIDE, ceil_mode=True)
        lowest = -F.max_pool2d(-positions, self.SIDE, ceil_mode=True)
        # Where positions are not finite, any part will do: the flow is not finite either.
        ends = torch.stack([lowest, highest]).nan_to_num().permute(1, 3, 4, 2, 0).tolist()
        for index, rows in enumerate(ends):
            for row, blocks in enumerate(rows):
                for column, (across, down) in enumerate(blocks):
                    y, x = row * self.SIDE, column * self.SIDE
                    block = index, slice(y, y + self.SIDE), slice(x, x + self.SIDE)
                    center = positions[index, :, block[1], block[2]].flatten(1).t()  # 2HW -> (HW)2
                    queries = self._queries[block]
                    for level, keys in enumerate(self._keys):
                        place = (
                            self._part(down, level, keys.shape[-2]),
                            self._part(across, level, keys.shape[-1]),
                        )
                        values = self._look_up_part(
                            queries.flatten(0, 1), keys[index], place, center / 2**level
                        )
                        found[block][:, :, level] = values.view(*queries.shape[:2], count)
        return found.flatten(3).permute(0, 3, 1, 2)  # BHWC -> BCHW

    def _part(self, ends: Sequence[float], level: int, side: int) -> slice:
        """Stretch of one side of a level that the windows around these positions reach."""
        first = math.floor(ends[0] / 2**level) - self._radius
        last = math.floor(ends[1] / 2**level) + self._radius + 1
        start = min(max(first, 0), side - 1)
        return slice(start, min(max(last, start) + 1, side))

    def _look_up_part(
        self, queries: Tensor, keys: Tensor, place: tuple[slice, slice], center: Tensor
    ) -> Tensor:
        """Correlate (N,C) with a part of (C,h,w), and look up the windows around positions (N,2): (N,1,n,n)."""
        part = keys[:, place[0], place[1]]
        volume = _products(queries[None], part.flatten(1)[None]).view(-1, 1, *part.shape[-2:])
        start = vector_like(center, [place[1].start - 0.5, place[0].start - 0.5])
        scale = vector_like(center, [2 / part.shape[-1], 2 / part.shape[-2]])
        grid = (self._neighbors + (center - start)[:, None, None]) * scale - 1
        return F.grid_sample(volume, grid, align_corners=False)


def _neighbors(radius: int, device: torch.device) -> Tensor:
    """Offsets (n,n,2) of a window's positions from its center, x first."""
    offsets = torch.arange(-radius, radius + 1, device=device, dtype=torch.float32)
    # torchvision keeps princeton-vl's order of neighbors, in which x varies more slowly.
    return torch.stack(torch.meshgrid(offsets, offsets, indexing="ij"), dim=-1)


def volume_bytes(cells: float) -> float:
    """Bytes of the volumes of `Correlation` for one pair of feature maps with this number of pixels."""
    return cells**2 * 4 * 4 / 3  # float32, four levels of 1, 1/4, 1/16 and 1/64 of the volume


def _products(queries: Tensor, keys: Tensor) -> Tensor:
    """Multiply (B,N,C) by (B,C,M) in their own type; the sums, (B,N,M), are float32."""
    if queries.is_cuda and queries.dtype != torch.float32 and sums_in_float32():
        return torch.bmm(queries, keys, out_dtype=torch.float32)
    return torch.bmm(queries, keys).float()


class Gru:
    """One convolutional gated recurrent unit (the paper's equations 3 to 6), for one context.

    Each convolution over [hidden state, context, motion] is split, because the context stays the same.
    """

    def __init__(self, unit: ConvGRU, context: Tensor) -> None:
        gates = [unit.convz, unit.convr, unit.convq]
        weight = torch.cat([gate.weight for gate in gates])
        bias = torch.cat([gate.bias for gate in gates])
        hidden, seen = unit.convz.out_channels, context.shape[1]
        self.padding = unit.convz.padding
        from_context = F.conv2d(context, weight[:, hidden : hidden + seen], bias, padding=self.padding)
        moving = torch.cat([weight[:, :hidden], weight[:, hidden + seen :]], 1)
        self.gates_weight, self.candidate_weight = moving[: 2 * hidden], moving[2 * hidden :]
        self.gates_context, self.candidate_context = (
            from_context[:, : 2 * hidden],
            from_context[:, 2 * hidden :],
        )

    def __call__(self, hidden: Tensor, motion: Tensor) -> Tensor:
        """Compute the next hidden state (B,C,h,w) from the last one and the motion features."""
        gates = self._convolve(hidden, motion, self.gates_weight).add_(self.gates_context)
        update, reset = gates.sigmoid_().chunk(2, 1)
        candidate = self._convolve(reset * hidden, motion, self.candidate_weight).add_(self.candidate_context)
        return torch.lerp(hidden, candidate.tanh_(), update)

    def _convolve(self, hidden: Tensor, motion: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(torch.cat([hidden, motion], 1), weight, padding=self.padding)


class FrameFeatures(NamedTuple):
    """Frames and their encodings.

    Args:
        frames: (B,3,H,W).
        features: (B,C,h,w), h and w an eighth of the frames'.
        context: (B,D,h,w).
    """

    frames: Tensor
    features: Tensor
    context: Tensor


class FastRaft(nn.Module):
    """Flow between two batches of frames, in one direction or both.

    In a clip every frame belongs to two pairs. On the CPU its features are computed once; on a GPU, where asking
    whether two frames are the same makes the program wait, twice, but those of both frames at once.

    Args:
        network: torchvision's RAFT with its weights.
        dtype: type of the convolutions and of the features to correlate; positions stay float32, because flow
            needs fractions of a pixel.
    """

    def __init__(self, network: RAFT, *, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network.to(dtype=dtype)
        self.dtype = dtype
        self.volumes: float = VOLUMES
        """Bytes that the correlations of one estimate may take on a CPU; larger ones are computed in blocks."""
        self._last: dict[torch.Size, FrameFeatures] = {}
        """Features of the last frame of each size: flow to a far frame is estimated at a smaller one."""
        self._laid_out: torch.device | None = None
        """The device for which the weights are laid out."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FastRaft:
        # `.to(device)` calls this: drop the features that lie on the old device.
        self._last.clear()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def forward(self, first: Tensor, second: Tensor, *, updates: int, both: bool) -> Tensor:
        """Estimate flow.

        Args:
            first, second: (B,3,H,W) in -1..1; sides are multiples of 8 and at least 128.
            updates: number of refinements.
            both: estimate the opposite direction too.

        Returns:
            (B,2,H,W) in pixels, x first, from the first frames to the second; with `both`, (2B,2,H,W): B flows
            from first to second, then B from second to first.
        """
        if first.device != self._laid_out:  # ComfyUI moves weights module by module, without `_apply`
            self.network.to(memory_format=layout(first.device))
            self._laid_out = first.device
        start, to = self._encode_both(first, second)
        of_first, of_second, context = start.features, to.features, start.context
        if both:
            of_first, of_second = torch.cat([of_first, of_second]), torch.cat([of_second, of_first])
            context = torch.cat([context, to.context])
        return self._refine(self._correlate(of_first, of_second), context, updates)

    def _correlate(self, first: Tensor, second: Tensor) -> Correlation | BlockedCorrelation:
        # Elsewhere blocks would make the program wait for the device.
        large = len(first) * volume_bytes(first[0, 0].numel()) > self.volumes
        kind = BlockedCorrelation if large and first.device.type == "cpu" else Correlation
        block = self.network.corr_block
        return kind(first, second, levels=block.num_levels, radius=block.radius)

    def _encode_both(self, first: Tensor, second: Tensor) -> tuple[FrameFeatures, FrameFeatures]:
        if first.device.type != "cpu":
            of_first, of_second = zip(
                *(part.chunk(2) for part in self._encode(torch.cat([first, second]))), strict=True
            )
            return FrameFeatures(*of_first), FrameFeatures(*of_second)
        last = self._last.pop(second.shape, None)
        seen_before = last is not None and _same(last.frames, second)
        to = last if last and seen_before else self._encode(second)
        start = self._encode(first)
        if len(first) == 1:
            self._last[first.shape] = start
        if len(first) > 1 or len(self._last) > 2:
            # Batches do not repeat, nor do sizes of an earlier clip: their features would only take memory.
            self._last = {first.shape: start} if len(first) == 1 else {}
        return start, to

    def _encode(self, frames: Tensor) -> FrameFeatures:
        x = frames.to(self.dtype, memory_format=layout(frames.device))
        features = self.network.feature_encoder(x).contiguous()
        return FrameFeatures(frames, features, self.network.context_encoder(x))

    def _refine(self, correlation: Correlation | BlockedCorrelation, context: Tensor, updates: int) -> Tensor:
        update = self.network.update_block
        size = update.hidden_state_size
        hidden, context = context[:, :size].tanh(), context[:, size:].relu()
        units = [unit for unit in update.recurrent_block.children() if isinstance(unit, ConvGRU)]
        grus = [Gru(unit, context) for unit in units]
        start = _positions(context)
        flow, memory_format = torch.zeros_like(start), layout(start.device)
        for _ in range(updates):
            seen = correlation.look_up(start + flow, dtype=self.dtype)
            motion = update.motion_encoder(flow.to(self.dtype, memory_format=memory_format), seen)
            for gru in grus:
                hidden = gru(hidden, motion)
            flow = flow + update.flow_head(hidden).float()
        return self._upsample(flow, hidden)

    def _upsample(self, flow: Tensor, hidden: Tensor) -> Tensor:
        """Enlarge to the frames' size by a learned convex combination of neighbors; bilinearly in RAFT small."""
        size = [side * STRIDE for side in flow.shape[-2:]]
        if self.network.mask_predictor is None:
            return STRIDE * F.interpolate(flow, size, mode="bilinear", align_corners=True)
        batch, _, height, width = flow.shape
        weights = self.network.mask_predictor(hidden).float().view(batch, 1, 9, STRIDE, STRIDE, height, width)
        neighbors = F.unfold(STRIDE * flow, 3, padding=1).view(batch, 2, 9, 1, 1, height, width)
        fine: Tensor = (weights.softmax(2) * neighbors).sum(2)
        return fine.permute(0, 1, 4, 2, 5, 3).reshape(batch, 2, *size)


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


def _positions(like: Tensor) -> Tensor:
    """Coordinates of each pixel, (B,2,h,w) float32, x first."""
    height, width = like.shape[-2:]
    sides = (torch.arange(side, device=like.device, dtype=torch.float32) for side in (height, width))
    y, x = torch.meshgrid(*sides, indexing="ij")
    return torch.stack([x, y]).expand(len(like), 2, height, width)
