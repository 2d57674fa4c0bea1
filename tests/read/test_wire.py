"""Stepping over weights: the result is the model that onnx would parse, less its large payloads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from costmodel.errors import MalformedModel
from costmodel.read.wire import SMALL, SMALL_NODE, WINDOW, File, Memory, without_weights


def model_with(*initializers: TensorProto, **attributes: TensorProto) -> onnx.ModelProto:
    nodes = [helper.make_node("Constant", [], [f"c_{key}"], value=tensor) for key, tensor in attributes.items()]
    nodes.append(helper.make_node("Identity", ["x"], ["y"]))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in "xy")
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y], list(initializers)))


def stripped(model: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(without_weights(Memory(memoryview(model.SerializeToString()))))


LARGE = np.zeros(SMALL_NODE, dtype=np.float32)
TENSORS = {
    "raw floats": numpy_helper.from_array(LARGE, "w"),
    "typed floats": helper.make_tensor("w", TensorProto.FLOAT, [SMALL_NODE], LARGE.tolist()),
    "typed doubles": helper.make_tensor("w", TensorProto.DOUBLE, [SMALL_NODE], LARGE.tolist()),
    "many integers": numpy_helper.from_array(np.zeros(SMALL_NODE, dtype=np.int64), "w"),
    "strings": helper.make_tensor("w", TensorProto.STRING, [1], [b"x" * 2 * SMALL_NODE]),
}


@pytest.mark.parametrize("tensor", TENSORS.values(), ids=TENSORS.keys())
@pytest.mark.parametrize("place", ["initializer", "constant"])
def test_large_payloads_go_and_the_rest_stays(tensor: TensorProto, place: str) -> None:
    model = model_with(tensor) if place == "initializer" else model_with(value=tensor)
    small = stripped(model)
    assert len(small.SerializeToString()) < SMALL
    expected = onnx.ModelProto()
    expected.CopyFrom(model)
    kept = expected.graph.initializer[0] if place == "initializer" else expected.graph.node[0].attribute[0].t
    for field in ("float_data", "double_data", "int64_data", "string_data", "raw_data"):
        kept.ClearField(field)
    assert small == expected


def test_small_tensors_keep_their_numbers() -> None:
    shape = numpy_helper.from_array(np.arange(1000, dtype=np.int64), "shape")
    bias = numpy_helper.from_array(np.ones(8, dtype=np.float32), "bias")
    model = model_with(shape, bias)
    assert stripped(model) == model


def test_bodies_of_control_ops_are_stripped_too() -> None:
    body = model_with(TENSORS["raw floats"]).graph
    condition = helper.make_node("If", ["c"], ["z"], then_branch=body, else_branch=body)
    model = model_with()
    model.graph.node.append(condition)
    assert len(stripped(model).SerializeToString()) < 2 * SMALL


def test_every_prefix_of_a_model_is_refused_or_parses(tmp_path: Path) -> None:
    data = model_with(TENSORS["raw floats"], numpy_helper.from_array(np.arange(5), "shape")).SerializeToString()
    refused = 0
    for end in range(0, len(data), 7):
        try:
            without_weights(Memory(memoryview(data[:end])))
        except MalformedModel as error:
            refused += "truncated" in str(error)
    assert refused > len(data) // 7 * 0.9


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x3b\x00", "wire type 3"),
        (b"\x08" + b"\xff" * 12, "longer than 64 bits"),
        (b"\x3a\xff\x7f\x00", "truncated"),
        (b"\x08", "truncated"),
        (b"\x0d\x00", "truncated"),
    ],
)
def test_what_is_no_model_is_named(data: bytes, message: str) -> None:
    with pytest.raises(MalformedModel, match=message):
        without_weights(Memory(memoryview(data)))


def test_a_file_gives_what_memory_gives(tmp_path: Path) -> None:
    many = [numpy_helper.from_array(np.arange(300 + i), f"shape_{i}") for i in range(2 * WINDOW // 2400)]
    data = model_with(TENSORS["raw floats"], *many, TENSORS["typed floats"]).SerializeToString()
    assert len(data) > 2 * WINDOW
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    with path.open("rb") as file:
        assert without_weights(File(file.fileno())) == without_weights(Memory(memoryview(data)))
