"""Resizing and sampling against ONNX's node tests, its inference, ONNX Runtime, and counting by hand."""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inference import derived, disagreements, floats, open_tensor, versions
from official import at, cases_of, differences, executed, faults, run

from costmodel.dims import Dim
from costmodel.errors import MalformedModel, ShapeMismatch
from costmodel.graph import Tensor
from costmodel.ops.values import Ratio

OPS = ("AffineGrid", "CenterCropPad", "Col2Im", "GridSample", "Resize", "RoiAlign", "Upsample")
SIZES = {5: "N", 19: "H", 23: "W"}
X = floats(5, 3, 19, 23)
H, W = Dim.size("H"), Dim.size("W")


@pytest.mark.parametrize("constants", [False, True])
def test_official_cases(constants: bool) -> None:
    cases = cases_of(*OPS)
    assert len(cases) > 70
    assert not {name: found for name, case in cases.items() if (found := faults(case, constants=constants))}


def test_official_image_decoding() -> None:
    """Height and width are in the file; the rank, the channels and the dtype are not."""
    cases = cases_of("ImageDecoder")
    assert len(cases) == 9
    assert not {name: found for name, case in cases.items() if (found := faults(case, constants=True, exact=False))}


def scales(*numbers: float) -> Any:
    return np.array(numbers, np.float32)


RESIZED = [
    # opset, inputs, attributes
    (10, [X, scales(1, 1, 2, 3)], {}),
    (10, [X, scales(1, 1, 0.5, 0.3)], {"mode": "linear"}),
    (11, [X, scales(), scales(1, 1, 0.7, 1.3)], {"mode": "cubic"}),
    (11, [X, scales(), scales(), np.array([5, 3, 7, 8])], {"mode": "linear"}),
    (13, [X, None, scales(1, 1, 1 / 3, 4 / 3)], {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    (13, [X, None, None, np.array([5, 3, 38, 8])], {"mode": "cubic", "cubic_coeff_a": -0.5}),
    (18, [X, None, scales(1.1, 2.5)], {"axes": [2, 3], "mode": "linear"}),
    (18, [X, None, None, np.array([40, 9])], {"axes": [3, -2], "mode": "linear", "antialias": 1}),
    (18, [X, None, None, np.array([40, 9])], {"axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}),
    (19, [X, None, None, np.array([40, 9])], {"axes": [2, 3], "keep_aspect_ratio_policy": "not_smaller"}),
]


@pytest.mark.parametrize(("opset", "inputs", "attributes"), RESIZED)
def test_resize_against_onnx_runtime(opset: int, inputs: list[Any], attributes: dict[str, Any]) -> None:
    y, = executed("Resize", *inputs, opset=opset, **attributes)
    for names in (None, SIZES):
        assert derived("Resize", *inputs, opset=opset, names=names, **attributes) == [("float32", y.shape)]


@given(st.integers(1, 40), st.floats(0.03125, 4, width=32))
@settings(max_examples=60, deadline=None)
def test_any_scale_of_a_known_extent_against_onnx_runtime(extent: int, scale: float) -> None:
    inputs = [floats(1, 1, extent, 1), None, scales(1, 1, scale, 1)]
    if extent * scale < 1:
        return  # nothing is left of it, which ONNX Runtime refuses
    y, = executed("Resize", *inputs, opset=13)
    assert derived("Resize", *inputs, opset=13) == [("float32", y.shape)]


@pytest.mark.parametrize("scale", [0.1, 0.3, 0.7, 1.3])
def test_a_scale_that_float32_cannot_hold_against_onnx_runtime(scale: float) -> None:
    """10 * 0.7 is 6.9999999 with the nearest float32, which rounds to 7.0 in float32 and down to 6 in float64."""
    for extent in (10, 20, 30, 70, 90):
        y, = executed("Resize", floats(1, 1, extent, 1), None, scales(1, 1, scale, 1), opset=13)
        assert derived("Resize", floats(1, 1, extent, 1), None, scales(1, 1, scale, 1), opset=13) == [("float32", y.shape)]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
@settings(deadline=None)
def test_proportions_with_open_sizes(height: int, width: int, new_height: int, new_width: int) -> None:
    """The wanted sizes and the input's are all open; ONNX's formula with exact fractions is the oracle."""
    x = open_tensor(1, 1, "H", "W")
    wanted = Tensor("int64", (2,), open_tensor("A", "B").dims)
    sizes = {"H": height, "W": width, "A": new_height, "B": new_width}
    for policy, extremum in (("not_larger", min), ("not_smaller", max)):
        scale = extremum(Fraction(new_height, height), Fraction(new_width, width))
        y, = run("Resize", x, None, None, wanted, axes=(2, 3), keep_aspect_ratio_policy=policy).outputs
        expected = [floor(scale * extent + Fraction(1, 2)) for extent in (height, width)]
        assert [at(extent, sizes) for extent in y.dims[2:]] == expected


def test_scales_that_were_divided_out_of_sizes() -> None:
    """Exporters at opset 9 and 10 write a fixed size as size / extent, which floor(extent * scale) undoes."""
    quotient = Tensor("float32", (4,), (1.0, 1.0, Ratio(64, H), Ratio(2 * W, W + 1)))
    y, = run("Resize", open_tensor("N", 3, "H", "W"), quotient, opset=10).outputs
    assert (y.dims[2], at(y.dims[3], {"W": 7})) == (64, 2 * 7 * 7 // 8)


def test_scales_that_only_the_data_knows_give_new_sizes() -> None:
    y, = run("Resize", open_tensor("N", 3, "H", "W"), None, Tensor("float32", (4,), (1.0, None, 2.0, None))).outputs
    assert [str(extent) for extent in y.dims] == ["N", "'node.axis1'", "2*H", "'node.axis3'"]
    y, = run("Resize", open_tensor("N", 3, "H", "W"), None, None, Tensor("int64", (2,)), axes=(2, 3)).outputs
    assert [str(extent) for extent in y.dims] == ["N", "3", "'node.axis2'", "'node.axis3'"]


def test_upsample_at_every_opset() -> None:
    rows: list[Any] = [
        ("Upsample", 7, [X], {"scales": [1.0, 1.0, 2.0, 3.0], "mode": "linear"}),
        ("Upsample", 9, [X, scales(1, 1, 2, 3)], {"mode": "nearest"}),
    ]
    assert not list(disagreements(rows, SIZES))
    assert derived("Upsample", X, opset=1, names=SIZES, height_scale=2.0, width_scale=1.5) == [("float32", (5, 3, 38, 34))]


def test_sampling_ops_at_every_opset() -> None:
    grid, rois = np.zeros((5, 7, 9, 2), np.float32), np.zeros((6, 4), np.float32)
    modes = {16: ["bilinear", "nearest", "bicubic"]}
    rows: list[Any] = [
        ("GridSample", opset, [X, grid], {"mode": mode, "padding_mode": "border", "align_corners": 1})
        for opset in versions("GridSample")
        for mode in modes.get(opset, ["linear", "nearest", "cubic"])
    ]
    rows += [("GridSample", 20, [floats(5, 3, 19, 23, 8), np.zeros((5, 2, 7, 9, 3), np.float32)], {})]
    rows += [("AffineGrid", 20, [floats(5, 2, 3), np.array([5, 3, 7, 8])], {"align_corners": 1})]
    rows += [("AffineGrid", 20, [floats(5, 3, 4), np.array([5, 3, 7, 8, 9])], {})]
    rows += [
        ("RoiAlign", opset, [X, rois, np.zeros(6, np.int64)], {"output_height": 7, "output_width": 5, "sampling_ratio": 2})
        for opset in versions("RoiAlign")
    ]
    rows += [("CenterCropPad", 18, [X, np.array([10, 40])], {"axes": [2, 3]})]
    rows += [("CenterCropPad", 18, [X, np.array([10, 40])], {"axes": [-1, -3]})]
    rows += [("CenterCropPad", 18, [X, np.array([5, 3, 10, 40])], {})]
    rows += [("Col2Im", 18, [floats(5, 12, 36), np.array([8, 8]), np.array([3, 2])], {"strides": [1, 1]})]
    assert not list(disagreements(rows, SIZES))


def test_open_extents_against_onnx_runtime() -> None:
    grid = np.zeros((5, 7, 9, 2), np.float32)
    assert not differences("GridSample", (X, grid), names={19: "H", 23: "W"}, opset=16)
    assert not differences("CenterCropPad", (X, np.array([10, 40])), names=SIZES, opset=18, axes=[2, 3])


@pytest.mark.parametrize(("mode", "taps"), [("nearest", 0), ("linear", 4), ("cubic", 16)])
def test_an_interpolated_result_weighs_its_samples(mode: str, taps: int) -> None:
    """Bilinear takes 4 samples, bicubic 16: so many products, and one addition fewer."""
    cost = run("Resize", open_tensor("N", 3, "H", "W"), None, Tensor("float32", (4,), (1.0, 1.0, 2.0, 2.0)), mode=mode)
    each = sum(1 for _ in range(taps)) + sum(1 for _ in range(taps - 1))
    assert cost.other_flops == cost.outputs[0].size * each
    assert cost.not_learnable == (1, 2, 3)


def test_axes_that_stay_take_no_samples() -> None:
    wide = run("Resize", open_tensor("N", 3, "H", "W"), None, Tensor("float32", (4,), (1.0, 1.0, 1.0, 2.0)), mode="linear")
    assert wide.other_flops == wide.outputs[0].size * 3


def test_an_antialiasing_filter_widens_with_the_scale() -> None:
    reduced = Tensor("float32", (4,), (1.0, 1.0, 0.25, 0.5))
    cost = run("Resize", open_tensor(1, 1, 64, 64), None, reduced, mode="linear", antialias=1)
    assert cost.other_flops == 16 * 32 * (2 * (2 * 4) * (2 * 2) - 1)


def test_sampling_counts() -> None:
    x, grid = open_tensor("N", 3, "H", "W"), open_tensor("N", 7, 9, 2)
    cost = run("GridSample", x, grid)
    assert cost.other_flops == open_tensor("N", 3, 7, 9).size * (4 + 3) + 4 * grid.size
    assert str(run("AffineGrid", open_tensor("N", 2, 3), Tensor("int64", (4,), (1, 3, 5, 6))).macs) == f"{5 * 6 * 2 * 3}*N"
    regions = open_tensor("R", 4), open_tensor("R", dtype="int64")
    aligned = run("RoiAlign", x, *regions, output_height=7, output_width=7, sampling_ratio=3)
    assert aligned.other_flops == open_tensor("R", 3, 7, 7).size * (9 * (7 + 1) + 1)
    folded = run("Col2Im", open_tensor("N", 12, 36), Tensor("int64", (2,), (8, 8)), Tensor("int64", (2,), (3, 2)))
    assert folded.other_flops == open_tensor("N", 12, 36).size


def test_a_crop_reads_what_it_keeps() -> None:
    cost = run("CenterCropPad", open_tensor("N", 3, 19, 23), Tensor("int64", (2,), (10, 40)), axes=(2, 3))
    assert cost.reads == (open_tensor("N", 3, 10, 23).size, 2)
    assert cost.flops == 0


def test_shapes_that_only_the_data_knows() -> None:
    image = run("Col2Im", open_tensor("N", 12, 36), Tensor("int64", (2,)), Tensor("int64", (2,))).outputs[0]
    crop = run("CenterCropPad", open_tensor("N", 3, 19), Tensor("int64", (1,)), axes=(2,)).outputs[0]
    grid = run("AffineGrid", open_tensor("N", 2, 3), Tensor("int64", (4,))).outputs[0]
    assert [y.rank for y in (image, crop, grid)] == [4, 3, 4]
    assert [str(y.dims[0]) for y in (image, crop, grid)] == ["N", "N", "N"]


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "message"),
    [
        ("Resize", [open_tensor(1, 3, 8, 8)], {}, "neither scales nor sizes are given"),
        ("Resize", [open_tensor(1, 3), None, Tensor("float32", (1,), (2.0,))], {}, "1 scales are given for 2 axes"),
        ("Resize", [open_tensor(1, 3), None, None, Tensor("int64", (3,), (1, 2, 3))], {}, "3 sizes are given for 2 axes"),
        ("Resize", [open_tensor(8), None, Tensor("float32", (1,), (2.0,))], {"mode": "area"}, "'area' is none of nearest"),
        ("Resize", [open_tensor(8), None, None, Tensor("int64", (1,), (2,))], {"keep_aspect_ratio_policy": "fit"}, "'fit'"),
        ("GridSample", [open_tensor(1, 3, 8, 8), open_tensor(2, 8, 8, 2)], {}, "and of the grid must be equal: 1 against 2"),
        ("GridSample", [open_tensor(1, 3, 8, 8), open_tensor(1, 8, 8, 3)], {}, "in the grid must be equal: 2 against 3"),
        ("ImageDecoder", [open_tensor(9, dtype="uint8")], {"pixel_format": "YUV"}, "'YUV' is none of RGB, BGR, Grayscale"),
    ],
)
def test_faults_name_the_rule_and_the_value(op: str, inputs: Any, attributes: Any, message: str) -> None:
    with pytest.raises((MalformedModel, ShapeMismatch), match=message):
        run(op, *inputs, **attributes)
