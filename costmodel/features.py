"""What the time of a kernel depends on: one ordered table. Calibration and prediction both use it, so they cannot differ.

A feature is a sum over the kernels of some kinds of an amount of work, symbolic like every count. The time model is
``sum(feature * seconds_per_unit)``; each feature stands for one resource (its ``bound``): arithmetic, memory or launches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from costmodel.dims import Dim, Extent, floor_divide, product, total
from costmodel.fusion import fuse
from costmodel.graph import Layer, Network, Tensor
from costmodel.kernels import Kernel

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
        "InstanceNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization", "LRN",
        "Softmax", "LogSoftmax", "LpNormalization", "MeanVarianceNormalization", "SimplifiedLayerNormalization",
        "SkipLayerNormalization", "ArgMax", "ArgMin", "TopK", "CumSum",
    }
)  # fmt: skip
REDUCTIONS = frozenset({"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2"})
# runtimes without kernels of their own for 3x3, grouped or depthwise convolutions: they multiply with the unrolled input
UNROLLING = frozenset({"torch-native"})
# XNNPACK and QNNPACK run a 3x3 convolution by the kernels of every other one, without Winograd's transform
UNTRANSFORMING = frozenset({"tflite", "torch-mobile"})
# the largest window for which runtimes have a depthwise kernel of its own: 5x5
DEPTHWISE_TAPS = 25


@dataclass(frozen=True, slots=True)
class Work:
    """One kernel as the features see it; what it does in one run, in counts that may be open.

    ``depth`` and ``filters``: channels of a convolution's filter (of an unrolled one, its elements), and how many filters
    each group has. ``rows``: of a product with a stored matrix, how many rows use it. ``inputs``: how many inputs of
    the network it waits for. ``times``: how many such kernels the network has.
    """

    kind: str
    op: str
    macs: Extent = 0
    other_flops: Extent = 0
    read_bytes: Extent = 0
    write_bytes: Extent = 0
    weight_bytes: Extent = 0
    depth: Extent = 1
    filters: Extent = 1
    rows: Extent = 1
    inputs: int = 0
    times: int = 1
    name: str = ""
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Feature:
    """One column: the kinds of kernel that it sums over, and the amount of work of each.

    ``relative_cost`` is the order of magnitude of a unit's time on a CPU and on a GPU, in times of one multiply-add of a
    dense convolution there. It only settles what measurements leave open.
    """

    name: str
    unit: str
    bound: str
    relative_cost: tuple[float, float]
    kinds: frozenset[str]
    amount: Callable[[Work], Extent]

    def of(self, work: Work) -> Extent:
        """The amount of all kernels that this work stands for."""
        return self.amount(work) * work.times if work.kind in self.kinds else 0


def _feature(
    name: str, unit: str, bound: str, relative_cost: tuple[float, float], kinds: str, amount: Callable[[Work], Extent]
) -> Feature:
    return Feature(name, unit, bound, relative_cost, frozenset(kinds.split()), amount)


def _macs(work: Work) -> Extent:
    return work.macs


def _macs_per_depth(work: Work) -> Extent:
    return floor_divide(work.macs, work.depth)


def _macs_per_filter(work: Work) -> Extent:
    return floor_divide(work.macs, work.filters)


def _macs_per_depth_and_filter(work: Work) -> Extent:
    return floor_divide(work.macs, product((work.depth, work.filters)))


def _macs_of_further_rows(work: Work) -> Extent:
    return work.macs - floor_divide(work.macs, work.rows)


def _weight_bytes(work: Work) -> Extent:
    return work.weight_bytes


def _read_bytes(work: Work) -> Extent:
    return work.read_bytes


def _write_bytes(work: Work) -> Extent:
    return work.write_bytes


def _moved_bytes(work: Work) -> Extent:
    return work.read_bytes + work.write_bytes


def _other_flops(work: Work) -> Extent:
    return work.other_flops


def _inputs(work: Work) -> Extent:
    return work.inputs


def _one(_: Work) -> Extent:
    return 1


CONVOLUTIONS = "pointwise conv3x3 conv grouped depthwise depthwise_wide"
UNTRANSFORMED = "pointwise conv grouped"
STORED = "linear recurrent"
BATCHED = "matmul attention"
OTHERS = "pool norm batch_norm reduction copy elementwise join"
ALL = f"{CONVOLUTIONS} {STORED} {BATCHED} {OTHERS}"

# Relative costs: Winograd's F(4x4, 3x3) needs 2.25 to 4 times fewer products (Lavin & Gray 2016), but transforms what it
# reads and writes, which is arithmetic on every byte; a depthwise filter reuses each input 9 times instead of hundreds;
# cores of phones and boards move 1 byte in about the time of 1 to 4 multiply-adds, graphics processors in that of 5 to 50;
# starting a kernel takes microseconds. Few channels leave lanes idle: time per multiply-add grows as 1 + a / depth +
# b / filters, so macs / depth and macs / filters are linear terms of it. The second is also the volume that im2col and the
# packing of a product lay out, and on CPUs that is most of it: some tens of multiply-adds for each element, while what the
# convolution itself reads and writes is then in the caches. In a grouped convolution, where both are few, the overhead of a
# group counts too, macs / (depth * filters). A product with one row reads each weight for one multiply-add, so it costs what
# its weights take to stream; further rows find them loaded. A join reads a tensor that was written long before, so it has
# left the cache. Before the first kernel a graphics processor waits for its inputs.
FEATURES: tuple[Feature, ...] = (
    _feature("pointwise_macs", "MAC", "compute", (1.0, 1.0), "pointwise", _macs),
    _feature("conv3x3_macs", "MAC", "compute", (0.4, 0.6), "conv3x3", _macs),
    _feature("conv_macs", "MAC", "compute", (1.0, 1.0), "conv", _macs),
    _feature("depthwise_macs", "MAC", "compute", (2.0, 4.0), "depthwise", _macs),
    _feature("depthwise_wide_macs", "MAC", "compute", (6.0, 8.0), "depthwise_wide", _macs),
    _feature("grouped_macs", "MAC", "compute", (1.5, 2.0), "grouped", _macs),
    _feature("gemm_macs", "MAC", "compute", (1.5, 1.0), "linear", _macs_of_further_rows),
    _feature("matmul_macs", "MAC", "compute", (2.0, 1.5), "matmul recurrent", _macs),
    _feature("attention_macs", "MAC", "compute", (2.0, 1.5), "attention", _macs),
    _feature("macs_per_depth", "MAC", "compute", (0.3, 20.0), UNTRANSFORMED, _macs_per_depth),
    _feature("conv3x3_macs_per_depth", "MAC", "compute", (3.0, 20.0), "conv3x3", _macs_per_depth),
    _feature("macs_per_filter", "MAC", "compute", (20.0, 20.0), UNTRANSFORMED, _macs_per_filter),
    _feature("grouped_macs_per_depth", "MAC", "compute", (3.0, 20.0), "grouped", _macs_per_depth),
    _feature("grouped_macs_per_group", "MAC", "compute", (5.0, 20.0), "grouped", _macs_per_depth_and_filter),
    _feature("conv_bytes", "B", "memory", (0.2, 5.0), UNTRANSFORMED, _moved_bytes),
    _feature("conv3x3_read_bytes", "B", "compute", (2.0, 5.0), "conv3x3", _read_bytes),
    _feature("conv3x3_write_bytes", "B", "compute", (2.0, 5.0), "conv3x3", _write_bytes),
    _feature("depthwise_bytes", "B", "memory", (1.0, 8.0), "depthwise depthwise_wide", _moved_bytes),
    _feature("conv_weight_bytes", "B", "memory", (0.5, 2.0), CONVOLUTIONS, _weight_bytes),
    _feature("linear_weight_bytes", "B", "memory", (1.0, 5.0), STORED, _weight_bytes),
    _feature("product_bytes", "B", "memory", (1.0, 5.0), f"{STORED} matmul", _moved_bytes),
    _feature("attention_bytes", "B", "memory", (1.0, 5.0), "attention", _moved_bytes),
    _feature("elementwise_bytes", "B", "memory", (1.0, 5.0), "elementwise reduction pool", _moved_bytes),
    _feature("join_bytes", "B", "memory", (1.0, 5.0), "join", _moved_bytes),
    _feature("norm_bytes", "B", "memory", (1.0, 5.0), "norm", _moved_bytes),
    _feature("batch_norm_bytes", "B", "memory", (1.0, 5.0), "batch_norm", _moved_bytes),
    _feature("copy_bytes", "B", "memory", (1.0, 5.0), "copy", _moved_bytes),
    _feature("pool_flops", "FLOP", "compute", (1.0, 2.0), "pool", _other_flops),
    _feature("norm_flops", "FLOP", "compute", (1.0, 2.0), "norm batch_norm", _other_flops),
    _feature("reduction_flops", "FLOP", "compute", (2.0, 5.0), "reduction", _other_flops),
    _feature("elementwise_flops", "FLOP", "compute", (1.0, 2.0), "elementwise join", _other_flops),
    _feature("product_kernels", "kernel", "launch", (2e4, 1e6), f"{CONVOLUTIONS} {STORED}", _one),
    _feature("other_kernels", "kernel", "launch", (1e4, 5e5), f"{BATCHED} {OTHERS}", _one),
    _feature("inputs", "input", "launch", (1e5, 1e8), ALL, _inputs),
)
NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
# the features that are the multiply-adds of some kinds of kernel, not a part of them
WHOLE_MACS: tuple[str, ...] = tuple(feature.name for feature in FEATURES if feature.amount in (_macs, _macs_of_further_rows))


def relative_costs(processor: str) -> tuple[float, ...]:
    """The relative cost of every feature on a kind of processor: ``cpu`` or ``gpu``.

    >>> dict(zip(NAMES, relative_costs("gpu")))["pointwise_macs"]
    1.0
    """
    return tuple(feature.relative_cost[processor == "gpu"] for feature in FEATURES)


# a multiply-add of a product costs the same whichever dense convolution it is of; what else differs between them is in bytes
# and in macs / depth and macs / filters. So these costs may hardly leave their ratio: all devices alike, each of its own.
ALIKE = frozenset({"pointwise_macs", "conv_macs"})
ALIKE_SPREAD, ALIKE_OWN_SPREAD = 0.03, 0.1


def spreads() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """How far each feature's cost may lie from its relative cost, and from that of the other devices: deviations in log.

    >>> common, own = spreads()
    >>> common[NAMES.index("conv_macs")], own[NAMES.index("conv_macs")], own[NAMES.index("copy_bytes")]
    (0.03, 0.1, 1.0)
    """
    common = tuple(ALIKE_SPREAD if name in ALIKE else 1.0 for name in NAMES)
    return common, tuple(ALIKE_OWN_SPREAD if name in ALIKE else 1.0 for name in NAMES)


def work_of(network: Network, kernel: Kernel, runtime: str = "") -> Work:
    """A kernel with its kind: by its anchor's op and, for a convolution, by its filter and what the runtime has for it."""
    kind, depth, filters, rows = _kind(network, kernel, runtime)
    if kind == "conv3x3" and runtime in UNTRANSFORMING:
        kind = "conv"
    return Work(
        kind=kind,
        op=kernel.op,
        macs=kernel.macs,
        other_flops=kernel.other_flops,
        read_bytes=kernel.read_bytes,
        write_bytes=kernel.write_bytes,
        weight_bytes=kernel.weight_bytes,
        name=kernel.name,
        layers=tuple(layer.name for layer in kernel.layers),
        depth=depth,
        filters=filters,
        rows=rows,
    )


def _kind(network: Network, kernel: Kernel, runtime: str) -> tuple[str, Extent, Extent, Extent]:
    """The kind, and what of the kernel's shape matters for it: depth, filters, rows."""
    op = kernel.op
    if op in CONV_OPS:
        return (*_convolution(network, kernel, unrolls=runtime in UNROLLING), 1)
    if op in ("LSTM", "GRU", "RNN"):
        return "recurrent", 1, 1, 1
    if "Attention" in op or (kernel.macs != 0 and any(layer.op == "Softmax" for layer in kernel.layers)):
        return "attention", 1, 1, 1
    if kernel.macs != 0:
        return ("linear", 1, 1, _rows(network, kernel)) if kernel.weight_bytes != 0 else ("matmul", 1, 1, 1)
    if op in POOLS:
        return "pool", 1, 1, 1
    if op == "BatchNormalization":
        return "batch_norm", 1, 1, 1
    if op in NORMS:
        return "norm", 1, 1, 1
    if op in REDUCTIONS:
        return "reduction", 1, 1, 1
    if op in COPIES:
        return "copy", 1, 1, 1
    return "join" if _joins(network, kernel) else "elementwise", 1, 1, 1


def _joins(network: Network, kernel: Kernel) -> bool:
    """Whether a kernel reads several tensors that are as large as what it writes."""
    written = network.tensors[kernel.layers[-1].outputs[0]].dims
    read = {name for layer in kernel.layers for name in layer.inputs if name and name not in kernel.inside}
    same = [name for name in read if not network.tensors[name].constant and network.tensors[name].dims == written]
    return len(same) > 1


def _rows(network: Network, kernel: Kernel) -> Extent:
    """How many rows a product with a stored matrix gives."""
    y = network.tensors[kernel.anchor.outputs[0]]
    return product(y.dims[:-1]) if y.is_known else 1


def _convolution(network: Network, kernel: Kernel, *, unrolls: bool) -> tuple[str, Extent, Extent]:
    layer = kernel.anchor
    stored = max((network.tensors[name] for name in layer.inputs[1:] if name), key=_rank)
    group = layer.attributes.get("group", 1)
    groups = group if isinstance(group, (int, Dim)) else 1
    outer, inner, *window = stored.dims
    share = floor_divide(outer, groups)
    depth, filters = (share, inner) if layer.op == "ConvTranspose" else (inner, share)
    if unrolls:
        is_plain = groups == 1 and product(window) == 1
        return "pointwise" if is_plain else "conv", depth * product(window), filters
    is_thin = groups != 1 and (depth == 1 or filters == 1)  # no channel or no filter that shares what is loaded
    kind = _depthwise_kind(window) if is_thin else _conv_kind(layer, groups, window)
    return kind, depth, filters


def _depthwise_kind(window: list[Extent]) -> str:
    taps = product(window)
    return "depthwise_wide" if isinstance(taps, int) and taps > DEPTHWISE_TAPS else "depthwise"


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
    """The kernels of a network under a runtime, each with its kind; the first waits for the network's inputs."""
    found = [work_of(network, kernel, runtime) for kernel in fuse(network, runtime)]
    if found:
        found[0] = replace(found[0], inputs=len(network.inputs))
    return tuple(found)


def amounts(parts: Iterable[Work]) -> dict[str, Extent]:
    """The value of every feature over some kernels, in the table's order.

    >>> from costmodel.build import Builder
    >>> b = Builder("tiny")
    >>> y = b.relu(b.conv(b.input("x", (1, 3, "H", 8)), 8, kernel=3, padding=1))
    >>> found = amounts(works(b.finish(y), "ncnn"))
    >>> found["conv3x3_macs"], found["product_kernels"]
    (Dim('1728*H'), 1)
    """
    kept = tuple(parts)
    return {feature.name: total(feature.of(part) for part in kept) for feature in FEATURES}


def feature_extents(network: Network, runtime: str) -> Mapping[str, Dim]:
    """The features of a whole network, as Dims."""
    return {name: Dim.of(extent) for name, extent in amounts(works(network, runtime)).items()}
