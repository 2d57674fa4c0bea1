"""Networks of one layer, counted by hand by each tool's formula."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from costmodel.conventions import CONVENTIONS, NAMES
from costmodel.counts import Counts, count
from costmodel.errors import InvalidChoice
from costmodel.read.onnx import load

CLASSES = "pkg.torch.onnx.class_hierarchy"
Shape = tuple[Any, ...]


def node(op: str, inputs: list[str], output: str, *origin: str, **attributes: Any) -> onnx.NodeProto:
    made = helper.make_node(op, inputs, [output], name=output, **attributes)
    if origin:
        helper.set_metadata_props(made, {CLASSES: repr(list(origin))})
    return made


def model(nodes: list[onnx.NodeProto], x: Shape, stored: dict[str, Any]) -> onnx.ModelProto:
    """From x to y; a stored input is an array, or the shape of one."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", x), ("y", None))]
    arrays = {name: np.zeros(v, np.float32) if isinstance(v, tuple) else np.array(v) for name, v in stored.items() if name}
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(a, n) for n, a in arrays.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def counts(nodes: list[onnx.NodeProto], x: Shape, stored: dict[str, Any], convention: str) -> Counts:
    return count(load(model(nodes, x, stored)), convention=convention)


IMAGE = (1, 4, 8, 6)
E = 4 * 8 * 6  # elements of an image
# op, shape of its input, stored inputs, attributes, what each tool counts (nothing where it is not named)
Case = tuple[str, Shape, dict[str, Any], dict[str, Any], dict[str, int]]
CASES: list[Case] = [
    # 3x3 filters, 4 to 5 channels; the tools differ in the bias of each of the 5 * 8 * 6 outputs
    (
        "Conv", IMAGE, {"w": (5, 4, 3, 3), "b": (5,)}, {"pads": [1] * 4},
        {
            **dict.fromkeys(("fvcore", "thop", "torch", "torchvision"), 240 * 36),
            **dict.fromkeys(("ptflops", "ptflops-aten", "onnx-tool"), 240 * 37),
        },
    ),
    # grouped: half of the channels for each output
    ("Conv", IMAGE, {"w": (6, 2, 1, 1)}, {"group": 2}, dict.fromkeys(CONVENTIONS, 6 * 48 * 2)),
    # 2x2 filters, 4 to 2 * 3 channels, stride 2: 192 inputs to 6 * 16 * 12 = 1152 outputs
    (
        "ConvTranspose", IMAGE, {"w": (4, 3, 2, 2)}, {"strides": [2, 2], "group": 2},
        {
            **dict.fromkeys(("fvcore", "ptflops", "ptflops-aten", "torch", "torchvision"), E * 3 * 4),
            "thop": 1152 * (4 // 2) * 4, "onnx-tool": 1152 * 3 * 4,
        },
    ),
    (
        "Gemm", (2, 7), {"w": (7, 5), "b": (5,)}, {},
        {
            **dict.fromkeys(("fvcore", "thop", "torch", "torchvision"), 2 * 5 * 7),
            **dict.fromkeys(("ptflops", "ptflops-aten", "onnx-tool"), 2 * 5 * 8),
        },
    ),
    ("MatMul", (2, 3, 7), {"w": (7, 5)}, {}, dict.fromkeys(CONVENTIONS, 2 * 3 * 5 * 7)),
    # subtract, root, divide, multiply, add
    (
        "BatchNormalization", IMAGE, dict.fromkeys("sbmv", (4,)), {},
        {"fvcore": 2 * E, "ptflops": 2 * E, "thop": 4 * E, "onnx-tool": (1 + 24 + 4 + 1 + 1) * E},
    ),
    # onnx-tool: 3 multiplications and 4 additions per element; addition, root, division for each of the 48 rows of 4
    (
        "LayerNormalization", (1, 8, 6, 4), {"s": (4,), "b": (4,)}, {},
        {"fvcore": 5 * E, "ptflops": E, "thop": 4 * E, "onnx-tool": 7 * E + 29 * 48},
    ),
    (
        "InstanceNormalization", IMAGE, {"s": (4,), "b": (4,)}, {},
        {"fvcore": 5 * E, "ptflops": 2 * E, "thop": 4 * E, "onnx-tool": 7 * E},
    ),
    ("Relu", IMAGE, {}, {}, {"ptflops": 2 * E, "onnx-tool": E}),  # ptflops: the module and the function in it
    ("LeakyRelu", IMAGE, {}, {}, {"ptflops": E, "onnx-tool": 2 * E}),
    ("PRelu", IMAGE, {"slope": (4, 1, 1)}, {}, {"ptflops": 2 * E, "thop": E, "onnx-tool": 2 * E}),
    ("Elu", IMAGE, {}, {}, {"ptflops": 2 * E, "onnx-tool": (1 + 32 + 1 + 1) * E}),
    ("Gelu", IMAGE, {}, {}, {"ptflops": 2 * E, "onnx-tool": 34 * E}),
    ("Sigmoid", IMAGE, {}, {}, {"onnx-tool": 32 * E}),
    ("Tanh", IMAGE, {}, {}, {"onnx-tool": 2 * (32 + 2 + 4) * E}),
    ("Sqrt", IMAGE, {}, {}, {"onnx-tool": 24 * E}),
    ("Erf", IMAGE, {}, {}, {}),
    ("HardSwish", IMAGE, {}, {}, {"onnx-tool": 5 * E}),
    ("Softmax", IMAGE, {}, {}, {"ptflops": E, "onnx-tool": (32 + 4) * E}),
    ("Add", IMAGE, {"b": (4, 1, 1)}, {}, {"onnx-tool": E}),
    ("Div", IMAGE, {"b": (4, 1, 1)}, {}, {"onnx-tool": 4 * E}),
    ("MaxPool", IMAGE, {}, {"kernel_shape": [3, 2], "strides": [1, 2]}, {"ptflops": 2 * E, "onnx-tool": 4 * 6 * 3 * 6}),
    ("AveragePool", IMAGE, {}, {"kernel_shape": [2, 2]}, {"ptflops": 2 * E, "thop": 4 * 7 * 5, "onnx-tool": 4 * 7 * 5 * 4}),
    (
        "GlobalAveragePool", IMAGE, {}, {},
        {"fvcore": E, "ptflops": 2 * E, "thop": (8 * 6 + 1) * 4, "onnx-tool": E + 4 * 4},
    ),
    # what torch exports of pooling to one element, and means of the program's own
    ("ReduceMean", IMAGE, {"axes": [-1, -2]}, {}, {"fvcore": E, "ptflops": 2 * E, "thop": (8 * 6 + 1) * 4, "onnx-tool": E}),
    ("ReduceMean", IMAGE, {"axes": [2, 3]}, {"keepdims": 0}, {"onnx-tool": E}),
    ("ReduceMean", IMAGE, {"axes": [2, 3]}, {}, {"onnx-tool": E}),
    ("ReduceSum", IMAGE, {"axes": [1]}, {}, {"onnx-tool": E}),
    (
        "Resize", IMAGE, {"": (), "scales": np.float32([1, 1, 2, 2])}, {"mode": "nearest"},
        {"fvcore": 4 * E, "ptflops": 2 * 4 * E, "thop": 4 * E},
    ),
    (
        "Resize", IMAGE, {"": (), "scales": np.float32([1, 1, 2, 2])}, {"mode": "linear"},
        {"fvcore": 4 * 4 * E, "ptflops": 2 * 4 * E, "thop": 11 * 4 * E, "onnx-tool": 4 * 4 * E},
    ),
    ("Einsum", (2, 3, 7), {"w": (2, 5, 7)}, {"equation": "bik,bjk->bij"}, {
        **dict.fromkeys(("fvcore", "ptflops-aten", "torch", "torchvision", "onnx-tool"), 2 * 3 * 5 * 7),
    }),
    # 5 steps, batch 2, 7 to 3: products, biases, and what each tool counts of the elementwise operations
    (
        "LSTM", (5, 2, 7), {"w": (1, 12, 7), "r": (1, 12, 3), "b": (1, 24)}, {"hidden_size": 3},
        {
            "torch": 10 * 12 * 10, "torchvision": 10 * 12 * 10, "ptflops-aten": 10 * (12 * 10 + 24),
            "ptflops": 10 * (12 * 10 + 24 + 10 * 3), "thop": 10 * (12 * 10 + 24 + (4 + 3 + 1) * 3),
            "onnx-tool": 10 * (12 * 10 + 24 + (4 + 3 * 32 + 2 * 38 + 4) * 3),
        },
    ),
    (
        "GRU", (5, 2, 7), {"w": (1, 9, 7), "r": (1, 9, 3), "b": (1, 18)}, {"hidden_size": 3},
        {
            "torch": 10 * 9 * 10, "torchvision": 10 * 9 * 10, "ptflops-aten": 10 * (9 * 10 + 18),
            "ptflops": 10 * (9 * 10 + 18 + 7 * 3), "thop": 10 * (9 * 10 + 18 + (3 + 1 + 3) * 3),
            "onnx-tool": 10 * (9 * 10 + 18 + (3 + 2 * 32 + 38 + 5) * 3),
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("case", CASES, ids=[f"{op}-{i}" for i, (op, *_) in enumerate(CASES)])
def test_one_layer(case: Case, convention: str) -> None:
    op, shape, stored, attributes, expected = case
    total = counts([node(op, ["x", *stored], "y", **attributes)], shape, stored, convention).total
    assert total.macs == expected.get(convention, 0)
    assert total.flops == 2 * expected.get(convention, 0)


def test_sizes_stay_open() -> None:
    total = counts([node("Relu", ["x"], "y")], ("N", 4, "H", "W"), {}, "onnx-tool").total
    assert str(total.macs) == "4*H*N*W"


def test_everything_else_stays() -> None:
    made = [node("Conv", ["x", "w", "b"], "y")]
    own, other = (counts(made, IMAGE, {"w": (5, 4, 3, 3), "b": (5,)}, name) for name in ("costmodel", "thop"))
    assert own.convention == "costmodel"
    assert other.convention == "thop"
    for name in ("params", "weights", "weight_bytes", "activation_bytes"):
        assert getattr(own.total, name) == getattr(other.total, name)
    assert int(own.total.flops) == 2 * int(own.total.macs) + 5 * 6 * 4


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InvalidChoice, match=re.escape("there is no convention 'ptflop'; did you mean 'ptflops'")):
        counts([node("Relu", ["x"], "y")], IMAGE, {}, "ptflop")
    assert NAMES[0] == "costmodel"


# -- what the graph says of the program ----------------------------------------------------------------------------------

MODULES = "torch.nn.modules."
LINEAR, RELU, SILU = f"{MODULES}linear.Linear", f"{MODULES}activation.ReLU", f"{MODULES}activation.SiLU"
CONV = f"{MODULES}conv.Conv2d"
SIGMOID, SOFTMAX = f"{MODULES}activation.Sigmoid", f"{MODULES}activation.Softmax"
ATTENTION, LAYER_NORM = f"{MODULES}activation.MultiheadAttention", f"{MODULES}normalization.LayerNorm"
SDPA, LAYER_NORMED = "aten.scaled_dot_product_attention.default", "aten.layer_norm.default"
TORCHS = [name for name in CONVENTIONS if name != "onnx-tool"]
ROWS = (8, 6)
Origin = tuple[str, dict[str, Any], tuple[str, ...], dict[str, int]]
ORIGINS: list[Origin] = [
    ("Relu", {}, ("Net", RELU, "aten.relu.default"), {"ptflops": 2 * E}),
    ("Relu", {}, ("Net", "aten.relu.default"), {"ptflops": E}),  # the function alone
    ("LayerNormalization", {"s": (6,)}, ("Net", LAYER_NORM, LAYER_NORMED), {"thop": 4 * E, "ptflops": E, "fvcore": 5 * E}),
    ("LayerNormalization", {"s": (6,)}, ("Net", "Net.LayerNorm2d", LAYER_NORMED), {"fvcore": 5 * E}),  # of its own class
    ("MatMul", {"w": (6, 5)}, ("Net", LINEAR, "aten.linear.default"), dict.fromkeys(TORCHS, 5 * E)),
    # a function call: no module that hooks could be on
    (
        "MatMul", {"w": (6, 5)}, ("Net", "aten.linear.default"),
        dict.fromkeys(("fvcore", "ptflops-aten", "torch", "torchvision"), 5 * E),
    ),
    ("MatMul", {"w": (6, 5)}, ("Net", SDPA), dict.fromkeys(("torch", "torchvision"), 5 * E)),
    ("MatMul", {"w": (6, 5)}, ("Net", ATTENTION, SDPA), dict.fromkeys(("ptflops", "torch", "torchvision"), 5 * E)),
    # inside a module with a formula of its own
    (
        "MatMul", {"w": (6, 5)}, ("Net", "timm.layers.attention.Attention", LINEAR, "aten.linear.default"),
        dict.fromkeys(set(TORCHS) - {"ptflops"}, 5 * E),
    ),
    # called by name: products of 8 rows, and a bias of 5
    (
        "Gemm", {"w": (6, 5), "b": (5,)}, ("Net", "aten.addmm.default"),
        {
            **dict.fromkeys(("fvcore", "torch", "torchvision"), 8 * 6 * 5),
            "ptflops": 8 * 6 * 5 + 5, "ptflops-aten": 8 * (6 + 1) * 5,
        },
    ),
    # padded by name, which is another operation of torch and taken apart where it is exported
    (
        "Conv", {"w": (5, 4, 1, 1)}, ("Net", CONV, "aten.convolution.default"),
        dict.fromkeys(set(TORCHS) - {"fvcore"}, 5 * 4 * 48),
    ),
    # by the moments of what it normalises
    (
        "BatchNormalization", dict.fromkeys("sbmv", (4,)), ("Net", "aten._native_batch_norm_legit.no_stats"),
        {"fvcore": 5 * E},
    ),
    ("Sigmoid", {}, ("Net", SILU, "aten.silu.default"), {"ptflops": E}),
    ("Sigmoid", {}, ("Net", SIGMOID, "aten.sigmoid.default"), {}),
    ("Softmax", {}, ("Net", SOFTMAX, "aten.softmax.int"), {"thop": 3 * E - E // 6, "ptflops": E}),
    ("Softmax", {}, ("Net", SDPA), {}),
]  # fmt: skip


@pytest.mark.parametrize("convention", TORCHS)
@pytest.mark.parametrize("case", ORIGINS, ids=[f"{op}-{i}" for i, (op, *_) in enumerate(ORIGINS)])
def test_what_the_layer_was_decides(case: Origin, convention: str) -> None:
    op, stored, origin, expected = case
    shape = ROWS if op == "Gemm" else IMAGE
    found = counts([node(op, ["x", *stored], "y", *origin)], shape, stored, convention)
    assert found.total.macs == expected.get(convention, 0)


def linear_with_bias(*origin: str) -> list[onnx.NodeProto]:
    return [node("MatMul", ["x", "w"], "p", *origin), node("Add", ["p", "b"], "y", *origin)]


@pytest.mark.parametrize("origin", [(), ("Net", LINEAR, "aten.linear.default")])
def test_the_bias_of_a_linear_layer_is_the_addition_after_it(origin: tuple[str, ...]) -> None:
    for convention, expected in {"ptflops": 6, "ptflops-aten": 6, "thop": 5, "fvcore": 5, "torch": 5}.items():
        found = counts(linear_with_bias(*origin), (3, 5), {"w": (5, 4), "b": (4,)}, convention)
        assert found.total.macs == 3 * 4 * expected, convention


@pytest.mark.parametrize(("gated", "expected"), [("x", E), ("y0", 0)])
def test_a_silu_is_a_product_with_the_sigmoid_of_the_same(gated: str, expected: int) -> None:
    made = [node("Tanh", ["x"], "y0"), node("Sigmoid", ["x"], "gate"), node("Mul", ["gate", gated], "y")]
    assert counts(made, IMAGE, {}, "ptflops").total.macs == expected


def test_what_a_tool_passes_over_is_told() -> None:
    product = [node("MatMul", ["x", "x"], "y")]
    for convention in CONVENTIONS:
        found = counts(product, (2, 4, 4), {}, convention)
        told = ("MatMul (node 'y'): thop counts nothing for it",) if convention == "thop" else ()
        assert found.unsupported == told
        assert found.is_lower_bound == bool(told)


def test_bodies_count_for_each_run() -> None:
    kinds = {"i": (TensorProto.INT64, []), "go": (TensorProto.BOOL, []), "state": (TensorProto.FLOAT, IMAGE)}
    inputs = [helper.make_tensor_value_info(name, *kind) for name, kind in kinds.items()]
    outputs = [helper.make_tensor_value_info(name, *kinds[like]) for name, like in (("on", "go"), ("next", "state"))]
    steps = [node("Relu", ["state"], "next"), node("Identity", ["go"], "on")]
    body = helper.make_graph(steps, "body", inputs, outputs)
    loop = node("Loop", ["times", "", "x"], "y", body=body)
    found = counts([loop], IMAGE, {"times": np.int64(7)}, "onnx-tool")
    assert found.total.macs == 7 * E
    by_layer = [(layer.op, layer.quantities.macs) for layer in found.by_layer()]
    assert by_layer == [("Loop", 7 * E), ("Relu", E)]


def test_tools_count_what_is_worked_out_before_the_run_too() -> None:
    made = [node("Exp", ["w"], "e"), node("Mul", ["x", "e"], "y")]
    assert counts(made, IMAGE, {"w": (6,)}, "onnx-tool").total.macs == 32 * 6 + E
    assert counts(made, IMAGE, {"w": (6,)}, "costmodel").by_op().keys() == {"Mul"}
    product = [node("MatMul", ["v", "w"], "p"), node("Add", ["x", "p"], "y")]
    assert counts(product, IMAGE, {"v": (8, 5), "w": (5, 6)}, "torch").total.macs == 8 * 5 * 6
    assert counts(product, IMAGE, {"v": (8, 5), "w": (5, 6)}, "costmodel").total.macs == 0


def test_groups_add_up_to_the_headline() -> None:
    found = counts(linear_with_bias(), (3, 5), {"w": (5, 4), "b": (4,)}, "ptflops")
    assert {op: int(q.macs) for op, q in found.by_op().items()} == {"MatMul": 60, "Add": 12}
    assert sum(int(q.macs) for q in found.by_module().values()) == found.total.macs
