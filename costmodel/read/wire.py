"""Taking the weights out of a serialised ONNX model without reading them.

Protocol buffers store a message as (field number, wire type, payload) entries, and a length before each nested
message (protobuf.dev, "Encoding"). So a weight is stepped over by its length: with a memory map, its pages are never
touched, and the cost follows the graph. Payloads short enough to carry shapes stay.
"""

from __future__ import annotations

from collections.abc import Mapping

from costmodel.errors import MalformedModel

Buffer = memoryview

SMALL = 1024  # bytes: a message up to this length is copied as it is
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
MAX_DEPTH = 100


def without_weights(model: Buffer) -> bytes:
    """The serialised model less its large payloads; dims, dtypes and names stay.

    Raises MalformedModel where an entry does not end inside its message: the file is truncated, or no ONNX model.
    """
    return b"".join(_stripped(model, 0, len(model), "Model", 0))


def _stripped(data: Buffer, start: int, end: int, message: str, depth: int) -> list[bytes | Buffer]:
    if depth > MAX_DEPTH:
        raise MalformedModel(f"messages are nested deeper than {MAX_DEPTH} at byte {start}")
    nested = NESTED[message]
    is_tensor = message == "Tensor"
    parts: list[bytes | Buffer] = []
    data_type = 0
    copied = at = start
    while at < end:
        entry = at
        key, at = _varint(data, at, end)
        field, wire_type = key >> 3, key & 7
        if wire_type == 2:
            length, at = _varint(data, at, end)
            body, at = at, at + length
            if at > end:
                raise MalformedModel(f"byte {entry}: an entry of {length} bytes runs past byte {end}; the file is truncated")
            if is_tensor and field in PAYLOADS and length > _kept(data_type):
                parts.append(data[copied:entry])
                copied = at
            elif length > SMALL and field in nested:
                inner = _stripped(data, body, at, nested[field], depth + 1)
                parts += [data[copied:entry], _encoded(key), _encoded(sum(map(len, inner))), *inner]
                copied = at
        elif wire_type == 0:
            value, at = _varint(data, at, end)
            if is_tensor and field == DATA_TYPE:
                data_type = value
        elif wire_type in (1, 5):
            at += 8 if wire_type == 1 else 4
            if at > end:
                raise MalformedModel(f"byte {entry}: a number runs past the end at {end}; the file is truncated")
        else:
            raise MalformedModel(f"byte {entry}: wire type {wire_type} does not occur in ONNX; this is no ONNX model")
    parts.append(data[copied:end])
    return parts


def _kept(data_type: int) -> int:
    return KEPT_INTEGERS if data_type in INTEGER_TYPES else SMALL


def _varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        if byte < 128:
            return value | byte << shift, at
        value |= (byte & 127) << shift
        shift += 7
        if shift > 63:
            raise MalformedModel(f"byte {at}: a number is longer than 64 bits; this is no ONNX model")
    raise MalformedModel(f"byte {at}: a number runs past the end; the file is truncated")


def _encoded(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
