"""What a network's weights take in a file or in flash, in one precision or another.

``fp16``, ``bf16`` and ``int8`` are the network of that precision (``costmodel.precision``). Two more store the weights of
products alone in fewer bits, as ONNX Runtime does: ``int8-dynamic`` (``quantize_dynamic`` by channel: a scale and a zero
point for each column of a matrix, one for a convolution and for a table of embeddings) and ``int4`` (``MatMulNBits``:
matrices only, a scale for each group of numbers down a column). Biases, norms and whatever is small stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from costmodel.counts import count
from costmodel.dims import Dim, Extent, ceil_divide, total
from costmodel.errors import InvalidChoice, nearest
from costmodel.graph import FLOAT_DTYPES, Layer, Network, Tensor
from costmodel.precision import in_precision
from costmodel.qdq import DEQUANTIZE

PRECISIONS = ("stored", "fp32", "fp16", "bf16", "int8", "int8-dynamic", "int4")
MATRICES = frozenset({"MatMul", "Gemm"})
WHOLE = {"Conv": 1, "Gather": 0}  # ops whose weight, the input there, has one scale in dynamic quantisation
FLOAT32 = INT32 = 4
DYNAMIC_BYTES = 1000  # of the nodes that take the place of a dynamic layer; 856 to 1,229 in files of five networks
FIELD = 2  # bytes of a field's tag and length in protobuf, for fields below 128 bytes
NUMBER = 3  # of an integer with its tag, on average


@dataclass(frozen=True, eq=False)
class Storage:
    """The bytes that a network takes where it is stored.

    ``weight_bytes``: the numbers, scales and zero points among them; ``scale_bytes``: these alone, of weights that
    ``storage`` packed; ``graph_bytes``: layers, names and shapes, estimated as ONNX writes them.
    """

    network: Network
    precision: str
    weight_bytes: Dim
    scale_bytes: Dim
    graph_bytes: int

    @property
    def file_bytes(self) -> Dim:
        """Everything: what a file takes."""
        return Dim.of(self.weight_bytes + self.graph_bytes)

    def at(self, values: Mapping[str, int] | None = None, /, **sizes: int) -> int:
        """The bytes of the file at one point. Raises UnknownSize for a size that is missing or does not exist."""
        return self.file_bytes.at(self.network.bind({**(values or {}), **sizes}))


def storage(network: Network, precision: str = "stored", *, group: int = 32, zero_points: bool = False) -> Storage:
    """Tell what a network takes where it is stored; a tensor that several layers use is stored once.

    ``precision``: ``stored`` as the network is, or one of ``PRECISIONS``. ``group`` and ``zero_points`` are of ``int4``: how
    many numbers share a scale (of the type that the matrix had), and whether they share a zero point of four bits too.

    >>> import costmodel as cm
    >>> net = cm.zoo("bert_small")
    >>> [round(cm.storage(net, precision).at() / 1e6, 1) for precision in ("fp32", "fp16", "int8-dynamic", "int4")]
    [115.1, 57.5, 29.8, 72.6]

    Raises InvalidChoice for a precision that there is not, and for a group that is no whole number from 1 up.
    """
    if precision not in PRECISIONS:
        raise InvalidChoice(f"there is no precision {precision!r} to store in; {nearest(str(precision), PRECISIONS)}")
    if group < 1:
        raise InvalidChoice(f"group={group}: numbers that share a scale are at least one; usual are 32, 64 and 128")
    is_packed = precision in ("int8-dynamic", "int4")
    held = network if is_packed or precision == "stored" else in_precision(network, precision)
    weight_bytes, scales = count(held).total.weight_bytes, Dim.of(0)
    graph = graph_bytes(held)
    if precision == "int8":
        weight_bytes = weight_bytes + _zero_points_of_biases(held)
    if is_packed:
        packed = list(_int8(network) if precision == "int8-dynamic" else _int4(network, group, zero_points))
        scales = Dim.of(total(part.scale_bytes for part in packed))
        weight_bytes = weight_bytes + scales - total(part.tensor.nbytes - part.nbytes for part in packed)
        graph += DYNAMIC_BYTES * len(packed) if precision == "int8-dynamic" else 0
    return Storage(network, precision, Dim.of(weight_bytes), scales, graph)


@dataclass(frozen=True, slots=True)
class _Packed:
    """A weight with the bytes of its numbers in fewer bits, and of their scales and zero points."""

    tensor: Tensor
    nbytes: Extent
    scale_bytes: Extent


def _int8(network: Network) -> Iterator[_Packed]:
    for layer, matrix in _weights(network, MATRICES, position=1):
        columns = matrix.dims[0 if layer.attributes.get("transB") else -1]
        yield _Packed(matrix, matrix.size, columns * (FLOAT32 + 1))
    for op, position in WHOLE.items():
        for _, tensor in _weights(network, frozenset({op}), position=position):
            yield _Packed(tensor, tensor.size, FLOAT32 + 1)


def _int4(network: Network, group: int, zero_points: bool) -> Iterator[_Packed]:
    for _, matrix in _weights(network, frozenset({"MatMul"}), position=1):
        if matrix.rank != 2:
            continue
        depth, columns = matrix.dims
        groups = ceil_divide(depth, group)
        scales = matrix.to((columns * groups,)).nbytes
        zeros = columns * ceil_divide(groups, 2) if zero_points else 0
        yield _Packed(matrix, columns * groups * ceil_divide(group, 2), scales + zeros)


def _weights(network: Network, ops: frozenset[str], *, position: int) -> Iterator[tuple[Layer, Tensor]]:
    """The stored floats that such layers take there, each with the first of them."""
    seen: set[str] = set()
    for layer in network.layers:
        name = layer.inputs[position] if layer.op in ops and position < len(layer.inputs) else ""
        if not name or name in seen or name in network.producers:
            continue
        seen.add(name)
        tensor = network.tensors[name]
        if tensor.constant and tensor.dtype in FLOAT_DTYPES and tensor.rank > 1:
            yield layer, tensor


def _zero_points_of_biases(quantized: Network) -> Extent:
    """ONNX Runtime stores a zero, in the type of the bias, for each number of a quantised bias."""
    biases = {layer.inputs[0] for layer in quantized.layers if layer.op == DEQUANTIZE and len(layer.inputs) == 2}
    return total(quantized.tensors[name].size * INT32 for name in biases if quantized.tensors[name].dtype == "int32")


def graph_bytes(network: Network) -> int:
    """An estimate of what ONNX writes besides the numbers: for every layer its op, names and attributes, for every stored
    tensor its name and shape.
    """
    layers = sum(_layer_bytes(layer) for layer in network.layers)
    stored = (name for name, tensor in network.tensors.items() if tensor.constant and name not in network.producers)
    return layers + sum(len(name) + FIELD + NUMBER * (2 + len(network.tensors[name].shape or ())) for name in stored)


def _layer_bytes(layer: Layer) -> int:
    words = [layer.name, layer.op, layer.domain, *layer.inputs, *layer.outputs]
    attributes = sum(len(name) + 3 * FIELD + NUMBER * _numbers(value) for name, value in layer.attributes.items())
    return 2 * FIELD + sum(len(word) + FIELD for word in words) + attributes


def _numbers(value: object) -> int:
    return len(value) if isinstance(value, tuple) else 1
