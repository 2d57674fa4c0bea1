"""ONNX Runtime's quantised ops against ONNX Runtime, with numbers and with open sizes; what they count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from one_node import (
    Stored,
    differences,
    executed,
    faults,
    feeds_of,
    floats,
    ids,
    layer_of,
    model_of,
    opened,
    stored,
    weights,
)
from onnx import helper

from costmodel.dims import Dim, value_at
from costmodel.graph import Tensor
from costmodel.read.onnx import load
from tests.ops.official import run

DOMAIN = "com.microsoft"


def small(*shape: int, dtype: Any = np.uint8) -> Any:
    return ids(*shape, below=100, dtype=dtype)


SCALE = stored(0.1, np.float32)
ZERO, SIGNED_ZERO = stored(1, np.uint8), stored(1, np.int8)
Q = (SCALE, ZERO)
POOL = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
CHANNEL_SCALES = Stored(np.full(4, 0.1, np.float32))
FILTERS = Stored(small(4, 3, 3, 3))

CASES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("QuantizeLinear", (floats(2, 3, 4), *Q), {}),
    ("QuantizeLinear", (floats(2, 3, 4), Stored(np.full(3, 0.1, np.float32)), Stored(np.ones(3, np.int8))), {"axis": 1}),
    ("QuantizeLinear", (floats(2, 3, 4), SCALE, stored(1, np.int16)), {}),
    ("DequantizeLinear", (small(2, 3, 4), *Q), {}),
    ("DequantizeLinear", (small(2, 3, 4), *Q), {"axis": 1}),
    ("QLinearAdd", (small(2, 3, 4), *Q, small(3, 1), *Q, *Q), {}),
    ("QLinearAdd", (small(2, 3, 4), *Q, small(4), *Q, SCALE), {}),
    ("QLinearMul", (small(2, 1, 4), *Q, small(2, 3, 4), *Q, *Q), {}),
    ("QLinearSigmoid", (small(2, 3, 4), *Q, *Q), {}),
    ("QLinearSigmoid", (small(2, 3, dtype=np.int8), SCALE, SIGNED_ZERO, SCALE, SIGNED_ZERO), {}),
    ("QLinearLeakyRelu", (small(2, 3, 4), *Q, *Q), {"alpha": 0.1}),
    ("QLinearWhere", (ids(3, 1, below=2).astype(bool), small(2, 3, 4), *Q, small(4), *Q, *Q), {}),
    ("QLinearConcat", (*Q, small(2, 3, 4), *Q, small(2, 5, 4), *Q), {"axis": 1}),
    ("QLinearAveragePool", (small(2, 3, 8, 9), *Q, *Q), POOL),
    ("QLinearAveragePool", (small(2, 8, 9, 3), *Q, *Q), {**POOL, "channels_last": 1, "ceil_mode": 1}),
    ("QLinearGlobalAveragePool", (small(2, 3, 8, 9), *Q, *Q), {}),
    ("QLinearGlobalAveragePool", (small(2, 8, 9, 3), *Q, *Q), {"channels_last": 1}),
    ("QLinearConv", (small(2, 3, 8, 9), *Q, FILTERS, *Q, *Q), {"pads": [1, 1, 1, 1]}),
    ("QLinearConv", (small(2, 8, 9, 3), *Q, FILTERS, *Q, *Q), {"strides": [2, 2], "channels_last": 1}),
    ("QLinearConv", (small(2, 8, 9, 3), *Q, FILTERS, *Q, *Q, Stored(small(4, dtype=np.int32))), {"channels_last": 1}),
    ("MatMulInteger16", (small(2, 3, 4, dtype=np.int16), small(4, 5, dtype=np.int16)), {}),
    ("MatMulIntegerToFloat", (small(2, 3, 4), Stored(small(4, 5)), SCALE, SCALE), {}),
    (
        "MatMulIntegerToFloat",
        (small(2, 3, 4), Stored(small(4, 5, dtype=np.int8)), SCALE, SCALE, ZERO, SIGNED_ZERO, weights(5)),
        {},
    ),
    ("DynamicQuantizeMatMul", (floats(2, 3, 4), Stored(small(4, 5)), SCALE, ZERO, weights(5)), {}),
    ("DynamicQuantizeMatMul", (floats(2, 3, 4), Stored(small(4, 5, dtype=np.int8)), SCALE), {}),
    ("QGemm", (small(3, 4), *Q, Stored(small(4, 5)), *Q), {"transA": 0, "transB": 0}),
    ("QGemm", (small(4, 3), *Q, Stored(small(5, 4)), *Q, Stored(small(5, dtype=np.int32)), *Q), {"transA": 1, "transB": 1}),
    (
        "MatMulNBits",
        (floats(2, 3, 32), Stored(small(16, 2, 8)), weights(16, 2), Stored(small(16, 1)), None, weights(16)),
        {"K": 32, "N": 16, "block_size": 16, "bits": 4},
    ),
    ("MatMulNBits", (floats(3, 32), Stored(small(8, 1, 32)), weights(8, 1)), {"K": 32, "N": 8, "block_size": 32, "bits": 8}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "inputs", "attributes"), CASES)
def test_as_onnx_runtime_runs_it(op: str, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> None:
    assert faults(op, inputs, domain=DOMAIN, **attributes) == []


def test_an_attribute_may_be_called_opset() -> None:
    """QLinearSoftmax says with it which version of Softmax it follows."""
    inputs = (small(2, 3, 4), *Q, *Q)
    model = model_of("QLinearSoftmax", *inputs, domain=DOMAIN, axis=-1)
    model.graph.node[0].attribute.append(helper.make_attribute("opset", 13))
    assert list(differences(load(model), executed(model, feeds_of(inputs)), {})) == []


# op, inputs, attributes, multiply-adds and other operations counted by hand on the shapes
COUNTS: list[tuple[str, tuple[Any, ...], dict[str, Any], int, int]] = [
    ("QLinearAdd", (small(2, 3, 4), *Q, small(3, 1), *Q, *Q), {}, 0, 24 * (2 + 2 + 1 + 3)),
    ("QLinearMul", (small(2, 1, 4), *Q, small(2, 3, 4), *Q, *Q), {}, 0, 24 * (1 + 1 + 1 + 3)),
    ("QLinearConcat", (*Q, small(2, 3), *Q, small(2, 5), *Q), {"axis": 1}, 0, 16 * (2 + 3)),
    ("QLinearGlobalAveragePool", (small(2, 3, 8, 9), *Q, *Q), {}, 0, 2 * 3 * (72 * 2 + 72 + 1 + 3)),
    ("MatMulInteger16", (small(2, 3, 4, dtype=np.int16), small(4, 5, dtype=np.int16)), {}, 2 * 3 * 4 * 5, 0),
    ("MatMulIntegerToFloat", (small(3, 4), small(4, 5), SCALE, SCALE, ZERO), {}, 60, 12 + 15),
    ("DynamicQuantizeMatMul", (floats(3, 4), Stored(small(4, 5)), SCALE, ZERO, weights(5)), {}, 60, 5 * 12 + 20 + 2 * 15),
    ("QGemm", (small(3, 4), *Q, small(4, 5), *Q, Stored(small(5, dtype=np.int32)), *Q), {}, 60, 15 + 3 * 15),
    (
        "MatMulNBits",
        (floats(3, 32), Stored(small(8, 1, 32)), weights(8, 1)),
        {"K": 32, "N": 8, "block_size": 32, "bits": 8},
        3 * 8 * 32,
        2 * 8 * 32,
    ),
]


@pytest.mark.parametrize(("op", "inputs", "attributes", "macs", "other_flops"), COUNTS)
def test_counts(op: str, inputs: tuple[Any, ...], attributes: dict[str, Any], macs: int, other_flops: int) -> None:
    model = model_of(op, *inputs, domain=DOMAIN, **attributes)
    for version, sizes in ((model, {}), opened(model)):
        cost = layer_of(load(version)).cost
        assert cost is not None
        assert (value_at(cost.macs, sizes), value_at(cost.other_flops, sizes)) == (macs, other_flops)


# -- without a kernel for processors ------------------------------------------------------------------------------

N = Dim.size("N")
HIDDEN, HALF = Tensor("float32", (N, 7, 64)), Tensor("float16", (N, 7, 64))
PACKED, SCALES = Tensor("uint8", (128, 2, 16), constant=True), Tensor("float32", (128, 2), constant=True)
NORM, BIAS = Tensor("float32", (64,), constant=True), Tensor("float32", (128,), constant=True)
BITS = {"K": 64, "block_size": 32}


def test_two_projections_behind_a_normalisation() -> None:
    cost = run(
        "MatMulNBitsMlp", HIDDEN, HIDDEN, NORM, PACKED, SCALES, BIAS, PACKED, SCALES, BIAS,
        domain=DOMAIN, opset=1, n_outputs=2, N=128, activation="silu", **BITS,
    )  # fmt: skip
    assert [y.shape for y in cost.outputs] == [(N, 7, 128), (N, 7, 64)]
    assert cost.macs == 2 * 7 * N * 64 * 128
    assert cost.other_flops == 7 * N * 64 * 5 + 2 * (2 * 64 * 128 + 7 * N * 128) + 7 * N * 128 * (5 + 1)


def test_three_projections_behind_a_normalisation() -> None:
    cost = run(
        "MatMulNBitsQkv", HIDDEN, None, NORM, PACKED, SCALES, None, PACKED, SCALES, None, PACKED, SCALES,
        domain=DOMAIN, opset=1, n_outputs=3, Nq=128, Nkv=32, **BITS,
    )  # fmt: skip
    assert [y.shape for y in cost.outputs[:3]] == [(N, 7, 128), (N, 7, 32), (N, 7, 32)]
    assert cost.macs == 7 * N * 64 * (128 + 32 + 32)
    assert cost.other_flops == 7 * N * 64 * 4 + 2 * 64 * (128 + 32 + 32)


def test_products_with_floating_point_of_a_few_bits() -> None:
    scale = Tensor("float32", (), constant=True)
    eight = run("MatMulBlockQuantizedFp8Weight", HALF, Tensor("float8e4m3fn", (128, 64)), SCALES, domain=DOMAIN, opset=1)
    assert (eight.outputs[0], eight.macs) == (Tensor("float16", (N, 7, 128)), 7 * N * 64 * 128)
    four = run(
        "MatMulBlockQuantizedFp4Weight", HALF, Tensor("uint8", (128, 32)), Tensor("uint8", (128, 4)), scale,
        domain=DOMAIN, opset=1,
    )  # fmt: skip
    assert (four.outputs[0], four.macs) == (Tensor("float16", (N, 7, 128)), 7 * N * 64 * 128)


@pytest.mark.parametrize(("dtype", "summed"), [("uint8", "uint32"), ("int8", "int32")])
def test_sums_of_whole_numbers(dtype: str, summed: str) -> None:
    cost = run("ReduceSumInteger", Tensor(dtype, (N, 5, 6)), domain=DOMAIN, opset=1, axes=(1,), keepdims=0)
    assert (cost.outputs[0], cost.other_flops) == (Tensor(summed, (N, 6)), 30 * N)


def test_the_mean_of_quantised_numbers() -> None:
    scale = Tensor("float32", (), constant=True)
    x = Tensor("uint8", (N, 5, 6))
    cost = run("QLinearReduceMean", x, scale, None, scale, domain=DOMAIN, opset=1, axes=(-1,), keepdims=1)
    assert (cost.outputs[0], cost.other_flops) == (Tensor("uint8", (N, 5, 1)), 30 * N * 3 + 5 * N * 4)
