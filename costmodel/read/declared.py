"""What an ONNX file declares of its tensors: dtypes and shapes, which are checked against what the rules derive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from costmodel.dims import Dim, Extent
from costmodel.errors import MalformedModel
from costmodel.graph import MapOf, OptionalOf, SequenceOf, Tensor, dtype_numbered

if TYPE_CHECKING:
    import onnx

def checked_text(text: str | bytes, what: str) -> str:
    """Protobuf hands a text that is not UTF-8 out as bytes."""
    if isinstance(text, bytes):
        raise MalformedModel(f"{what}, {text!r}, is no UTF-8 text; the file is damaged")
    return text


def declared_tensor(info: onnx.ValueInfoProto) -> Any:
    return declared_type(info.type, info.name)


def declared_type(proto: onnx.TypeProto, name: str = "") -> Any:
    """The declared dtype and shape; an extent that is 0, -1 or missing is unknown and becomes a size of its own."""
    kind = proto.WhichOneof("value")
    if kind in _CONTAINER_READERS:
        return _CONTAINER_READERS[kind](getattr(proto, kind), name)
    if kind not in ("tensor_type", "sparse_tensor_type"):
        return Tensor("float32", None)
    stated = getattr(proto, kind)
    dtype = dtype_numbered(stated.elem_type) if stated.elem_type else "float32"
    if not stated.HasField("shape"):
        return Tensor(dtype, None)
    return Tensor(dtype, tuple(_extent(dim, f"{name}_dim{axis}") for axis, dim in enumerate(stated.shape.dim)))


_CONTAINER_READERS: Mapping[str, Any] = {
    "sequence_type": lambda stated, name: SequenceOf.of(
        declared_type(stated.elem_type, f"{name}_element"), Dim.size(f"{name}_length")
    ),
    "optional_type": lambda stated, name: OptionalOf.of(declared_type(stated.elem_type, name)),
    "map_type": lambda stated, name: MapOf.of(
        dtype_numbered(stated.key_type), declared_type(stated.value_type, name).dtype, Dim.size(f"{name}_length")
    ),
}


def _extent(dim: Any, unnamed: str) -> Extent:
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return int(dim.dim_value)
    return Dim.size(checked_text(dim.dim_param, "the name of a dimension") or unnamed)


class Declared(Mapping[str, Tensor]):
    """The shapes that the file states for tensors inside the graph, each read when it is asked for."""

    def __init__(self, infos: Iterable[onnx.ValueInfoProto]) -> None:
        self.infos = {info.name: info for info in infos}

    def __getitem__(self, name: str) -> Tensor:
        found: Tensor = declared_tensor(self.infos[name])
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.infos)

    def __len__(self) -> int:
        return len(self.infos)

    def stated(self, name: str) -> Tensor | None:
        """A tensor as the file states it, with a size of its own for each extent that it leaves open."""
        return self[name] if name in self.infos else None

    def contradictions(self, derived: Mapping[str, Tensor]) -> Iterator[str]:
        """Declared shapes that cannot be: another rank, or another number."""
        for name, info in self.infos.items():
            tensor = derived.get(name)
            if tensor is not None and tensor.shape and info.type.tensor_type.HasField("shape"):
                stated = [dim.dim_value for dim in info.type.tensor_type.shape.dim]  # 0 where it is open
                pairs = zip(stated, tensor.shape, strict=False)
                if len(stated) != len(tensor.shape) or any(0 < a != b for a, b in pairs if isinstance(b, int)):
                    yield f"the file declares {name!r} as {_shown(self[name])}; it is {_shown(tensor)}"


def _shown(tensor: Tensor) -> str:
    return "[" + ", ".join(map(str, tensor.shape or ())) + "]"
