"""The planners that need no runtime's secrets: the ideal one, TensorFlow Lite's, TinyEngine's, and none at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from costmodel.dims import bounds
from costmodel.graph import Layer, Network
from costmodel.liveness import Lifetimes, Sharing, Tensors, overwritten
from costmodel.planners.packing import greedy_by_size
from costmodel.planners.planner import Buffer, Piece, Placement, Planner, Use


class Ideal(Planner):
    """The most that is alive at one moment: no allocator gets below it in this order. Its arena is what a packing takes."""

    name = "ideal"

    def place(self, pieces: Sequence[Piece]) -> Placement:
        return greedy_by_size(pieces)


class TensorFlowLite(Planner):
    """Offsets by size in one arena, aligned to 64 bytes (TensorFlow Lite's ArenaPlanner, kDefaultTensorAlignment)."""

    name = "tflite"
    is_arena = True

    def place(self, pieces: Sequence[Piece]) -> Placement:
        return greedy_by_size(pieces, alignment=64)


def depthwise_too(layer: Layer, tensors: Tensors) -> Sequence[int]:
    """As most kernels, and a depthwise convolution writes over its input."""
    if layer.op == "Conv" and is_depthwise(layer, tensors):
        return (0,)
    return overwritten(layer, tensors)


def is_depthwise(layer: Layer, tensors: Tensors) -> bool:
    """Whether each channel is convolved alone, and none becomes larger: no more is padded than the window takes away."""
    x, w, y = tensors[layer.inputs[0]], tensors[layer.inputs[1]], tensors[layer.outputs[0]]
    if x.shape is None or y.shape is None or not layer.attributes.get("group", 1) == x.shape[1] == y.shape[1]:
        return False
    axes = len(x.shape) - 2
    pads, dilations = _numbers(layer, "pads", 2 * axes, 0), _numbers(layer, "dilations", axes, 1)
    windows = [dilation * (extent - 1) for dilation, extent in zip(dilations, w.dims[2:], strict=True)]
    return all(bounds(window - pads[i] - pads[i + axes])[0] >= 0 for i, window in enumerate(windows))


def _numbers(layer: Layer, name: str, count: int, default: int) -> Sequence[int]:
    value = layer.attributes.get(name)
    return [item for item in value if isinstance(item, int)] if isinstance(value, tuple) else [default] * count


class TinyEngine(Ideal):
    """As ``ideal``, with depthwise convolutions in place, channel by channel.

    Source: Lin et al., "MCUNet: Tiny Deep Learning on IoT Devices" (arXiv 2007.10319), in-place depth-wise convolution.
    """

    name = "tinyengine"
    sharing = Sharing(overwritten=depthwise_too)


class Naive(Planner):
    """Every tensor in memory of its own for the whole run, but for views and what is written in place; scratch memory is
    shared.
    """

    name = "naive"

    def buffers(self, network: Network, alive: Lifetimes) -> tuple[Buffer, ...]:
        end = max(len(alive.layers) - 1, 0)
        return tuple(Buffer((block,), 0, end) for block in alive.blocks)

    def place(self, pieces: Sequence[Piece]) -> Placement:
        """One behind the other; pieces of scratch memory lie in one place behind them all."""
        end = behind = sum(piece.nbytes for piece in pieces if piece.use != Use.SCRATCH)
        offsets, free = [], 0
        steps: Counter[int] = Counter()
        for piece in pieces:
            if piece.use == Use.SCRATCH:
                offsets.append(behind + steps[piece.first])
                steps[piece.first] += piece.nbytes
                end = max(end, behind + steps[piece.first])
            else:
                offsets.append(free)
                free += piece.nbytes
        return Placement(tuple(offsets), end)
