"""The planners that need no runtime's secrets: the ideal one, TensorFlow Lite's, TinyEngine's, and none at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from costmodel.dims import bounds
from costmodel.graph import Layer, Network
from costmodel.liveness import Lifetimes, Sharing, Tensors, lifetimes, overwritten
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
    """Whether each channel is convolved alone, and none becomes larger."""
    x, y = tensors[layer.inputs[0]], tensors[layer.outputs[0]]
    channels = x.dims[1]
    return layer.attributes.get("group") == channels == y.dims[1] and bounds(x.size - y.size)[0] >= 0


class TinyEngine(Ideal):
    """As ``ideal``, with depthwise convolutions in place, channel by channel.

    Source: Lin et al., "MCUNet: Tiny Deep Learning on IoT Devices" (arXiv 2007.10319), in-place depth-wise convolution.
    """

    name = "tinyengine"
    sharing = Sharing(overwritten=depthwise_too)


def nothing(layer: Layer, tensors: Tensors) -> Sequence[int]:
    return ()


class Naive(Planner):
    """Every tensor but views in memory of its own for the whole run; scratch memory is shared."""

    name = "naive"
    sharing = Sharing(overwritten=nothing)

    def needed(self, network: Network, alive: Lifetimes) -> Lifetimes:
        return lifetimes(network, alive.layers)

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
