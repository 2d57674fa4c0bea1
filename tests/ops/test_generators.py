"""Ops that make tensors: ONNX's cases, every opset in ONNX Runtime, open sizes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from costmodel.dims import Dim, maximum
from costmodel.errors import MalformedModel
from costmodel.graph import Tensor
from costmodel.read.onnx import load
from tests.ops.official import at, cases_of, differences, executed, faults, run, tensor_of

N, S = Dim.size("N"), Dim.size("S")
OPS = (
    "Constant", "ConstantOfShape", "EyeLike", "Range", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike", "Bernoulli", "Multinomial",
)  # fmt: skip
CASES = cases_of(*OPS)


def ints(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


def scalar(element: Any, dtype: str = "int64") -> Tensor:
    return Tensor(dtype, (), (element,))


@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_onnx_cases(name: str, constants: bool) -> None:
    assert faults(CASES[name], constants=constants, exact="bfloat16" not in name) == []


ONE = numpy_helper.from_array(np.array([7], np.int32))
SEVEN = Tensor("int32", (1,), (7,), constant=True)
RANDOM = OPS[4:]  # version 22 added bfloat16 only, and ONNX Runtime runs 1, 7 and 15
GRID = np.zeros((2, 3), np.float32)
HISTORY: list[tuple[str, tuple[int, ...], tuple[Any, ...], dict[str, Any]]] = [
    ("ConstantOfShape", (9, 20, 21, 23, 24), (ints(2, 3),), {}),
    ("ConstantOfShape", (9, 20, 21, 23, 24), (ints(2, 3),), {"value": ONE}),
    ("ConstantOfShape", (9, 20), (ints(),), {"value": ONE}),
    ("ConstantOfShape", (9, 20), (ints(0),), {"value": ONE}),
    ("EyeLike", (9, 22), (GRID,), {}),
    ("EyeLike", (9, 22), (GRID,), {"dtype": 7, "k": 1}),
    ("Range", (11,), (np.int64(3), np.int64(20), np.int64(4)), {}),
    ("Range", (11,), (np.int32(10), np.int32(-3), np.int32(-3)), {}),
    ("Range", (11,), (np.float32(0), np.float32(1), np.float32(0.25)), {}),
    ("Range", (11,), (np.int64(3), np.int64(3), np.int64(1)), {}),
    ("RandomNormal", (7, 22), (), {"shape": [2, 3]}),
    ("RandomNormal", (7, 22), (), {"shape": [2], "dtype": 11}),
    ("RandomUniform", (7, 22), (), {"shape": [2, 3]}),
    ("RandomNormalLike", (7, 22), (GRID,), {}),
    ("RandomUniformLike", (7, 22), (GRID,), {"dtype": 11}),
    ("Bernoulli", (15, 22), (GRID,), {}),
    ("Bernoulli", (15, 22), (GRID,), {"dtype": 9}),
    ("Multinomial", (7, 22), (GRID,), {"sample_size": 5}),
    ("Multinomial", (7, 22), (GRID,), {"sample_size": 5, "dtype": 7}),
]
BY_OPSET = [(op, opset, inputs, attributes) for op, opsets, inputs, attributes in HISTORY for opset in opsets]


@pytest.mark.parametrize(("op", "opset", "inputs", "attributes"), BY_OPSET)
def test_every_opset_in_onnx_runtime(op: str, opset: int, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> None:
    read = {name: SEVEN if value is ONE else value for name, value in attributes.items()}
    real, = executed(op, *inputs, opset=15 if op in RANDOM else opset, **attributes)
    y, = run(op, *map(tensor_of, inputs), opset=opset, **read).outputs
    assert (y.dtype, y.shape) == (real.dtype.name, real.shape)
    if op in ("ConstantOfShape", "Range"):
        assert y.value == tuple(real.ravel().tolist())


@pytest.mark.parametrize("opset", [7, 9, 11, 12, 13, 19, 21, 23, 24])
@pytest.mark.parametrize(
    ("attributes", "since"),
    [
        ({"value": numpy_helper.from_array(np.arange(6).reshape(2, 3))}, 7),
        ({"value": numpy_helper.from_array(np.array(2.5, np.float32))}, 7),
        ({"value_int": 7}, 12),
        ({"value_ints": [7, 8]}, 12),
        ({"value_float": 0.5}, 12),
        ({"value_floats": [0.5, 0.25, 1.0]}, 12),
        ({"value_string": "a"}, 12),
        ({"value_strings": ["a", "b"]}, 12),
    ],
)
def test_constants_in_every_form(attributes: dict[str, Any], since: int, opset: int) -> None:
    if opset < since:
        pytest.skip(f"the form exists from opset {since} on")
    node = helper.make_node("Constant", [], ["y"], **attributes)
    graph = helper.make_graph([node], "one", [], [helper.make_empty_tensor_value_info("y")])
    network = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]))
    real = np.asarray(executed("Constant", opset=opset, **attributes)[0])
    y = network.outputs["y"]
    assert (y.dtype, y.shape) == ("string" if real.dtype.kind in "OUS" else real.dtype.name, real.shape)
    assert y.value == tuple(real.ravel().tolist())
    assert y.constant


def test_a_sparse_constant_has_its_dense_shape() -> None:
    dense = Tensor("float32", (100, 200), constant=True)
    assert run("Constant", sparse_value=dense).outputs == (dense,)


@pytest.mark.parametrize("attributes", [{}, {"value_int": 1, "value_float": 1.0}])
def test_a_constant_has_one_value(attributes: dict[str, Any]) -> None:
    with pytest.raises(MalformedModel, match="exactly one value attribute"):
        run("Constant", **attributes)


@pytest.mark.parametrize("op", ["Constant", "ConstantOfShape", "EyeLike"])
def test_filled_constants_are_stored_data(op: str) -> None:
    given: Any = {"ConstantOfShape": [Tensor("int64", (2,), (64, 3))], "EyeLike": [Tensor("float32", (3, 3))]}
    assert run(op, *given.get(op, []), **({"value_int": 1} if op == "Constant" else {})).stores


# -- open sizes ---------------------------------------------------------------------------------------------------


def test_shapes_from_open_sizes() -> None:
    assert run("ConstantOfShape", Tensor("int64", (2,), (N, 4))).outputs[0].shape == (N, 4)
    assert run("EyeLike", Tensor("float32", (S, S))).outputs[0].shape == (S, S)
    assert run("Multinomial", Tensor("float32", (N, 9)), sample_size=2).outputs[0].shape == (N, 2)


@pytest.mark.parametrize(
    ("start", "limit", "step", "length", "value"),
    [
        (0, S, 1, S, None),
        (N, N + S, 1, S, None),
        (N, N + 3, 1, 3, (N, N + 1, N + 2)),
        (0, S, 2, (S + 1) // 2, None),
        (S, 0, -1, S, None),
        (5, S, 1, maximum(0, S - 5), None),
        (0, Fraction(7, 2), 1, 4, (0, 1, 2, 3)),
        (0.0, S, 1.0, S, None),
        (0, 2000, 1, 2000, None),
    ],
)
def test_ranges(start: Any, limit: Any, step: Any, length: Any, value: Any) -> None:
    y, = run("Range", scalar(start), scalar(limit), scalar(step)).outputs
    assert (y.shape, y.value) == ((length,), value)


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(-4, 4).filter(bool), st.integers(1, 5))
def test_ranges_with_open_ends(start: int, limit: int, step: int, size: int) -> None:
    y, = run("Range", scalar(start + N), scalar(limit + 2 * N), scalar(step)).outputs
    assert at(y.dims[0], {"N": size}) == len(range(start + size, limit + 2 * size, step))


@pytest.mark.parametrize("position", range(3))
def test_a_range_of_unknown_numbers(position: int) -> None:
    given = [Tensor("int64", ()) if i == position else scalar(1) for i in range(3)]
    assert run("Range", *given).outputs[0].shape == (Dim.size("node.length"),)


@pytest.mark.parametrize(("given", "rank"), [(Tensor("int64", (3,)), 3), (Tensor("int64", (S,)), None)])
def test_constants_of_unknown_shape(given: Tensor, rank: int | None) -> None:
    y, = run("ConstantOfShape", given).outputs
    assert (None if y.shape is None else y.rank) == rank


def test_a_range_needs_a_step() -> None:
    with pytest.raises(MalformedModel, match="step 0 never ends"):
        run("Range", scalar(0), scalar(9), scalar(0))


def test_microsoft_range_has_a_default_step() -> None:
    assert differences("Range", (np.int64(2), np.int64(6)), opset=1, domain="com.microsoft") == []
