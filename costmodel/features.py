"""What the time of a kernel depends on: one ordered table. Calibration and prediction both use it, so they cannot differ.

A feature is a sum over the kernels of some kinds of an amount of work, symbolic like every count. The time model is
``sum(feature * seconds_per_unit)``; each feature stands for one resource (its ``bound``): arithmetic, memory or launches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from costmodel.dims import Dim, Extent, product, total
from costmodel.fusion import Kernel, fuse
from costmodel.graph import Network, Tensor

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
    """A kernel with what the features ask of it."""

    kind: str
    kernel: Kernel


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
    amount: Callable[[Kernel], Extent]


def _feature(
    name: str, unit: str, bound: str, relative_cost: float, kinds: str, amount: Callable[[Kernel], Extent]
) -> Feature:
    return Feature(name, unit, bound, relative_cost, frozenset(kinds.split()), amount)


def _macs(kernel: Kernel) -> Extent:
    return kernel.macs


def _moved(kernel: Kernel) -> Extent:
    return kernel.read_bytes + kernel.write_bytes


def _one(_: Kernel) -> Extent:
    return 1


ALL_KINDS = "pointwise conv3x3 conv depthwise grouped linear matmul recurrent pool norm copy elementwise"

# Relative costs: Winograd's F(4x4, 3x3) needs 2.25 to 4 times fewer products (Lavin & Gray 2016), less its transforms; a
# depthwise filter reuses each input 9 times instead of hundreds; cores of phones and boards move 1 byte in about the time
# of 1 to 4 multiply-adds; starting a kernel takes microseconds at some 10 G multiply-adds a second.
FEATURES: tuple[Feature, ...] = (
    _feature("pointwise_macs", "MAC", "compute", 1.0, "pointwise", _macs),
    _feature("conv3x3_macs", "MAC", "compute", 0.6, "conv3x3", _macs),
    _feature("conv_macs", "MAC", "compute", 1.0, "conv", _macs),
    _feature("depthwise_macs", "MAC", "compute", 3.0, "depthwise", _macs),
    _feature("grouped_macs", "MAC", "compute", 1.6, "grouped", _macs),
    _feature("matmul_macs", "MAC", "compute", 1.0, "matmul linear recurrent", _macs),
    _feature("linear_weight_bytes", "B", "memory", 1.0, "linear recurrent", lambda kernel: kernel.weight_bytes),
    _feature("conv_bytes", "B", "memory", 1.0, "pointwise conv3x3 conv depthwise grouped", _moved),
    _feature("elementwise_bytes", "B", "memory", 1.0, "elementwise norm", _moved),
    _feature("copy_bytes", "B", "memory", 1.0, "copy", _moved),
    _feature("pool_bytes", "B", "memory", 1.0, "pool", _moved),
    _feature("vector_flops", "FLOP", "compute", 1.0, "pool norm elementwise", lambda kernel: kernel.other_flops),
    _feature("kernels", "kernel", "launch", 3e4, ALL_KINDS, _one),
)
NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
RELATIVE_COSTS: tuple[float, ...] = tuple(feature.relative_cost for feature in FEATURES)


def kind_of(network: Network, kernel: Kernel) -> str:
    """The kind of a kernel, by its anchor's op and, for a convolution, by its filter."""
    op = kernel.op
    if op in ("Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "FusedConv", "NhwcConv"):
        return _conv_kind(network, kernel)
    if op in ("LSTM", "GRU", "RNN"):
        return "recurrent"
    if kernel.macs != 0:
        return "linear" if kernel.weight_bytes != 0 else "matmul"
    if op in POOLS:
        return "pool"
    if op in NORMS:
        return "norm"
    return "copy" if op in COPIES else "elementwise"


def _conv_kind(network: Network, kernel: Kernel) -> str:
    layer = kernel.anchor
    filters = max((network.tensors[name] for name in layer.inputs[1:] if name), key=_rank)
    group = layer.attributes.get("group", 1)
    _, depth, *window = filters.dims
    if group != 1:
        return "depthwise" if depth == 1 else "grouped"
    if product(window) == 1:
        return "pointwise"
    strides = layer.attributes.get("strides") or (1,)
    dilations = layer.attributes.get("dilations") or (1,)
    dense_steps = strides in ((1,), (1, 1)) and dilations in ((1,), (1, 1))
    return "conv3x3" if window == [3, 3] and dense_steps and layer.op != "ConvTranspose" else "conv"


def _rank(tensor: Tensor) -> int:
    return len(tensor.shape or ())


def works(network: Network, runtime: str) -> tuple[Work, ...]:
    """The kernels of a network under a runtime, each with its kind."""
    return tuple(Work(kind_of(network, kernel), kernel) for kernel in fuse(network, runtime))


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
        feature.name: total(feature.amount(part.kernel) for part in parts if part.kind in feature.kinds)
        for feature in FEATURES
    }


def feature_extents(network: Network, runtime: str) -> Mapping[str, Dim]:
    """The features of a whole network, as Dims."""
    return {name: Dim.of(extent) for name, extent in amounts(works(network, runtime)).items()}
