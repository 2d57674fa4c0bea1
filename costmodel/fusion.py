"""Network -> kernels: the layers that a runtime launches as one.

One table of patterns a runtime. A pattern is a chain: an anchor op, then stages that may follow, each at most once and in
order, as long as nobody else reads what lies between. What no pattern takes is a kernel of its own; views and layers that
only prepare constants are no kernels at all. An integer op in QDQ form is one kernel that reads and writes integers; its
quantisers are none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from costmodel.counts import written_bytes
from costmodel.dims import floor_divide, total
from costmodel.graph import Layer, Network, Tensor
from costmodel.kernels import Kernel, is_launched, read_bytes
from costmodel.qdq import DEQUANTIZE, find_quantized
from costmodel.torch_kernels import compiled_kernels, eager_kernels

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

# torch-native: PyTorch on processors for which it brings no library of convolutions, such as Arm's in its first releases
PATTERNS: Mapping[str, tuple[Pattern, ...]] = {
    "ncnn": NCNN, "torch-native": EAGER, "tflite": MOBILE, "torch-mobile": MOBILE,
}  # fmt: skip
# layers that a runtime has no kernel for, and the ops that it runs in place of each, every one over the whole tensor
WRITTEN_OUT: Mapping[str, Mapping[str, tuple[str, ...]]] = {"tflite": {"BatchNormalization": ("Mul", "Add")}}
# runtimes of which patterns do not say enough: all layers around one tell what its kernel is
WHOLE: Mapping[str, Callable[[Network], tuple[Kernel, ...]]] = {"torch": eager_kernels, "torch-compile": compiled_kernels}


def fuse(network: Network, runtime: str = "") -> tuple[Kernel, ...]:
    """The kernels that a runtime launches for a network, in the order of their anchors.

    >>> from costmodel.build import Builder
    >>> b = Builder("tiny")
    >>> y = b.relu(b.bn(b.conv(b.input("x", (1, 3, 8, 8)), 8, kernel=3, padding=1)))
    >>> [kernel.op for kernel in fuse(b.finish(y), "ncnn")]
    ['Conv']
    """
    if runtime in WHOLE:
        return WHOLE[runtime](network)
    patterns = {op: pattern for pattern in PATTERNS.get(runtime, GENERIC) for op in pattern.anchor}
    written = find_quantized(network).written
    held = _held(network, written)
    absorbed: set[int] = set()
    kernels = []
    for i, layer in enumerate(network.layers):
        if i in absorbed or not is_launched(network, layer) or _is_passing(layer, written):
            continue
        chain = _chain(network, i, patterns.get(layer.op))
        absorbed.update(chain)
        kernel = _kernel(network, [network.layers[j] for j in chain], held)
        kernels += _written_out(kernel, WRITTEN_OUT.get(runtime, {}).get(layer.op, (layer.op,)))
    return tuple(kernels)


def _written_out(kernel: Kernel, ops: tuple[str, ...]) -> list[Kernel]:
    """A kernel as several, which share its arithmetic and each move as much as it does."""
    flops = floor_divide(kernel.other_flops, len(ops))
    return [replace(kernel, op=op, other_flops=flops) for op in ops] if len(ops) > 1 else [kernel]


def _held(network: Network, written: Mapping[str, Tensor | None]) -> Mapping[str, Tensor]:
    """What stands in memory for each tensor: for the floats around an integer op in QDQ form, the integers."""
    if not written:
        return network.tensors
    held = dict(network.tensors)
    for layer in network.layers:
        for name in layer.outputs:
            if written.get(name) is not None:
                held[name] = written[name]  # type: ignore[assignment]
            elif layer.op == DEQUANTIZE and name in written:
                held[name] = network.tensors[layer.inputs[0]]
    return held


def _is_passing(layer: Layer, written: Mapping[str, Tensor | None]) -> bool:
    """Whether a layer is a quantiser that an integer op takes in."""
    return all(name in written and written[name] is None for name in layer.outputs)


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


def _kernel(network: Network, layers: list[Layer], held: Mapping[str, Tensor]) -> Kernel:
    inside = {name for layer in layers[:-1] for name in layer.outputs}
    outside = list(dict.fromkeys(name for layer in layers for name in layer.inputs if name and name not in inside))
    costs = [layer.cost for layer in layers if layer.cost]
    return Kernel(
        name=layers[0].name,
        op=layers[0].op,
        layers=tuple(layers),
        macs=total(cost.macs for cost in costs),
        other_flops=total(cost.other_flops for cost in costs),
        read_bytes=total(read_bytes(held, layers, name) for name in outside if not network.tensors[name].constant),
        write_bytes=written_bytes(held, layers[-1]),
        weight_bytes=total(read_bytes(held, layers, name) for name in outside if network.tensors[name].constant),
    )
