"""Graphs in QDQ form: which layers ONNX Runtime runs in integers, and in which."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from costmodel.counts import count
from costmodel.qdq import find_quantized
from costmodel.read.onnx import load

SETTINGS = {"scale": np.float32(0.1), "zero": np.uint8(0)}


def quantized(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """The nodes, from x to y, between a DequantizeLinear and a QuantizeLinear."""
    around = [
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["x"], name="open"),
        *nodes,
        helper.make_node("QuantizeLinear", ["y", "scale", "zero"], ["r"], name="close"),
    ]
    ends = [helper.make_tensor_value_info("q", TensorProto.UINT8, [1, 4, 8, 8]), onnx.ValueInfoProto(name="r")]
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in SETTINGS.items()]
    graph = helper.make_graph(around, "g", ends[:1], ends[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def integer_layers(model: onnx.ModelProto) -> dict[str, str]:
    """Their dtypes, by name."""
    network = load(model)
    assert not count(network).unsupported
    return dict(find_quantized(network).dtype)


def test_a_layer_between_the_pair_is_an_integer_layer() -> None:
    assert integer_layers(quantized(helper.make_node("Relu", ["x"], ["y"], name="relu"))) == {"relu": "int8"}


def test_settings_that_a_node_holds_have_no_part_in_it() -> None:
    axes = helper.make_node("Constant", [], ["axes"], value=numpy_helper.from_array(np.array([2, 3])))
    mean = helper.make_node("ReduceMean", ["x", "axes"], ["y"], name="mean")
    assert integer_layers(quantized(axes, mean)) == {"mean": "int8"}
