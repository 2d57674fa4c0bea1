"""The parts of an ONNX protobuf as records: graphs, nodes, attributes, stored tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from costmodel.errors import MalformedModel
from costmodel.graph import DTYPE_BITS, FLOAT_DTYPES, Attribute, Node, Subgraph, Tensor
from costmodel.ops.shapes import VALUE_LIMIT
from costmodel.read.declared import checked_text, declared_tensor, declared_type, dtype_of
from costmodel.read.functions import Reference
from costmodel.read.modules import READ_KEYS, module_of, origin_of

if TYPE_CHECKING:
    import onnx

MAX_RANK = 64


def read_graph(proto: onnx.GraphProto) -> Subgraph:
    initializers = {tensor.name: read_tensor(tensor) for tensor in proto.initializer}
    for sparse in proto.sparse_initializer:
        initializers[sparse.values.name] = Tensor(dtype_of(sparse.values.data_type), tuple(sparse.dims), constant=True)
    inputs = [info for info in proto.input if info.name not in initializers]
    return Subgraph(
        name=proto.name,
        nodes=read_nodes(proto.node),
        inputs={info.name: declared_tensor(info) for info in inputs},
        outputs=tuple(info.name for info in proto.output),
        initializers=initializers,
    )


def read_nodes(protos: Iterable[onnx.NodeProto]) -> tuple[Node, ...]:
    names: dict[str, int] = {}
    nodes = []
    for index, proto in enumerate(protos):
        op = checked_text(proto.op_type, "the op of a node")
        name = checked_text(proto.name, "the name of a node") or f"{op}_{index}"
        seen = names[name] = names.get(name, -1) + 1
        attributes = read_attributes(proto.attribute)
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        if seen:
            name = f"{name}_{seen}"
        metadata = _properties(proto.metadata_props) if proto.metadata_props else {}
        module = module_of(name, metadata) if metadata or name[0] == "/" else ""
        origin = origin_of(metadata) if metadata else ()
        nodes.append(Node(name, op, tuple(proto.input), tuple(proto.output), attributes, domain, None, module, origin))
    return tuple(nodes)


def _properties(entries: Iterable[onnx.StringStringEntryProto]) -> dict[str, str]:
    """The metadata that tells what the node was; exporters leave kilobytes of other texts beside it."""
    return {entry.key: checked_text(entry.value, "metadata of a node") for entry in entries if entry.key in READ_KEYS}


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
    11: lambda proto: Tensor(dtype_of(proto.sparse_tensor.values.data_type), tuple(proto.sparse_tensor.dims), constant=True),
    13: lambda proto: declared_type(proto.tp),
}


def read_tensor(proto: onnx.TensorProto) -> Tensor:
    """A stored tensor, with its value where that is small enough to carry shapes."""
    dims = tuple(proto.dims)
    if any(extent < 0 for extent in dims) or len(dims) > MAX_RANK:
        shown = list(dims)[:MAX_RANK]
        raise MalformedModel(f"initializer {proto.name!r}: dims {shown} must be at most {MAX_RANK} numbers from 0 up")
    dtype = dtype_of(proto.data_type)
    count = 1
    for extent in dims:
        count *= extent
    limit = 16 if dtype in FLOAT_DTYPES else VALUE_LIMIT
    value = _value(proto, dtype, count) if count <= limit else None
    return Tensor(dtype, dims, value, constant=True)


_RAW_FORMATS = {
    "float32": "<f4", "float64": "<f8", "float16": "<f2", "int64": "<i8", "int32": "<i4", "int16": "<i2", "int8": "i1",
    "uint64": "<u8", "uint32": "<u4", "uint16": "<u2", "uint8": "u1", "bool": "?", "bfloat16": "<u2",
}  # fmt: skip
_TYPED_FIELDS = {
    "float32": "float_data", "float64": "double_data", "int64": "int64_data", "uint64": "uint64_data",
    "uint32": "uint64_data",
}  # fmt: skip


def _value(proto: onnx.TensorProto, dtype: str, count: int) -> tuple[int | float | str, ...] | None:
    if proto.data_location == 1 or dtype not in _RAW_FORMATS:
        return tuple(map(_text, proto.string_data)) if dtype == "string" and len(proto.string_data) == count else None
    if proto.HasField("raw_data"):
        if len(proto.raw_data) * 8 != count * DTYPE_BITS[dtype]:
            return None
        import numpy

        stored = numpy.frombuffer(proto.raw_data, dtype=_RAW_FORMATS[dtype])
        if dtype == "bfloat16":  # the upper half of a float32
            stored = (stored.astype("<u4") << 16).view("<f4")
        numbers = stored.tolist()
    else:
        if dtype in ("float16", "bfloat16"):
            return None
        numbers = list(getattr(proto, _TYPED_FIELDS.get(dtype, "int32_data")))
    if len(numbers) != count:
        return None
    return tuple(int(number) if dtype == "bool" else number for number in numbers)
