"""Pools against ONNX's node tests, its inference over random windows and at every opset, and brute-force counting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from inference import derived, disagreements, floats, inferred, open_tensor, versions
from official import at, cases_of, executed, faults, run

from costmodel.errors import MalformedModel
from costmodel.graph import Tensor

OPS = (
    "AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool", "MaxRoiPool", "MaxUnpool",
)  # fmt: skip
SIZES = {5: "N", 19: "H", 23: "W"}
CEIL_SINCE = {"MaxPool": 10, "AveragePool": 10, "LpPool": 18}
DILATIONS_SINCE = {"MaxPool": 10, "AveragePool": 19, "LpPool": 18}


@pytest.mark.parametrize("constants", [False, True])
def test_official_cases(constants: bool) -> None:
    cases = cases_of(*OPS)
    assert len(cases) > 50
    assert not {name: found for name, case in cases.items() if (found := faults(case, constants=constants))}


def test_every_opset() -> None:
    x, rois = floats(5, 3, 19, 23), np.zeros((6, 5), np.float32)
    rows: list[Any] = []
    for op in ("MaxPool", "AveragePool", "LpPool"):
        for opset in versions(op):
            plain = {"kernel_shape": [3, 2], "strides": [2, 3]}
            rows += [(op, opset, [x], plain), (op, opset, [x], {**plain, "pads": [1, 0, 1, 1]})]
            rows += [(op, opset, [x], {**plain, "auto_pad": mode}) for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")]
            if opset >= CEIL_SINCE[op]:
                rows.append((op, opset, [x], {**plain, "strides": [2, 2], "pads": [1, 1, 0, 0], "ceil_mode": 1}))
            if opset >= DILATIONS_SINCE[op]:
                rows.append((op, opset, [x], {**plain, "dilations": [2, 3]}))
    rows += [("MaxPool", opset, [x], {"kernel_shape": [3, 3], "storage_order": 1}, 2) for opset in (8, 10, 11, 12, 22)]
    rows += [("AveragePool", opset, [x], {"kernel_shape": [2, 2], "count_include_pad": 1}) for opset in (7, 10, 11, 19, 22)]
    rows += [(op, opset, [x], {}) for op in OPS if op.startswith("Global") for opset in versions(op)]
    rows += [("MaxRoiPool", opset, [x, rois], {"pooled_shape": [7, 7]}) for opset in versions("MaxRoiPool")]
    indices = np.zeros((5, 3, 19, 23), np.int64)
    rows += [("MaxUnpool", opset, [x, indices], {"kernel_shape": [2, 2], "strides": [2, 2]}) for opset in (9, 11, 22)]
    assert not list(disagreements(rows, SIZES))


@st.composite
def windows(draw: Any) -> dict[str, Any]:
    """An extent and a window that fits into it, with less padding than the window spans, as runtimes demand."""
    kernel, stride, dilation = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    mode = draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    span = dilation * (kernel - 1) + 1
    pads = [draw(st.integers(0, kernel - 1)) for _ in range(2)] if mode == "NOTSET" else [0, 0]
    extent = draw(st.integers(max(1, span - sum(pads)), 40))
    window = {"kernel_shape": [kernel], "strides": [stride], "dilations": [dilation], "auto_pad": mode}
    if mode == "NOTSET":
        window["pads"] = pads
    return {"extent": extent, "ceil_mode": draw(st.integers(0, 1)), **window}


@given(windows(), st.sampled_from(["MaxPool", "AveragePool", "LpPool"]))
@settings(max_examples=300, deadline=None)
def test_random_windows_against_inference(window: dict[str, Any], op: str) -> None:
    x = floats(1, 1, window.pop("extent"))
    expected = inferred(op, x, opset=22, **window)
    assert derived(op, x, opset=22, **window) == expected
    assert derived(op, x, opset=22, names={x.size: "H"} if x.size > 1 else None, **window) == expected


@given(windows(), st.sampled_from([10, 11, 12]))
@settings(max_examples=100, deadline=None)
def test_ceil_mode_at_older_opsets_is_what_runs(window: dict[str, Any], opset: int) -> None:
    """Until opset 21 ONNX's inference keeps a last window that lies in the end padding; ONNX Runtime drops it as ever."""
    assume(window["auto_pad"] in ("NOTSET", "VALID"))
    x = floats(1, 1, window.pop("extent"))
    y, = executed("MaxPool", x, opset=opset, **window)
    assert derived("MaxPool", x, opset=opset, **window) == [("float32", y.shape)]


@pytest.mark.parametrize(("op", "each", "final"), [("MaxPool", 1, 0), ("AveragePool", 1, 1), ("LpPool", 2, 1)])
def test_every_window_element_is_counted(op: str, each: int, final: int) -> None:
    kernel, stride, height, width = (3, 2), (2, 1), 9, 8
    steps = 0
    for top in range(0, height - kernel[0] + 1, stride[0]):
        for left in range(0, width - kernel[1] + 1, stride[1]):
            elements = [(top + i, left + j) for i in range(kernel[0]) for j in range(kernel[1])]
            steps += each * len(elements) + final
    cost = run(op, open_tensor("N", 4, "H", "W"), kernel_shape=kernel, strides=stride)
    assert at(cost.other_flops, {"N": 3, "H": height, "W": width}) == 3 * 4 * steps


@pytest.mark.parametrize(
    ("op", "per_channel"), [("GlobalMaxPool", "H*W"), ("GlobalAveragePool", "H*W + 1"), ("GlobalLpPool", "2*H*W + 1")]
)
def test_global_pools_read_every_element_once(op: str, per_channel: str) -> None:
    assert run(op, open_tensor("H", "W", "H", "W")).other_flops == open_tensor("H", "W", per_channel).size


def test_max_pool_of_one_output_has_no_indices() -> None:
    x = open_tensor("N", 3, "H", "W")
    assert [len(run("MaxPool", x, kernel_shape=(2, 2), n_outputs=n).outputs) for n in (1, 2)] == [1, 2]


def test_unpooling_to_a_given_shape() -> None:
    x, indices = open_tensor("N", 3, 4, 4), open_tensor("N", 3, 4, 4, dtype="int64")
    shape = Tensor("int64", (4,), open_tensor("N", 3, 9, 9).dims)
    assert run("MaxUnpool", x, indices, shape, kernel_shape=(2, 2)).outputs[0].dims == open_tensor("N", 3, 9, 9).dims
    unknown = run("MaxUnpool", x, indices, Tensor("int64", (4,)), kernel_shape=(2, 2)).outputs[0]
    assert unknown.rank == 4


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "message"),
    [
        ("MaxPool", [open_tensor(1, 1, 3)], {"kernel_shape": (5,)}, "a window of 5 is larger than the padded extent 3"),
        ("MaxPool", [open_tensor(1, 1, 3)], {"kernel_shape": (2, 2)}, "must have 1 numbers each"),
        ("MaxPool", [open_tensor(1, 1, 3)], {"kernel_shape": (2,), "strides": (0,)}, "must be at least 1"),
        ("MaxPool", [open_tensor(1, 1, 3)], {"kernel_shape": (2,), "pads": (1,)}, "must have two numbers for each"),
        ("MaxPool", [open_tensor(1, 1, 3)], {}, "the attribute 'kernel_shape' is required"),
        ("AveragePool", [open_tensor(1, 1, 3)], {"kernel_shape": (2,), "auto_pad": "SAME"}, "'SAME' is none of NOTSET"),
        ("MaxUnpool", [open_tensor(1, 1, 3), open_tensor(1, 1, 4)], {"kernel_shape": (2,)}, "elements and indices must be"),
    ],
)
def test_faults_name_the_rule_and_the_value(op: str, inputs: Any, attributes: Any, message: str) -> None:
    with pytest.raises(MalformedModel, match=message):
        run(op, *inputs, **attributes)
