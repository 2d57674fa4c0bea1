"""ONNX file, bytes or ModelProto -> Network. Weights are never read, external data files never opened."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from costmodel.dims import Dim, Extent
from costmodel.errors import CostModelError, MalformedModel, ParseError, ShapeMismatch, UnknownSize, nearest
from costmodel.graph import (
    DTYPE_BITS,
    FLOAT_DTYPES,
    Attribute,
    Cost,
    MapOf,
    Network,
    Node,
    OptionalOf,
    SequenceOf,
    Subgraph,
    Tensor,
)
from costmodel.ops.assumptions import Assumptions
from costmodel.ops.engine import Engine
from costmodel.ops.shapes import VALUE_LIMIT
from costmodel.read import wire
from costmodel.read.functions import Function, Reference, inline
from costmodel.read.modules import SCOPES, module_of
from costmodel.read.order import in_running_order

if TYPE_CHECKING:
    import onnx

Source = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, "onnx.ModelProto"]
Sizes = Mapping[str, Sequence[Union[int, str, None]]]

# onnx.TensorProto.DataType, by number
DTYPES = (
    None, "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool", "float16", "float64", "uint32",
    "uint64", "complex64", "complex128", "bfloat16", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz",
    "uint4", "int4", "float4e2m1", "float8e8m0", "uint2", "int2", "float6e2m3", "float6e3m2",
)  # fmt: skip
MAX_RANK = 64
MAX_AGREEMENTS = 64
MAX_ASSUMPTIONS = 64
NEWEST_OPSET = 26


def load(source: Source, *, sizes: Sizes | None = None, name: str | None = None) -> Network:
    """Read a model from a path, from bytes or from a ModelProto.

    ``sizes`` frees or fixes dimensions of inputs, also where the file states a number: a tuple for each input named,
    of numbers (fixed), names or expressions (free), and None (as the file has it)::

        load("model.onnx", sizes={"input": ("N", 3, "H", "W")})

    Raises MalformedModel for a file that is no ONNX model, truncated, cyclic or incomplete, ShapeMismatch where shapes
    contradict each other (with the node), UnknownSize for an input that the model does not have.
    """
    model, default_name = _parsed(source)
    if not model.HasField("graph"):
        raise MalformedModel(f"{default_name}: the model holds no graph; this is no ONNX model, or it is truncated")
    return _Loader(model, name or default_name).network(sizes or {})


def _parsed(source: Source) -> tuple[onnx.ModelProto, str]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        model = _from_wire(wire.Memory(memoryview(source)), "the given bytes")
        return model, model.graph.name or "model"
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        return _from_path(path), path.name.removesuffix(".onnx")
    import onnx

    if isinstance(source, onnx.ModelProto):
        return source, source.graph.name or "model"
    raise CostModelError(f"cannot load a {type(source).__name__}; give a path, bytes or an onnx.ModelProto")


def _from_path(path: Path) -> onnx.ModelProto:
    try:
        with path.open("rb") as file:
            opened = wire.File(file.fileno())
            if not opened.size:
                raise MalformedModel(f"{path}: the file is empty")
            return _from_wire(opened, str(path))
    except FileNotFoundError:
        raise MalformedModel(f"{path}: there is no such file; give the path of an ONNX model") from None
    except OSError as error:
        raise MalformedModel(f"{path}: cannot be read: {error.strerror}") from error


def _from_wire(source: wire.Source, where: str) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.ModelProto.FromString(wire.without_weights(source))
    except MalformedModel as error:
        raise MalformedModel(f"{where}: {error}") from None
    except (DecodeError, RuntimeError) as error:
        raise MalformedModel(f"{where}: is no ONNX model, or damaged: {error}") from None


@dataclass(frozen=True, slots=True)
class _Agreement:
    """What had to be assumed so that shapes agree: a size equals an expression, and the node that asks for it."""

    name: str
    extent: Extent
    reason: str


class _Loader:
    """One model on its way to a Network."""

    def __init__(self, model: onnx.ModelProto, name: str) -> None:
        self.name = name
        self.warnings: list[str] = []
        self.opsets = self._opsets(model)
        functions = {
            (proto.domain, proto.name, proto.overload): Function(
                inputs=tuple(proto.input),
                outputs=tuple(proto.output),
                defaults=_attributes(proto.attribute_proto),
                nodes=_nodes(proto.node),
                opsets={item.domain: item.version for item in proto.opset_import},
            )
            for proto in model.functions
        }
        graph = _subgraph(model.graph)
        self.declared_inputs = {info.name: info for info in model.graph.input if info.name not in graph.initializers}
        self.declared = _Declared((*model.graph.value_info, *model.graph.output))
        nodes = inline(graph.nodes, functions) if functions else graph.nodes
        self.nodes = in_running_order(nodes, {*graph.initializers, *self.declared_inputs})
        self.graph = graph

    def _opsets(self, model: onnx.ModelProto) -> dict[str, int]:
        opsets = {"" if item.domain == "ai.onnx" else item.domain: item.version for item in model.opset_import}
        if "" not in opsets and (model.ir_version < 3 or not opsets):
            opsets[""] = 1 if model.ir_version < 3 else NEWEST_OPSET
            if model.ir_version >= 3:
                self.warnings.append(f"the file imports no opset; the newest known ({NEWEST_OPSET}) is assumed")
        return opsets

    def network(self, sizes: Sizes) -> Network:
        """Derive every shape; where two extents that must be equal differ in one free size, that size gives way."""
        unknown = [given for given in sizes if given not in self.declared_inputs]
        if unknown:
            raise UnknownSize(f"sizes: the model has no input {unknown[0]!r}; {nearest(unknown[0], self.declared_inputs)}")
        inputs = _input_tensors(self.declared_inputs.values(), sizes)
        freed = frozenset(_freed(sizes))
        agreements: list[_Agreement] = []
        known: dict[Any, Cost] = {}
        while True:
            extents = {agreed.name: agreed.extent for agreed in agreements}
            try:
                return self._assumed(inputs, agreements, extents, known)
            except ShapeMismatch as mismatch:
                agreed = _agreement(mismatch, freed)
                if agreed is None or len(agreements) == MAX_AGREEMENTS:
                    raise
                agreements.append(agreed)

    def _assumed(
        self,
        inputs: Mapping[str, Tensor],
        agreements: Sequence[_Agreement],
        extents: Mapping[str, Extent],
        known: dict[Any, Cost],
    ) -> Network:
        """Derive every shape; where sizes decide between branches that cannot be merged, go a way without contradictions."""
        assumptions = Assumptions()
        first: MalformedModel | None = None
        for _ in range(MAX_ASSUMPTIONS):
            engine = Engine(self.opsets, self.declared, extents, known, assumptions=assumptions)
            try:
                return self._derived(engine, inputs, agreements)
            except MalformedModel as error:
                first = first or error
                following = assumptions.following()
            if following is None:
                break
            assumptions = following
        assert first is not None
        raise first

    def _derived(self, engine: Engine, inputs: Mapping[str, Tensor], agreements: Sequence[_Agreement]) -> Network:
        engine.tensors.update(self.graph.initializers)
        engine.tensors.update((name, engine.agreed(tensor)) for name, tensor in inputs.items())
        given = {name: engine.tensors[name] for name in inputs}
        for node in self.nodes:
            engine.add(node)
        missing = [name for name in self.graph.outputs if name not in engine.tensors]
        if missing:
            raise MalformedModel(f"{self.name}: nothing produces the output {missing[0]!r}; the graph is incomplete")
        assumed = [f"size {agreed.name} is {agreed.extent}: {agreed.reason}" for agreed in agreements]
        for name, assumption in engine.assumptions.taken.items():
            holds = "holds" if assumption.holds else "does not hold"
            assumed.append(f"the condition of {name!r} {holds}: its branches differ in rank, and {assumption.decisive}")
        return Network(
            name=self.name,
            inputs=given,
            outputs={name: engine.tensors[name] for name in self.graph.outputs},
            tensors=engine.tensors,
            layers=tuple(engine.layers),
            opsets=self.opsets,
            warnings=(*self.warnings, *assumed, *_contradictions(self.declared, engine.tensors)),
        )


def _freed(sizes: Sizes) -> Iterable[str]:
    for shape in sizes.values():
        for extent in shape:
            if isinstance(extent, str):
                parsed = Dim.parse(extent)
                yield from parsed.names if isinstance(parsed, Dim) else ()


def _agreement(mismatch: ShapeMismatch, freed: frozenset[str]) -> _Agreement | None:
    """The one size at which the two sides are equal, if the caller did not free it."""
    left, right = mismatch.left, mismatch.right
    if not isinstance(left, (int, Dim)) or not isinstance(right, (int, Dim)):
        return None
    solved = _solve(left - right, freed)
    if solved is None:
        names = sorted(name for side in (left, right) if isinstance(side, Dim) for name in side.names & freed)
        if names:
            raise ShapeMismatch(
                f"{mismatch}. A constant of the file contradicts the freed size {names[0]}: "
                f"leave it out of sizes, or export the model with that axis dynamic"
            ) from mismatch
        return None
    return _Agreement(*solved, reason=str(mismatch))


def _solve(difference: Extent, freed: frozenset[str]) -> tuple[str, Extent] | None:
    """A size that occurs once, alone and with a factor that divides the rest, and what it must be for 0 = difference."""
    if not isinstance(difference, Dim):
        return None
    for monomial, factor in difference.terms.items():
        if len(monomial) != 1 or monomial[0][0].kind != "size" or monomial[0][1] != 1:
            continue
        name = monomial[0][0].args[0]
        rest = factor * Dim.size(name) - difference
        if name in freed or (isinstance(rest, Dim) and name in rest.names):
            continue
        value = rest // factor
        if value * factor == rest and (not isinstance(value, int) or value >= 0):
            return name, value
    return None


# -- parts of the protobuf --------------------------------------------------------------------------------------


def _subgraph(proto: onnx.GraphProto) -> Subgraph:
    initializers = {tensor.name: _tensor(tensor) for tensor in proto.initializer}
    for sparse in proto.sparse_initializer:
        initializers[sparse.values.name] = Tensor(_dtype(sparse.values.data_type), tuple(sparse.dims), constant=True)
    inputs = [info for info in proto.input if info.name not in initializers]
    return Subgraph(
        name=proto.name,
        nodes=_nodes(proto.node),
        inputs={info.name: _declared_tensor(info) for info in inputs},
        outputs=tuple(info.name for info in proto.output),
        initializers=initializers,
    )


def _nodes(protos: Iterable[onnx.NodeProto]) -> tuple[Node, ...]:
    names: dict[str, int] = {}
    nodes = []
    for index, proto in enumerate(protos):
        op = _checked_text(proto.op_type, "the op of a node")
        name = _checked_text(proto.name, "the name of a node") or f"{op}_{index}"
        seen = names[name] = names.get(name, -1) + 1
        attributes = _attributes(proto.attribute)
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        if seen:
            name = f"{name}_{seen}"
        module = module_of(name, _properties(proto.metadata_props)) if proto.metadata_props or name[0] == "/" else ""
        nodes.append(
            Node(name, op, tuple(proto.input), tuple(proto.output), attributes, domain, module=module)
        )
    return tuple(nodes)


def _properties(entries: Iterable[onnx.StringStringEntryProto]) -> dict[str, str]:
    """The metadata that tells where the node stood; exporters leave kilobytes of other texts beside it."""
    return {entry.key: _checked_text(entry.value, "metadata of a node") for entry in entries if entry.key in SCOPES}


def _attributes(protos: Iterable[onnx.AttributeProto]) -> dict[str, Attribute]:
    found = {proto.name: _attribute(proto) for proto in protos}
    for name in found:
        _checked_text(name, "the name of an attribute")
    return found


def _checked_text(text: str | bytes, what: str) -> str:
    """Protobuf hands a text that is not UTF-8 out as bytes."""
    if isinstance(text, bytes):
        raise MalformedModel(f"{what}, {text!r}, is no UTF-8 text; the file is damaged")
    return text


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
    4: lambda proto: _tensor(proto.t),
    5: lambda proto: _subgraph(proto.g),
    6: lambda proto: tuple(proto.floats),
    7: lambda proto: tuple(proto.ints),
    8: lambda proto: tuple(map(_text, proto.strings)),
    9: lambda proto: tuple(map(_tensor, proto.tensors)),
    10: lambda proto: tuple(map(_subgraph, proto.graphs)),
    11: lambda proto: Tensor(_dtype(proto.sparse_tensor.values.data_type), tuple(proto.sparse_tensor.dims), constant=True),
    13: lambda proto: _declared_type(proto.tp),
}


def _dtype(number: int) -> str:
    dtype = DTYPES[number] if 0 < number < len(DTYPES) else None
    if dtype is None:
        raise MalformedModel(f"data type {number} is none of ONNX's; they go from 1 to {len(DTYPES) - 1}")
    return dtype


def _tensor(proto: onnx.TensorProto) -> Tensor:
    """A stored tensor, with its value where that is small enough to carry shapes."""
    dims = tuple(proto.dims)
    if any(extent < 0 for extent in dims) or len(dims) > MAX_RANK:
        shown = list(dims)[:MAX_RANK]
        raise MalformedModel(f"initializer {proto.name!r}: dims {shown} must be at most {MAX_RANK} numbers from 0 up")
    dtype = _dtype(proto.data_type)
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


# -- what the file declares -------------------------------------------------------------------------------------


def _declared_tensor(info: onnx.ValueInfoProto) -> Any:
    return _declared_type(info.type, info.name)


def _declared_type(proto: onnx.TypeProto, name: str = "") -> Any:
    """The declared dtype and shape; an extent that is 0, -1 or missing is unknown and becomes a size of its own."""
    kind = proto.WhichOneof("value")
    if kind in _CONTAINER_READERS:
        return _CONTAINER_READERS[kind](getattr(proto, kind), name)
    if kind not in ("tensor_type", "sparse_tensor_type"):
        return Tensor("float32", None)
    stated = getattr(proto, kind)
    dtype = _dtype(stated.elem_type) if stated.elem_type else "float32"
    if not stated.HasField("shape"):
        return Tensor(dtype, None)
    return Tensor(dtype, tuple(_extent(dim, f"{name}_dim{axis}") for axis, dim in enumerate(stated.shape.dim)))


_CONTAINER_READERS: Mapping[str, Any] = {
    "sequence_type": lambda stated, name: SequenceOf.of(
        _declared_type(stated.elem_type, f"{name}_element"), Dim.size(f"{name}_length")
    ),
    "optional_type": lambda stated, name: OptionalOf.of(_declared_type(stated.elem_type, name)),
    "map_type": lambda stated, name: MapOf.of(
        _dtype(stated.key_type), _declared_type(stated.value_type, name).dtype, Dim.size(f"{name}_length")
    ),
}


def _extent(dim: Any, unnamed: str) -> Extent:
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return int(dim.dim_value)
    return Dim.size(_checked_text(dim.dim_param, "the name of a dimension") or unnamed)


class _Declared(Mapping[str, Tensor]):
    """The shapes that the file states for tensors inside the graph, each read when it is asked for."""

    def __init__(self, infos: Iterable[onnx.ValueInfoProto]) -> None:
        self.infos = {info.name: info for info in infos}

    def __getitem__(self, name: str) -> Tensor:
        found: Tensor = _declared_tensor(self.infos[name])
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.infos)

    def __len__(self) -> int:
        return len(self.infos)


def _input_tensors(infos: Iterable[onnx.ValueInfoProto], sizes: Sizes) -> dict[str, Tensor]:
    declared = {info.name: _declared_tensor(info) for info in infos}
    extents = [extent for tensor in declared.values() for extent in tensor.shape or () if isinstance(extent, Dim)]
    names = {name for extent in extents for name in extent.names}
    return {name: _sized(name, tensor, sizes.get(name), names) for name, tensor in declared.items()}


def _sized(name: str, tensor: Tensor, wanted: Sequence[int | str | None] | None, names: set[str]) -> Tensor:
    if tensor.shape is None:
        return tensor if wanted is None else replace(tensor, shape=tuple(map(_wanted_extent, wanted, wanted)))
    shape = tuple(_sum_of_sizes(extent, names) for extent in tensor.shape)
    if wanted is None:
        return replace(tensor, shape=shape)
    if len(wanted) != len(shape):
        raise UnknownSize(f"sizes: input {name!r} has {len(shape)} dimensions, {len(wanted)} are given: {tuple(wanted)}")
    return replace(tensor, shape=tuple(_wanted_extent(given, extent) for given, extent in zip(wanted, shape, strict=True)))


def _wanted_extent(given: int | str | None, declared: Any) -> Extent:
    if given is None:
        return declared if isinstance(declared, (int, Dim)) else 1
    if isinstance(given, str):
        return Dim.parse(given)
    if given < 0:
        raise UnknownSize(f"sizes: an extent must be at least 0, not {given}")
    return given


def _sum_of_sizes(extent: Extent, names: set[str]) -> Extent:
    """A dim_param such as 'past + seq' is a sum of sizes where the inputs have those; otherwise it is just a name."""
    if isinstance(extent, int):
        return extent
    name = next(iter(extent.names))
    try:
        parsed = Dim.parse(name)
    except ParseError:
        return extent
    if isinstance(parsed, Dim) and parsed != extent and parsed.names <= names - {name}:
        return parsed
    return extent


def _contradictions(declared: _Declared, derived: Mapping[str, Tensor]) -> Iterable[str]:
    """Declared shapes that cannot be: another rank, or another number."""
    for name, info in declared.infos.items():
        tensor = derived.get(name)
        if tensor is not None and tensor.shape and info.type.tensor_type.HasField("shape"):
            stated = [dim.dim_value for dim in info.type.tensor_type.shape.dim]  # 0 where it is open
            pairs = zip(stated, tensor.shape, strict=False)
            if len(stated) != len(tensor.shape) or any(0 < a != b for a, b in pairs if isinstance(b, int)):
                yield f"the file declares {name!r} as {_shown(declared[name])}; it is {_shown(tensor)}"


def _shown(tensor: Tensor) -> str:
    return "[" + ", ".join(map(str, tensor.shape or ())) + "]"
