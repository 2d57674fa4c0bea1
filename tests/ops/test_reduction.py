"""Reductions, searches, running sums and losses against ONNX's node tests, its inference, its function bodies."""

from __future__ import annotations

from itertools import chain, combinations
from typing import Any

import numpy as np
import pytest
from inference import disagreements, floats, flops_of_body, open_tensor, versions
from official import at, cases_of, faults, run

from costmodel.dims import Dim
from costmodel.errors import MalformedModel
from costmodel.graph import Tensor
from costmodel.ops.reduction import REDUCTIONS

OTHERS = ("ArgMax", "ArgMin", "CumProd", "CumSum", "Det", "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
SIZES = {5: "N", 7: "C", 9: "S"}
X = Tensor("float32", (2, 3))
AXES = [None, *map(list, chain.from_iterable(combinations(range(3), n) for n in (1, 2, 3))), [-1], [-2, 0]]


@pytest.mark.parametrize("constants", [False, True])
def test_official_cases(constants: bool) -> None:
    cases = cases_of(*REDUCTIONS, *OTHERS)
    assert len(cases) > 180
    assert not {name: found for name, case in cases.items() if (found := faults(case, constants=constants))}


@pytest.mark.parametrize("op", REDUCTIONS)
def test_axes_at_every_opset(op: str) -> None:
    rows: list[Any] = []
    for opset in versions(op):
        for axes in AXES:
            for keepdims in (0, 1):
                if opset < REDUCTIONS[op].axes_input_since:
                    given, attributes = [floats(5, 7, 9)], {} if axes is None else {"axes": axes}
                else:
                    given, attributes = [floats(5, 7, 9)] + ([] if axes is None else [np.array(axes)]), {}
                rows.append((op, opset, given, {"keepdims": keepdims, **attributes}))
    rows = [row for row in rows if row[1] >= 11 or all(axis >= 0 for axis in row[3].get("axes", []))]
    assert not list(disagreements(rows, SIZES))


@pytest.mark.parametrize("noop", [0, 1])
@pytest.mark.parametrize("axes", [None, np.array([], np.int64)])
def test_empty_axes_reduce_all_or_nothing(noop: int, axes: Any) -> None:
    rows = [("ReduceSum", 13, [floats(5, 7), axes][: 1 + (axes is not None)], {"noop_with_empty_axes": noop})]
    assert not list(disagreements(rows, SIZES))


@pytest.mark.parametrize(("keepdims", "rank"), [(0, 1), (1, 3)])
def test_axes_that_only_the_data_knows(keepdims: int, rank: int) -> None:
    cost = run("ReduceSum", Tensor("float32", (5, 7, 9)), Tensor("int64", (2,)), keepdims=keepdims)
    y, = cost.outputs
    most = dict(cost.bounds)
    assert y.rank == rank
    assert all(isinstance(extent, Dim) for extent in y.dims)
    for axes in combinations(range(3), 2):
        expected = np.zeros((5, 7, 9)).sum(axis=axes, keepdims=bool(keepdims)).shape
        assert all(real <= most[name] for extent, real in zip(y.dims, expected, strict=True) for name in extent.names)


def test_so_many_axes_that_even_the_rank_is_data() -> None:
    assert run("ReduceSum", Tensor("float32", (5, 7)), open_tensor("K", dtype="int64"), keepdims=0).outputs[0].shape is None


@pytest.mark.parametrize("op", ["ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"])
def test_steps_are_those_of_the_function_body(op: str) -> None:
    ours, body = flops_of_body(op, floats(32, 512), np.array([1]), opset=18)
    assert ours == body


@pytest.mark.parametrize(("op", "final"), [("ReduceSum", 0), ("ReduceMean", 1), ("ReduceMax", 0), ("ReduceProd", 0)])
def test_one_operation_per_element_and_what_ends_it(op: str, final: int) -> None:
    cost = run(op, open_tensor("N", 8, 8), axes=(1, 2), opset=11)
    assert str(cost.other_flops) == f"{64 + final}*N"


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
def test_arg_max_at_every_opset(op: str) -> None:
    attributes = [{}, {"axis": 2}, {"axis": 1, "keepdims": 0}]
    rows = [(op, opset, [floats(5, 7, 9)], given) for opset in versions(op) for given in attributes]
    rows += [(op, opset, [floats(5, 7)], {"axis": -1}) for opset in versions(op) if opset >= 11]
    rows += [(op, 12, [floats(5, 7)], {"select_last_index": 1})]
    assert not list(disagreements(rows, SIZES))


@pytest.mark.parametrize("op", ["CumSum", "CumProd"])
def test_running_ops_at_every_opset(op: str) -> None:
    rows = [(op, opset, [floats(5, 7), np.int32(1)], {"exclusive": 1, "reverse": 1}) for opset in versions(op)]
    assert not list(disagreements(rows, SIZES))


def test_det_at_every_opset() -> None:
    assert not list(disagreements([("Det", opset, [floats(5, 7, 9, 9)], {}) for opset in versions("Det")], SIZES))


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_a_determinant_takes_what_elimination_takes(n: int) -> None:
    """Gaussian elimination with the steps counted one by one, and the product of the diagonal."""
    steps = 0
    for pivot in range(n):
        for _ in range(pivot + 1, n):
            steps += 1 + 2 * (n - pivot - 1)  # a factor, then multiply and subtract along the row
    symbolic = run("Det", open_tensor(3, "K", "K")).other_flops
    assert run("Det", Tensor("float32", (3, n, n))).other_flops == at(symbolic, {"K": n}) == 3 * (steps + n)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_losses_at_every_opset(reduction: str) -> None:
    scores, labels, weights = floats(5, 7, 9), np.zeros((5, 9), np.int64), np.zeros(7, np.float32)
    rows: list[Any] = []
    for op, outputs in (("NegativeLogLikelihoodLoss", 1), ("SoftmaxCrossEntropyLoss", 2)):
        for opset in versions(op):
            rows += [(op, opset, given, {"reduction": reduction, "ignore_index": 1}, outputs)
                     for given in ([scores, labels], [scores, labels, weights])]  # fmt: skip
    assert not list(disagreements(rows, SIZES))


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("op", ["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"])
def test_losses_take_the_steps_of_the_function_body(op: str, reduction: str, weighted: bool) -> None:
    given = [floats(64, 512), np.zeros(64, np.int64), *([np.zeros(512, np.float32)] if weighted else [])]
    ours, body = flops_of_body(op, *given, opset=13, reduction=reduction)
    assert abs(ours - body) <= 2  # a division of one number, more or less


def test_a_loss_reads_one_score_per_label() -> None:
    cost = run("NegativeLogLikelihoodLoss", open_tensor("N", 1000), open_tensor("N", dtype="int64"))
    assert [str(reads) for reads in cost.reads or ()] == ["N", "N"]


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "message"),
    [
        ("ReduceSum", [X, Tensor("int64", (1,), (2,))], {}, "axis 2 does not exist in a tensor of rank 2"),
        ("ReduceSum", [X, Tensor("int64", (2,), (1, -1))], {}, "name one axis twice"),
        ("ArgMax", [X], {"axis": 5}, "axis 5 does not exist"),
        ("Det", [X], {}, "rows and columns must be equal: 2 against 3"),
        ("NegativeLogLikelihoodLoss", [X, Tensor("int64", (2,))], {"reduction": "max"}, "'max' is none of"),
        ("NegativeLogLikelihoodLoss", [X, Tensor("int64", (4,))], {}, "must be equal: 2 against 4"),
    ],
)
def test_faults_name_the_rule_and_the_value(op: str, inputs: Any, attributes: Any, message: str) -> None:
    with pytest.raises(MalformedModel, match=message):
        run(op, *inputs, **attributes)
