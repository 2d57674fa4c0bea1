"""What backward keeps of each operation, against what PyTorch kept (tests/data, by benchmarks/saved_tensors.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from costmodel.autograd import Operation, operations
from costmodel.build import Builder
from costmodel.dims import Extent

FACTS = json.loads((Path(__file__).parent / "data" / "saved_tensors.json").read_text())
IMAGE, HEADS = (2, 8, 6, 6), (2, 4, 16, 8)
OVER_PIXELS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2", "ReduceLogSumExp")
SETTINGS: Mapping[str, Sequence[tuple[Sequence[float], Sequence[int]]]] = {
    **dict.fromkeys(OVER_PIXELS, (([2, 3], [2]),)), "Clip": (([0.0], []), ([6.0], [])),
}  # fmt: skip
POOLED = {"kernel_shape": (2, 2), "strides": (2, 2)}
ATTRIBUTES: Mapping[str, Mapping[str, Any]] = {
    "Softmax": {"axis": 1}, "LogSoftmax": {"axis": 1}, "LRN": {"size": 5}, "Concat": {"axis": 1}, "MaxPool": POOLED,
    "AveragePool": POOLED, "DepthToSpace": {"blocksize": 2},
}  # fmt: skip

Kept = tuple[list[str], Extent]


def computed(b: Builder, name: str, shape: Sequence[int] = IMAGE) -> str:
    """A tensor that gets a gradient and that nothing keeps yet."""
    return b.add(b.input(f"{name}0", shape), b.weight(f"{name}.weight", shape))


def kept(operation: Operation, names: Mapping[str, str]) -> Kept:
    return sorted(names[name] for name in operation.saved), operation.besides_bytes


def kept_by(op: str, names: str, *, in_place: bool = False) -> Kept:
    """What an op keeps of inputs of these names, and what besides."""
    b = Builder(op)
    inputs = {computed(b, name): name for name in names}
    settings = [b.constant(values, shape=shape) for values, shape in SETTINGS.get(op, ())]
    y = b.op(op, *inputs, *settings, **ATTRIBUTES.get(op, {}))
    *_, operation = operations(b.finish(y), in_place=in_place)
    return kept(operation, {**inputs, y: "y"})


def measured(kind: str, op: str) -> Kept:
    fact = FACTS[kind][op]
    return fact["kept"], fact["besides_bytes"]


@pytest.mark.parametrize("op", FACTS["unary"])
def test_of_one_input(op: str) -> None:
    assert kept_by(op, "x") == measured("unary", op)


@pytest.mark.parametrize("op", FACTS["in place"])
def test_in_place(op: str) -> None:
    assert kept_by(op, "x", in_place=True) == measured("in place", op)


@pytest.mark.parametrize("op", FACTS["binary"])
def test_of_two_inputs(op: str) -> None:
    assert kept_by(op, "xw") == measured("binary", op)


@pytest.mark.parametrize("op", [*FACTS["with weights"], *FACTS["norms"]])
def test_with_weights(op: str) -> None:
    """Weights are there anyway: only what is kept of the activations counts."""
    b = Builder(op)
    x = computed(b, "x")
    make = {"Conv": b.conv, "ConvTranspose": b.deconv}
    norms = {"BatchNormalization": b.bn, "LayerNormalization": b.layer_norm, "PRelu": b.prelu}
    y = make[op](x, 8, kernel=3) if op in make else norms[op](x)
    *_, operation = operations(b.finish(y))
    names, besides = measured("norms" if op in FACTS["norms"] else "with weights", op)
    assert kept(operation, {x: "x", y: "y"}) == ([name for name in names if name in "xy"], besides)


def attention(*, fused: bool) -> tuple[list[Operation], dict[str, str]]:
    """softmax(x w^T / 2) z, as exporters write it out."""
    b = Builder("attention")
    x, w, z = (computed(b, name, HEADS) for name in "xwz")
    scores = b.mul(b.op("MatMul", x, b.transpose(w, (0, 1, 3, 2))), b.constant([0.5]))
    softmax = b.softmax(scores)
    y = b.op("MatMul", softmax, z)
    return list(operations(b.finish(y), fused_attention=fused)), {x: "x", w: "w", z: "z", y: "y", softmax: "softmax"}


def test_fused_attention() -> None:
    *_, whole = attention(fused=True)[0]
    _, names = attention(fused=True)
    shown = {**names, whole.reads[1]: "w"}
    assert kept(whole, shown) == measured("attention", "Attention")


def test_attention_that_is_written_out_keeps_the_scores() -> None:
    found, names = attention(fused=False)
    mixed = found[-1]
    assert kept(mixed, names) == (["softmax", "z"], 0)


def test_silu_is_one_operation_that_keeps_its_input() -> None:
    b = Builder("silu")
    x = computed(b, "x")
    y = b.swish(x)
    *_, operation = operations(b.finish(y))
    assert kept(operation, {x: "x", y: "y"}) == (["x"], 0)


def test_factor_without_gradient_needs_no_other() -> None:
    """The gradient of x is what it is multiplied by; the image gets none."""
    b = Builder("masked")
    image, x = b.input("image", IMAGE), computed(b, "x")
    *_, operation = operations(b.finish(b.mul(x, image)))
    assert kept(operation, {image: "image", x: "x"}) == (["image"], 0)


def test_an_op_without_a_line_keeps_its_inputs() -> None:
    b = Builder("unknown")
    x = computed(b, "x")
    *_, operation = operations(b.finish(b.op("Mish", x)))
    assert kept(operation, {x: "x"}) == (["x"], 0)
