"""Ops that pick by index or value: ONNX's cases, every opset in ONNX Runtime, open sizes, what depends on data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.dims import Dim, minimum
from costmodel.errors import MalformedModel
from costmodel.graph import Tensor
from tests.ops.official import cases_of, differences, executed, faults, run, tensor_of

N, S = Dim.size("N"), Dim.size("S")
OPS = (
    "Gather", "GatherElements", "GatherND", "Scatter", "ScatterElements", "ScatterND", "TensorScatter", "OneHot", "TopK",
    "NonZero", "Unique", "Compress", "NonMaxSuppression",
)  # fmt: skip
CASES = cases_of(*OPS)


def still_open(name: str) -> bool:
    """NonMaxSuppression is not run, and files are not searched for the numbers of bfloat16."""
    return name.startswith("test_nonmaxsuppression") or "bfloat16" in name


def numbers(*shape: int, dtype: str = "float32") -> Any:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


def ints(*values: Any) -> Any:
    return np.array(values, dtype=np.int64)


def shape_tensor(*extents: Any) -> Tensor:
    return Tensor("int64", (len(extents),), extents, constant=True)


@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_onnx_cases(name: str, constants: bool) -> None:
    assert faults(CASES[name], constants=constants, exact=not still_open(name)) == []


def test_there_are_cases_of_every_op() -> None:
    assert {node.op_type for case in CASES.values() for node in case.model.graph.node} == set(OPS)


X = numbers(2, 3, 4)
TABLE = numbers(3, 2, dtype="int64")
HISTORY: list[tuple[str, tuple[int, ...], int, tuple[Any, ...], dict[str, Any]]] = [
    ("Gather", (7, 11, 13), 1, (X, ints([0, 2], [1, 1])), {"axis": 1}),
    ("Gather", (7, 11, 13), 1, (TABLE, np.int64(2)), {}),
    ("Gather", (11, 13), 1, (TABLE, np.array([1, -1, 0], np.int32)), {"axis": -1}),
    ("Gather", (13,), 1, (ints(5, 6, 7), np.int64(-1)), {}),
    ("GatherElements", (11, 13), 1, (TABLE, ints([1, 0], [0, 0])), {"axis": 1}),
    ("GatherElements", (11, 13), 1, (TABLE, ints([2, -1])), {"axis": 0}),
    ("GatherND", (11, 12, 13), 1, (X, ints([0, 1], [1, 2])), {}),
    ("GatherND", (12, 13), 1, (numbers(2, 2, 2, dtype="int64"), ints([1], [0])), {"batch_dims": 1}),
    ("GatherND", (12, 13), 1, (numbers(2, 2, 2, dtype="int64"), ints([[1, 0]], [[0, -1]])), {"batch_dims": 1}),
    ("Scatter", (9,), 1, (TABLE, ints([1, 0]), ints([-1, -2])), {}),
    ("ScatterElements", (11, 13, 16, 18), 1, (TABLE, ints([1], [0]), ints([-1], [-2])), {"axis": 1}),
    ("ScatterElements", (16, 18), 1, (TABLE, ints([1], [0]), ints([-1], [-2])), {"axis": 1, "reduction": "add"}),
    ("ScatterND", (11, 13, 16, 18), 1, (TABLE, ints([2], [0]), ints([-1, -2], [-3, -4])), {}),
    ("ScatterND", (11, 13, 16, 18), 1, (TABLE, ints([2, 1], [0, 0]), ints(-1, -2)), {}),
    ("ScatterND", (18,), 1, (TABLE, ints([2, 1], [0, 0]), ints(-1, -2)), {"reduction": "max"}),
    ("OneHot", (9, 11), 1, (ints([0, 2], [1, 1]), np.int64(4), np.array([0, 1], np.float32)), {}),
    ("OneHot", (9, 11), 1, (ints([0, 2], [1, 1]), ints(4), np.array([0, 1], np.float32)), {"axis": 0}),
    ("OneHot", (9, 11), 1, (numbers(2), np.float32(4), numbers(2)), {"axis": -2}),
    ("TopK", (7,), 2, (X,), {"k": 2}),
    ("TopK", (10, 11, 24), 2, (X, ints(3)), {"axis": 1}),
    ("TopK", (11, 24), 2, (ints([3, 1, 3], [2, 5, 2]), ints(2)), {"largest": 0}),
    ("TopK", (11, 24), 2, (ints([3, 1, 3], [2, 5, 2]), ints(2)), {}),
    ("NonZero", (9, 13), 1, (ints([0, 3], [1, 0]),), {}),
    ("NonZero", (9, 13), 1, (np.array([True, False, True]),), {}),
    ("Unique", (11,), 4, (ints([2, 1], [1, 2]),), {}),
    ("Unique", (11,), 4, (ints([2, 1], [2, 1], [0, 0]),), {"axis": 0}),
    ("Compress", (9, 11), 1, (TABLE, np.array([False, True, True])), {"axis": 0}),
    ("Compress", (9, 11), 1, (TABLE, np.array([False, True])), {"axis": -1}),
    ("Compress", (9, 11), 1, (TABLE, np.array([True, False, True, True])), {}),
    ("NonMaxSuppression", (10, 11), 1, (numbers(1, 4, 4), numbers(1, 2, 4)), {}),
    ("NonMaxSuppression", (10, 11), 1, (numbers(1, 4, 4), numbers(1, 2, 4), ints(0)), {}),
]
BY_OPSET = [(op, opset, n, inputs, attributes) for op, opsets, n, inputs, attributes in HISTORY for opset in opsets]


@pytest.mark.parametrize(("op", "opset", "n_outputs", "inputs", "attributes"), BY_OPSET)
def test_every_opset_in_onnx_runtime(op: str, opset: int, n_outputs: int, inputs: Any, attributes: dict[str, Any]) -> None:
    assert differences(op, inputs, opset=opset, n_outputs=n_outputs, **attributes) == []


SYMBOLIC: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Gather", (X, ints([0, 2], [1, 1])), {"axis": 1}),
    ("Gather", (X, np.int64(0)), {}),
    ("GatherElements", (X, numbers(1, 3, 4, dtype="int64") % 2), {}),
    ("GatherND", (X, ints([0, 1], [1, 2])), {}),
    ("GatherND", (X, ints([1], [0])), {"batch_dims": 1}),
    ("ScatterElements", (X, numbers(1, 1, 4, dtype="int64") % 2, numbers(1, 1, 4)), {}),
    ("ScatterND", (X, ints([0, 1]), numbers(1, 4)), {}),
    ("TopK", (X, ints(2)), {}),
    ("Compress", (X, np.array([True, False, True])), {"axis": 1}),
]


@pytest.mark.parametrize(("op", "inputs", "attributes"), SYMBOLIC)
def test_open_sizes_bound_again_give_what_runs(op: str, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> None:
    assert differences(op, inputs, names={2: "N", 3: "S"}, opset=18, n_outputs=2 if op == "TopK" else 1, **attributes) == []


# -- values that carry shapes -------------------------------------------------------------------------------------


def test_values_are_picked_with_their_names() -> None:
    shape = shape_tensor(N, S, 768)
    first = run("Gather", shape, Tensor("int64", (), (0,))).outputs[0]
    assert (first.shape, first.value) == ((), (N,))
    assert run("Gather", shape, shape_tensor(-1, 1)).outputs[0].value == (768, S)
    assert run("Gather", shape, shape_tensor(N)).outputs[0].value is None
    assert run("GatherElements", shape, shape_tensor(2, 0)).outputs[0].value == (768, N)
    assert run("GatherND", shape, Tensor("int64", (1, 1), (1,))).outputs[0].value == (S,)
    written = run("ScatterND", shape, Tensor("int64", (1, 1), (1,)), shape_tensor(2 * S)).outputs[0]
    assert written.value == (N, 2 * S, 768)
    assert run("ScatterElements", shape, shape_tensor(2), shape_tensor(None)).outputs[0].value == (N, S, None)
    assert run("Compress", shape, Tensor("bool", (3,), (True, False, True))).outputs[0].value == (N, 768)


@given(st.data())
def test_gathered_values_as_onnx_runtime_gives_them(data: st.DataObject) -> None:
    array = numbers(*data.draw(st.sampled_from([(5,), (3, 4), (2, 3, 2)])), dtype="int64")
    axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
    extent = array.shape[axis]
    shape = data.draw(st.sampled_from([(), (1,), (2, 3), (0,)]))
    places = st.lists(st.integers(-extent, extent - 1), min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))
    picks = ints(*data.draw(places)).reshape(shape)
    y, = run("Gather", tensor_of(array), tensor_of(picks), axis=axis).outputs
    real, = executed("Gather", array, picks, opset=13, axis=axis)
    assert (y.shape, y.value) == (real.shape, tuple(real.ravel().tolist()))


@given(st.lists(st.sampled_from([0, 1, -2]), max_size=12))
def test_nonzero_elements(elements: list[int]) -> None:
    y, = run("NonZero", tensor_of(ints(*elements).reshape(-1, 1))).outputs
    real = np.nonzero(np.array(elements).reshape(-1, 1))
    assert (y.shape, y.value) == ((2, len(real[0])), tuple(np.concatenate(real).tolist()))


def test_sizes_are_not_zero() -> None:
    assert run("NonZero", shape_tensor(N, 0, S)).outputs[0].value == (0, 2)
    assert run("NonZero", shape_tensor(N - 1, 1)).outputs[0].value is None


def test_all_places_of_a_filled_tensor() -> None:
    """How exporters before Range wrote a range: the places of ones."""
    ones, = run("ConstantOfShape", shape_tensor(S), value=Tensor("int64", (1,), (1,))).outputs
    zeros, = run("ConstantOfShape", shape_tensor(N, S)).outputs
    assert run("NonZero", ones).outputs[0].shape == (1, S)
    assert run("NonZero", run("Expand", ones, shape_tensor(N, S)).outputs[0]).outputs[0].shape == (2, N * S)
    assert run("NonZero", run("Unsqueeze", zeros, shape_tensor(0)).outputs[0]).outputs[0].shape == (3, 0)


# -- what depends on data -----------------------------------------------------------------------------------------

BOXES, SCORES = Tensor("float32", (N, 100, 4)), Tensor("float32", (N, 80, 100))
MANY = minimum(100, S)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "shapes", "most"),
    [
        ("NonZero", (Tensor("bool", (N, S)),), {}, [(2, "nonzero")], ("nonzero", N * S)),
        ("Unique", (Tensor("int64", (N, S)),), {}, [("unique",), ("unique",), (N * S,), ("unique",)], ("unique", N * S)),
        ("Unique", (Tensor("int64", (N, S)),), {"axis": 1}, [(N, "unique"), ("unique",), (S,), ("unique",)], ("unique", S)),
        ("Compress", (Tensor("float32", (N, 9)), Tensor("bool", (5,))), {"axis": 1}, [(N, "selected")], ("selected", 5)),
        ("Compress", (Tensor("float32", (N, 9)), Tensor("bool", (N,))), {}, [("selected",)], ("selected", N)),
        ("OneHot", (Tensor("int64", (N,)), Tensor("int64", ()), Tensor("int8", (2,))), {}, [(N, "depth")], None),
        ("TopK", (Tensor("float32", (N, 9)), Tensor("int64", (1,))), {}, [(N, "k"), (N, "k")], ("k", 9)),
        ("NonMaxSuppression", (BOXES, SCORES, Tensor("int64", ())), {}, [("selected", 3)], ("selected", 8000 * N)),
        ("NonMaxSuppression", (BOXES, SCORES, shape_tensor(20)), {}, [("selected", 3)], ("selected", 1600 * N)),
        ("NonMaxSuppression", (BOXES, SCORES, shape_tensor(S)), {}, [("selected", 3)], ("selected", 80 * N * MANY)),
    ],
)
def test_new_sizes_and_the_most_they_can_be(op: str, inputs: Any, attributes: Any, shapes: Any, most: Any) -> None:
    cost = run(op, *inputs, n_outputs=len(shapes), **attributes)
    wanted = [tuple(Dim.size(f"node.{e}") if isinstance(e, str) else e for e in shape) for shape in shapes]
    assert [y.shape for y in cost.outputs] == wanted
    assert cost.bounds == (() if most is None else ((f"node.{most[0]}", most[1]),))


def test_no_boxes_without_a_limit() -> None:
    """max_output_boxes_per_class: default 0, which means no output."""
    assert run("NonMaxSuppression", BOXES, SCORES).outputs[0].shape == (0, 3)


@pytest.mark.parametrize(
    ("op", "inputs", "reads"),
    [
        ("Gather", (Tensor("float32", (50000, 768)), Tensor("int64", (N, S))), (768 * N * S, N * S)),
        ("GatherElements", (Tensor("float32", (N, 8)), Tensor("int64", (N, 2))), (2 * N, 2 * N)),
        ("GatherND", (Tensor("float32", (N, 8)), Tensor("int64", (5, 1))), (40, 5)),
        ("ScatterND", (Tensor("float32", (N, 8)), Tensor("int64", (5, 1)), Tensor("float32", (5, 8))), None),
    ],
)
def test_gathering_reads_what_it_picks(op: str, inputs: Any, reads: Any) -> None:
    assert run(op, *inputs).reads == reads


def test_scattering_may_happen_in_place() -> None:
    data, places, updates = Tensor("float32", (N, 8)), Tensor("int64", (5, 1)), Tensor("float32", (5, 8))
    plain, added = (run("ScatterND", data, places, updates, reduction=how) for how in ("none", "add"))
    assert plain.in_place == added.in_place == (0,)
    assert (plain.other_flops, added.other_flops) == (0, 40)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "words"),
    [
        ("Gather", (X, ints(0)), {"axis": 3}, "axis 3 does not exist"),
        ("Gather", (ints(1, 2), ints(2)), {}, "out of bounds"),
        ("GatherElements", (X, ints(0)), {}, "rank 1 do not fit data of rank 3"),
        ("GatherND", (X, ints([0, 0, 0, 0])), {}, "indices of 4 numbers"),
        ("TopK", (X, ints(5)), {}, "k=5 of 4"),
    ],
)
def test_contradictions_are_told(op: str, inputs: Any, attributes: Any, words: str) -> None:
    with pytest.raises(MalformedModel, match=words):
        run(op, *map(tensor_of, inputs), **attributes)
