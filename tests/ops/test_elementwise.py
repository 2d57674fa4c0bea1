"""Elementwise ops against ONNX's node tests, its inference at every opset, its function bodies, and ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from inference import disagreements, floats, flops_of_body, open_tensor, versions
from official import cases_of, differences, faults, run

from costmodel.errors import MalformedModel, ShapeMismatch
from costmodel.graph import Tensor
from costmodel.ops.elementwise import BINARY, BROADCAST_BY_AXIS, UNARY, VARIADIC, count

OTHERS = ("BitCast", "BitShift", "Cast", "CastLike", "Clip", "Dropout", "Gelu", "Mod", "PRelu", "Where")
BITWISE = {"BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"}
LOGICAL = {"And", "Not", "Or", "Xor"}
SIZES = {5: "N", 7: "C"}


@pytest.mark.parametrize("constants", [False, True])
def test_official_cases(constants: bool) -> None:
    cases = cases_of(*UNARY, *BINARY, *VARIADIC, *OTHERS)
    assert len(cases) > 400
    assert not {name: found for name, case in cases.items() if (found := faults(case, constants=constants))}


def _sample(op: str, *shape: int) -> Any:
    dtype = np.bool_ if op in LOGICAL else np.int32 if op in BITWISE else np.float32
    return np.zeros(shape, dtype)


def test_unary_at_every_opset() -> None:
    rows = [(op, opset, [_sample(op, 5, 7)], {}) for op in UNARY for opset in versions(op)]
    assert not list(disagreements(rows, SIZES))


def test_binary_at_every_opset() -> None:
    rows: list[Any] = []
    for op in BINARY:
        for opset in versions(op):
            if op in BROADCAST_BY_AXIS and opset < 7:
                rows.append((op, opset, [_sample(op, 5, 7), _sample(op, 5, 7)], {}))
            elif op == "SwiGLU":
                rows.append((op, opset, [floats(5, 7), floats(5, 7)], {}))
            else:
                rows += [(op, opset, [_sample(op, 5, 7), _sample(op, *other)], {}) for other in [(5, 7), (7,), (5, 1), ()]]
                rows.append((op, opset, [_sample(op, 7), _sample(op, 2, 5, 1)], {}))
    assert not list(disagreements(rows, SIZES))


@pytest.mark.parametrize(
    ("b", "attributes"),
    # the four examples of ONNX's text on broadcasting until opset 6
    [((), {}), ((5,), {}), ((4, 5), {}), ((3, 4), {"axis": 1}), ((2,), {"axis": 0})],
)
def test_broadcast_by_axis_until_opset_6(b: tuple[int, ...], attributes: dict[str, int]) -> None:
    a = open_tensor(2, "C", 4, 5)
    cost = run("Add", a, open_tensor(*("C" if extent == 3 else extent for extent in b)), opset=6, broadcast=1, **attributes)
    assert cost.outputs[0].dims == a.dims


@pytest.mark.parametrize(
    ("a", "b", "attributes"),
    [((2, 3), (3,), {}), ((3,), (2, 3), {"broadcast": 1}), ((2, 3), (4,), {"broadcast": 1}), ((2, 3), (3, 3), {})],
)
def test_no_broadcast_by_axis(a: tuple[int, ...], b: tuple[int, ...], attributes: dict[str, int]) -> None:
    with pytest.raises(MalformedModel):
        run("Add", Tensor("float32", a), Tensor("float32", b), opset=6, **attributes)


def test_variadic_at_every_opset() -> None:
    rows = [(op, opset, [floats(5, 7)] * 3, {}) for op in VARIADIC for opset in versions(op)]
    rows += [(op, 8, [floats(5, 1), floats(7), floats(2, 1, 1)], {}) for op in VARIADIC]
    assert not list(disagreements(rows, SIZES))


def test_others_at_every_opset() -> None:
    x, scalar = floats(5, 7), np.float32(1)
    rows: list[Any] = [("Clip", opset, [x], {"min": 0.0, "max": 6.0}) for opset in (1, 6)]
    rows += [("Clip", opset, [x, scalar, None] if opset == 11 else [x, None, scalar], {}) for opset in (11, 12, 13)]
    rows += [("PRelu", opset, [x, floats(7)], {}) for opset in versions("PRelu")]
    rows += [("Cast", opset, [x], {"to": 7}) for opset in versions("Cast") if opset >= 6]
    rows += [("CastLike", opset, [x, np.int8(0)], {}) for opset in versions("CastLike")]
    rows += [("Where", opset, [np.zeros((5, 1), bool), x, scalar], {}) for opset in versions("Where")]
    rows += [("Mod", opset, [np.zeros((5, 7), np.int32), np.int32(3)], {}) for opset in versions("Mod")]
    bits = [np.zeros((5, 7), np.uint8), np.uint8(3)]
    rows += [("BitShift", opset, bits, {"direction": "LEFT"}) for opset in versions("BitShift")]
    rows += [("Gelu", 20, [x], {"approximate": "tanh"}), ("BitCast", 26, [x], {"to": 6})]
    rows += [("Dropout", opset, [x], {"ratio": 0.1}, 2) for opset in (1, 6, 7, 10)]
    rows += [("Dropout", opset, [x, scalar, np.bool_(True)], {"seed": 1}, 2) for opset in (12, 13, 22)]
    assert not list(disagreements(rows, SIZES))


def test_cast_spells_its_dtype_until_opset_5() -> None:
    dtypes = {"FLOAT": "float32", "DOUBLE": "float64", "INT64": "int64", "BOOL": "bool", "UINT8": "uint8"}
    assert {to: run("Cast", Tensor("float32", (2,)), opset=1, to=to).outputs[0].dtype for to in dtypes} == dtypes


@pytest.mark.parametrize(
    "op",
    ["Celu", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Relu", "Selu", "Shrink",
     "Softplus", "Softsign", "SwiGLU", "Swish", "ThresholdedRelu"],
)  # fmt: skip
def test_steps_are_those_of_the_function_body(op: str) -> None:
    size = 64 * 1024  # what the body does to scalars is lost beside that
    others = {"PRelu": [floats(1024)], "Clip": [np.float32(0), np.float32(6)], "SwiGLU": [floats(64, 1024)]}
    ours, body = flops_of_body(op, floats(64, 1024), *others.get(op, []), opset=versions(op)[-1])
    assert round(ours / size) == round(body / size)


def test_the_approximate_gelu_has_the_steps_of_its_body() -> None:
    ours, body = flops_of_body("Gelu", floats(64, 1024), opset=20, approximate="tanh")
    assert round(ours / 65536) == round(body / 65536) == 8


@pytest.mark.parametrize(("op", "steps"), [("Sigmoid", 4), ("Relu", 1), ("Exp", 1), ("Abs", 1)])
def test_a_step_is_one_operation_per_element(op: str, steps: int) -> None:
    assert count(UNARY[op].steps) == steps
    assert str(run(op, open_tensor("N", 3)).other_flops) == str(open_tensor("N", 3).size * steps)


def test_variadic_ops_take_one_operation_per_further_input() -> None:
    x = open_tensor("N")
    flops = {op: [str(run(op, *[x] * n).other_flops) for n in (1, 2, 4)] for op in VARIADIC}
    assert flops == {op: ["N", "2*N", "4*N"] if op == "Mean" else ["0", "N", "3*N"] for op in VARIADIC}


@pytest.mark.parametrize("op", ["Cast", "Where", "BitCast", "Dropout"])
def test_movement_is_no_arithmetic(op: str) -> None:
    x = open_tensor("N", 4)
    inputs = {"Where": (open_tensor("N", 4, dtype="bool"), x, x)}.get(op, (x,))
    attributes = {"Cast": {"to": 10}, "BitCast": {"to": 6}}.get(op, {})
    assert run(op, *inputs, **attributes).flops == 0


def test_symbolic_extents_against_onnx_runtime() -> None:
    a, b = np.ones((5, 1, 7), np.float32), np.ones((6, 1), np.float32)
    rows = [(op, (a, b)) for op in ("Add", "Pow", "Max", "Greater", "Mean")] + [("Where", (a > 0, a, b))]
    assert not [text for op, inputs in rows for text in differences(op, inputs, names=SIZES, opset=17)]


MEMORY = [
    # op, inputs, attributes -> inputs whose memory the result may take, the input it is a view of, settings
    ("Relu", [open_tensor("N", 4)], {}, (0,), None, ()),
    ("Add", [open_tensor("N", 4), open_tensor("N", 4)], {}, (0, 1), None, ()),
    ("Add", [open_tensor(4), open_tensor("N", 4)], {}, (1,), None, ()),
    ("Mul", [open_tensor("N", 4), open_tensor(constant=True)], {}, (0,), None, (1,)),
    ("Add", [open_tensor(4, 4), open_tensor(4, 4, constant=True)], {}, (0,), None, ()),
    ("Greater", [open_tensor("N", 4), open_tensor("N", 4)], {}, (), None, ()),
    ("Cast", [open_tensor("N", 4)], {"to": 6}, (0,), None, ()),
    ("Cast", [open_tensor("N", 4)], {"to": 10}, (), None, ()),
    ("BitCast", [open_tensor("N", 4)], {"to": 6}, (), 0, ()),
    ("Dropout", [open_tensor("N", 4)], {}, (), 0, (1, 2)),
    ("Dropout", [open_tensor("N", 4), None, open_tensor(dtype="bool", value=(1,))], {}, (0,), None, (1, 2)),
    ("Clip", [open_tensor("N", 4), open_tensor(), open_tensor()], {}, (0,), None, (1, 2)),
    ("PRelu", [open_tensor("N", 4), open_tensor(1)], {}, (0,), None, ()),
]  # fmt: skip


@pytest.mark.parametrize(("op", "inputs", "attributes", "in_place", "view_of", "settings"), MEMORY)
def test_memory_and_settings(op: str, inputs: Any, attributes: Any, in_place: Any, view_of: Any, settings: Any) -> None:
    cost = run(op, *inputs, **attributes)
    assert (cost.in_place, cost.view_of, cost.not_learnable) == (in_place, view_of, settings)


def test_dropout_at_inference_keeps_the_value() -> None:
    shape = open_tensor(2, dtype="int64", value=(3, 4))
    assert run("Dropout", shape).outputs[0].value == (3, 4)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "message"),
    [
        ("Add", [open_tensor(2), open_tensor(3)], {}, "extents 2 and 3 do not broadcast"),
        ("PRelu", [open_tensor(2), open_tensor(3, 2)], {}, "rank 2 does not broadcast to the first, of rank 1"),
        ("Gelu", [open_tensor(2)], {"approximate": "erf"}, "approximate 'erf' is none of none, tanh"),
        ("BitShift", [open_tensor(2, dtype="uint8")] * 2, {"direction": "UP"}, "'UP' is neither LEFT nor RIGHT"),
        ("Cast", [open_tensor(2)], {"to": 99}, "data type 99 is none of ONNX's"),
        ("BitCast", [open_tensor(2)], {"to": 10}, "float32 and float16 differ in width"),
    ],
)
def test_faults_name_the_rule_and_the_value(op: str, inputs: Any, attributes: Any, message: str) -> None:
    with pytest.raises((MalformedModel, ShapeMismatch), match=message):
        run(op, *inputs, **attributes)
