"""Taking the weights out of a serialised ONNX model without reading them.

Protocol buffers store a message as (field number, wire type, payload) entries, and a length before each nested
message (protobuf.dev, "Encoding"). So a weight is stepped over by its length: in a file, it is never read, and the cost
follows the graph. Payloads short enough to carry shapes stay.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
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
        return os.pread(self.descriptor, end - start, start)


def without_weights(source: Source) -> bytes:
    """The serialised model less its large payloads; dims, dtypes and names stay.

    Raises MalformedModel where an entry does not end inside its message: the file is truncated, or no ONNX model.
    """
    return b"".join(_stripped(source, 0, source.size, "Model", 0))


def _stripped(source: Source, start: int, end: int, message: str, depth: int) -> list[bytes | memoryview]:
    if depth > MAX_DEPTH:
        raise MalformedModel(f"messages are nested deeper than {MAX_DEPTH} at byte {start}")
    nested = NESTED[message]
    is_tensor = message == "Tensor"
    parts: list[bytes | memoryview] = []
    data_type = 0
    copied = at = start
    while at < end:
        entry = at
        key, value, at = _header(source, entry, end)
        field, wire_type = key >> 3, key & 7
        if wire_type == 0:
            if is_tensor and field == DATA_TYPE:
                data_type = value
            continue
        body, at = at, at + value
        if at > end:
            raise MalformedModel(f"byte {entry}: an entry of {value} bytes runs past byte {end}; the file is truncated")
        if is_tensor and field in PAYLOADS and value > _kept(data_type):
            parts.append(source.span(copied, entry))
            copied = at
        elif value > SMALL and field in nested and (value > SMALL_NODE or nested[field] != "Node"):
            inner = _stripped(source, body, at, nested[field], depth + 1)
            parts += [source.span(copied, entry), _encoded(key), _encoded(sum(map(len, inner))), *inner]
            copied = at
    parts.append(source.span(copied, end))
    return parts


def _kept(data_type: int) -> int:
    return KEPT_INTEGERS if data_type in INTEGER_TYPES else SMALL


def _header(source: Source, at: int, end: int) -> tuple[int, int, int]:
    """An entry's key, then its number (wire type 0) or the length of its body, and where that body starts."""
    buffer, index = source.window(at)
    limit = min(len(buffer), index + end - at)
    key, after = _varint(buffer, index, limit, at - index)
    wire_type = key & 7
    if wire_type in (0, 2):
        value, after = _varint(buffer, after, limit, at - index)
    elif wire_type in FIXED:
        value = FIXED[wire_type]
    else:
        raise MalformedModel(f"byte {at}: wire type {wire_type} does not occur in ONNX; this is no ONNX model")
    return key, value, after + at - index


def _varint(data: bytes | memoryview, at: int, end: int, offset: int) -> tuple[int, int]:
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


def _encoded(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
