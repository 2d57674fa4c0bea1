"""The parts of an ONNX protobuf as records: graphs, nodes, attributes, stored tensors."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from costmodel.errors import MalformedModel
from costmodel.graph import DTYPE_BITS, Attribute, Node, Subgraph, Tensor, dtype_numbered
from costmodel.ops.shapes import VALUE_LIMIT
from costmodel.read.declared import checked_text, declared_tensor, declared_type
from costmodel.read.functions import Reference
from costmodel.read.nodes import nodes_from

if TYPE_CHECKING:
    import onnx

MAX_RANK = 64


def read_graph(proto: onnx.GraphProto, nodes: Iterable[bytes] | None = None) -> Subgraph:
    """A graph; ``nodes`` are its serialised nodes where they come apart from it."""
    initializers = _initializers(proto)
    inputs = [info for info in proto.input if info.name not in initializers]
    return Subgraph(
        name=proto.name,
        nodes=read_nodes(proto.node) if nodes is None else nodes_from(nodes, read_attributes),
        inputs={info.name: declared_tensor(info) for info in inputs},
        outputs=tuple(info.name for info in proto.output),
        initializers=initializers,
    )


def _initializers(proto: onnx.GraphProto) -> dict[str, Tensor]:
    """The stored tensors by name. Equal ones are one object, by which the engine tells equal layers."""
    equal: dict[Tensor, Tensor] = {}
    found = {}
    for stored in proto.initializer:
        tensor = read_tensor(stored)
        found[stored.name] = equal.setdefault(tensor, tensor)
    for sparse in proto.sparse_initializer:
        found[sparse.values.name] = _read_sparse(sparse)
    return found


def _read_sparse(proto: onnx.SparseTensorProto) -> Tensor:
    return Tensor(dtype_numbered(proto.values.data_type), tuple(proto.dims), constant=True)


def read_nodes(protos: Iterable[onnx.NodeProto]) -> tuple[Node, ...]:
    return nodes_from((proto.SerializeToString() for proto in protos), read_attributes)


def read_attributes(protos: Iterable[onnx.AttributeProto]) -> dict[str, Attribute]:
    found = {proto.name: _attribute(proto) for proto in protos}
    for name in found:
        checked_text(name, "the name of an attribute")
    return found


def _attribute(proto: onnx.AttributeProto) -> Attribute:
    """The attribute's Python value, or a Reference inside the body of a function."""
    if proto.ref_attr_name:
        return Reference(proto.ref_attr_name)
    value: Attribute = _ATTRIBUTE_READERS.get(proto.type or _guessed_type(proto), lambda _: "")(proto)
    return value


def _guessed_type(proto: onnx.AttributeProto) -> int:
    """Files of IR version 1 leave the type out."""
    for number, name in ((1, "f"), (2, "i"), (3, "s"), (4, "t"), (5, "g")):
        if proto.HasField(name):
            return number
    return next((n for n, name in ((6, "floats"), (7, "ints"), (8, "strings")) if len(getattr(proto, name))), 7)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


# onnx.AttributeProto.AttributeType, by number
_ATTRIBUTE_READERS: Mapping[int, Any] = {
    1: lambda proto: proto.f,
    2: lambda proto: proto.i,
    3: lambda proto: _text(proto.s),
    4: lambda proto: read_tensor(proto.t),
    5: lambda proto: read_graph(proto.g),
    6: lambda proto: tuple(proto.floats),
    7: lambda proto: tuple(proto.ints),
    8: lambda proto: tuple(map(_text, proto.strings)),
    9: lambda proto: tuple(map(read_tensor, proto.tensors)),
    10: lambda proto: tuple(map(read_graph, proto.graphs)),
    11: lambda proto: _read_sparse(proto.sparse_tensor),
    13: lambda proto: declared_type(proto.tp),
}


def read_tensor(proto: onnx.TensorProto) -> Tensor:
    """A stored tensor, with its value where that is small enough to carry shapes."""
    dims = tuple(proto.dims)
    if dims and (min(dims) < 0 or len(dims) > MAX_RANK):
        shown = list(dims)[:MAX_RANK]
        raise MalformedModel(f"initializer {proto.name!r}: dims {shown} must be at most {MAX_RANK} numbers from 0 up")
    dtype = dtype_numbered(proto.data_type)
    count = math.prod(dims)
    value = _value(proto, dtype, count) if count <= VALUE_LIMITS.get(dtype, FEW) else None
    return Tensor(dtype, dims, value, constant=True)


VALUE_LIMITS = {"int64": VALUE_LIMIT, "int32": VALUE_LIMIT, "string": VALUE_LIMIT}  # elements that may carry shapes
FEW = 16  # of other dtypes: scales of a Resize, a zero point

_RAW_FORMATS = {
    "float32": "f", "float64": "d", "float16": "e", "int64": "q", "int32": "i", "int16": "h", "int8": "b",
    "uint64": "Q", "uint32": "I", "uint16": "H", "uint8": "B", "bool": "B",
    "bfloat16": "f",  # once it is widened
}  # fmt: skip
_TYPED_FIELDS = {
    "float32": "float_data", "float64": "double_data", "int64": "int64_data", "uint64": "uint64_data",
    "uint32": "uint64_data",
}  # fmt: skip


def _value(proto: onnx.TensorProto, dtype: str, count: int) -> tuple[int | float | str, ...] | None:
    if proto.data_location == 1 or dtype not in _RAW_FORMATS:
        return tuple(map(_text, proto.string_data)) if dtype == "string" and len(proto.string_data) == count else None
    numbers: Sequence[int | float]
    if proto.HasField("raw_data"):
        raw = proto.raw_data
        if len(raw) * 8 != count * DTYPE_BITS[dtype]:
            return None
        if dtype == "bfloat16":  # the upper half of a float32
            raw = b"".join(b"\0\0" + raw[i : i + 2] for i in range(0, len(raw), 2))
        numbers = struct.unpack(f"<{count}{_RAW_FORMATS[dtype]}", raw)
    else:
        if dtype in ("float16", "bfloat16"):
            return None
        numbers = tuple(getattr(proto, _TYPED_FIELDS.get(dtype, "int32_data")))
    if len(numbers) != count:
        return None
    return tuple([int(number != 0) for number in numbers]) if dtype == "bool" else numbers
