"""Quantised ops of the standard: ONNX's cases, every opset in ONNX Runtime, what they count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from costmodel.dims import Dim
from costmodel.errors import MalformedModel, ShapeMismatch
from costmodel.graph import Tensor
from tests.ops.official import cases_of, differences, faults, run

N, S = Dim.size("N"), Dim.size("S")
OPS = (
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger",
    "QLinearMatMul",
)  # fmt: skip
CASES = cases_of(*OPS)


@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_onnx_cases(name: str, constants: bool) -> None:
    assert faults(CASES[name], constants=constants) == []


def test_there_are_cases_of_every_op() -> None:
    assert {node.op_type for case in CASES.values() for node in case.model.graph.node} == set(OPS)


def small(*shape: int, dtype: Any = np.uint8) -> Any:
    return (np.arange(np.prod(shape, dtype=int)) % 100).reshape(shape).astype(dtype)


X = small(2, 3, 4).astype(np.float32)
SCALE, SCALES = np.float32(0.5), np.full(3, 0.5, np.float32)
ZERO, ZEROS = np.uint8(3), np.full(3, 3, np.uint8)
Q = (SCALE, ZERO)
IMAGE, FILTERS = small(1, 3, 8, 9), small(4, 3, 3, 3)
HISTORY: list[tuple[str, tuple[int, ...], int, tuple[Any, ...], dict[str, Any]]] = [
    ("QuantizeLinear", (10, 13, 19, 21, 23, 24), 1, (X, *Q), {}),
    ("QuantizeLinear", (10, 13, 19, 21, 23, 24), 1, (X, SCALE), {}),
    ("QuantizeLinear", (13, 19, 21, 23), 1, (X, SCALES, ZEROS.astype(np.int8)), {"axis": 1}),
    ("QuantizeLinear", (21, 23), 1, (X, SCALE), {"output_dtype": 3}),
    ("QuantizeLinear", (21, 23), 1, (X, np.full((2, 3, 2), 0.5, np.float32)), {"axis": 2, "block_size": 2}),
    ("DequantizeLinear", (10, 13, 19, 21, 23, 24), 1, (small(2, 3, 4), *Q), {}),
    ("DequantizeLinear", (13, 19, 21, 23), 1, (small(2, 3, 4), SCALES, ZEROS), {"axis": -2}),
    ("DequantizeLinear", (10, 13, 19), 1, (small(2, 3, dtype=np.int32), SCALE), {}),
    ("DequantizeLinear", (19, 21), 1, (small(2, 3, 4), np.float16(0.5)), {}),
    ("DynamicQuantizeLinear", (11,), 3, (X,), {}),
    ("QLinearConv", (10,), 1, (IMAGE, *Q, FILTERS, *Q, *Q), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    ("QLinearConv", (10,), 1, (IMAGE, *Q, FILTERS, *Q, *Q, small(4, dtype=np.int32)), {}),
    ("ConvInteger", (10,), 1, (IMAGE, FILTERS, ZERO), {"dilations": [2, 2]}),
    ("MatMulInteger", (10,), 1, (small(2, 3, 4), small(4, 5, dtype=np.int8), ZERO), {}),
    ("QLinearMatMul", (10, 21), 1, (small(2, 3, 4), *Q, small(4, 5), *Q, *Q), {}),
]
BY_OPSET = [(op, opset, n, inputs, attributes) for op, opsets, n, inputs, attributes in HISTORY for opset in opsets]


@pytest.mark.parametrize(("op", "opset", "n_outputs", "inputs", "attributes"), BY_OPSET)
def test_every_opset_in_onnx_runtime(op: str, opset: int, n_outputs: int, inputs: Any, attributes: dict[str, Any]) -> None:
    assert differences(op, inputs, opset=opset, n_outputs=n_outputs, **attributes) == []


SCALAR, BYTE = Tensor("float32", (), constant=True), Tensor("uint8", (), constant=True)
A, B = Tensor("uint8", (N, S, 64)), Tensor("int8", (64, 32), constant=True)
PICTURE, KERNELS = Tensor("uint8", (N, 8, S, S)), Tensor("int8", (16, 8, 3, 3), constant=True)
PIXELS = N * 16 * S * S
PADDED = {"pads": (1, 1, 1, 1)}


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "macs", "other", "not_learnt"),
    [
        ("QuantizeLinear", (A.to(A.dims, dtype="float32"), SCALAR, BYTE), {}, 0, 3 * N * S * 64, (1, 2)),
        ("DequantizeLinear", (B, SCALAR, BYTE), {}, 0, 2 * 64 * 32, (1, 2)),
        ("DynamicQuantizeLinear", (A.to(A.dims, dtype="float32"),), {}, 0, 5 * N * S * 64, ()),
        ("MatMulInteger", (A, B), {}, N * S * 64 * 32, 0, (2, 3)),
        ("MatMulInteger", (A, B, BYTE, BYTE), {}, N * S * 64 * 32, N * S * 64 + 64 * 32, (2, 3)),
        (
            "QLinearMatMul", (A, SCALAR, BYTE, B, SCALAR, BYTE, SCALAR, BYTE), {},
            N * S * 64 * 32, 3 * N * S * 32, (1, 2, 4, 5, 6, 7),
        ),
        (
            "QLinearConv", (PICTURE, SCALAR, BYTE, KERNELS, SCALAR, BYTE, SCALAR, BYTE), PADDED,
            PIXELS * 72, PIXELS * 3, (1, 2, 4, 5, 6, 7),
        ),
        (
            "QLinearConv", (PICTURE, SCALAR, BYTE, KERNELS, SCALAR, BYTE, SCALAR, BYTE, Tensor("int32", (16,))), PADDED,
            PIXELS * 72, PIXELS * 4, (1, 2, 4, 5, 6, 7),
        ),
        ("ConvInteger", (PICTURE, KERNELS, BYTE), PADDED, PIXELS * 72, PICTURE.size, (2, 3)),
    ],
)  # fmt: skip
def test_counts(op: str, inputs: Any, attributes: Any, macs: Any, other: Any, not_learnt: tuple[int, ...]) -> None:
    cost = run(op, *inputs, n_outputs=3 if op == "DynamicQuantizeLinear" else 1, **attributes)
    assert (cost.macs, cost.other_flops, cost.not_learnable) == (macs, other, not_learnt)


@pytest.mark.parametrize(
    ("scale", "error", "words"),
    [
        (Tensor("float32", (5,)), ShapeMismatch, "5 against 3"),
        (Tensor("float32", (3, 4)), MalformedModel, "neither one number"),
    ],
)
def test_contradictions_are_told(scale: Tensor, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        run("QuantizeLinear", Tensor("float32", (2, 3, 4)), scale)
