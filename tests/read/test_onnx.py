"""Reading: what comes in, what may be freed, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from costmodel.counts import count
from costmodel.dims import Dim
from costmodel.errors import CostModelError, MalformedModel, ShapeMismatch, UnknownSize
from costmodel.read.onnx import load


def value(name: str, shape: list[Any] | None, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def weights(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(np.zeros(shape, dtype=np.float32), name)


def numbers(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def model(nodes: list[Any], inputs: list[Any], outputs: list[str], stored: list[Any] | None = None) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", inputs, [value(name, None) for name in outputs], stored or [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def classifier(batch: Any = "N") -> onnx.ModelProto:
    """Convolution, pool, and a Reshape to [1, 8] as exporters of a fixed batch write it."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"], name="pool"),
        helper.make_node("Reshape", ["p", "shape"], ["r"], name="flatten"),
        helper.make_node("MatMul", ["r", "v"], ["y"], name="classify"),
    ]
    stored = [weights("w", 8, 3, 3, 3), numbers("shape", 1, 8), weights("v", 8, 10)]
    return model(nodes, [value("x", [batch, 3, "H", "W"])], ["y"], stored)


def test_path_bytes_and_proto_give_the_same(tmp_path: Path) -> None:
    proto = classifier(1)
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    expected = {name: tensor.shape for name, tensor in load(proto).tensors.items()}
    for source in (path, str(path), proto.SerializeToString()):
        assert {name: tensor.shape for name, tensor in load(source).tensors.items()} == expected
    assert load(path).name == "net"


def test_dim_params_stay_open_under_their_names() -> None:
    net = load(classifier(1))
    assert list(net.sizes) == ["H", "W"]
    assert str(count(net).total.macs) == "216*H*W + 80"


def test_sizes_free_a_fixed_dimension() -> None:
    net = load(classifier(1), sizes={"x": (None, 3, "S", "S")})
    assert str(count(net).total.macs) == "216*S**2 + 80"
    assert load(classifier(1), sizes={"x": (1, 3, 32, 32)}).sizes == {}


def test_a_constant_that_contradicts_a_freed_size_is_named() -> None:
    with pytest.raises(ShapeMismatch) as caught:
        load(classifier(1), sizes={"x": ("B", 3, 32, 32)})
    message = str(caught.value)
    assert "Reshape (node 'flatten')" in message
    assert "contradicts the freed size B" in message


def test_a_size_of_the_file_that_cannot_be_free_is_settled_with_a_warning() -> None:
    net = load(classifier("N"))
    assert "N" not in net.sizes
    assert net.inputs["x"].shape == (1, 3, Dim.size("H"), Dim.size("W"))
    assert any("size N is 1" in warning and "flatten" in warning for warning in net.warnings)


def test_a_size_is_settled_beside_sizes_that_stay_open() -> None:
    """An exporter stored the batch of its example, 2, beside a length that it left open: 12 * N * S are 24 * S elements."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "S", 12])
    nodes = [
        helper.make_node("Shape", ["x"], ["length"], start=1, end=2),
        helper.make_node("Concat", ["two", "length", "twelve"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["y"], name="heads"),
    ]
    stored = [numpy_helper.from_array(np.array([number]), name) for name, number in (("two", 2), ("twelve", 12))]
    y = onnx.ValueInfoProto(name="y")
    net = load(helper.make_model(helper.make_graph(nodes, "g", [x], [y], stored)))
    assert list(net.sizes) == ["S"]
    assert net.outputs["y"].shape == (2, Dim.size("S"), 12)
    assert any("size N is 2" in warning and "heads" in warning for warning in net.warnings)


def test_nodes_out_of_order_are_sorted() -> None:
    proto = classifier(1)
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    assert [layer.op for layer in load(proto).layers] == ["Conv", "GlobalAveragePool", "Reshape", "MatMul"]


def test_initializers_listed_as_inputs_are_no_inputs() -> None:
    proto = classifier(1)
    proto.graph.input.append(value("w", [8, 3, 3, 3]))
    assert list(load(proto).inputs) == ["x"]


def test_unknown_dimensions_become_sizes_of_their_own() -> None:
    proto = model([helper.make_node("Relu", ["x"], ["y"])], [value("x", [None, -1, 0, "n", 4])], ["y"])
    assert [str(extent) for extent in load(proto).outputs["y"].dims] == ["x_dim0", "x_dim1", "x_dim2", "n", "4"]


def test_a_dim_param_that_sums_other_sizes_is_their_sum() -> None:
    inputs = [value("mask", ["batch", "past + seq"]), value("past", ["batch", "past"]), value("ids", ["batch", "seq"])]
    net = load(model([helper.make_node("Relu", ["mask"], ["y"])], inputs, ["y"]))
    assert net.outputs["y"].dims[1] == Dim.size("past") + Dim.size("seq")


def test_a_dim_param_that_only_looks_like_an_expression_is_a_name() -> None:
    net = load(model([helper.make_node("Relu", ["x"], ["y"])], [value("x", ["batch-size"])], ["y"]))
    assert list(net.sizes) == ["batch-size"]
    assert str(net.outputs["y"].size) == "'batch-size'"


def test_a_wrong_declared_shape_is_reported_and_not_used() -> None:
    proto = model([helper.make_node("Relu", ["x"], ["y"])], [value("x", [2, 3])], ["y"])
    proto.graph.output[0].CopyFrom(value("y", [7, 3]))
    net = load(proto)
    assert net.outputs["y"].shape == (2, 3)
    assert any("'y' as [7, 3]; it is [2, 3]" in warning for warning in net.warnings)


def test_an_op_without_a_rule_is_listed_and_marks_the_totals() -> None:
    nodes = [helper.make_node("Warp", ["x"], ["w"], name="warp_3", domain="acme"), helper.make_node("Relu", ["w"], ["y"])]
    counts = count(load(model(nodes, [value("x", [4])], ["y"])))
    assert counts.is_lower_bound
    assert "Warp (node 'warp_3'): no cost rule in domain 'acme'" in counts.unsupported[0]


def test_what_follows_an_unknown_op_uses_the_declared_shape() -> None:
    nodes = [helper.make_node("Warp", ["x"], ["w"], domain="acme"), helper.make_node("Relu", ["w"], ["y"])]
    proto = model(nodes, [value("x", [4])], ["y"])
    proto.graph.value_info.append(value("w", [5, 6]))
    assert load(proto).outputs["y"].shape == (5, 6)


def function_model() -> onnx.ModelProto:
    body = [helper.make_node("Mul", ["a", "b"], ["t"]), helper.make_node("Relu", ["t"], ["c"])]
    inner = helper.make_function("acme", "Scale", ["a", "b"], ["c"], body, [helper.make_opsetid("", 20)])
    nodes = [
        helper.make_node("Scale", ["x", "x"], ["m"], name="first", domain="acme"),
        helper.make_node("Scale", ["m", "x"], ["y"], name="second", domain="acme"),
    ]
    proto = model(nodes, [value("x", ["N", 4])], ["y"])
    proto.functions.append(inner)
    proto.opset_import.append(helper.make_opsetid("acme", 1))
    return proto


def test_local_functions_count_once_per_call() -> None:
    net = load(function_model())
    assert [layer.op for layer in net.layers] == ["Mul", "Relu", "Mul", "Relu"]
    assert len({layer.name for layer in net.layers}) == 4
    assert str(count(net).total.flops) == "16*N"


def test_a_function_that_calls_itself_is_refused() -> None:
    proto = function_model()
    proto.functions[0].node.append(helper.make_node("Scale", ["a", "b"], ["d"], domain="acme"))
    with pytest.raises(MalformedModel, match="calls itself"):
        load(proto)


def cycle() -> onnx.ModelProto:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"], name="one"), helper.make_node("Relu", ["a"], ["b"], name="two")]
    return model(nodes, [value("x", [1])], ["b"])


def twice() -> onnx.ModelProto:
    return model([helper.make_node("Relu", ["x"], ["y"])] * 2, [value("x", [1])], ["y"])


def mismatch() -> onnx.ModelProto:
    product = helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")
    return model([product], [value("x", [2, 3])], ["y"], [weights("w", 4, 5)])


def one(op: str, *inputs: str, **attributes: Any) -> onnx.ModelProto:
    return model([helper.make_node(op, inputs, ["y"], **attributes)], [value("x", [1])], ["y"])


REFUSED = [
    (cycle(), MalformedModel, "lies on a cycle"),
    (twice(), MalformedModel, "tensor 'y' is written twice"),
    (one("Relu", "gone", name="r"), MalformedModel, "'gone'"),
    (model([], [value("x", [1])], ["y"]), MalformedModel, "nothing produces the output 'y'"),
    (mismatch(), ShapeMismatch, "MatMul (node 'fc')"),
    (one("Relu", "x", "x"), MalformedModel, "takes at most 1 inputs"),
    (one("Conv", "x"), MalformedModel, "needs the inputs x, w"),
    (one("Relu", "x", colour=3), MalformedModel, "no attribute 'colour'"),
    (b"", MalformedModel, "no graph"),
    (b"PK\x03\x04 not a model at all", MalformedModel, "no ONNX model"),
    (classifier(1).SerializeToString()[:-40], MalformedModel, "truncated"),
    (42, CostModelError, "cannot load a int"),
]


@pytest.mark.parametrize(("source", "kind", "message"), REFUSED, ids=[message for _, _, message in REFUSED])
def test_refusals(source: Any, kind: type[CostModelError], message: str) -> None:
    with pytest.raises(kind) as caught:
        load(source)
    assert message in str(caught.value)


@pytest.mark.parametrize(("content", "message"), [(None, "there is no such file"), (b"", "the file is empty")])
def test_refused_files_are_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MalformedModel) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"image": (1, 3, 8, 8)}, "no input 'image'"),
        ({"x": (1, 3)}, "has 4 dimensions, 2 are given"),
        ({"x": (-1, 3, 8, 8)}, "must be at least 0"),
    ],
)
def test_wrong_sizes(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownSize, match=message):
        load(classifier(1), sizes=sizes)


BINDINGS = [
    ({"N": 2, "H": 8, "W": 9}, {"N": 2, "H": 8, "W": 9}),
    ({"batch": 2}, "has no size 'batch'"),
    ({"N": -1, "H": 8, "W": 8}, "whole numbers from 0 up"),
    ({"N": 1}, "leaves H, W open"),
]


@pytest.mark.parametrize(("given", "expected"), BINDINGS)
def test_binding_sizes(given: dict[str, int], expected: Any) -> None:
    relu = load(model([helper.make_node("Relu", ["x"], ["y"])], [value("x", ["N", 3, "H", "W"])], ["y"]))
    if isinstance(expected, dict):
        assert relu.bind(given) == expected
    else:
        with pytest.raises(UnknownSize, match=expected):
            relu.bind(given)


def test_conventional_names_stand_for_the_files_own() -> None:
    relu = load(model([helper.make_node("Relu", ["x"], ["y"])], [value("x", ["batch", 3, 32, "width"])], ["y"]))
    assert relu.bind({"N": 2, "H": 32, "W": 9}) == {"batch": 2, "width": 9}
    with pytest.raises(UnknownSize, match="fixes that axis at 32"):
        relu.bind({"N": 2, "H": 64, "W": 9})


def test_external_data_is_never_opened(tmp_path: Path) -> None:
    proto = classifier(1)
    outside = proto.graph.initializer[0]
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="../../../etc/passwd")
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    assert int(count(load(path, sizes={"x": (1, 3, 8, 8)})).total.params) == 8 * 27 + 80
