"""Counts by module, from what exporters leave in ONNX files."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from costmodel.counts import Counts, count
from costmodel.read.modules import module_of
from costmodel.read.onnx import load

SCOPES = "pkg.torch.onnx.name_scopes"


def product(name: str, x: str, w: str, y: str, *scopes: str) -> onnx.NodeProto:
    """A matrix product, with the modules around it as torch's exporter writes them."""
    node = helper.make_node("MatMul", [x, w], [y], name=name)
    if scopes:
        helper.set_metadata_props(node, {SCOPES: repr([*scopes, name])})
    return node


def weights(**shapes: tuple[int, ...]) -> list[TensorProto]:
    return [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in shapes.items()]


def counts(nodes: list[onnx.NodeProto], stored: list[TensorProto], functions: list[Any] = []) -> Counts:  # noqa: B006
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", ["N", 4]), ("y", None)))
    graph = helper.make_graph(nodes, "g", [x], [y], stored)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]
    return count(load(helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)))


def block() -> Counts:
    """An input [N, 4] through a stem of 4 x 8, two layers of 8 x 8 in a block, and a 8 x 2 outside of any module."""
    nodes = [
        product("a", "x", "u", "1", "", "stem"),
        product("b", "1", "v", "2", "", "block", "block.0", "block.0.inner"),
        product("c", "2", "w", "3", "", "block", "block.1"),
        product("d", "3", "z", "y", ""),
    ]
    return counts(nodes, weights(u=(4, 8), v=(8, 8), w=(8, 8), z=(8, 2)))


def macs(by_module: dict[str, Any]) -> dict[str, str]:
    return {module: str(quantities.macs) for module, quantities in by_module.items()}


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (None, {"stem": "32*N", "block.0.inner": "64*N", "block.1": "64*N", "": "16*N"}),
        (3, {"stem": "32*N", "block.0.inner": "64*N", "block.1": "64*N", "": "16*N"}),
        (2, {"stem": "32*N", "block.0": "64*N", "block.1": "64*N", "": "16*N"}),
        (1, {"stem": "32*N", "block": "128*N", "": "16*N"}),
        (0, {"": "176*N"}),
    ],
)
def test_sums_by_depth(depth: int | None, expected: dict[str, str]) -> None:
    assert macs(block().by_module(depth)) == expected


def test_every_quantity_adds_up_to_the_total() -> None:
    counted = block()
    parts = counted.by_module(1)
    for name, whole in counted.total.as_dict().items():
        assert sum(getattr(part, name) for part in parts.values()) == whole, name
    assert [int(part.params) for part in parts.values()] == [32, 128, 16]


def test_layers_carry_their_module() -> None:
    counted = block()
    assert [layer.module for layer in counted.network.layers] == ["stem", "block.0.inner", "block.1", ""]
    assert [layer.module for layer in counted.by_layer()] == ["stem", "block.0.inner", "block.1", ""]


def test_a_function_and_a_body_lie_where_they_are_called() -> None:
    inner = helper.make_function(
        "local", "F", ["a", "b"], ["c"], [product("p", "a", "b", "c")], [helper.make_opsetid("", 20)]
    )
    branch = helper.make_graph(
        [product("q", "1", "v", "out")], "branch", [], [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)]
    )
    call = helper.make_node("F", ["x", "u"], ["1"], name="call", domain="local")
    choice = helper.make_node("If", ["cond"], ["y"], name="/head/If", then_branch=branch, else_branch=branch)
    helper.set_metadata_props(call, {SCOPES: "['', 'stem', 'call']"})
    stored = [*weights(u=(4, 8), v=(8, 8)), numpy_helper.from_array(np.array(True), "cond")]
    counted = counts([call, choice], stored, [inner])
    assert macs(counted.by_module()) == {"stem": "32*N", "head": "64*N"}
    assert {layer.name: layer.module for layer in counted.by_layer()}["/head/If/then_branch/q"] == "head"


def test_without_modules_everything_is_under_the_empty_path() -> None:
    assert macs(counts([product("a", "x", "u", "y")], weights(u=(4, 8))).by_module()) == {"": "32*N"}


PATHS = [
    ("n", {SCOPES: "['', 'layer1', 'layer1.0', 'layer1.0.conv1', 'conv2d_1']"}, "layer1.0.conv1"),
    ("n", {SCOPES: "['', 'relu']"}, ""),
    ("n", {SCOPES: "['relu']"}, ""),
    ("n", {SCOPES: "[]"}, ""),
    ("n", {SCOPES: "['', 'head@1', 'linear_1']"}, "head"),  # the second call of a module
    ("n", {SCOPES: "['_empty_nn_module_stack_from_metadata_hook', 'arange']"}, ""),
    ("n", {SCOPES: "['', \"it's\", 'add']"}, "it's"),
    ("n", {"namespace": ": m.Net/layer1: torch.nn.Sequential/layer1.0: m.Block/relu: aten.relu.default"}, "layer1.0"),
    ("n", {"namespace": "relu: aten.relu.default"}, ""),
    ("n", {"namespace": "x: y/z: w", SCOPES: "['', 'stem', 'n']"}, "stem"),
    ("n", {"pkg.onnxscript.name_scopes": "['', 'layers.0', 'proj']"}, "layers.0.proj"),
    ("/layer1/layer1.0/conv1/Conv", {}, "layer1.0.conv1"),
    ("/features/features.1/conv/conv.0/conv.0.0/Conv", {}, "features.1.conv.0.0"),
    ("/encoder/layer.3/attention/self/MatMul_1", {}, "encoder.layer.3.attention.self"),
    ("/block/blocks.0/Add", {}, "block.blocks.0"),
    ("/Add", {}, ""),
    ("/layer1/layer1.0/Add", {SCOPES: "['', 'renamed', 'add']"}, "renamed"),
    ("Conv_12", {}, ""),
    ("scope/Conv_12", {}, ""),
    ("", {}, ""),
]


@pytest.mark.parametrize(("name", "properties", "module"), PATHS)
def test_where_a_node_stood(name: str, properties: dict[str, str], module: str) -> None:
    assert module_of(name, properties) == module


def test_reference_graphs_of_both_exporters(shared: Any) -> None:
    """The twelve encoder layers of each transformer are equal, and are nearly all of it."""
    for name, prefix in (("bert_base_legacy", "m.encoder.layer"), ("gpt2", "m.transformer.h"), ("vit_b16", "m.vit.layers")):
        by_module = count(load(shared / "models" / f"{name}.onnx")).by_module(prefix.count(".") + 2)
        layers = [str(by_module[f"{prefix}.{i}"].macs) for i in range(12)]
        assert len(set(layers)) == 1
        assert layers[0] != "0"
