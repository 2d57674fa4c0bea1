"""Network -> kernels of eager PyTorch with the shapes that the law of utilisation needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from costmodel.dims import Extent, floor_divide, product, value_at
from costmodel.features import CONV_OPS
from costmodel.graph import Layer, Network
from costmodel.kernels import Kernel, kernel_of
from costmodel.torch_kernels import eager_kernels

NORMALISATIONS = frozenset({"LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization"})
SOFTMAXES = frozenset({"Softmax", "LogSoftmax"})
# what was measured, or streams as what was
STREAMS = frozenset(
    {
        "Add", "Sub", "Mul", "Div", "Pow", "Relu", "Gelu", "Tanh", "Where", "Cast", "Gather", "Transpose", "Reshape",
        "Concat", "Neg", "Abs", "Sqrt", "Exp", "Greater", "Less", "Equal", "Range", "Expand", "ConstantOfShape", "Identity",
        "Clip", "LeakyRelu", "Sigmoid", "Erf", "BatchNormalization", "HardSwish", "HardSigmoid", "Slice", "Split", "Pad",
    }
)  # fmt: skip
# transformers' NewGELU calls eight operations: six of one tensor and a number, two of two tensors
NEW_GELU = {1: 6, 2: 2}


@dataclass(frozen=True, slots=True)
class Shaped:
    """``times`` kernels of one layer with their shapes, which may be open; Launches tells what they mean.

    ``is_measured`` says whether the law was fitted on such kernels.
    """

    name: str
    op: str
    layers: tuple[str, ...]
    family: str
    read_bytes: Extent
    write_bytes: Extent
    weight_bytes: Extent
    macs: Extent = 0
    batch: Extent = 0
    m: Extent = 0
    n: Extent = 0
    k: Extent = 0
    cols: Extent = 0
    winograd: int = 0
    times: int = 1
    is_measured: bool = True


@lru_cache(maxsize=64)
def shaped_kernels(network: Network) -> tuple[Shaped, ...]:
    """The kernels of a network, attention as its separate operations.

    >>> from costmodel.build import Builder
    >>> b = Builder("tiny")
    >>> y = b.softmax(b.linear(b.input("x", ("N", 8)), 4))
    >>> [(kernel.family, str(kernel.m), kernel.n, kernel.k) for kernel in shaped_kernels(b.finish(y))]
    [('linear', 'N', 4, 8), ('softmax', '0', 0, 0)]
    """
    return tuple(
        found for kernel in eager_kernels(network) for part in _separate(network, kernel) for found in _shaped(network, part)
    )


def _separate(network: Network, kernel: Kernel) -> Sequence[Kernel]:
    """The operations of attention, which PyTorch may also run as one kernel."""
    if sum(layer.op == "MatMul" for layer in kernel.layers) < 2:
        return [kernel]
    return [kernel_of(network, [layer]) for layer in sorted(kernel.layers, key=network.layers.index)]


def _shaped(network: Network, kernel: Kernel) -> Iterator[Shaped]:
    names = tuple(layer.name for layer in kernel.layers)
    moved = (kernel.read_bytes, kernel.write_bytes, kernel.weight_bytes)
    if kernel.macs != 0:
        yield _product(network, kernel, names)
    elif kernel.op in SOFTMAXES | NORMALISATIONS:
        family = "softmax" if kernel.op in SOFTMAXES else "layernorm"
        yield Shaped(kernel.name, kernel.op, names, family, *moved, cols=_row_length(network, kernel.anchor))
    elif _is_new_gelu(kernel.anchor):
        for reads, times in NEW_GELU.items():
            read_bytes = kernel.read_bytes * reads
            yield Shaped(kernel.name, kernel.op, names, "elementwise", read_bytes, kernel.write_bytes, 0, times=times)
    else:
        yield Shaped(kernel.name, kernel.op, names, "elementwise", *moved, is_measured=kernel.op in STREAMS)


def _is_new_gelu(layer: Layer) -> bool:
    """Whether a GELU by its hyperbolic tangent is not known to be a single operation of PyTorch's."""
    is_told = bool(layer.origin) and layer.origin[-1].startswith("aten.gelu")
    return layer.op == "Gelu" and layer.attributes.get("approximate") == "tanh" and not is_told


def _row_length(network: Network, layer: Layer) -> Extent:
    dims = network.tensors[layer.inputs[0]].dims
    axis = layer.attributes.get("axis", -1)
    if layer.op in SOFTMAXES:
        return dims[axis] if isinstance(axis, int) else dims[-1]
    if layer.op == "InstanceNormalization":
        return product(dims[2:])
    if layer.op == "GroupNormalization":
        groups = layer.attributes.get("num_groups", 1)
        return floor_divide(product(dims[1:]), groups if isinstance(groups, int) else 1)
    return product(dims[axis:]) if isinstance(axis, int) else dims[-1]


def _product(network: Network, kernel: Kernel, names: tuple[str, ...]) -> Shaped:
    """A product by the size of its output and its multiply-adds."""
    k = floor_divide(kernel.macs, network.tensors[kernel.anchor.outputs[0]].size)
    family, batch, m, n, winograd, is_measured = _matrices(network, kernel)
    if kernel.op in CONV_OPS and batch != 1 and n == 1:  # a depthwise one shares nothing that a tile could hold
        family = "elementwise"
    return Shaped(
        kernel.name, kernel.op, names, family, kernel.read_bytes, kernel.write_bytes, kernel.weight_bytes,
        macs=kernel.macs, batch=batch, m=m, n=n, k=k, winograd=winograd, is_measured=is_measured,
    )  # fmt: skip


def _matrices(network: Network, kernel: Kernel) -> tuple[str, Extent, Extent, Extent, int, bool]:
    """Family, batch, m, n, whether Winograd's transform applies, and whether such kernels were measured."""
    layer, dims = kernel.anchor, network.tensors[kernel.anchor.outputs[0]].dims
    if kernel.op in CONV_OPS:
        images, channels, *positions = dims
        group = layer.attributes.get("group", 1)
        groups = group if isinstance(group, int) else 1
        m, n = product((images, *positions)), floor_divide(channels, groups)
        if groups == 1 and _is_plain_3x3(network, layer):
            return "conv", 1, m, n, 1, True
        return "linear", groups, m, n, 0, False
    if kernel.op not in ("MatMul", "Gemm"):
        return "linear", 1, product(dims[:-1]), dims[-1], 0, False
    if kernel.weight_bytes != 0 or len(dims) < 3:
        return "linear", 1, product(dims[:-1]), dims[-1], 0, True
    return "bmm", product(dims[:-2]), dims[-2], dims[-1], 0, True


def _is_plain_3x3(network: Network, layer: Layer) -> bool:
    window = network.tensors[layer.inputs[1]].dims[2:]
    steps = [layer.attributes.get(name) or (1, 1) for name in ("strides", "dilations")]
    return layer.op == "Conv" and window == (3, 3) and steps == [(1, 1), (1, 1)]


def at(shaped: Shaped, point: Mapping[str, int]) -> dict[str, float]:
    """The columns of Launches of a kernel at one point."""
    names = ("read_bytes", "write_bytes", "weight_bytes", "batch", "m", "n", "k", "cols", "winograd")
    return {name: float(value_at(getattr(shaped, name), point)) for name in names}
