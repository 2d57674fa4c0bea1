"""Network -> kernels: the layers that a runtime launches as one.

One table of patterns a runtime. A pattern is a chain: an anchor op, then stages that may follow, each at most once and in
order, as long as nobody else reads what lies between. What no pattern takes is a kernel of its own; views and layers that
only prepare constants are no kernels at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from costmodel.counts import written_bytes
from costmodel.dims import Extent, floor_divide, total
from costmodel.graph import Layer, Network

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
PRODUCTS = frozenset({"Gemm", "MatMul"})
NORMALIZATION = frozenset({"BatchNormalization"})
BIAS = frozenset({"Add"})
CLAMPS = frozenset({"Relu", "Clip", "LeakyRelu", "PRelu"})
ACTIVATIONS = CLAMPS | {"Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Mish", "Elu", "Softplus"}


@dataclass(frozen=True, slots=True)
class Pattern:
    """A chain of layers that one kernel runs: one of ``anchor``, then any of each stage in order, all optional.

    Besides the chain itself, a stage reads constants only (a bias, not a residual); where the pattern is ``gated``, it
    reads the anchor's input instead (x * sigmoid(x)).
    """

    anchor: frozenset[str]
    stages: tuple[frozenset[str], ...]
    gated: bool = False


# ncnn: graph of ncnnoptimize (docs/how-to-use-and-FAQ); the benchmark's networks keep HardSwish and Swish as layers
NCNN = (
    Pattern(CONVOLUTIONS, (NORMALIZATION, CLAMPS)),
    Pattern(PRODUCTS, (BIAS, CLAMPS)),
    Pattern(frozenset({"Sigmoid"}), (frozenset({"Mul"}),), gated=True),
)
# x * clip(x + 3, 0, 6) / 6, as exporters write a hard swish or sigmoid: converters and runtimes put it together again
HARD = Pattern(frozenset({"Add"}), (frozenset({"Clip"}), frozenset({"Mul"}), frozenset({"Div"})), gated=True)
GENERIC = (
    Pattern(CONVOLUTIONS, (NORMALIZATION, BIAS, ACTIVATIONS)),
    Pattern(PRODUCTS, (BIAS, ACTIVATIONS)),
    Pattern(frozenset({"Sigmoid", "HardSigmoid"}), (frozenset({"Mul"}),), gated=True),
    HARD,
)
EAGER: tuple[Pattern, ...] = ()
# phones' kernels clamp what they write: convolutions, products and, as part of a residual block, additions
RELUS = frozenset({"Relu", "Clip"})
MOBILE = (
    Pattern(CONVOLUTIONS, (NORMALIZATION, BIAS, RELUS)),
    Pattern(PRODUCTS, (BIAS, RELUS)),
    Pattern(frozenset({"Add"}), (RELUS, frozenset({"Mul"}), frozenset({"Div"})), gated=True),
    Pattern(frozenset({"Mul", "BatchNormalization"}), (RELUS,)),
)

PATTERNS: Mapping[str, tuple[Pattern, ...]] = {"ncnn": NCNN, "torch": EAGER, "tflite": MOBILE, "torch-mobile": MOBILE}
# layers that a runtime has no kernel for, and the ops that it runs in place of each, every one over the whole tensor
WRITTEN_OUT: Mapping[str, Mapping[str, tuple[str, ...]]] = {"tflite": {"BatchNormalization": ("Mul", "Add")}}


@dataclass(frozen=True, slots=True)
class Kernel:
    """Layers that run as one: its anchor names it; what lies between its layers touches no memory."""

    name: str
    op: str
    layers: tuple[Layer, ...]
    macs: Extent
    other_flops: Extent
    read_bytes: Extent
    write_bytes: Extent
    weight_bytes: Extent

    @property
    def anchor(self) -> Layer:
        return self.layers[0]

    @property
    def inside(self) -> frozenset[str]:
        """The tensors that never reach memory."""
        return frozenset(name for layer in self.layers[:-1] for name in layer.outputs)


def fuse(network: Network, runtime: str = "") -> tuple[Kernel, ...]:
    """The kernels that a runtime launches for a network, in the order of their anchors.

    >>> from costmodel.build import Builder
    >>> b = Builder("tiny")
    >>> y = b.relu(b.bn(b.conv(b.input("x", (1, 3, 8, 8)), 8, kernel=3, padding=1)))
    >>> [kernel.op for kernel in fuse(b.finish(y), "ncnn")]
    ['Conv']
    """
    patterns = {op: pattern for pattern in PATTERNS.get(runtime, GENERIC) for op in pattern.anchor}
    absorbed: set[int] = set()
    kernels = []
    for i, layer in enumerate(network.layers):
        if i in absorbed or not _is_launched(network, layer):
            continue
        chain = _chain(network, i, patterns.get(layer.op))
        absorbed.update(chain)
        kernel = _kernel(network, [network.layers[j] for j in chain])
        kernels += _written_out(kernel, WRITTEN_OUT.get(runtime, {}).get(layer.op, (layer.op,)))
    return tuple(kernels)


def _written_out(kernel: Kernel, ops: tuple[str, ...]) -> list[Kernel]:
    """A kernel as several, which share its arithmetic and each move as much as it does."""
    flops = floor_divide(kernel.other_flops, len(ops))
    return [replace(kernel, op=op, other_flops=flops) for op in ops] if len(ops) > 1 else [kernel]


def _is_launched(network: Network, layer: Layer) -> bool:
    """Whether a layer does work of its own: views, constants and arithmetic on shapes cost a runtime next to nothing."""
    if layer.cost is None or layer.cost.view_of is not None or network.is_constant(layer):
        return False
    return any(network.tensors[name].value is None for name in layer.outputs if name)


def _chain(network: Network, start: int, pattern: Pattern | None) -> list[int]:
    chain = [start]
    for stage in pattern.stages if pattern else ():
        written = network.layers[chain[-1]].outputs[0]
        readers = network.consumers.get(written, ())
        if len(readers) != 1 or written in network.outputs or network.layers[readers[0]].op not in stage:
            continue
        beside = {name for name in network.layers[readers[0]].inputs if name and name != written}
        gate = set(network.layers[start].inputs) if pattern and pattern.gated else set()
        if all(name in gate or network.tensors[name].constant for name in beside):
            chain.append(readers[0])
    return chain


def _kernel(network: Network, layers: list[Layer]) -> Kernel:
    inside = {name for layer in layers[:-1] for name in layer.outputs}
    outside = list(dict.fromkeys(name for layer in layers for name in layer.inputs if name and name not in inside))
    costs = [layer.cost for layer in layers if layer.cost]
    return Kernel(
        name=layers[0].name,
        op=layers[0].op,
        layers=tuple(layers),
        macs=total(cost.macs for cost in costs),
        other_flops=total(cost.other_flops for cost in costs),
        read_bytes=total(_read_bytes(network, layers, name) for name in outside if not network.tensors[name].constant),
        write_bytes=written_bytes(network.tensors, layers[-1]),
        weight_bytes=total(_read_bytes(network, layers, name) for name in outside if network.tensors[name].constant),
    )


def _read_bytes(network: Network, layers: list[Layer], name: str) -> Extent:
    """Bytes that a kernel reads of a tensor: all, unless a rule says that fewer elements are touched."""
    tensor = network.tensors[name]
    if not tensor.is_known:
        return 0
    for layer in layers:
        if layer.cost and layer.cost.reads is not None and name in layer.inputs:
            elements = layer.cost.reads[layer.inputs.index(name)]
            return tensor.to((elements,)).nbytes
    return tensor.nbytes
