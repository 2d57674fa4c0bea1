"""Ops that cut and pad axes: ONNX's cases, every opset in ONNX Runtime, random slices with open sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.dims import Dim, maximum, minimum
from costmodel.errors import MalformedModel, ShapeMismatch
from costmodel.graph import Tensor
from costmodel.ops.slicing import BEYOND, cut
from tests.ops.official import at, cases_of, differences, executed, faults, run, tensor_of

N, S = Dim.size("N"), Dim.size("S")
END, BEGIN = 2**63 - 1, -(2**63)
OPS = ("Slice", "Split", "Pad", "CenterCropPad")
CASES = cases_of(*OPS)


def numbers(*shape: int, dtype: str = "float32") -> Any:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


def ints(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


def shape_tensor(*extents: Any) -> Tensor:
    return Tensor("int64", (len(extents),), extents, constant=True)


@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_onnx_cases(name: str, constants: bool) -> None:
    assert faults(CASES[name], constants=constants) == []


def test_there_are_cases_of_every_op() -> None:
    assert {node.op_type for case in CASES.values() for node in case.model.graph.node} >= set(OPS)


X = numbers(4, 5, 6)
ROW = ints(9, 8, 7, 6, 5)
HISTORY: list[tuple[str, tuple[int, ...], tuple[Any, ...], dict[str, Any]]] = [
    ("Slice", (7,), (X,), {"starts": [1, -3], "ends": [END, -1], "axes": [0, 2]}),
    ("Slice", (7,), (X,), {"starts": [1], "ends": [3]}),
    ("Slice", (7,), (ROW,), {"starts": [-2], "ends": [2**31 - 1]}),
    ("Slice", (10, 11, 13), (X, ints(1, 0), ints(3, 100)), {}),
    ("Slice", (10, 11, 13), (X, ints(-1, 4), ints(BEGIN, 1), ints(2, 1), ints(-2, -1)), {}),
    ("Slice", (13,), (X, ints(-100), ints(100), ints(-2)), {}),
    ("Slice", (13,), (X, ints(100), ints(-100), ints(1), ints(-1)), {}),
    ("Slice", (13,), (X, ints(-100), ints(BEGIN), ints(1), ints(-1)), {}),
    ("Slice", (13,), (X, ints(3), ints(1), ints(1)), {}),
    ("Slice", (13,), (ROW, ints(END), ints(BEGIN), ints(0), ints(-2)), {}),
    ("Slice", (13,), (ROW, np.array([1], np.int32), np.array([4], np.int32)), {}),
    ("Pad", (7,), (X,), {"pads": [0, 1, 2, 1, 0, 0]}),
    ("Pad", (7,), (X,), {"pads": [0, -1, 2, 1, -2, 0], "mode": "constant", "value": 3.0}),
    ("Pad", (11, 13, 18, 19, 21, 23, 24), (X, ints(0, 1, 2, 1, 0, 0)), {}),
    ("Pad", (11, 13, 18), (X, ints(0, 1, 2, 1, 0, 0)), {"mode": "reflect"}),
    ("Pad", (11, 13, 18), (ROW, ints(-1, 2), np.int64(5)), {}),
    ("Pad", (13, 18), (ROW, ints(1, 2)), {"mode": "edge"}),
    ("Pad", (18, 19, 21), (X, ints(1, 2, 3, -1), np.float32(0), ints(-1, 0)), {}),
    ("Pad", (19, 21), (ROW, ints(3, 2)), {"mode": "wrap"}),
    ("CenterCropPad", (18,), (X, ints(3, 8)), {"axes": [0, -1]}),
    ("CenterCropPad", (18,), (X, ints(3, 8, 6)), {}),
]
SPLITS: list[tuple[tuple[int, ...], tuple[Any, ...], dict[str, Any], int]] = [
    ((7, 11), (X,), {}, 2),
    ((7, 11), (X,), {"axis": 2, "split": [1, 2, 3]}, 3),
    ((13, 18), (X, ints(0, 4, 1)), {"axis": 1}, 3),
    ((13,), (X,), {"axis": -1}, 3),
    ((18,), (X,), {"axis": 1, "num_outputs": 2}, 2),
    ((18,), (X,), {"axis": 1, "num_outputs": 3}, 3),
    ((18,), (ROW, ints(2, 3)), {}, 2),
]
BY_OPSET = [(op, opset, 1, inputs, attributes) for op, opsets, inputs, attributes in HISTORY for opset in opsets]
BY_OPSET += [("Split", opset, parts, inputs, attributes) for opsets, inputs, attributes, parts in SPLITS for opset in opsets]


@pytest.mark.parametrize(("op", "opset", "parts", "inputs", "attributes"), BY_OPSET)
def test_every_opset_in_onnx_runtime(
    op: str, opset: int, parts: int, inputs: tuple[Any, ...], attributes: dict[str, Any]
) -> None:
    assert differences(op, inputs, opset=opset, n_outputs=parts, **attributes) == []


@pytest.mark.parametrize(
    ("op", "parts", "inputs", "attributes"),
    [
        (op, parts, inputs, attributes)
        for op, opset, parts, inputs, attributes in BY_OPSET
        if opset == (13 if op == "Slice" else 18) and inputs[0] is X
    ],
)
def test_open_sizes_bound_again_give_what_runs(op: str, parts: int, inputs: Any, attributes: dict[str, Any]) -> None:
    named = {4: "N", 6: "S"} if op == "Split" else {4: "N", 5: "S"}
    assert differences(op, inputs, names=named, opset=18, n_outputs=parts, **attributes) == []


# op, inputs, attributes, outputs, opset, what numpy says: versions before those that ONNX Runtime runs
OLD: list[tuple[str, dict[str, Any], int, Any]] = [
    ("Slice", {"starts": (1,), "ends": (-1,), "axes": (2,)}, 1, [X[:, :, 1:-1]]),
    ("Split", {"axis": 1, "split": (1, 4)}, 1, np.split(X, [1], 1)),
    ("Split", {}, 1, np.split(X, 2)),
    ("Split", {}, 2, np.split(X, 2)),
    ("Pad", {"paddings": (0, 1, 2, 1, 0, 0)}, 1, [np.pad(X, ((0, 1), (1, 0), (2, 0)))]),
    ("Pad", {"pads": (0, 1, 2, 1, 0, 0)}, 2, [np.pad(X, ((0, 1), (1, 0), (2, 0)))]),
]


@pytest.mark.parametrize(("op", "attributes", "opset", "expected"), OLD)
def test_versions_before_opset_7(op: str, attributes: dict[str, Any], opset: int, expected: list[Any]) -> None:
    outputs = run(op, tensor_of(X), opset=opset, n_outputs=len(expected), **attributes).outputs
    assert [y.shape for y in outputs] == [real.shape for real in expected]


# -- slices of open axes ------------------------------------------------------------------------------------------

SIZES = {"N": 3, "S": 11}
numbers_of_places = [0, 1, 2, 5, 20, -1, -2, -5, -20, END, BEGIN, BEYOND, -BEYOND]
places = st.sampled_from([*numbers_of_places, N, S, S - 1, S - 5, -N, N - S, S + N, 2 * S])


@given(extent=st.sampled_from([S, 2 * S + 1, 7, 1]), start=places, end=places, step=st.integers(1, 4))
def test_forward_slices_with_open_sizes(extent: Any, start: Any, end: Any, step: int) -> None:
    array = np.arange(at(extent, SIZES))
    real = array[at(start, SIZES) : at(end, SIZES) : step]
    taken = cut(extent, start, end, step)
    assert at(taken.length, SIZES) == len(real)
    assert not len(real) or at(taken.begin, SIZES) == real[0]


@given(extent=st.sampled_from([S, 2 * S + 1, 7, 1]), start=places, end=places, step=st.integers(-4, -1))
def test_backward_slices_with_open_sizes(extent: Any, start: Any, end: Any, step: int) -> None:
    """ONNX clamps a start before the axis to its first place; numpy takes nothing then."""
    array = np.arange(at(extent, SIZES))
    begin = max(at(start, SIZES), -len(array))
    real = array[begin : at(end, SIZES) : step]
    taken = cut(extent, start, end, step)
    assert at(taken.length, SIZES) == len(real)
    assert not len(real) or at(taken.begin, SIZES) == real[0]


@given(st.integers(-7, 7), st.integers(-7, 7), st.sampled_from([-3, -2, -1, 1, 2, 3]))
def test_slices_as_onnx_runtime_takes_them(start: int, end: int, step: int) -> None:
    array = ints(10, 11, 12, 13, 14)
    given = (array, ints(start), ints(end), ints(0), ints(step))
    y, = run("Slice", *map(tensor_of, given)).outputs
    real, = executed("Slice", *given, opset=13)
    assert y.value == tuple(real.tolist())


@pytest.mark.parametrize(
    ("extent", "start", "end", "length"),
    [
        (S, 0, END, S),
        (S, 1, END, S - 1),
        (S, 0, -1, S - 1),
        (S, -1, END, 1),
        (S, -2, END, minimum(2, S)),
        (512, 0, S, minimum(512, S)),
        (1024, N, N + S, maximum(0, minimum(1024 - N, S))),
        (N + S, N, N + S, S),
        (S, 5, END, maximum(0, S - 5)),
        (S, 0, 0, 0),
    ],
)
def test_what_open_slices_look_like(extent: Any, start: Any, end: Any, length: Any) -> None:
    assert cut(extent, start, end).length == length


def test_values_through_slices() -> None:
    shape = shape_tensor(N, S, 768, None)
    assert run("Slice", shape, shape_tensor(1), shape_tensor(END)).outputs[0].value == (S, 768, None)
    assert run("Slice", shape, shape_tensor(-1), shape_tensor(BEGIN), None, shape_tensor(-2)).outputs[0].value == (None, S)
    assert run("Slice", shape, shape_tensor(N), shape_tensor(N + 1)).outputs[0].value is None
    first, second = run("Split", shape, shape_tensor(1, 3), n_outputs=2).outputs
    assert (first.value, second.value) == ((N,), (S, 768, None))
    assert run("Pad", shape, shape_tensor(1, -2)).outputs[0].value == (0, N, S)
    assert run("Pad", shape_tensor(N, S), shape_tensor(0, 2), Tensor("int64", (), (1,))).outputs[0].value == (N, S, 1, 1)


def test_parts_of_open_extents() -> None:
    x = Tensor("float32", (N, 3 * S))
    assert [y.dims[1] for y in run("Split", x, axis=1, n_outputs=3).outputs] == [S, S, S]
    halves = run("Split", Tensor("float32", (S,)), num_outputs=2, n_outputs=2).outputs
    assert [[at(y.dims[0], {"S": s}) for y in halves] for s in (1, 4, 7)] == [[1, 0], [2, 2], [4, 3]]
    rest = run("Split", x, shape_tensor(S, None), axis=1, n_outputs=2).outputs
    assert [y.dims[1] for y in rest] == [S, 2 * S]


# -- what depends on data -----------------------------------------------------------------------------------------


def unknown(count: Any = 1) -> Tensor:
    return Tensor("int64", (count,))


@pytest.mark.parametrize(
    ("op", "given", "opened"),
    [
        ("Slice", (unknown(), shape_tensor(END), shape_tensor(1)), [False, True, False]),
        ("Slice", (unknown(), unknown()), [True, False, False]),
        ("Slice", (unknown(), unknown(), unknown()), [True, True, True]),
        ("Slice", (unknown(S), unknown(S)), [True, True, True]),
        ("Pad", (unknown(6),), [True, True, True]),
        ("Pad", (unknown(2), None, shape_tensor(2)), [False, False, True]),
        ("Pad", (unknown(2), None, unknown(1)), [True, True, True]),
        ("CenterCropPad", (unknown(3),), [True, True, True]),
    ],
)
def test_unknown_numbers_open_the_axes_that_they_touch(op: str, given: Any, opened: list[bool]) -> None:
    cost = run(op, Tensor("float32", (N, 5, S)), *given)
    assert [extent == Dim.size(f"node.axis{axis}") for axis, extent in enumerate(cost.outputs[0].dims)] == opened
    bounded = [(f"node.axis{axis}", extent) for axis, extent in enumerate((N, 5, S)) if opened[axis]]
    assert cost.bounds == (tuple(bounded) if op == "Slice" else ())


def test_unknown_parts_are_at_most_the_whole() -> None:
    cost = run("Split", Tensor("float32", (S, 2)), unknown(2), n_outputs=2)
    assert [y.dims[0] for y in cost.outputs] == [Dim.size("node.part0"), Dim.size("node.part1")]
    assert cost.bounds == (("node.part0", S), ("node.part1", S))


def test_a_slice_reads_what_it_keeps() -> None:
    cost = run("Slice", Tensor("float32", (S, 100)), shape_tensor(0), shape_tensor(10), shape_tensor(1))
    assert cost.reads == (10 * S, 1, 1, 1, 0)
    crop = run("CenterCropPad", Tensor("float32", (8, 100)), shape_tensor(10, 10))
    assert crop.reads == (80, 2)


@pytest.mark.parametrize(
    ("op", "given", "attributes", "error", "words"),
    [
        ("Slice", (shape_tensor(0), shape_tensor(1), shape_tensor(0), shape_tensor(0)), {}, MalformedModel, "step 0"),
        ("Slice", (shape_tensor(0, 0), shape_tensor(1)), {}, MalformedModel, "a slice of 2 axes"),
        ("Slice", (shape_tensor(0), shape_tensor(1), shape_tensor(4)), {}, MalformedModel, "axis 4 does not exist"),
        ("Split", (shape_tensor(1, 2),), {}, ShapeMismatch, "3 against 4"),
        ("Split", (shape_tensor(1, 2, 1),), {}, MalformedModel, "3 sizes are given for 2 parts"),
        ("Split", (), {"axis": 1}, MalformedModel, "5 does not split into 2 equal parts"),
        ("Pad", (shape_tensor(1, 2),), {}, MalformedModel, "2 pads are given for 3 axes"),
        ("Pad", (shape_tensor(0, -3, 0, 0, -3, 0),), {}, MalformedModel, "take more from axis 1"),
        ("CenterCropPad", (shape_tensor(1, 2),), {}, MalformedModel, "2 extents are given for 3 axes"),
    ],
)
def test_contradictions_are_told(op: str, given: Any, attributes: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        run(op, tensor_of(X), *given, n_outputs=2 if op == "Split" else 1, **attributes)
