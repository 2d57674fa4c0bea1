"""Kernels of PyTorch: which layers run as one, by table; what they move, by hand; no arithmetic lost on whole networks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import onnx
import pytest
from onnx import TensorProto, helper

from costmodel.build import Builder
from costmodel.counts import count
from costmodel.dims import Dim, total
from costmodel.features import works
from costmodel.fusion import fuse
from costmodel.graph import Network
from costmodel.kernels import Kernel
from costmodel.read.onnx import load
from costmodel.specs import zoo

N = Dim.size("N")
IMAGE = ("N", 4, 8, 8)
HEADS = ("N", 2, 5, 8)
Build = Callable[[Builder, str], str]


def built(shape: tuple[int | str, ...], build: Build) -> Network:
    b = Builder("net")
    return b.finish(build(b, b.input("x", shape)))


def silu(b: Builder, x: str) -> str:
    return b.mul(x, b.sigmoid(x))


def swapped(b: Builder, x: str) -> str:
    return b.transpose(x, (0, 1, 3, 2))


def attention(b: Builder, x: str) -> str:
    scores = b.op("Softmax", b.op("MatMul", x, swapped(b, x)), axis=-1)
    return b.op("MatMul", scores, x)


def masked_attention(b: Builder, x: str) -> str:
    scores = b.op("Add", b.op("MatMul", x, swapped(b, x)), b.weight("mask", (5, 5)))
    return b.op("MatMul", b.op("Softmax", scores, axis=-1), x)


def scores_of_two(b: Builder, x: str) -> str:
    """Scores that something else reads must be written, so this is not attention."""
    scores = b.op("MatMul", x, swapped(b, x))
    return b.add(b.op("MatMul", b.op("Softmax", scores, axis=-1), x), b.op("MatMul", scores, x))


def residual(b: Builder, x: str) -> str:
    return b.relu(b.add(x, b.bn(b.conv(x, 4))))


def squeeze(b: Builder, x: str) -> str:
    """A squeeze and excitation: what is scaled waits for two products, so it runs apart from the mean before them."""
    x = b.relu(b.conv(x, 4))
    return b.mul(x, b.sigmoid(b.conv(b.op("GlobalAveragePool", x), 4)))


def parts(b: Builder, x: str) -> str:
    return b.concat(*(b.relu(part) for part in b.split(x, 2)), axis=1)


# what is built -> its kernels as ops joined by +, eager and compiled
CASES: dict[str, tuple[tuple[int | str, ...], Build, str, str]] = {
    "conv, norm, activation": (
        IMAGE, lambda b, x: b.relu(b.bn(b.conv(x, 4))), "Conv BatchNormalization Relu", "Conv Relu+BatchNormalization",
    ),
    "SiLU": (IMAGE, lambda b, x: silu(b, b.conv(x, 4)), "Conv Sigmoid+Mul", "Conv Sigmoid+Mul"),
    "a residual": (IMAGE, residual, "Conv BatchNormalization Add Relu", "Conv Add+BatchNormalization+Relu"),
    "squeeze and excitation": (
        IMAGE, squeeze, "Conv Relu GlobalAveragePool Conv Sigmoid Mul", "Conv GlobalAveragePool+Relu Conv Sigmoid+Mul",
    ),
    "attention": (HEADS, attention, "MatMul+Softmax+MatMul", "MatMul+Softmax+MatMul"),
    "attention with a mask": (HEADS, masked_attention, "MatMul+Add+Softmax+MatMul", "MatMul+Add+Softmax+MatMul"),
    "scores that are read again": (HEADS, scores_of_two, *["MatMul Softmax MatMul MatMul Add"] * 2),
    "a slice is a view": (IMAGE, parts, "Relu Relu Concat", "Relu+Relu+Concat"),
    "a transposed tensor, element by element": (IMAGE, lambda b, x: b.relu(swapped(b, x)), "Relu", "Relu"),
    "a transposed tensor, in order": (IMAGE, lambda b, x: b.conv(swapped(b, x), 4), "Transpose Conv", "Transpose Conv"),
    "a transposed tensor, of a product": (HEADS, lambda b, x: b.op("MatMul", x, swapped(b, x)), "MatMul", "MatMul"),
}  # fmt: skip


def text(kernel: Kernel) -> str:
    return "+".join(layer.op for layer in kernel.layers)


@pytest.mark.parametrize("case", CASES)
def test_runs_as_one(case: str) -> None:
    shape, build, eager, compiled = CASES[case]
    network = built(shape, build)
    assert Counter(map(text, fuse(network, "torch"))) == Counter(eager.split())
    assert Counter(map(text, fuse(network, "torch-compile"))) == Counter(compiled.split())


def test_scores_touch_no_memory() -> None:
    """2 heads of 5 tokens with 8 channels are read as queries and values, read as keys, and written; 4 bytes each."""
    (work,) = works(built(HEADS, attention), "torch")
    assert work.kind == "attention"
    assert work.macs == 2 * N * (5 * 5 * 8 + 5 * 5 * 8)
    assert (work.read_bytes, work.write_bytes) == (2 * 4 * N * 2 * 5 * 8, 4 * N * 2 * 5 * 8)


def test_a_generated_kernel_moves_what_crosses_its_border() -> None:
    """The residual and what the convolution gave are read, the sum is written."""
    (_, rest) = fuse(built(IMAGE, residual), "torch-compile")
    assert (rest.read_bytes, rest.write_bytes) == (2 * 4 * N * 4 * 64, 4 * N * 4 * 64)


# -- what an exported file tells ----------------------------------------------------------------------------------


def exported(nodes: list[onnx.NodeProto], *weights: onnx.TensorProto) -> Network:
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4, 8, 8]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "net", info[:1], info[1:], list(weights))
    return load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString())


def node(op: str, inputs: list[str], output: str, target: str, **attributes: object) -> onnx.NodeProto:
    made = helper.make_node(op, inputs, [output], name=output, **attributes)
    classes = ["Net", target]
    helper.set_metadata_props(made, {"pkg.torch.onnx.class_hierarchy": repr(classes)})
    return made


def weight(*shape: int) -> onnx.TensorProto:
    return helper.make_tensor("w", TensorProto.FLOAT, shape, bytes(4 * math.prod(shape)), raw=True)


FOLDED, PLAIN = "aten._native_batch_norm_legit_no_training.default", "aten.conv2d.default"


@pytest.mark.parametrize("runtime", ["torch", "torch-compile"])
def test_a_folded_batch_norm_runs_all_the_same(runtime: str) -> None:
    """4 channels of 64 values are read and written; compiled, it is part of the activation where one follows."""
    relu = "aten.relu.default"
    nodes = [node("Conv", ["x", "w"], "c", FOLDED), node("Conv", ["c", "w"], "d", PLAIN), node("Relu", ["d"], "y", relu)]
    kernels = fuse(exported(nodes, weight(4, 4, 1, 1)), runtime)
    assert Counter(kernel.op for kernel in kernels) == {"Conv": 2, "BatchNormalization": 1, "Relu": 1}
    (norm,) = [kernel for kernel in kernels if kernel.op == "BatchNormalization"]
    assert (norm.read_bytes, norm.write_bytes, norm.macs) == (4 * N * 256, 4 * N * 256, 0)
    nodes = [node("Conv", ["x", "w"], "c", FOLDED), node("Relu", ["c"], "y", relu)]
    ops = Counter(kernel.op for kernel in fuse(exported(nodes, weight(4, 4, 1, 1)), runtime))
    assert ops == ({"Conv": 1, "BatchNormalization": 1, "Relu": 1} if runtime == "torch" else {"Conv": 1, "Relu": 1})


def test_layers_of_one_operation_are_one_kernel() -> None:
    nodes = [
        node("Sigmoid", ["x"], "s", "aten.special.default"), node("Tanh", ["s"], "t", "aten.special.default"),
        node("Add", ["t", "x"], "a", "aten.add.Tensor"), node("Add", ["a", "x"], "y", "aten.add.Tensor"),
    ]  # fmt: skip
    assert Counter(map(text, fuse(exported(nodes), "torch"))) == Counter(["Sigmoid+Tanh", "Add", "Add"])


# -- whole networks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ["torch", "torch-compile"])
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large", "shufflenet_v2_x1_0", "yolo-fastestv2", "vit_b_32"])
def test_no_arithmetic_is_lost_or_counted_twice(name: str, runtime: str) -> None:
    network = zoo(name)
    kernels = fuse(network, runtime)
    layers = [layer.name for kernel in kernels for layer in kernel.layers]
    assert len(layers) == len(set(layers))
    assert total(kernel.macs for kernel in kernels) == count(network).total.macs
    left_out = [layer for layer in network.running_layers if layer.name not in set(layers) and layer.cost]
    on_shapes = [layer for layer in left_out if network.tensors[layer.outputs[0]].value is not None]
    assert {layer.cost.flops for layer in left_out if layer not in on_shapes and layer.cost} <= {0}
