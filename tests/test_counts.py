"""Counts of whole networks: by hand, by a published figure, and the sums that must agree with each other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from costmodel.build import Builder
from costmodel.counts import QUANTITIES, Counts, Quantities, count
from costmodel.dims import Dim, value_at
from costmodel.errors import UnknownSize
from costmodel.graph import Network, Node
from costmodel.read.onnx import load
from costmodel.specs import zoo

N = Dim.size("N")


def counted(build: Callable[[Builder], str | tuple[str, ...]]) -> Counts:
    b = Builder("net")
    written = build(b)
    return count(b.finish(*((written,) if isinstance(written, str) else written)))


def lenet(b: Builder) -> str:
    y = b.input("x", ("N", 1, 32, 32))
    y = b.max_pool(b.relu(b.conv(y, 6, kernel=5)), 2)
    y = b.max_pool(b.relu(b.conv(y, 16, kernel=5)), 2)
    y = b.flatten(b.relu(b.conv(y, 120, kernel=5)))
    return b.linear(b.relu(b.linear(y, 84)), 10)


# -- a network by hand ------------------------------------------------------------------------------------------

# LeNet-5 with fully connected maps: 61,706 parameters and 416,520 multiply-adds are its published figures
LENET = {
    # op: macs, other flops (biases, comparisons with 0, and with each of 4 in a pool), weights, numbers written
    "Conv": (
        28 * 28 * 6 * 25 + 10 * 10 * 16 * 6 * 25 + 120 * 16 * 25, 28 * 28 * 6 + 10 * 10 * 16 + 120,
        6 * 26 + 16 * 151 + 120 * 401, 28 * 28 * 6 + 10 * 10 * 16 + 120,
    ),
    "Relu": (0, 28 * 28 * 6 + 10 * 10 * 16 + 120 + 84, 0, 28 * 28 * 6 + 10 * 10 * 16 + 120 + 84),
    "MaxPool": (0, 4 * (14 * 14 * 6 + 5 * 5 * 16), 0, 14 * 14 * 6 + 5 * 5 * 16),
    "Flatten": (0, 0, 0, 0),
    "Gemm": (120 * 84 + 84 * 10, 84 + 10, 121 * 84 + 85 * 10, 84 + 10),
}  # fmt: skip


def test_lenet_by_hand() -> None:
    counts = counted(lenet)
    macs, other, weights, written = (sum(row[i] for row in LENET.values()) for i in range(4))
    assert (macs, weights) == (416_520, 61_706)
    assert counts.total == Quantities(macs * N, (2 * macs + other) * N, weights, weights, 4 * weights, 4 * written * N)
    for op, (macs, other, weights, written) in LENET.items():
        found = counts.by_op()[op]
        assert found == Quantities(macs * N, (2 * macs + other) * N, weights, weights, 4 * weights, 4 * written * N), op
    assert list(counts.by_op()) == list(LENET)
    assert counts.at(N=3).macs == 3 * 416_520


# -- what is stored ---------------------------------------------------------------------------------------------


def conv_and_norm(b: Builder) -> str:
    return b.bn(b.conv(b.input("x", (1, 3, 8, 8)), 8, kernel=3, bias=False))


def shared_by_two(b: Builder) -> str:
    x, w = b.input("x", (1, 4)), b.weight("w", (4, 4))
    return b.op("MatMul", b.op("MatMul", x, w), w)


def shared_behind_a_transpose(b: Builder) -> str:
    x, w = b.input("x", (1, 4)), b.weight("w", (4, 4))
    return b.op("MatMul", b.op("MatMul", x, w), b.transpose(w, (1, 0)))


def through_two_layers(b: Builder) -> str:
    w = b.op("Mul", b.transpose(b.weight("w", (6, 4)), (1, 0)), b.weight("gain", (1, 6)))
    return b.op("MatMul", b.input("x", (1, 4)), w)


def dequantized(b: Builder) -> str:
    stored = b.weight("w", (4, 6), dtype="int8"), b.weight("scale", (6,)), b.weight("zero", (6,), dtype="int8")
    return b.op("MatMul", b.input("x", (1, 4)), b.op("DequantizeLinear", *stored, axis=1))


def half(b: Builder) -> str:
    return b.op("MatMul", b.input("x", (1, 4), dtype="float16"), b.weight("w", (4, 6), dtype="float16"))


def four_bits(b: Builder) -> str:
    stored = b.weight("w", (4, 7), dtype="int4"), b.weight("scale", ())
    return b.op("MatMul", b.input("x", (1, 4)), b.op("DequantizeLinear", *stored))


def filled(b: Builder) -> str:
    w = b.op("ConstantOfShape", b.constant([4, 6]))
    return b.op("MatMul", b.input("x", (1, 4)), w)


def steered(b: Builder) -> str:
    x = b.reshape(b.input("x", (1, 4)), (2, 2))
    return b.op("Gather", b.slice(x, 0, 1), b.constant([0]), axis=0)


def normalised(b: Builder) -> str:
    return b.layer_norm(b.input("x", (1, 5, 6)))


def embedded(b: Builder) -> str:
    return b.op("Gather", b.weight("table", (100, 6)), b.input("ids", (1, 5), dtype="int64"))


STORED = {
    # params, weights, weight_bytes
    "batch norm learns two of four": (conv_and_norm, 8 * 27 + 2 * 8, 8 * 27 + 4 * 8, 4 * (8 * 27 + 4 * 8)),
    "layer norm learns both": (normalised, 12, 12, 48),
    "a shared weight counts once": (shared_by_two, 16, 16, 64),
    "also where one reads it transposed": (shared_behind_a_transpose, 16, 16, 64),
    "behind two layers that prepare": (through_two_layers, 24 + 6, 24 + 6, 4 * 30),
    "dequantised at load: scales and zero points are not learnt": (dequantized, 24, 24 + 6 + 6, 24 + 4 * 6 + 6),
    "half precision": (half, 24, 24, 48),
    "packed": (four_bits, 28, 28 + 1, 14 + 4),
    "a filled constant is data that a file could have stored": (filled, 24, 24, 96),
    "integers that steer are no weights": (steered, 0, 0, 0),
    "an embedding": (embedded, 600, 600, 2400),
}


@pytest.mark.parametrize("case", STORED)
def test_what_is_stored(case: str) -> None:
    build, *expected = STORED[case]
    total = counted(build).total
    assert [total.params.at(), total.weights.at(), total.weight_bytes.at()] == expected


def test_a_shared_weight_belongs_to_its_first_layer() -> None:
    assert [layer.quantities.params for layer in counted(shared_by_two).by_layer()] == [16, 0]


@pytest.mark.parametrize("build", [through_two_layers, dequantized, filled])
def test_what_prepares_constants_is_no_layer_and_costs_nothing(build: Callable[[Builder], str]) -> None:
    counts = counted(build)
    assert [layer.op for layer in counts.by_layer()] == ["MatMul"]
    assert counts.total.flops.at() == 2 * counts.total.macs.at() == 2 * 4 * 6
    assert counts.total.activation_bytes.at() == 4 * 6


# -- what is written --------------------------------------------------------------------------------------------

X = ("N", 4, 6)
WRITTEN: dict[str, tuple[Callable[[Builder, str], str | tuple[str, ...]], int]] = {
    "a copy": (lambda b, x: b.transpose(x, (0, 2, 1)), 96),
    "no copy": (lambda b, x: b.flatten(x), 0),
    "views of views": (lambda b, x: b.op("Identity", b.reshape(b.flatten(x), (0, 24, 1))), 0),
    "two outputs": (lambda b, x: b.op_with_outputs("TopK", x, b.constant([2]), outputs=2), 4 * 2 * (4 + 8)),
    "a mask beside a view": (lambda b, x: b.op_with_outputs("Dropout", x, outputs=2), 24),
    "another type": (lambda b, x: b.op("Cast", x, to=onnx.TensorProto.DOUBLE), 192),
    "a place in memory that is taken over is written too": (lambda b, x: b.relu(b.relu(x)), 192),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_what_is_written(case: str) -> None:
    build, nbytes = WRITTEN[case]
    assert counted(lambda b: build(b, b.input("x", X))).total.activation_bytes == nbytes * N


def test_an_output_that_nobody_names_is_not_written() -> None:
    """The second of two equal layers leaves out the indices: 2 values of 4 bytes, and 2 indices of 8 in the first alone."""
    b = Builder()
    x, k = b.input("x", (5,)), b.constant([2])
    b.op_with_outputs("TopK", x, k, outputs=2)
    b._engine.add(Node("second", "TopK", (x, k), ("values", ""), {}))
    counts = count(b.finish("values"))
    assert [layer.quantities.activation_bytes for layer in counts.by_layer()] == [2 * (4 + 8), 2 * 4]


# -- what is not known ------------------------------------------------------------------------------------------


def test_an_op_without_a_rule_marks_a_lower_bound() -> None:
    counts = counted(lambda b: b.op("Warp", b.linear(b.input("x", (1, 4)), 6)))
    (problem,) = counts.unsupported
    assert problem.startswith("Warp (node 'warp1'): no cost rule")
    assert counts.is_lower_bound
    assert counts.by_layer()[-1].problem == problem
    assert counts.total.macs.at() == 24


def test_what_follows_an_unknown_shape_is_marked_too() -> None:
    counts = counted(lambda b: b.relu(b.op("Warp", b.input("x", (1, 4)))))
    assert [problem.split(":")[0] for problem in counts.unsupported] == ["Warp (node 'warp1')", "Relu (node 'relu1')"]


def test_nothing_unknown() -> None:
    counts = counted(lenet)
    assert (counts.unsupported, counts.is_lower_bound) == ((), False)


# -- bodies -----------------------------------------------------------------------------------------------------


def loop(trips: int) -> Network:
    """A loop that multiplies its state by a weight of the graph around and adds one of its own; both are 4 * 4."""
    body = onnx.parser.parse_graph(
        "body (int64 i, bool go, float[4, 4] s) => (bool on, float[4, 4] t) "
        "<float[4, 4] own> { p = MatMul (s, w) t = Add (p, own) on = Identity (go) }"
    )
    own = onnx.numpy_helper.from_array(np.zeros((4, 4), np.float32), "own")
    del body.initializer[:]
    body.initializer.append(own)
    stored = {"w": np.ones((4, 4), np.float32), "trips": np.array(trips), "yes": np.array(True)}
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("MatMul", ["x", "w"], ["y"], "before"),
            onnx.helper.make_node("Loop", ["trips", "yes", "y"], ["out"], "loop", body=body),
        ],
        "main",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [4, 4])],
        [onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [4, 4])],
        [onnx.numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    return load(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]))


@pytest.mark.parametrize("trips", [1, 3])
def test_a_body_counts_for_every_run_and_stores_once(trips: int) -> None:
    counts = count(loop(trips))
    assert counts.total.macs.at() == 64 + trips * 64
    assert counts.total.flops.at() == 128 + trips * (128 + 16)
    assert (counts.total.params.at(), counts.total.weights.at()) == (32, 32)
    # the product before, the product and the sum of each run, the loop's own result
    assert counts.total.activation_bytes.at() == 64 + trips * 128 + 64
    assert [layer.op for layer in counts.by_layer()][:2] == ["MatMul", "Loop"]
    assert {"MatMul", "Loop"} == set(counts.by_op())


# -- sums that must agree ---------------------------------------------------------------------------------------

NETWORKS = ("resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1", "yolo-fastestv2", "vit_b_32")


@pytest.mark.parametrize("name", NETWORKS)
def test_parts_add_up_to_the_total(name: str) -> None:
    network = zoo(name)
    counts = count(network)
    point = network.bind({})
    for groups in (counts.by_op().values(), counts.by_module().values(), [at.quantities for at in counts.by_layer()]):
        for quantity in QUANTITIES:
            parts = [value_at(getattr(group, quantity), point) for group in groups]
            assert sum(parts) == getattr(counts.at(point), quantity)
    assert sum(value_at(macs, point) for macs in counts.macs_by_dtype().values()) == counts.at(point).macs


@pytest.mark.parametrize("name", NETWORKS)
def test_columns_equal_points(name: str) -> None:
    counts = count(zoo(name))
    rng = np.random.default_rng(0)
    sizes = {size: rng.integers(1, 9, 5) * (1 if size == "N" else 32) for size in counts.network.sizes}
    columns = counts.compile()(sizes)
    for i in range(5):
        expected = counts.at({size: int(column[i]) for size, column in sizes.items()}).as_dict()
        assert {key: int(np.broadcast_to(column, 5)[i]) for key, column in columns.items()} == expected


def test_sizes_that_are_missing_or_unknown() -> None:
    counts = counted(lenet)
    with pytest.raises(UnknownSize, match="leaves N open"):
        counts.at()
    with pytest.raises(UnknownSize, match="no size 'M'"):
        counts.at(N=1, M=2)
