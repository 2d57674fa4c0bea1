"""What the time of a kernel depends on: one ordered table. Calibration and prediction both use it, so they cannot differ.

A feature is a sum over the kernels of some kinds of an amount of work, symbolic like every count. The time model is
``sum(feature * seconds_per_unit)``; each feature stands for one resource (its ``bound``): arithmetic, memory or launches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from costmodel.dims import Dim, Extent, floor_divide, product, total
from costmodel.fusion import Kernel, fuse
from costmodel.graph import Layer, Network, Tensor

CONV_OPS = frozenset({"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "FusedConv", "NhwcConv"})
POOLS = frozenset(
    {
        "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "MaxRoiPool", "RoiAlign",
    }
)  # fmt: skip
COPIES = frozenset(
    {
        "Concat", "Slice", "Split", "Transpose", "Pad", "Gather", "GatherElements", "GatherND", "Expand", "Tile", "Resize",
        "Upsample", "DepthToSpace", "SpaceToDepth", "ScatterElements", "ScatterND", "Cast", "Reshape", "Identity",
        "ConstantOfShape", "Range", "OneHot", "Trilu", "ReverseSequence", "CenterCropPad",
    }
)  # fmt: skip
NORMS = frozenset(
    {
        "BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization", "LRN",
        "Softmax", "LogSoftmax", "LpNormalization", "MeanVarianceNormalization", "SimplifiedLayerNormalization",
        "SkipLayerNormalization", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2", "ArgMax",
        "ArgMin", "TopK", "CumSum",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Work:
    """A kernel with what the features ask of it. ``depth`` and ``filters``: channels of a convolution's filter, and
    how many filters each group has.
    """

    kind: str
    kernel: Kernel
    depth: Extent = 1
    filters: Extent = 1


@dataclass(frozen=True, slots=True)
class Feature:
    """One column: the kinds of kernel that it sums over, and the amount of work of each.

    ``relative_cost`` is the order of magnitude of a unit's time, in times of one multiply-add of a dense convolution. It
    only settles what measurements leave open.
    """

    name: str
    unit: str
    bound: str
    relative_cost: float
    kinds: frozenset[str]
    amount: Callable[[Work], Extent]


def _feature(
    name: str, unit: str, bound: str, relative_cost: float, kinds: str, amount: Callable[[Work], Extent]
) -> Feature:
    return Feature(name, unit, bound, relative_cost, frozenset(kinds.split()), amount)


def _macs(work: Work) -> Extent:
    return work.kernel.macs


def _macs_per_depth(work: Work) -> Extent:
    return floor_divide(work.kernel.macs, work.depth)


def _macs_per_filter(work: Work) -> Extent:
    return floor_divide(work.kernel.macs, work.filters)


def _weight_bytes(work: Work) -> Extent:
    return work.kernel.weight_bytes


def _moved_bytes(work: Work) -> Extent:
    return work.kernel.read_bytes + work.kernel.write_bytes


def _other_flops(work: Work) -> Extent:
    return work.kernel.other_flops


def _one(_: Work) -> Extent:
    return 1


CONVOLUTIONS = "pointwise conv3x3 conv depthwise grouped"
DENSE = "pointwise conv3x3 conv grouped"
ALL = f"{CONVOLUTIONS} linear matmul recurrent pool norm copy elementwise"

# Relative costs: Winograd's F(4x4, 3x3) needs 2.25 to 4 times fewer products (Lavin & Gray 2016), less its transforms; a
# depthwise filter reuses each input 9 times instead of hundreds; cores of phones and boards move 1 byte in about the time
# of 1 to 4 multiply-adds; starting a kernel takes microseconds at some 10 G multiply-adds a second. Few channels leave
# lanes idle: time per multiply-add grows as 1 + a / depth + b / filters, so macs / depth and macs / filters are linear
# terms of it (the second is also the volume that im2col lays out).
FEATURES: tuple[Feature, ...] = (
    _feature("pointwise_macs", "MAC", "compute", 1.0, "pointwise", _macs),
    _feature("conv3x3_macs", "MAC", "compute", 0.6, "conv3x3", _macs),
    _feature("conv_macs", "MAC", "compute", 1.0, "conv", _macs),
    _feature("depthwise_macs", "MAC", "compute", 3.0, "depthwise", _macs),
    _feature("grouped_macs", "MAC", "compute", 1.6, "grouped", _macs),
    _feature("matmul_macs", "MAC", "compute", 1.0, "matmul linear recurrent", _macs),
    _feature("macs_per_depth", "MAC", "compute", 4.0, DENSE, _macs_per_depth),
    _feature("macs_per_filter", "MAC", "compute", 4.0, DENSE, _macs_per_filter),
    _feature("linear_weight_bytes", "B", "memory", 1.0, "linear recurrent", _weight_bytes),
    _feature("conv_bytes", "B", "memory", 1.0, CONVOLUTIONS, _moved_bytes),
    _feature("elementwise_bytes", "B", "memory", 1.0, "elementwise norm", _moved_bytes),
    _feature("copy_bytes", "B", "memory", 1.0, "copy", _moved_bytes),
    _feature("pool_bytes", "B", "memory", 1.0, "pool", _moved_bytes),
    _feature("vector_flops", "FLOP", "compute", 1.0, "pool norm elementwise", _other_flops),
    _feature("kernels", "kernel", "launch", 3e4, ALL, _one),
)
NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
RELATIVE_COSTS: tuple[float, ...] = tuple(feature.relative_cost for feature in FEATURES)


def work_of(network: Network, kernel: Kernel) -> Work:
    """A kernel with its kind: by its anchor's op and, for a convolution, by its filter."""
    op = kernel.op
    if op in CONV_OPS:
        return _convolution(network, kernel)
    if op in ("LSTM", "GRU", "RNN"):
        return Work("recurrent", kernel)
    if kernel.macs != 0:
        return Work("linear" if kernel.weight_bytes != 0 else "matmul", kernel)
    if op in POOLS:
        return Work("pool", kernel)
    if op in NORMS:
        return Work("norm", kernel)
    return Work("copy" if op in COPIES else "elementwise", kernel)


def _convolution(network: Network, kernel: Kernel) -> Work:
    layer = kernel.anchor
    stored = max((network.tensors[name] for name in layer.inputs[1:] if name), key=_rank)
    group = layer.attributes.get("group", 1)
    groups = group if isinstance(group, (int, Dim)) else 1
    outer, inner, *window = stored.dims
    share = floor_divide(outer, groups)
    depth, filters = (share, inner) if layer.op == "ConvTranspose" else (inner, share)
    is_thin = groups != 1 and (depth == 1 or filters == 1)  # no channel or no filter that shares what is loaded
    return Work("depthwise" if is_thin else _conv_kind(layer, groups, window), kernel, depth=depth, filters=filters)


def _conv_kind(layer: Layer, groups: Extent, window: list[Extent]) -> str:
    if groups != 1:
        return "grouped"
    if product(window) == 1:
        return "pointwise"
    steps = [layer.attributes.get(name) or (1, 1) for name in ("strides", "dilations")]
    return "conv3x3" if window == [3, 3] and steps == [(1, 1), (1, 1)] and layer.op != "ConvTranspose" else "conv"


def _rank(tensor: Tensor) -> int:
    return len(tensor.shape or ())


def works(network: Network, runtime: str) -> tuple[Work, ...]:
    """The kernels of a network under a runtime, each with its kind."""
    return tuple(work_of(network, kernel) for kernel in fuse(network, runtime))


def amounts(parts: tuple[Work, ...]) -> dict[str, Extent]:
    """The value of every feature over some kernels, in the table's order.

    >>> from costmodel.build import Builder
    >>> b = Builder("tiny")
    >>> y = b.relu(b.conv(b.input("x", (1, 3, "H", 8)), 8, kernel=3, padding=1))
    >>> found = amounts(works(b.finish(y), "ncnn"))
    >>> found["conv3x3_macs"], found["kernels"]
    (Dim('1728*H'), 1)
    """
    return {
        feature.name: total(feature.amount(part) for part in parts if part.kind in feature.kinds)
        for feature in FEATURES
    }


def feature_extents(network: Network, runtime: str) -> Mapping[str, Dim]:
    """The features of a whole network, as Dims."""
    return {name: Dim.of(extent) for name, extent in amounts(works(network, runtime)).items()}
