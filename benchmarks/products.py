"""The layers that multiply, told alike for a network of ours and for a graph that torch's exporter wrote.

Neither side's counts are used: a product is read off the operands' shapes and the attributes that ONNX defines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from costmodel.dims import value_at
from costmodel.errors import MalformedModel
from costmodel.graph import Network


class Product(NamedTuple):
    """One layer: a convolution, a fully connected layer, or a product of two activations (``kind`` matmul).

    ``weights``: filters, channels that each filter reads, kernel. ``positions``: where the filters are applied, without axes
    of one. Kernels of 1, kernels that cover the whole input, and strides of 1 are left out; so a fully connected layer and a
    convolution that computes the same are told in the same way. ``source`` is the tensor that is read.
    """

    kind: str
    weights: tuple[int, ...]
    positions: tuple[int, ...]
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    source: str = ""

    @property
    def macs(self) -> int:
        return prod(self.weights) * prod(self.positions)

    def __str__(self) -> str:
        told = f"{self.kind} {_by(self.weights)}"
        told += f" stride {_by(self.stride)}" if self.stride else ""
        told += f" dilation {_by(self.dilation)}" if self.dilation else ""
        told += f" groups {self.groups}" if self.groups != 1 else ""
        return f"{told} at {_by(self.positions) or 1}"


class Operand(NamedTuple):
    """An input of a layer, and whether it is stored or follows from stored tensors alone."""

    name: str
    shape: tuple[int, ...]
    is_stored: bool


OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum")


def products_of_network(network: Network, sizes: Mapping[str, int]) -> list[Product]:
    """Of a network of ours, at these sizes."""

    def operand(name: str) -> Operand:
        tensor = network.tensors[name]
        return Operand(name, tuple(value_at(extent, sizes) for extent in tensor.dims), tensor.constant)

    return [
        product(layer.op, operand(layer.inputs[0]), operand(layer.inputs[1]), operand(layer.outputs[0]), layer.attributes)
        for layer in network.running_layers
        if layer.op in OPS
    ]


def products_of_export(model: Any) -> tuple[list[Product], list[Product]]:
    """Of a model as torch's exporter leaves it: those of every run, and those of stored tensors alone, which a runtime makes
    once. ONNX's own inference adds the shapes that the exporter does not tell.
    """
    from onnx_ir.passes.common import ShapeInferencePass

    for weight in model.graph.initializers.values():
        weight.const_value = None  # it is on the meta device and has no numbers to be written
    ShapeInferencePass(check_type=False, strict_mode=False)(model)
    stored = set(model.graph.initializers)
    of_every_run: list[Product] = []
    made_once: list[Product] = []
    for node in model.graph:
        is_constant = all(value is None or value.name in stored for value in node.inputs)
        if node.op_type in OPS:
            x, w, y = (_operand_of_export(value, stored) for value in (*node.inputs[:2], node.outputs[0]))
            attributes = {key: attribute.value for key, attribute in node.attributes.items()}
            (made_once if is_constant else of_every_run).append(product(node.op_type, x, w, y, attributes))
        if is_constant:
            stored.update(value.name for value in node.outputs)
    return of_every_run, made_once


def _operand_of_export(value: Any, stored: Collection[str]) -> Operand:
    if value.shape is None or not value.shape.is_static():
        raise MalformedModel(f"ONNX's inference leaves the shape of {value.name!r} open; fix the sizes of the export")
    return Operand(value.name, tuple(map(int, value.shape)), value.name in stored)


def product(op: str, x: Operand, w: Operand, y: Operand, attributes: Mapping[str, Any]) -> Product:
    """A layer of one of ``OPS`` by its operands and attributes."""
    if op == "Einsum":
        return _einsum(x, w, attributes["equation"])
    return _convolution(op, x, w, y, attributes) if op.startswith("Conv") else _matrix_product(x, w, attributes)


def _convolution(op: str, x: Operand, w: Operand, y: Operand, attributes: Mapping[str, Any]) -> Product:
    kind = "conv" if op == "Conv" else "deconv"
    batch, _, *extents = (y if kind == "conv" else x).shape
    filters, channels, *kernel = w.shape
    groups = int(attributes.get("group", 1))
    if tuple(kernel) == x.shape[2:] and kind == "conv" and groups == 1 and not any(attributes.get("pads", ())):
        return Product(kind, (filters, channels * prod(kernel)), _without_ones((batch,)), source=x.name)
    stride, dilation = (_unless_ones(attributes.get(key, ())) for key in ("strides", "dilations"))
    weights = (filters, channels, *_unless_ones(kernel))
    return Product(kind, weights, _without_ones((batch, *extents)), stride, dilation, groups, x.name)


def _matrix_product(x: Operand, w: Operand, attributes: Mapping[str, Any]) -> Product:
    rows = x.shape[::-1] if attributes.get("transA") else x.shape
    columns = w.shape[::-1] if attributes.get("transB") else w.shape
    if x.is_stored and not w.is_stored:  # weights on the left: the columns are the positions
        return Product("conv", rows[-2:], _without_ones((*columns[:-2], columns[-1])), source=w.name)
    kind = "conv" if w.is_stored else "matmul"
    return Product(kind, (columns[-1], rows[-1]), _without_ones(rows[:-1]), source=x.name)


def _einsum(x: Operand, w: Operand, equation: str) -> Product:
    """Of two operands, without an ellipsis: what only the second has are the filters, what the result lacks is the depth."""
    operands, _, result = equation.replace(" ", "").partition("->")
    rows, columns = operands.split(",")
    extents = {**dict(zip(rows, x.shape, strict=True)), **dict(zip(columns, w.shape, strict=True))}
    filters = prod(extents[axis] for axis in result if axis not in rows)
    depth = prod(extent for axis, extent in extents.items() if axis not in result)
    kind = "conv" if w.is_stored else "matmul"
    return Product(kind, (filters, depth), _without_ones([extents[axis] for axis in result if axis in rows]), source=x.name)


def plain_forms(products: Iterable[Product]) -> Iterator[Product]:
    """Layers that compute the same, in one form.

    What reads the same tensor in the same way is one layer, such as query, key and value. Without a window it does not
    matter how positions lie, be they rows and columns or tokens, or heads that share keys.
    """
    filters: Counter[Product] = Counter()
    for one in products:
        has_window = len(one.weights) > 2 or one.stride or one.groups != 1
        form = one if has_window else one._replace(positions=(prod(one.positions),))
        if one.kind == "conv" and one.groups == 1:
            filters[form._replace(weights=(0, *form.weights[1:]))] += form.weights[0]
        else:
            yield form._replace(source="")
    for form, total in filters.items():
        yield form._replace(weights=(total, *form.weights[1:]), source="")


def _unless_ones(extents: Sequence[int]) -> tuple[int, ...]:
    return () if all(extent == 1 for extent in extents) else tuple(extents)


def _without_ones(extents: Sequence[int]) -> tuple[int, ...]:
    return tuple(extent for extent in extents if extent != 1)


def _by(extents: Sequence[int]) -> str:
    return "x".join(map(str, extents))
