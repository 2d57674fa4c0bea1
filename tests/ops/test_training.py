"""Gradients and optimisers: outputs against ONNX's own tests, counts written out from the documented steps."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from official import cases_of
from official import faults as official_faults
from one_node import floats, layer_of, model_of, stored

from costmodel.errors import MalformedModel
from costmodel.graph import Cost
from costmodel.read.onnx import load

DOMAIN = "ai.onnx.preview.training"
OPS = ("Adagrad", "Adam", "Momentum")
OFFICIAL = cases_of(*OPS)


@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize("name", sorted(OFFICIAL))
def test_official(name: str, constants: bool) -> None:
    assert official_faults(OFFICIAL[name], constants=constants) == []


def test_every_optimiser_has_an_official_case() -> None:
    assert {node.op_type for case in OFFICIAL.values() for node in case.model.graph.node} >= set(OPS)


def cost_of(op: str, tensors: int, **attributes: Any) -> Cost:
    inputs = (stored(0.1, "float32"), stored(0), *(floats(3, 4) for _ in range(tensors)))
    cost = layer_of(load(model_of(op, *inputs, domain=DOMAIN, outputs=1, **attributes))).cost
    assert cost is not None
    return cost


MOMENTUM = {"alpha": 0.9, "beta": 1.0, "norm_coefficient": 0.1}
# op, tensors, attributes, operations per number: those of the pseudo code on the op's page
STEPS = [
    ("Adagrad", 3, {}, 2 + 2 + 2 + 3),
    ("Adagrad", 6, {}, 2 * (2 + 2 + 2 + 3)),
    ("Adam", 4, {}, 2 + 3 + 4 + 2 + 3 + 1),
    ("Momentum", 3, {**MOMENTUM, "mode": "standard"}, 2 + 3 + 2),
    ("Momentum", 3, {**MOMENTUM, "mode": "nesterov"}, 2 + 3 + 4),
]


@pytest.mark.parametrize(("op", "tensors", "attributes", "per_number"), STEPS)
def test_steps(op: str, tensors: int, attributes: dict[str, Any], per_number: int) -> None:
    assert cost_of(op, tensors, **attributes).other_flops == 12 * per_number


def test_a_gradient_counts_the_layers_on_its_way_three_times() -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 17, "{DOMAIN}" : 1]>
    g (float[n, 8] x, float[8, 4] w, float[n, 4] z) => (float[8, 4] dw) {{
      m = MatMul (x, w)
      y = Add (m, z)
      beside = MatMul (x, w)
      dw = {DOMAIN}.Gradient <xs = ["w"], zs = ["x"], y = "y"> (w, x)
    }}"""
    cost = layer_of(load(onnx.parser.parse_model(text), sizes={"x": (5, 8), "z": (5, 4)})).cost
    assert cost is not None
    assert (cost.macs, cost.other_flops) == (3 * 5 * 8 * 4, 3 * 5 * 4)
    assert [y.shape for y in cost.outputs] == [(8, 4)]


@pytest.mark.parametrize(
    ("op", "tensors", "attributes", "message"),
    [
        ("Adam", 3, {}, "3 tensors do not form 4 groups: values, gradients and histories"),
        ("Momentum", 3, {**MOMENTUM, "mode": "fast"}, "mode 'fast' is neither standard nor nesterov"),
        ("Momentum", 3, {"alpha": 0.9, "beta": 1.0, "mode": "standard"}, "the attribute 'norm_coefficient' is required"),
    ],
)
def test_messages(op: str, tensors: int, attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedModel, match=message):
        cost_of(op, tensors, **attributes)
