"""Normalisations against ONNX's node tests, its inference at every opset, and its function bodies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from inference import disagreements, floats, flops_of_body, open_tensor, versions
from official import cases_of, faults, run

from costmodel.errors import MalformedModel

OPS = (
    "BatchNormalization", "GroupNormalization", "Hardmax", "InstanceNormalization", "LRN", "LayerNormalization",
    "LogSoftmax", "LpNormalization", "MeanVarianceNormalization", "RMSNormalization", "Softmax",
)  # fmt: skip
SIZES = {5: "N", 9: "H", 11: "W"}
X, C = floats(5, 8, 9, 11), floats(8)


@pytest.mark.parametrize("constants", [False, True])
def test_official_cases(constants: bool) -> None:
    cases = cases_of(*OPS)
    assert len(cases) > 60
    assert not {name: found for name, case in cases.items() if (found := faults(case, constants=constants))}


def test_every_opset() -> None:
    rows: list[Any] = [
        (op, opset, [X], {"axis": axis})
        for op in ("Softmax", "LogSoftmax", "Hardmax")
        for opset in versions(op)
        for axis in (0, 1, 3, *([-1] if opset >= 11 else []))
    ]
    rows += [("LRN", opset, [X], {"size": 5, "alpha": 1e-3}) for opset in versions("LRN")]
    rows += [("LpNormalization", opset, [X], {"axis": 1, "p": 1}) for opset in versions("LpNormalization")]
    rows += [("MeanVarianceNormalization", opset, [X], {"axes": [0, 2]}) for opset in versions("MeanVarianceNormalization")]
    rows += [("InstanceNormalization", opset, [X, C, C], {"epsilon": 0.1}) for opset in versions("InstanceNormalization")]
    rows += [("GroupNormalization", 18, [X, floats(4), floats(4)], {"num_groups": 4})]
    rows += [("GroupNormalization", 21, [X, C, C], {"num_groups": 4})]
    rows += [("LayerNormalization", 17, [X, floats(9, 11)], {"axis": 2})]
    rows += [("LayerNormalization", 17, [X, floats(11), floats(11)], {"stash_type": 1}, 3)]
    rows += [("RMSNormalization", 23, [X, floats(11)], {})]
    assert not list(disagreements(rows, SIZES))


def test_batch_normalization_at_every_opset() -> None:
    legacy = {1: {"is_test": 1, "consumed_inputs": [0, 0, 0, 1, 1]}, 6: {"is_test": 1, "spatial": 1}, 7: {"spatial": 1}}
    rows: list[Any] = []
    for opset in versions("BatchNormalization"):
        attributes = {"epsilon": 1e-3, "momentum": 0.99, **legacy.get(opset, {})}
        training, outputs = ({}, 5) if opset < 14 else ({"training_mode": 1}, 3)
        rows.append(("BatchNormalization", opset, [X, C, C, C, C], attributes))
        rows.append(("BatchNormalization", opset, [X, C, C, C, C], {**attributes, **training}, outputs))
    assert not list(disagreements(rows, SIZES))


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"),
    [
        ("Softmax", [floats(64, 512)], {}),
        ("LogSoftmax", [floats(64, 512)], {}),
        ("LayerNormalization", [floats(64, 512), floats(512), floats(512)], {}),
        ("LayerNormalization", [floats(64, 512), floats(512)], {}),
        ("RMSNormalization", [floats(64, 512), floats(512)], {}),
        ("GroupNormalization", [floats(4, 16, 512), floats(16), floats(16)], {"num_groups": 2}),
        ("MeanVarianceNormalization", [floats(8, 4, 32, 32)], {}),
    ],
)
def test_steps_are_those_of_the_function_body(op: str, inputs: Any, attributes: Any) -> None:
    size = inputs[0].size  # what is done once per group is lost beside that
    ours, body = flops_of_body(op, *inputs, opset=versions(op)[-1], **attributes)
    assert round(ours / size) == round(body / size)


@pytest.mark.parametrize(
    ("opset", "attributes", "n_outputs", "per_element"),
    [(6, {"is_test": 1}, 1, 2), (9, {}, 1, 2), (9, {}, 5, 7), (15, {}, 1, 2), (15, {"training_mode": 1}, 3, 7)],
)
def test_batch_normalization_counts(opset: int, attributes: Any, n_outputs: int, per_element: int) -> None:
    """As fvcore and ptflops, 2 per element at inference; in training it is what LayerNormalization takes."""
    x, statistics = open_tensor("N", 3), [open_tensor(3, constant=True)] * 4
    cost = run("BatchNormalization", x, *statistics, opset=opset, n_outputs=n_outputs, **attributes)
    assert str(cost.other_flops) == f"{3 * per_element}*N"
    assert (cost.not_learnable, cost.in_place) == ((3, 4), (0,))


@pytest.mark.parametrize("size", [1, 3, 5])
def test_lrn_counts_each_neighbour(size: int) -> None:
    """square, add up the neighbours, multiply, add the bias, power, divide: the formula of ONNX's page, counted by hand."""
    assert str(run("LRN", open_tensor("N", 1), size=size).other_flops) == f"{1 + size + 4}*N"


def test_softmax_of_scores_is_written_over_them() -> None:
    assert run("Softmax", open_tensor("N", 12, "S", "S")).in_place == (0,)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "message"),
    [
        ("BatchNormalization", [open_tensor(2, 3), *[open_tensor(4)] * 4], {}, "scales must be equal: 3 against 4"),
        ("InstanceNormalization", [open_tensor(2, 3, 4), *[open_tensor(4)] * 2], {}, "channels and scales must be equal"),
        ("Softmax", [open_tensor(2, 3)], {"axis": 2}, "axis 2 does not exist in a tensor of rank 2"),
        ("LayerNormalization", [open_tensor(2), open_tensor(2)], {"axis": -2}, "axis -2 does not exist"),
    ],
)
def test_faults_name_the_rule_and_the_value(op: str, inputs: Any, attributes: Any, message: str) -> None:
    with pytest.raises(MalformedModel, match=message):
        run(op, *inputs, **attributes)


def test_a_batch_of_plain_numbers_has_one_channel() -> None:
    one = [np.zeros(1, np.float32)] * 4
    assert not list(disagreements([("BatchNormalization", 15, [floats(5), *one], {})], SIZES))
