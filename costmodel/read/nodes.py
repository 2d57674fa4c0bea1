"""Nodes from their serialised form, each distinct description of an op read once.

A node's message holds its inputs, outputs and name (fields 1 to 3), then its op, attributes and domain (4 to 8), then the
exporter's metadata (onnx.proto, NodeProto). Equal layers have equal bytes from the op on, so what these say is looked up:
a third of the time that the wrappers of protobuf take. They still read what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from costmodel.errors import MalformedModel
from costmodel.graph import NOWHERE, Attribute, Node
from costmodel.read.declared import checked_text
from costmodel.read.modules import Exported
from costmodel.read.wire import varint

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT, NAME, METADATA = (field << 3 | 2 for field in (1, 2, 3, 9))  # keys

ReadAttributes = Callable[["Iterable[onnx.AttributeProto]"], "dict[str, Attribute]"]


class _Described(NamedTuple):
    """What a node does, and what it joins where an unusual writer put that after the op."""

    op: str
    domain: str
    attributes: Mapping[str, Attribute]
    metadata: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    name: str


class NodeReader:
    """Reads the nodes of one model; ``read_attributes`` makes Python values of the attributes that are new."""

    def __init__(self, read_attributes: ReadAttributes) -> None:
        import onnx

        self._proto = onnx.NodeProto
        self._read_attributes = read_attributes
        self._described: dict[bytes, _Described] = {}

    def read(self, messages: Iterable[bytes]) -> tuple[Node, ...]:
        """The nodes, each under a name of its own. Raises MalformedModel for one that is damaged."""
        used: dict[str, int] = {}
        return tuple([self._node(data, index, used) for index, data in enumerate(messages)])

    def _node(self, data: bytes, index: int, used: dict[str, int]) -> Node:
        inputs, outputs, name, rest = _joined_names(data)
        found = self._described.get(rest)
        if found is None:
            found = self._new(rest)
        if found.inputs or found.outputs:
            inputs, outputs = (*inputs, *found.inputs), (*outputs, *found.outputs)
        name = found.name or name or f"{found.op}_{index}"
        seen = used[name] = used.get(name, -1) + 1
        if seen:
            name = f"{name}_{seen}"
        place = Exported(name, found.metadata) if found.metadata or name[0] == "/" else NOWHERE
        return Node(name, found.op, inputs, outputs, found.attributes, found.domain, None, place)

    def _new(self, rest: bytes) -> _Described:
        """A description that no node had before; without the metadata another node may have had it."""
        at = _start_of_metadata(rest)
        said = rest[:at]
        found = self._described.get(said)
        if found is None:
            found = self._described[said] = self._parsed(said)
        return found._replace(metadata=rest[at:]) if at < len(rest) else found

    def _parsed(self, said: bytes) -> _Described:
        from google.protobuf.message import DecodeError

        try:
            proto = self._proto.FromString(said)
        except (DecodeError, RuntimeError) as error:
            raise MalformedModel(f"a node is damaged: {error}") from None
        return _Described(
            op=checked_text(proto.op_type, "the op of a node"),
            domain="" if proto.domain == "ai.onnx" else checked_text(proto.domain, "the domain of a node"),
            attributes=self._read_attributes(proto.attribute),
            metadata=b"",
            inputs=tuple(proto.input),
            outputs=tuple(proto.output),
            name=checked_text(proto.name, "the name of a node"),
        )


def _joined_names(data: bytes) -> tuple[tuple[str, ...], tuple[str, ...], str, bytes]:
    """Inputs, outputs and name from the start of a node's message, and the bytes after them."""
    inputs: list[str] = []
    outputs: list[str] = []
    name = ""
    at, end = 0, len(data)
    try:
        while at < end:
            key = data[at]
            if key not in (INPUT, OUTPUT, NAME):
                break
            length, body = data[at + 1], at + 2
            if length > 127:
                length, body = varint(data, at + 1, end)
            at = body + length
            text = data[body:at].decode()
            if key == INPUT:
                inputs.append(text)
            elif key == OUTPUT:
                outputs.append(text)
            else:
                name = text
    except UnicodeDecodeError as error:
        raise MalformedModel(f"a name in a node, {error.object!r}, is no UTF-8 text; the file is damaged") from None
    except IndexError:
        at = end + 1
    if at > end:
        raise MalformedModel("a node ends inside a name; the file is truncated")
    return tuple(inputs), tuple(outputs), name, data[at:]


def _start_of_metadata(rest: bytes) -> int:
    """Where the metadata of a node start; its end where there are none, or more than metadata after them."""
    at = metadata = 0
    end = len(rest)
    while at < end:
        key = rest[at]
        if key == METADATA:
            metadata = metadata or at
        elif metadata or key & 7 != 2:
            return end
        length, body = varint(rest, at + 1, end)
        at = body + length
    return metadata or end
