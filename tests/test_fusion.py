"""Kernels: which layers run as one, by table; what they read and write, by hand; nothing lost on whole networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from costmodel.build import Builder
from costmodel.counts import count
from costmodel.dims import Dim, total
from costmodel.fusion import PATTERNS, fuse
from costmodel.graph import Network, SequenceOf
from costmodel.kernels import Kernel
from costmodel.specs import zoo

N = Dim.size("N")
IMAGE = ("N", 4, 8, 8)
TOKENS = ("N", 5, 8)
RUNTIMES = ("ncnn", "onnxruntime", "torch")
TABLES = RUNTIMES[:2]


def built(shape: tuple[int | str, ...], build: Callable[[Builder, str], object]) -> Network:
    b = Builder("net")
    written = build(b, b.input("x", shape))
    return b.finish(*((written,) if isinstance(written, str) else written))


def gate(b: Builder, x: str) -> str:
    return b.mul(x, b.sigmoid(x))


def residual(b: Builder, x: str) -> str:
    return b.relu(b.add(x, b.conv(x, 4)))


def read_twice(b: Builder, x: str) -> str:
    y = b.conv(x, 4)
    return b.mul(b.relu(y), b.op("Tanh", y))


def an_output_between(b: Builder, x: str) -> tuple[str, str]:
    y = b.conv(x, 4)
    return b.relu(y), y


def gated_by_another(b: Builder, x: str) -> str:
    return b.mul(b.op("Neg", x), b.sigmoid(x))


def learnt_product(b: Builder, x: str) -> str:
    y = b.op("MatMul", x, b.weight("w", (8, 6)))
    return b.relu(b.op("Add", y, b.weight("bias", (6,))))


def prepared_product(b: Builder, x: str) -> str:
    return b.op("MatMul", x, b.transpose(b.weight("w", (6, 8)), (1, 0)))


# what is built -> its kernels as ops joined by +, for ncnn, for others that fuse, and layer by layer
CASES = {
    "conv, norm, activation": (
        IMAGE, lambda b, x: b.relu(b.bn(b.conv(x, 4))),
        "Conv+BatchNormalization+Relu", "Conv+BatchNormalization+Relu", "Conv BatchNormalization Relu",
    ),
    "conv and activation without a norm": (IMAGE, lambda b, x: b.relu6(b.conv(x, 4)), "Conv+Clip", "Conv+Clip", "Conv Clip"),
    "conv, deconv": (
        IMAGE, lambda b, x: b.prelu(b.deconv(b.leaky_relu(b.conv(x, 4)), 4)),
        "Conv+LeakyRelu ConvTranspose+PRelu", "Conv+LeakyRelu ConvTranspose+PRelu", "Conv LeakyRelu ConvTranspose PRelu",
    ),
    "an activation that ncnn keeps apart": (
        IMAGE, lambda b, x: b.hardswish(b.conv(x, 4)), "Conv HardSwish", "Conv+HardSwish", "Conv HardSwish",
    ),
    "out of order": (
        IMAGE, lambda b, x: b.bn(b.relu(b.conv(x, 4))),
        "Conv+Relu BatchNormalization", "Conv+Relu BatchNormalization", "Conv Relu BatchNormalization",
    ),
    "one activation, not two": (
        IMAGE, lambda b, x: b.relu(b.relu(b.conv(x, 4))), "Conv+Relu Relu", "Conv+Relu Relu", "Conv Relu Relu",
    ),
    "no anchor": (IMAGE, lambda b, x: b.relu(b.bn(x)), *["BatchNormalization Relu"] * 3),
    "a residual is no bias": (IMAGE, residual, "Conv Add Relu", "Conv Add Relu", "Conv Add Relu"),
    "read by two": (IMAGE, read_twice, *["Conv Relu Tanh Mul"] * 3),
    "an output of the network between": (IMAGE, an_output_between, *["Conv Relu"] * 3),
    "a gate": (IMAGE, gate, *["Sigmoid+Mul"] * 3),
    "a gate of something else": (IMAGE, gated_by_another, *["Neg Sigmoid Mul"] * 3),
    "a gate behind a convolution": (
        IMAGE, lambda b, x: gate(b, b.conv(x, 4)), *["Conv Sigmoid+Mul"] * 3,
    ),
    "linear over a matrix": (("N", 8), lambda b, x: b.relu(b.linear(x, 6)), "Gemm+Relu", "Gemm+Relu", "Gemm Relu"),
    "linear over tokens": (TOKENS, learnt_product, "MatMul+Add+Relu", "MatMul+Add+Relu", "MatMul+Add Relu"),
    "constants are prepared at load": (TOKENS, prepared_product, *["MatMul"] * 3),
    "views are no kernels": (IMAGE, lambda b, x: b.relu(b.flatten(b.conv(x, 4))), *["Conv Relu"] * 3),
    "an op without a rule is none": (IMAGE, lambda b, x: b.op("Warp", b.relu(x)), *["Relu"] * 3),
}  # fmt: skip


def text(kernel: Kernel) -> str:
    return "+".join(layer.op for layer in kernel.layers)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("case", CASES)
def test_runs_as_one(case: str, runtime: str) -> None:
    shape, build, *expected = CASES[case]
    assert Counter(map(text, fuse(built(shape, build), runtime))) == Counter(expected[RUNTIMES.index(runtime)].split())


def test_a_runtime_without_a_table_fuses_as_most_do() -> None:
    network = built(IMAGE, lambda b, x: b.hardswish(b.conv(x, 4)))
    assert "tensorrt" not in PATTERNS
    assert fuse(network, "tensorrt") == fuse(network)


def test_kernels_stand_in_the_order_of_their_anchors() -> None:
    network = built(IMAGE, lambda b, x: b.add(b.relu(b.conv(x, 4)), b.relu(b.conv(x, 4))))
    assert [kernel.name for kernel in fuse(network, "ncnn")] == ["conv1", "conv2", "add1"]


def test_what_lies_inside_a_kernel_touches_no_memory() -> None:
    """4 channels of 8 * 8 go in, 6 come out; 6 * 4 weights, 6 biases, 4 * 6 numbers of the norm; 4 bytes each."""
    (kernel,) = fuse(built(IMAGE, lambda b, x: b.relu(b.bn(b.conv(x, 6)))), "ncnn")
    assert (kernel.read_bytes, kernel.write_bytes) == (4 * 4 * 64 * N, 4 * 6 * 64 * N)
    assert kernel.weight_bytes == 4 * (6 * 4 + 6 + 4 * 6)
    assert kernel.macs == 6 * 4 * 64 * N
    assert kernel.other_flops == (1 + 2 + 1) * 6 * 64 * N  # bias, scale and shift, maximum
    assert kernel.anchor.name == kernel.name == "conv1"


def test_a_tensor_that_is_read_twice_is_read_once() -> None:
    (kernel,) = fuse(built(IMAGE, gate), "ncnn")
    assert (kernel.read_bytes, kernel.write_bytes, kernel.weight_bytes) == (4 * 4 * 64 * N, 4 * 4 * 64 * N, 0)


def test_only_the_rows_that_are_looked_up_are_read() -> None:
    b = Builder()
    ids = b.input("ids", ("N", 5), dtype="int64")
    (kernel,) = fuse(b.finish(b.op("Gather", b.weight("table", (1000, 16)), ids)))
    assert (kernel.weight_bytes, kernel.write_bytes) == (4 * 16 * 5 * N, 4 * 16 * 5 * N)
    assert kernel.read_bytes == 8 * 5 * N


def test_a_sequence_is_read_with_all_its_elements() -> None:
    b = Builder()
    parts = b.op("SplitToSequence", b.input("x", ("N", 6)), axis=1)
    network = b.finish(b.op("ConcatFromSequence", parts, axis=1))
    assert isinstance(network.tensors[parts], SequenceOf)
    assert [(kernel.read_bytes, kernel.write_bytes) for kernel in fuse(network)] == [(24 * N, 24 * N)] * 2


@pytest.mark.parametrize("runtime", TABLES)
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large", "shufflenet_v2_x1_0", "yolo-fastestv2", "vit_b_32"])
def test_nothing_is_lost_and_nothing_counted_twice(name: str, runtime: str) -> None:
    network = zoo(name)
    kernels = fuse(network, runtime)
    counted = count(network).total
    working = [
        layer for layer in network.layers
        if layer.cost and layer.cost.view_of is None and not network.is_constant(layer)
    ]  # fmt: skip
    on_shapes = [layer for layer in working if network.tensors[layer.outputs[0]].value is not None]
    expected = [layer.name for layer in working if layer not in on_shapes]
    assert sorted(layer.name for kernel in kernels for layer in kernel.layers) == sorted(expected)
    assert total(kernel.macs for kernel in kernels) == counted.macs
    flops = total(layer.cost.flops for layer in on_shapes if layer.cost)
    assert total(2 * kernel.macs + kernel.other_flops for kernel in kernels) + flops == counted.flops
