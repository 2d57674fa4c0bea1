"""Transforms and windows against ONNX's node tests, its inference and numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inference import disagreements, floats, open_tensor
from official import at, cases_of, differences, faults, run

from costmodel.errors import MalformedModel
from costmodel.graph import Tensor
from costmodel.ops.signal import stages

OPS = ("BlackmanWindow", "DFT", "HammingWindow", "HannWindow", "MelWeightMatrix", "STFT")
SIZES = {5: "N", 128: "S"}
ONE = Tensor("int64", (), (1,))


@pytest.mark.parametrize("constants", [False, True])
def test_official_cases(constants: bool) -> None:
    cases = cases_of(*OPS)
    assert len(cases) >= 19
    assert not {name: found for name, case in cases.items() if (found := faults(case, constants=constants))}


def test_every_opset() -> None:
    real, spectrum, length = floats(5, 128, 6, 1), floats(5, 128, 6, 2), np.array(20, np.int64)
    rows: list[Any] = []
    for attributes in ({}, {"inverse": 1}, {"onesided": 1}, {"inverse": 1, "onesided": 1}):
        x = real if attributes == {"onesided": 1} else spectrum
        rows += [("DFT", 17, [x], {**attributes, "axis": axis}) for axis in (1, 2, -3)]
        rows += [("DFT", 20, [x, None, np.array(axis)], attributes) for axis in (1, 2, -3)]
        rows += [("DFT", 17, [x, length], attributes), ("DFT", 20, [x], attributes)]
        rows += [("DFT", 20, [x, length, np.array(1)], attributes)]
    step, frame = np.array(8), np.array(16)
    rows += [("STFT", 17, [floats(5, 128, 1), step, None, frame], {"onesided": sided}) for sided in (0, 1)]
    rows += [(op, 17, [np.array(10)], {"output_datatype": 11}) for op in ("HannWindow", "HammingWindow", "BlackmanWindow")]
    mel = [np.array(number) for number in (8, 16, 8192)] + [np.array(edge, np.float32) for edge in (0, 4096)]
    rows += [("MelWeightMatrix", 17, mel, {"output_datatype": 1})]
    assert not list(disagreements(rows, SIZES))


def test_frames_of_an_open_signal_against_onnx_runtime() -> None:
    signal = np.zeros((5, 128, 1), np.float32)
    for step, frame in ((8, 16), (10, 25), (127, 127), (3, 1)):
        given_inputs = (signal, np.array(step), np.ones(frame, np.float32), np.array(frame))
        assert not differences("STFT", given_inputs, names=SIZES, opset=17)


@given(st.integers(1, 5000))
def test_stages_are_the_logarithm(length: int) -> None:
    assert stages(length) == at(stages(open_tensor("N").size), {"N": length}) == math.ceil(math.log2(length))


def _butterflies(length: int) -> int:
    """Operations of the recursive radix-2 algorithm: each butterfly one complex product (6) and two sums (4)."""
    return 0 if length == 1 else 2 * _butterflies(length // 2) + length // 2 * 10


@pytest.mark.parametrize("length", [2, 8, 256])
def test_a_transform_takes_what_radix_2_takes(length: int) -> None:
    cost = run("DFT", open_tensor("N", length, 2), None, Tensor("int64", (), (1,)))
    assert str(cost.other_flops) == f"{_butterflies(length)}*N"
    half = run("DFT", open_tensor("N", length, 1), None, Tensor("int64", (), (1,)), onesided=1)
    assert str(half.other_flops) == f"{_butterflies(length) // 2}*N"


def test_an_inverse_divides_each_result() -> None:
    forward, inverse = (run("DFT", open_tensor("N", 8, 2), inverse=n).other_flops for n in (0, 1))
    assert inverse - forward == open_tensor("N", 8, 2).size


def test_a_short_time_transform_is_one_per_frame() -> None:
    signal, step, frame = open_tensor("N", 128, 1), Tensor("int64", (), (8,)), Tensor("int64", (), (16,))
    frames = len(range(0, 128 - 16 + 1, 8))
    assert str(run("STFT", signal, step, None, frame).other_flops) == f"{frames * _butterflies(16) // 2}*N"
    windowed = run("STFT", signal, step, open_tensor(16), frame)
    assert str(windowed.other_flops) == f"{frames * (_butterflies(16) // 2 + 16)}*N"
    assert windowed.not_learnable == (2,)


def test_lengths_that_only_the_data_knows() -> None:
    scalar = Tensor("int64", ())
    cost = run("STFT", open_tensor("N", 128, 1), scalar, None, scalar)
    assert [str(extent) for extent in cost.outputs[0].dims] == ["N", "'node.frames'", "'node.length'//2 + 1", "2"]
    assert dict(cost.bounds) == {"node.frames": 128, "node.length": 128}
    assert [str(extent) for extent in run("HannWindow", scalar).outputs[0].dims] == ["'node.size'"]
    assert run("DFT", open_tensor("N", 128, 1), None, scalar).outputs[0].rank == 3


@pytest.mark.parametrize(
    ("op", "inputs", "message"),
    [
        ("DFT", [open_tensor(2, 8, 2), None, Tensor("int64", (), (5,))], "axis 5 does not exist in a tensor of rank 3"),
        ("STFT", [open_tensor(1, 8, 1), ONE, open_tensor(4), Tensor("int64", (), (5,))], "must be equal: 5 against 4"),
        ("STFT", [open_tensor(1, 8, 1), ONE, open_tensor(9)], "a window of 9 is larger than the padded extent 8"),
    ],
)
def test_faults_name_the_rule_and_the_value(op: str, inputs: Any, message: str) -> None:
    with pytest.raises(MalformedModel, match=message):
        run(op, *inputs)
