"""Taking the weights out of a serialised ONNX model without reading them.

Protocol buffers store a message as (field number, wire type, payload) entries, and a length before each nested
message (protobuf.dev, "Encoding"). So a weight is stepped over by its length: in a file, it is never read, and the cost
follows the graph. Payloads short enough to carry shapes stay.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Protocol

from costmodel.errors import MalformedModel

SMALL = 1024  # bytes: a tensor up to this length is copied as it is
SMALL_NODE = 16_384  # a node with all that exporters write into its metadata
KEPT_INTEGERS = 8192  # bytes of an integer tensor's payload that may carry shapes: 1,024 numbers of 64 bits

# onnx.proto, field numbers: message -> field -> nested message that may hold a tensor
NESTED: Mapping[str, Mapping[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
DATA_TYPE = 2
PAYLOADS = frozenset({4, 5, 6, 7, 9, 10, 11})  # float, int32, string, int64, raw, double, uint64 data
INTEGER_TYPES = frozenset({2, 3, 4, 5, 6, 7, 9, 12, 13})
FIXED = {1: 8, 5: 4}  # wire type -> bytes
MAX_DEPTH = 100
GRAPH_NODE = 1 << 3 | 2  # the key of a node in a graph

HEADER = 32  # bytes: the longest key and length take 20
WINDOW = 65_536


class Source(Protocol):
    """Bytes that are read here and there."""

    size: int

    def window(self, at: int) -> tuple[bytes | memoryview, int]:
        """A buffer and the index in it of a position, with the header that starts there whole in the buffer."""

    def span(self, start: int, end: int) -> bytes | memoryview:
        """A stretch of the bytes."""


class Memory:
    """Bytes that are already there."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.size = len(data)

    def window(self, at: int) -> tuple[memoryview, int]:
        return self.data, at

    def span(self, start: int, end: int) -> memoryview:
        return self.data[start:end]


class File:
    """An open file, read in small windows; a memory map would draw whole neighbourhoods of weights into memory."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self._start = 0
        self._buffer = b""

    def window(self, at: int) -> tuple[bytes, int]:
        index = at - self._start
        if not 0 <= index <= len(self._buffer) - HEADER:
            self._start, self._buffer, index = at, os.pread(self.descriptor, WINDOW, at), 0
        return self._buffer, index

    def span(self, start: int, end: int) -> bytes:
        index = start - self._start
        if index >= 0 and end - self._start <= len(self._buffer):
            return self._buffer[index : end - self._start]
        return os.pread(self.descriptor, end - start, start)


def without_weights(source: Source) -> bytes:
    """The serialised model less its large payloads; dims, dtypes and names stay.

    Raises MalformedModel where an entry does not end inside its message: the file is truncated, or no ONNX model.
    """
    return b"".join(_stripped(source, 0, source.size, "Model", 0, None))


def without_weights_and_nodes(source: Source) -> tuple[bytes, list[bytes]]:
    """The same with the nodes of the main graph apart, each as a serialised message of its own.

    Raises MalformedModel as ``without_weights`` does.
    """
    nodes: list[bytes] = []
    return b"".join(_stripped(source, 0, source.size, "Model", 0, nodes)), nodes


def _stripped(
    source: Source, start: int, end: int, message: str, depth: int, nodes: list[bytes] | None
) -> list[bytes | memoryview]:
    """The parts of a message that are kept. The nodes of a graph are put into a list of their own where one is given."""
    if depth > MAX_DEPTH:
        raise MalformedModel(f"messages are nested deeper than {MAX_DEPTH} at byte {start}")
    nested = NESTED[message]
    is_tensor = message == "Tensor"
    apart = nodes if message == "Graph" and depth == 1 else None
    parts: list[bytes | memoryview] = []
    data_type = 0
    copied = start
    for key, value, entry, after in entries(source, start, end):
        field = key >> 3
        if key & 7 == 0:
            if is_tensor and field == DATA_TYPE:
                data_type = value
            continue
        body = after - value
        if apart is not None and key == GRAPH_NODE:
            parts.append(source.span(copied, entry))
            small = value <= SMALL_NODE
            apart.append(bytes(source.span(body, after)) if small else b"".join(_node(source, body, after, depth)))
            copied = after
        elif is_tensor and field in PAYLOADS and value > _kept(data_type):
            parts.append(source.span(copied, entry))
            copied = after
        elif field in nested and (value > _copied(nested[field]) or (nodes is not None and nested[field] == "Graph")):
            inner = _stripped(source, body, after, nested[field], depth + 1, nodes if message == "Model" else None)
            parts += [source.span(copied, entry), encoded(key), encoded(sum(map(len, inner))), *inner]
            copied = after
    parts.append(source.span(copied, end))
    return parts


def _node(source: Source, start: int, end: int, depth: int) -> list[bytes | memoryview]:
    return _stripped(source, start, end, "Node", depth + 1, None)


def _copied(message: str) -> int:
    """Up to which length a message is copied as it is."""
    return SMALL_NODE if message == "Node" else SMALL


def _kept(data_type: int) -> int:
    return KEPT_INTEGERS if data_type in INTEGER_TYPES else SMALL


def entries(source: Source, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Each entry of a message: its key, its number (wire type 0) or the length of its body, where it starts and ends.

    Keys and lengths of one byte, which most are, are read without a call (a third of the time on a graph of many nodes).
    """
    at = start
    buffer, index = source.window(at)
    base, safe = at - index, at - index + len(buffer) - HEADER
    while at < end:
        if at > safe and safe + HEADER < source.size:
            buffer, index = source.window(at)
            base, safe = at - index, at - index + len(buffer) - HEADER
        key, value, after = 0, 128, at
        if at <= safe:
            key, value, after = buffer[at - base], buffer[at - base + 1], at + 2
        if key > 127 or value > 127 or key & 7 not in (0, 2):
            key, value, after = _header(buffer, at, base, end)
        if key & 7:
            after += value
        if after > end:
            raise MalformedModel(f"byte {at}: an entry of {value} bytes runs past byte {end}; the file is truncated")
        yield key, value, at, after
        at = after


def _header(buffer: bytes | memoryview, at: int, base: int, end: int) -> tuple[int, int, int]:
    """An entry's key, then its number (wire type 0) or the length of its body, and where that body starts."""
    limit = min(len(buffer), end - base)
    key, index = varint(buffer, at - base, limit, base)
    wire_type = key & 7
    if wire_type in (0, 2):
        value, index = varint(buffer, index, limit, base)
    elif wire_type in FIXED:
        value = FIXED[wire_type]
    else:
        raise MalformedModel(f"byte {at}: wire type {wire_type} does not occur in ONNX; this is no ONNX model")
    return key, value, index + base


def varint(data: bytes | memoryview, at: int, end: int, offset: int = 0) -> tuple[int, int]:
    """A number of variable length and where it ends; ``offset`` is where the buffer starts, for messages."""
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        if byte < 128:
            return value | byte << shift, at
        value |= (byte & 127) << shift
        shift += 7
        if shift > 63:
            raise MalformedModel(f"byte {at + offset}: a number is longer than 64 bits; this is no ONNX model")
    raise MalformedModel(f"byte {at + offset}: a number runs past the end; the file is truncated")


def encoded(value: int) -> bytes:
    """A number as protocol buffers write it.

    >>> encoded(300).hex()
    'ac02'
    """
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    written.append(value)
    return bytes(written)
