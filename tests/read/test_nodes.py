"""Nodes read from their bytes, against what protobuf's wrappers say of the same bytes."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from costmodel.errors import MalformedModel
from costmodel.graph import Node
from costmodel.read.nodes import nodes_from
from costmodel.read.proto import read_attributes, read_nodes, read_tensor


def said(proto: onnx.NodeProto) -> tuple[object, ...]:
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    return proto.op_type, domain, tuple(proto.input), tuple(proto.output), read_attributes(proto.attribute).keys()


def read(node: Node) -> tuple[object, ...]:
    return node.op, node.domain, node.inputs, node.outputs, node.attributes.keys()


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
def test_official_nodes_are_what_protobuf_says() -> None:
    protos = [node for case in collect_testcases(None) for node in case.model.graph.node]
    assert len(protos) > 1884
    for proto, node in zip(protos, read_nodes(protos), strict=True):
        assert read(node) == said(proto)


@pytest.fixture
def proto() -> onnx.NodeProto:
    node = helper.make_node("Conv", ["x", "w", ""], ["y"], name="first", kernel_shape=[3, 3], group=2, domain="ai.onnx")
    node.metadata_props.add(key="namespace", value="net: Net/net.stem: Conv2d/conv: aten.conv2d")
    return node


def test_equal_descriptions_are_one_object_also_behind_different_metadata(proto: onnx.NodeProto) -> None:
    other = onnx.NodeProto.FromString(proto.SerializeToString())
    other.name = "second"
    other.metadata_props[0].value = "net: Net/net.head: Conv2d/conv: aten.conv2d"
    one, two = read_nodes([proto, other])
    assert one.attributes is two.attributes
    assert one.attributes == {"kernel_shape": (3, 3), "group": 2}
    assert (one.name, one.place.module, two.name, two.place.module) == ("first", "net.stem", "second", "net.head")


def fields(proto: onnx.NodeProto) -> list[bytes]:
    """Each field of a node as serialised alone; put together in any order they are the same message."""
    found = []
    for descriptor, _ in proto.ListFields():
        part = onnx.NodeProto()
        if descriptor.name in ("input", "output", "attribute", "metadata_props"):
            getattr(part, descriptor.name).extend(getattr(proto, descriptor.name))
        else:
            setattr(part, descriptor.name, getattr(proto, descriptor.name))
        found.append(part.SerializeToString())
    return found


@pytest.mark.parametrize("turn", range(6))
def test_the_order_of_the_fields_does_not_matter(proto: onnx.NodeProto, turn: int) -> None:
    parts = fields(proto)
    data = b"".join(parts[turn:] + parts[:turn])
    assert onnx.NodeProto.FromString(data) == proto
    (node,) = nodes_from([data], read_attributes)
    assert read(node) == said(proto)
    assert node.name == "first"


def test_unnamed_and_equally_named_nodes_get_names_of_their_own() -> None:
    protos = [helper.make_node("Relu", ["x"], [f"y{i}"], name=name) for i, name in enumerate(("", "a", "a", ""))]
    assert [node.name for node in read_nodes(protos)] == ["Relu_0", "a", "a_1", "Relu_3"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x0a\x05ab", "ends inside a name"),
        (b"\x0a", "ends inside a name"),
        (b"\x0a\x02\xff\xfe\x22\x04Relu", "is no UTF-8 text"),
        (b"\x22\x04Re", "is damaged|runs past"),
        (b"\x22\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "longer than 64 bits|is damaged"),
        (b"\x22\x02\xff\xfe", "is no UTF-8 text"),
    ],
)
def test_what_is_no_node_is_named(data: bytes, message: str) -> None:
    with pytest.raises(MalformedModel, match=message):
        nodes_from([data], read_attributes)


DTYPES = ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT8", "BOOL")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("raw", [False, True])
def test_values_are_read_as_onnx_reads_them(dtype: str, raw: bool) -> None:
    stored = helper.make_tensor("t", getattr(TensorProto, dtype), [4], [1, 0, 3, 2])
    numbers = numpy_helper.to_array(stored)
    if raw:
        stored = numpy_helper.from_array(numbers, "t")
    value = read_tensor(stored).value
    if value is None:
        assert not raw and dtype.endswith("FLOAT16")  # bits in a field of integers: not read
    else:
        assert list(value) == numbers.astype(float).tolist()
