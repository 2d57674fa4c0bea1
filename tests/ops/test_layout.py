"""Ops that change how elements lie: ONNX's cases, every opset from 7 up in ONNX Runtime, open sizes, unknown targets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.dims import Dim
from costmodel.errors import MalformedModel, ShapeMismatch
from costmodel.graph import Tensor
from tests.ops.official import at, cases_of, differences, faults, run, tensor_of

N, S, C = Dim.size("N"), Dim.size("S"), Dim.size("C")
OPS = (
    "Shape", "Size", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Expand", "Tile",
    "DepthToSpace", "SpaceToDepth", "ReverseSequence", "Trilu",
)  # fmt: skip
CASES = {name: case for name, case in cases_of(*OPS).items() if name not in ("test_identity_sequence", "test_identity_opt")}


def numbers(*shape: int, dtype: str = "float32") -> Any:
    return np.arange(math.prod(shape)).reshape(shape).astype(dtype)


def ints(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


def shape_tensor(*extents: Any) -> Tensor:
    return Tensor("int64", (len(extents),), extents, constant=True)


@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_onnx_cases(name: str, constants: bool) -> None:
    assert faults(CASES[name], constants=constants) == []


def test_there_are_cases_of_every_op() -> None:
    assert {node.op_type for case in CASES.values() for node in case.model.graph.node} == set(OPS)


X = numbers(2, 3, 4)
ROW = ints(7, 5, 3)
HISTORY: list[tuple[str, tuple[int, ...], tuple[Any, ...], dict[str, Any]]] = [
    ("Shape", (7, 13, 15, 19, 21, 23, 24), (X,), {}),
    ("Shape", (15, 19, 21, 23, 24), (X,), {"start": -2, "end": 7}),
    ("Shape", (15,), (X,), {"start": 2, "end": 1}),
    ("Size", (7, 13, 19, 21, 23, 24), (X,), {}),
    ("Identity", (7, 13, 14, 16, 19, 21, 23, 24), (ROW,), {}),
    ("Reshape", (7, 13, 14, 19, 21, 23, 24), (X, ints(0, -1)), {}),
    ("Reshape", (7, 13, 14, 19, 21, 23, 24), (ROW, ints(1, 3, 1)), {}),
    ("Reshape", (14, 19, 21), (numbers(2, 0, 4), ints(0, 8)), {"allowzero": 1}),
    ("Reshape", (7, 14), (numbers(), ints(1, 1)), {}),
    ("Reshape", (7, 14), (numbers(1, 1), np.zeros(0, np.int64)), {}),
    ("Flatten", (7,), (X,), {}),
    ("Flatten", (9, 11, 13, 21, 23, 24), (X,), {"axis": 0}),
    ("Flatten", (9, 11, 13, 21, 23, 24), (X,), {"axis": 3}),
    ("Flatten", (11, 13), (X,), {"axis": -1}),
    ("Squeeze", (7,), (numbers(1, 3, 1),), {}),
    ("Squeeze", (7, 11), (numbers(1, 3, 1),), {"axes": [2]}),
    ("Squeeze", (11,), (numbers(1, 3, 1),), {"axes": [-3, 2]}),
    ("Squeeze", (13, 21, 23, 24), (numbers(1, 3, 1), ints(-1)), {}),
    ("Squeeze", (13, 21, 23, 24), (numbers(1, 3, 1),), {}),
    ("Squeeze", (13,), (ints(5), ints(0)), {}),
    ("Unsqueeze", (7, 11), (X,), {"axes": [0, 4]}),
    ("Unsqueeze", (11,), (X,), {"axes": [-1, 0]}),
    ("Unsqueeze", (13, 21, 23, 24), (X, ints(1, -1)), {}),
    ("Unsqueeze", (13,), (np.int64(5), ints(0)), {}),
    ("Transpose", (7, 13, 21, 23, 24), (X,), {"perm": [2, 0, 1]}),
    ("Transpose", (7, 13, 21, 23, 24), (numbers(2, 3, dtype="int64"),), {}),
    ("Concat", (7, 11, 13), (X, numbers(2, 5, 4)), {"axis": 1}),
    ("Concat", (11, 13), (ROW, ints(), ROW), {"axis": -1}),
    ("Expand", (8, 13), (numbers(3, 1), ints(2, 1, 6)), {}),
    ("Expand", (8, 13), (ROW, ints(1)), {}),
    ("Expand", (8, 13), (np.int64(4), ints(2, 2)), {}),
    ("Tile", (7, 13), (numbers(2, 3, dtype="int64"), ints(2, 3)), {}),
    ("DepthToSpace", (7, 11, 13), (numbers(1, 8, 2, 3),), {"blocksize": 2}),
    ("DepthToSpace", (11, 13), (numbers(1, 8, 2, 3),), {"blocksize": 2, "mode": "CRD"}),
    ("SpaceToDepth", (7, 13), (numbers(1, 2, 4, 6),), {"blocksize": 2}),
    ("ReverseSequence", (10,), (numbers(4, 4), ints(1, 2, 3, 4)), {"batch_axis": 0, "time_axis": 1}),
    ("Trilu", (14,), (numbers(3, 4, dtype="int64"), np.int64(-1)), {"upper": 0}),
    ("Trilu", (14,), (numbers(3, 4, dtype="int64"),), {}),
]
BY_OPSET = [(op, opset, inputs, attributes) for op, opsets, inputs, attributes in HISTORY for opset in opsets]


@pytest.mark.parametrize(("op", "opset", "inputs", "attributes"), BY_OPSET)
def test_every_opset_in_onnx_runtime(op: str, opset: int, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> None:
    assert differences(op, inputs, opset=opset, **attributes) == []


SYMBOLIC: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Shape", (X,), {"start": 1}),
    ("Size", (X,), {}),
    ("Reshape", (X, ints(0, -1)), {}),
    ("Reshape", (X, ints(-1, 4)), {}),
    ("Flatten", (X,), {"axis": 2}),
    ("Squeeze", (numbers(2, 3, 1), ints(2)), {}),
    ("Unsqueeze", (X, ints(0, 2)), {}),
    ("Transpose", (X,), {}),
    ("Concat", (X, X), {"axis": -1}),
    ("Expand", (X, ints(2, 1, 1, 1)), {}),
    ("Tile", (X, ints(1, 2, 3)), {}),
    ("SpaceToDepth", (numbers(1, 2, 4, 6),), {"blocksize": 2}),
    ("Trilu", (X,), {}),
]


@pytest.mark.parametrize(("op", "inputs", "attributes"), SYMBOLIC)
def test_open_sizes_bound_again_give_what_runs(op: str, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> None:
    assert differences(op, inputs, names={2: "N", 3: "S"}, opset=18, **attributes) == []


# op, inputs, attributes, opset, what numpy says: versions before those that ONNX Runtime runs
OLD: list[tuple[str, tuple[Any, ...], dict[str, Any], int, Any]] = [
    ("Reshape", (X,), {"shape": (0, -1)}, 1, X.reshape(2, -1)),
    ("Concat", (X, X), {}, 1, np.concatenate((X, X), 1)),
    ("Concat", (X, X), {"axis": 0}, 4, np.concatenate((X, X), 0)),
    ("Tile", (X, ints(3), ints(1)), {}, 1, np.tile(X, (1, 3, 1))),
    ("Squeeze", (numbers(1, 3),), {"axes": (0,)}, 1, numbers(3)),
    ("Flatten", (X,), {}, 1, X.reshape(2, -1)),
]


@pytest.mark.parametrize(("op", "inputs", "attributes", "opset", "expected"), OLD)
def test_versions_before_opset_7(op: str, inputs: Any, attributes: dict[str, Any], opset: int, expected: Any) -> None:
    y, = run(op, *map(tensor_of, inputs), opset=opset, **attributes).outputs
    assert y.shape == expected.shape


# -- what only symbols have ---------------------------------------------------------------------------------------


def test_shape_arithmetic_keeps_the_names_of_sizes() -> None:
    x = Tensor("float32", (N, S, 768))
    shape, = run("Shape", x).outputs
    assert shape.value == (N, S, 768)
    heads = shape_tensor(N, S, 12, 64)
    assert run("Reshape", x, heads).outputs[0].shape == (N, S, 12, 64)
    assert run("Size", x).outputs[0].value == (N * S * 768,)
    assert run("Concat", shape, shape_tensor(-1), axis=0).outputs[0].value == (N, S, 768, -1)
    assert run("Expand", Tensor("float32", (1, 1, 768)), shape).outputs[0].shape == (N, S, 768)
    assert run("Tile", x, shape_tensor(1, C, 2)).outputs[0].shape == (N, S * C, 1536)
    assert run("Transpose", shape).outputs[0].value == (N, S, 768)


def test_unknown_elements_stay_unknown() -> None:
    half = run("Concat", Tensor("int64", (1,)), shape_tensor(N, 4), axis=0).outputs[0]
    assert half.value == (None, N, 4)
    assert run("Unsqueeze", half, shape_tensor(0)).outputs[0].value == (None, N, 4)
    assert run("Concat", Tensor("int64", (1,)), Tensor("int64", (2,)), axis=0).outputs[0].value is None


def test_long_tensors_are_data() -> None:
    x = Tensor("int64", (2,), (1, N))
    assert run("Tile", x, shape_tensor(512)).outputs[0].value == (1, N) * 512
    assert run("Tile", x, shape_tensor(513)).outputs[0].value is None


def test_the_elements_settle_one_unknown_extent() -> None:
    x = Tensor("float32", (N, S, 768))
    assert run("Reshape", x, shape_tensor(N, None, 64)).outputs[0].shape == (N, 12 * S, 64)
    two = run("Reshape", x, shape_tensor(None, None, 64))
    first, second, last = two.outputs[0].dims
    assert (first, last) == (Dim.size("node.axis0"), 64)
    assert two.bounds == (("node.axis0", N * S * 768),)
    assert at(second, {"N": 2, "S": 3, "node.axis0": 6}) == 12


@pytest.mark.parametrize(
    ("op", "given", "rank"),
    [
        ("Reshape", Tensor("int64", (4,)), 4),
        ("Reshape", Tensor("int64", (S,)), None),
        ("Squeeze", Tensor("int64", (2,)), 1),
        ("Unsqueeze", Tensor("int64", (2,)), 5),
        ("Unsqueeze", Tensor("int64", (S,)), None),
        ("Expand", Tensor("int64", (4,)), 4),
        ("Expand", Tensor("int64", (1,)), 3),
        ("Expand", Tensor("int64", (S,)), None),
        ("Tile", Tensor("int64", (3,)), 3),
    ],
)
def test_the_rank_is_known_where_it_can_be(op: str, given: Tensor, rank: int | None) -> None:
    y, = run(op, Tensor("float32", (N, 1, 8)), given).outputs
    assert (None if y.shape is None else y.rank) == rank


def test_an_unknown_expansion_keeps_extents_above_1() -> None:
    assert run("Expand", Tensor("float32", (4, 1)), Tensor("int64", (2,))).outputs[0].dims[0] == 4


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "error", "words"),
    [
        ("Reshape", (Tensor("float32", (N, 2048)), shape_tensor(1, 2048)), {}, ShapeMismatch, "holds 2048 elements"),
        ("Reshape", (Tensor("float32", (4,)), shape_tensor(-1, -1)), {}, MalformedModel, "at most one -1"),
        ("Reshape", (Tensor("float32", (4,)), shape_tensor(-2, 2)), {}, MalformedModel, "-2 is no extent"),
        ("Reshape", (Tensor("float32", (4,)), shape_tensor(4, 0)), {}, MalformedModel, "only 1 axes"),
        ("Squeeze", (Tensor("float32", (1, 3)), shape_tensor(1)), {}, ShapeMismatch, "3 against 1"),
        ("Squeeze", (Tensor("float32", (N, 3)), shape_tensor(0)), {}, ShapeMismatch, "N against 1"),
        ("Transpose", (X,), {"perm": (0, 0, 1)}, MalformedModel, "does not order"),
        ("Concat", (X, numbers(3, 4)), {"axis": 0}, MalformedModel, "ranks"),
        ("Concat", (X, numbers(2, 3, 5)), {"axis": 0}, ShapeMismatch, "4 against 5"),
        ("Expand", (X, ints(5)), {}, ShapeMismatch, "do not broadcast"),
        ("Tile", (X, ints(1, 2)), {}, MalformedModel, "2 repeats"),
        ("DepthToSpace", (numbers(1, 6, 2, 2),), {"blocksize": 2}, MalformedModel, "6 channels"),
        ("SpaceToDepth", (numbers(1, 6, 3, 2),), {"blocksize": 2}, MalformedModel, "blocks of 2"),
        ("ReverseSequence", (X, ints(1, 2)), {}, ShapeMismatch, "2 against 3"),
    ],
)
def test_contradictions_are_told(op: str, inputs: Any, attributes: Any, error: type[Exception], words: str) -> None:
    given = [x if isinstance(x, Tensor) else tensor_of(x) for x in inputs]
    with pytest.raises(error, match=words) as caught:
        run(op, *given, **attributes)
    assert str(caught.value).startswith(f"{op} (node 'node'): ")


def test_a_mismatch_holds_both_sides() -> None:
    with pytest.raises(ShapeMismatch) as caught:
        run("Reshape", Tensor("float32", (N, 2048)), shape_tensor(1, 2048))
    assert (caught.value.left, caught.value.right) == (2048, N * 2048)


def test_extents_that_agree_at_some_sizes_are_taken_as_equal() -> None:
    """A decoder joins a map that was halved and doubled with the original: the network asks for an even height."""
    height = Dim.size("H")
    doubled = 2 * ((height + 1) // 2)
    joined = run("Concat", Tensor("float32", (N, 8, height)), Tensor("float32", (N, 4, doubled)), axis=1)
    assert joined.outputs[0].shape == (N, 12, height)
    assert run("Reshape", Tensor("float32", (N, doubled)), shape_tensor(N, height)).outputs[0].shape == (N, height)
    with pytest.raises(ShapeMismatch):
        run("Concat", Tensor("float32", (N, height)), Tensor("float32", (N, height + 1)), axis=0)


@pytest.mark.parametrize("op", ["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"])
def test_views_copy_nothing(op: str) -> None:
    given = {"Reshape": shape_tensor(-1), "Squeeze": shape_tensor(1), "Unsqueeze": shape_tensor(0)}.get(op)
    cost = run(op, Tensor("float32", (N, 1, 8)), given)
    assert cost.view_of == 0
    assert cost.reads is not None and cost.reads[0] == 0
    assert cost.flops == 0


@pytest.mark.parametrize("op", ["Transpose", "Concat", "Trilu", "Shape", "Size"])
def test_other_ops_are_no_views(op: str) -> None:
    cost = run(op, Tensor("float32", (N, 2, 8)), **({"axis": 0} if op == "Concat" else {}))
    assert cost.view_of is None
    assert cost.reads == ((0,) if op in ("Shape", "Size") else None)


# -- against numpy, at random -------------------------------------------------------------------------------------


@given(st.data())
def test_reshape_with_open_sizes(data: st.DataObject) -> None:
    """Sizes are bound to primes, so that an extent tells which size it is made of."""
    bound = {"N": 5, "S": 7}
    extents = data.draw(st.lists(st.sampled_from([N, S, 2, 3, 4]), min_size=1, max_size=4))
    order = data.draw(st.permutations(extents))
    cut = data.draw(st.integers(0, len(order)))
    merged = [math.prod(order[:cut]), *order[cut:]]
    hole = data.draw(st.integers(0, len(merged)))
    wanted = [-1 if i == hole else extent for i, extent in enumerate(merged)]
    y, = run("Reshape", Tensor("float32", tuple(extents)), shape_tensor(*wanted)).outputs
    real = np.empty([at(e, bound) for e in extents]).reshape([at(e, bound) for e in wanted])
    assert tuple(at(e, bound) for e in y.dims) == real.shape
    assert y.shape == tuple(merged)


@given(st.data())
def test_values_move_as_numbers_do(data: st.DataObject) -> None:
    """A chain of layout ops on a small tensor gives the elements that numpy gives."""
    array = np.arange(24).reshape(data.draw(st.sampled_from([(2, 3, 4), (4, 6), (24,), (1, 2, 12)])))
    tensor = tensor_of(array)
    for _ in range(data.draw(st.integers(1, 5))):
        op = data.draw(st.sampled_from(["Transpose", "Reshape", "Flatten", "Unsqueeze", "Concat", "Tile"]))
        assert tensor is not None
        if op == "Transpose":
            perm = data.draw(st.permutations(range(array.ndim)))
            array, tensor = array.transpose(perm), run(op, tensor, perm=tuple(perm)).outputs[0]
        elif op == "Reshape":
            array, tensor = array.reshape(-1, 2, 3), run(op, tensor, shape_tensor(-1, 2, 3)).outputs[0]
        elif op == "Flatten":
            array, tensor = array.reshape(array.shape[0], -1), run(op, tensor).outputs[0]
        elif op == "Unsqueeze":
            array, tensor = array[None], run(op, tensor, shape_tensor(0)).outputs[0]
        elif array.size * 2 <= 1024:
            axis = data.draw(st.integers(0, array.ndim - 1))
            times = [2 if i == axis else 1 for i in range(array.ndim)]
            joined = np.concatenate((array, array), axis)
            if op == "Concat":
                tensor, array = run(op, tensor, tensor, axis=axis).outputs[0], joined
            else:
                tensor, array = run(op, tensor, shape_tensor(*times)).outputs[0], np.tile(array, times)
    assert tensor is not None
    assert (tensor.shape, tensor.value) == (array.shape, tuple(array.ravel().tolist()))
