"""Quantised graphs in QDQ form: a pair of QuantizeLinear and DequantizeLinear around a float op stands for an int8 op.

Runtimes replace ``DequantizeLinear -> op -> QuantizeLinear`` by the op's integer kernel (ONNX Runtime, "Quantize ONNX
models", QDQ format), so the floats in between never exist: such an op reads and writes the narrow type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from costmodel.graph import DTYPE_BITS, Body, Layer, Network, Tensor

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
# ops with an integer kernel in the QDQ selectors of ONNX Runtime
INTEGER_KERNELS = frozenset(
    {
        "Conv", "ConvTranspose", "MatMul", "Gemm", "Add", "Sub", "Mul", "Div", "Concat", "AveragePool", "MaxPool",
        "GlobalAveragePool", "GlobalMaxPool", "Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid",
        "Gelu", "Softmax", "Resize", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Gather",
        "Pad", "Where", "ArgMax", "ReduceMean", "DepthToSpace", "SpaceToDepth", "Expand", "Tile", "LayerNormalization",
    }
)  # fmt: skip
# how many of an op's operands are numbers to be computed with; scales and limits stay float
COMPUTED_OPERANDS: Mapping[str, int] = {"Resize": 1, "Clip": 1}


@dataclass(frozen=True, slots=True)
class Quantized:
    """``dtype`` of the arithmetic of each integer op, by layer name; ``written`` gives what really stands in the place of
    a float tensor that never exists: the integer tensor that the op writes, or None where nothing is written.
    """

    dtype: Mapping[str, str]
    written: Mapping[str, Tensor | None]


def find_quantized(graph: Network | Body) -> Quantized:
    """The integer ops of a graph.

    >>> from costmodel.build import Builder
    >>> b = Builder("plain")
    >>> y = b.relu(b.input("x", (1, 4)))
    >>> find_quantized(b.finish(y)).dtype
    {}
    """
    if not any(layer.op == DEQUANTIZE for layer in graph.layers):
        return Quantized({}, {})
    producers = {name: layer for layer in graph.layers for name in layer.outputs if name}
    readers: dict[str, list[Layer]] = {}
    for layer in graph.layers:
        for name in dict.fromkeys(layer.inputs):
            readers.setdefault(name, []).append(layer)
    integer = {layer.name: layer for layer in graph.layers if _is_integer(graph, layer, producers, readers)}
    written: dict[str, Tensor | None] = {}
    for layer in integer.values():
        for name in layer.outputs:
            quantizers = readers.get(name, [])
            if quantizers and all(reader.op == QUANTIZE for reader in quantizers):
                results = [output for reader in quantizers for output in reader.outputs]
                written.update({name: graph.tensors[results[0]], **dict.fromkeys(results)})
    for layer in graph.layers:
        if layer.op == DEQUANTIZE:
            users = [reader for name in layer.outputs for reader in readers.get(name, [])]
            if users and all(user.name in integer for user in users):
                written.update(dict.fromkeys(layer.outputs))
    return Quantized({name: _dtype(graph, layer, producers) for name, layer in integer.items()}, written)


def _is_integer(
    graph: Network | Body, layer: Layer, producers: Mapping[str, Layer], readers: Mapping[str, list[Layer]]
) -> bool:
    """Every float input that varies is dequantised, stored ones too, and what it gives is quantised again (or left)."""
    if layer.op not in INTEGER_KERNELS or not layer.outputs or graph.is_constant(layer):
        return False
    operands = layer.inputs[: COMPUTED_OPERANDS.get(layer.op, len(layer.inputs))]
    floats = [name for name in operands if name and graph.tensors[name].dtype.startswith(("float", "bfloat"))]
    if not floats or not all(name in producers and producers[name].op == DEQUANTIZE for name in floats[:2]):
        return False
    users = readers.get(layer.outputs[0], [])
    has_macs = layer.cost is not None and layer.cost.macs != 0
    return has_macs or (bool(users) and all(user.op == QUANTIZE for user in users))


def _dtype(graph: Network | Body, layer: Layer, producers: Mapping[str, Layer]) -> str:
    """The dtype of the arithmetic: that of the quantised inputs, and both where they differ in width."""
    makers = [producers[name] for name in layer.inputs[:2] if name in producers]
    return arithmetic([graph.tensors[maker.inputs[0]].dtype for maker in makers if maker.op == DEQUANTIZE])


def arithmetic(dtypes: list[str]) -> str:
    """How a product of these types is called: by the one type, or as ``int8 x int4`` where the widths differ.

    >>> arithmetic(["uint8", "int8"]), arithmetic(["float32", "int4"])
    ('int8', 'float32 x int4')
    """
    signed = list(dict.fromkeys(dtype.removeprefix("u") if dtype.startswith("uint") else dtype for dtype in dtypes))
    widths = {DTYPE_BITS[dtype] for dtype in signed}
    return signed[0] if len(widths) == 1 else " x ".join(signed)
