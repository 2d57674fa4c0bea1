"""Nodes from their serialised form, each distinct description of an op read once in a process.

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

MEMO_LIMIT = 20_000  # descriptions
LONG = 1024  # bytes of a description that no other node is likely to share: a constant, a body

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


_KNOWN: dict[bytes, _Described] = {}  # of all models that this process has read


def forget() -> None:
    """Empty the memo of descriptions, as a measurement from cold needs."""
    _KNOWN.clear()


def nodes_from(messages: Iterable[bytes], read_attributes: ReadAttributes) -> tuple[Node, ...]:
    """The nodes that these bytes are, each under a name of its own; ``read_attributes`` makes Python values of theirs.

    Raises MalformedModel for one that is damaged.
    """
    used: dict[str, int] = {}
    nodes = []
    for index, data in enumerate(messages):
        inputs, outputs, name, rest = _joined_names(data)
        said = _KNOWN.get(rest) or _described(rest, read_attributes)
        if said.inputs or said.outputs:
            inputs, outputs = (*inputs, *said.inputs), (*outputs, *said.outputs)
        name = said.name or name or f"{said.op}_{index}"
        seen = used[name] = used.get(name, -1) + 1
        if seen:
            name = f"{name}_{seen}"
        place = Exported(name, said.metadata) if said.metadata or name[0] == "/" else NOWHERE
        nodes.append(Node(name, said.op, inputs, outputs, said.attributes, said.domain, None, place))
    return tuple(nodes)


def _described(rest: bytes, read_attributes: ReadAttributes) -> _Described:
    """A description that no node had before; without the metadata another node may have had it."""
    at = _start_of_metadata(rest)
    told = rest[:at]
    said = _KNOWN.get(told) or _parsed(told, read_attributes)
    if len(told) <= LONG:
        if len(_KNOWN) >= MEMO_LIMIT:
            _KNOWN.clear()
        _KNOWN[told] = said
    return said._replace(metadata=rest[at:]) if at < len(rest) else said


def _parsed(told: bytes, read_attributes: ReadAttributes) -> _Described:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.NodeProto.FromString(told)
    except (DecodeError, RuntimeError) as error:
        raise MalformedModel(f"a node is damaged: {error}") from None
    return _Described(
        op=checked_text(proto.op_type, "the op of a node"),
        domain="" if proto.domain == "ai.onnx" else checked_text(proto.domain, "the domain of a node"),
        attributes=read_attributes(proto.attribute),
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
