"""Convolutions against ONNX's node tests, its inference over random windows, executed counts and counting by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inference import derived, disagreements, floats, inferred, open_tensor, versions
from official import at, cases_of, executed, faults, run

from costmodel.errors import MalformedModel, ShapeMismatch
from costmodel.read.onnx import load

SIZES = {5: "N", 19: "H", 23: "W"}


@pytest.mark.parametrize("constants", [False, True])
def test_official_cases(constants: bool) -> None:
    cases = cases_of("Conv", "ConvTranspose", "DeformConv")
    assert len(cases) >= 20
    assert not {name: found for name, case in cases.items() if (found := faults(case, constants=constants))}


def test_every_opset() -> None:
    x, w, b = floats(5, 6, 19, 23), floats(8, 3, 3, 2), floats(8)
    upwards, offset = floats(6, 4, 3, 2), floats(5, 12, 9, 22)
    rows: list[Any] = []
    for opset in versions("Conv"):
        rows += [("Conv", opset, [x, w, b], {"group": 2, "strides": [2, 1], "pads": [1, 0, 1, 1], "dilations": [2, 3]})]
        rows += [("Conv", opset, [x, w], {"group": 2, "auto_pad": p, "strides": [2, 3]}) for p in ("SAME_LOWER", "VALID")]
    for opset in versions("ConvTranspose"):
        rows += [
            ("ConvTranspose", opset, [x, upwards, b], {"group": 2, **attributes})
            for attributes in (
                {"strides": [2, 3], "pads": [1, 0, 1, 1], "dilations": [1, 2], "output_padding": [1, 2]},
                {"strides": [2, 3], "output_shape": [40, 70]},
                {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
                {"strides": [2, 2], "auto_pad": "VALID"},
            )
        ]
    assert not list(disagreements(rows, SIZES))
    rows = [("DeformConv", opset, [x, w, offset, b], {"group": 2, "strides": [2, 1]}) for opset in versions("DeformConv")]
    assert not list(disagreements(rows, {5: "N"}))


@st.composite
def windows(draw: Any) -> dict[str, Any]:
    kernel, stride, dilation = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    mode = draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    pads = [draw(st.integers(0, 3)) for _ in range(2)] if mode == "NOTSET" else [0, 0]
    window = {"strides": [stride], "dilations": [dilation], "auto_pad": mode, "kernel_shape": [kernel]}
    if mode == "NOTSET":
        window["pads"] = pads
    return {"extent": draw(st.integers(max(1, dilation * (kernel - 1) + 1 - sum(pads)), 40)), **window}


@given(windows())
@settings(max_examples=200, deadline=None)
def test_random_convolutions_against_inference(window: dict[str, Any]) -> None:
    x, w = floats(1, 1, window.pop("extent")), floats(1, 1, *window["kernel_shape"])
    expected = inferred("Conv", x, w, opset=22, **window)
    assert derived("Conv", x, w, opset=22, **window) == expected


@given(windows(), st.integers(0, 2))
@settings(max_examples=200, deadline=None)
def test_random_transposed_convolutions_against_inference(window: dict[str, Any], more: int) -> None:
    kernel, stride, dilation = (window[name][0] for name in ("kernel_shape", "strides", "dilations"))
    window["output_padding"] = [min(more, max(stride, dilation) - 1)]
    if window["auto_pad"].startswith("SAME"):
        # with less than a stride to pad away, or more to add, ONNX's inference and ONNX Runtime part company
        window |= {"output_padding": [0], "kernel_shape": [max(kernel, stride)]}
    x, w = floats(1, 1, window.pop("extent") + 10), floats(1, 1, *window["kernel_shape"])  # no kernel is as long
    expected = inferred("ConvTranspose", x, w, opset=22, **window)
    assert derived("ConvTranspose", x, w, opset=22, **window) == expected
    assert derived("ConvTranspose", x, w, opset=22, names={x.size: "H"}, **window) == expected


@pytest.mark.parametrize("group", [1, 2, 4])
def test_a_convolution_counts_every_product(group: int) -> None:
    """The loops of the definition: padding is multiplied too, as in published counts."""
    batch, channels, filters, height, width, kernel = 2, 4, 8, 6, 5, 3
    macs = 0
    for _ in range(batch):
        for _filter in range(filters):
            for _row in range(height - kernel + 1):
                for _column in range(width - kernel + 1):
                    macs += (channels // group) * kernel * kernel
    cost = run("Conv", open_tensor("N", channels, "H", "W"), open_tensor(filters, channels // group, 3, 3), group=group)
    assert at(cost.macs, {"N": batch, "H": height, "W": width}) == macs
    assert cost.other_flops == 0


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_a_bias_is_one_addition_per_result(op: str) -> None:
    cost = run(op, open_tensor("N", 4, "H", "W"), open_tensor(4, 4, 3, 3), open_tensor(4), pads=(1, 1, 1, 1))
    assert cost.other_flops == open_tensor("N", 4, "H", "W").size


def test_executed_multiply_adds(shared: Path) -> None:
    """Grouped, transposed and 3-D convolutions: the counts of the kernels that ONNX Runtime executed."""
    network = load(shared / "models" / "odd_convs.onnx")
    record = json.loads((shared / "models" / "manifest.json").read_text())["odd_convs"]
    for sizes, macs_by_op in zip(record["symbols"], record["ort_macs_by_op"], strict=True):
        for op in ("Conv", "ConvTranspose"):
            macs = [at(layer.cost.macs, sizes) for layer in network.layers if layer.op == op and layer.cost]
            assert sum(macs) == macs_by_op[op]


@pytest.mark.parametrize("masked", [False, True])
def test_a_deformable_convolution_is_one_with_sampled_inputs(masked: bool) -> None:
    x, w = open_tensor("N", 4, 9, 9), open_tensor(8, 4, 3, 3)
    offset, mask = open_tensor("N", 2 * 9, 7, 7), open_tensor("N", 9, 7, 7)
    cost = run("DeformConv", x, w, offset, None, *([mask] if masked else []))
    plain = run("Conv", x, w)
    samples = 4 * 9 * 7 * 7  # channels, filter elements, places
    each = 2 * 2 + (4 + 3) + masked  # two coordinates, four corners weighted and added
    assert cost.macs == plain.macs
    assert str(cost.other_flops) == f"{samples * each}*N"


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "message"),
    [
        ("Conv", [open_tensor(1, 4, 8), open_tensor(8, 3, 3)], {}, "group . filter depth must be equal: 4"),
        ("Conv", [open_tensor(1, 4, 8), open_tensor(9, 2, 3)], {"group": 2}, "9 filters do not form 2 groups"),
        ("Conv", [open_tensor(1, 4, 8), open_tensor(8, 4, 3)], {"kernel_shape": (5,)}, "contradicts the filter"),
        ("ConvTranspose", [open_tensor(1, 4, 8), open_tensor(3, 4, 3)], {}, "channels and filter depth must be equal: 4"),
        ("ConvTranspose", [open_tensor(1, 4, 8), open_tensor(4, 4, 3)], {"strides": (1, 1)}, "must have 1 numbers each"),
        ("DeformConv", [open_tensor(1, 4, 8), open_tensor(8, 4, 3), open_tensor(1, 3, 5)], {}, "offsets and of what"),
    ],
)
def test_faults_name_the_rule_and_the_value(op: str, inputs: Any, attributes: Any, message: str) -> None:
    with pytest.raises((MalformedModel, ShapeMismatch), match=message):
        run(op, *inputs, **attributes)


def test_transposed_same_without_enough_to_pad_away() -> None:
    """A kernel smaller than the stride leaves less than extent * stride; ONNX Runtime does not pad the result up."""
    x, w = floats(1, 1, 7), np.zeros((1, 1, 1), np.float32)
    y, = executed("ConvTranspose", x, w, opset=11, strides=[3], auto_pad="SAME_UPPER")
    assert derived("ConvTranspose", x, w, opset=11, strides=[3], auto_pad="SAME_UPPER") == [("float32", y.shape)]
