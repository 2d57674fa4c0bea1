"""RNN, GRU and LSTM: outputs against ONNX Runtime and ONNX's own tests, counts against a loop over the equations."""

from __future__ import annotations

from typing import Any

import pytest
from official import cases_of
from official import faults as official_faults
from one_node import Stored, faults, floats, layer_of, model_of, stored, weights

from costmodel.dims import Dim
from costmodel.errors import MalformedModel, ShapeMismatch
from costmodel.read.onnx import load

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
STATES = {"RNN": 1, "GRU": 1, "LSTM": 2}
OPSETS = (7, 14, 22)
LENGTH, BATCH, FEATURES, HIDDEN = 5, 2, 6, 4


def operands(op: str, directions: int = 1, *, x: Any = None) -> tuple[Any, Any, Any]:
    rows = GATES[op] * HIDDEN
    given = floats(LENGTH, BATCH, FEATURES) if x is None else x
    return given, weights(directions, rows, FEATURES), weights(directions, rows, HIDDEN)


def cases() -> list[Any]:
    found = []
    for op, gates in GATES.items():
        every = 1 + STATES[op]
        found += [
            pytest.param(op, operands(op), {"outputs": every, "opset": opset}, id=f"{op}-{opset}") for opset in OPSETS
        ]
        both = (*operands(op, 2), weights(2, 2 * gates * HIDDEN))
        found.append(pytest.param(op, both, {"outputs": every, "direction": "bidirectional"}, id=f"{op}-bidirectional"))
        found.append(pytest.param(op, operands(op), {"outputs": [1], "direction": "reverse"}, id=f"{op}-last"))
        initial = (*operands(op), None, stored([3, 5], "int32"), *(floats(1, BATCH, HIDDEN) for _ in range(STATES[op])))
        found.append(pytest.param(op, initial, {"outputs": every, "clip": 3.0}, id=f"{op}-initial"))
    peepholes = (*operands("LSTM"), weights(1, 32), None, None, None, weights(1, 12))
    found.append(pytest.param("LSTM", peepholes, {"outputs": 3, "input_forget": 0}, id="LSTM-peepholes"))
    found.append(pytest.param("GRU", operands("GRU"), {"outputs": 2, "linear_before_reset": 1}, id="GRU-linear"))
    return found


@pytest.mark.parametrize(("op", "inputs", "node"), cases())
def test_outputs_equal_those_of_onnx_runtime(op: str, inputs: tuple[Any, ...], node: dict[str, Any]) -> None:
    assert faults(op, inputs, **{"opset": 14, "hidden_size": HIDDEN, **node}) == []


@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize("name", sorted(cases_of("RNN", "GRU", "LSTM")))
def test_official(name: str, constants: bool) -> None:
    assert official_faults(cases_of("RNN", "GRU", "LSTM")[name], constants=constants) == []


def test_there_are_official_cases_batch_first() -> None:
    assert {f"test_{op}_batchwise" for op in ("simple_rnn", "gru", "lstm")} <= set(cases_of("RNN", "GRU", "LSTM"))


@pytest.mark.parametrize("op", GATES)
def test_macs_equal_a_loop_over_the_equations(op: str) -> None:
    macs = sum(
        FEATURES + HIDDEN for _ in range(LENGTH) for _ in range(BATCH) for _ in range(GATES[op]) for _ in range(HIDDEN)
    )
    one = layer_of(load(model_of(op, *operands(op), opset=14, hidden_size=HIDDEN))).cost
    both = layer_of(load(model_of(op, *operands(op, 2), opset=14, hidden_size=HIDDEN, direction="bidirectional"))).cost
    assert one is not None
    assert both is not None
    assert (one.macs, both.macs) == (macs, 2 * macs)


# op, inputs behind the weights, attributes, operations per hidden unit and step written out from the equations
SIGMOID, TANH = 4, 1
UNITS = [
    ("RNN", (), {}, TANH),
    ("RNN", (weights(1, 8),), {}, TANH + 2),
    ("RNN", (), {"activations": ["Relu"]}, 1),
    ("GRU", (), {}, 2 * SIGMOID + TANH + 1 + 4),
    ("GRU", (weights(1, 24),), {"clip": 1.0}, 2 * SIGMOID + TANH + 1 + 4 + 6 + 3),
    ("LSTM", (), {}, 3 * SIGMOID + 2 * TANH + 3 + 1),
    ("LSTM", (weights(1, 32), None, None, None, weights(1, 12)), {}, 3 * SIGMOID + 2 * TANH + 3 + 1 + 8 + 6),
]


@pytest.mark.parametrize(("op", "more", "attributes", "per_unit"), UNITS)
def test_other_arithmetic(op: str, more: tuple[Any, ...], attributes: dict[str, Any], per_unit: int) -> None:
    cost = layer_of(load(model_of(op, *operands(op), *more, opset=14, hidden_size=HIDDEN, **attributes))).cost
    assert cost is not None
    assert cost.other_flops == LENGTH * BATCH * HIDDEN * per_unit


def test_open_sizes() -> None:
    model = model_of("LSTM", *operands("LSTM"), outputs=3, opset=14, hidden_size=HIDDEN)
    network = load(model, sizes={"x0": ("S", "N", None)})
    s, n = Dim.size("S"), Dim.size("N")
    assert [y.shape for y in network.outputs.values()] == [(s, 1, n, 4), (1, n, 4), (1, n, 4)]
    assert layer_of(network).cost.macs == 16 * 10 * s * n  # type: ignore[union-attr]


WRONG = [
    (ShapeMismatch, "the columns of w and those of r or x must be equal: 5 against 6", {"w": weights(1, 16, 5)}, {}),
    (ShapeMismatch, "hidden_size and the last extent of r must be equal: 7 against 4", {}, {"hidden_size": 7}),
    (MalformedModel, "direction 'sideways' is none of forward, reverse, bidirectional", {}, {"direction": "sideways"}),
    (
        MalformedModel,
        "there is no activation 'Tahn'; did you mean 'Tan' or 'Tanh'",
        {},
        {"activations": ["Sigmoid", "Tahn", "Tanh"]},
    ),
    (MalformedModel, "2 activations are named; 3 are needed", {}, {"activations": ["Sigmoid", "Tanh"]}),
]


@pytest.mark.parametrize(("error", "message", "replaced", "attributes"), WRONG)
def test_messages(error: type[Exception], message: str, replaced: dict[str, Stored], attributes: dict[str, Any]) -> None:
    x, w, r = operands("LSTM")
    with pytest.raises(error, match=message) as caught:
        load(model_of("LSTM", x, replaced.get("w", w), r, opset=14, **attributes))
    assert "LSTM (node 'node')" in str(caught.value)
