"""Sweeps, against predictions point by point."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import costmodel as cm
from costmodel.errors import InvalidChoice, UnknownSize

PROFILE = "raspberry-pi-4b/ncnn/fp32/t4"
METERED = "raspberry-pi-4b/tflite/fp32"


@pytest.mark.parametrize(
    ("network", "profile"), [("resnet18", PROFILE), ("mobilenet_v2", METERED), ("bert_tiny", "l4/torch")]
)
def test_every_row_is_the_prediction_at_its_point(network: str, profile: str) -> None:
    net = cm.zoo(network)
    sizes = {"N": [1, 3], "S": [8, 40]} if "S" in net.sizes else {"N": [1, 3], "H": [96, 224], "W": [96, 160]}
    swept = cm.sweep(net, profile, **sizes)
    points = [dict(zip(sizes, values, strict=True)) for values in itertools.product(*sizes.values())]
    assert len(swept) == len(points)
    for row, point in enumerate(points):
        found = cm.predict(net, profile, **point)
        for key, value in {
            "time_s": found.time_s.value,
            "time_low_s": found.time_s.low,
            "time_high_s": found.time_s.high,
            "macs": cm.count(net).at(**net.bind(point)).macs,
            "memory_bytes": cm.memory(net).at(**net.bind(point)).peak_bytes,
            **({"energy_j": found.energy_j.value} if found.energy_j else {}),
        }.items():
            assert swept.columns[key][row] == pytest.approx(value, rel=1e-9), key
        assert bool(swept.columns["extrapolating"][row]) == bool(found.extrapolating)
        assert {name: swept.columns[name][row] for name in net.sizes} == net.bind(point)
    assert ("energy_j" in swept.columns) == (cm.predict(net, profile, **points[0]).energy_j is not None)


def test_a_tie_lets_one_size_follow_another() -> None:
    swept = cm.sweep(cm.zoo("resnet18"), PROFILE, N=2, H=range(96, 225, 64), tie="H=W")
    assert swept.columns["H"].tolist() == swept.columns["W"].tolist() == [96, 160, 224]
    assert swept.columns["N"].tolist() == [2, 2, 2]


@pytest.mark.parametrize("goals", [2, 3])
def test_the_front_is_that_of_all_pairs(goals: int) -> None:
    swept = cm.sweep(cm.zoo("resnet18"), PROFILE, N=[1, 2, 5], H=[96, 128, 224], W=[96, 224])
    names = ["time_s", "memory_bytes"][: goals - 1]
    kept = swept.pareto(*names, maximise="H")
    table = np.column_stack([*(swept.columns[name] for name in names), -swept.columns["H"]]).astype(float)
    best = [not any((other <= row).all() and (other < row).any() for other in table) for row in table]
    assert kept.columns["time_s"].tolist() == swept.columns["time_s"][best].tolist()


@pytest.mark.parametrize(
    ("sizes", "error", "told"),
    [
        ({"N": []}, UnknownSize, "size 'N' is given no value"),
        ({"Q": 1}, UnknownSize, "no size 'Q'"),
        ({"N": [1, -2]}, UnknownSize, "whole numbers from 0 up"),
        ({"tie": "H=H"}, InvalidChoice, "tie 'H=H' is not of the form"),
        ({"tie": "H=W"}, InvalidChoice, "neither H nor W is given"),
        ({"H": 1, "W": 2, "tie": "H=W"}, InvalidChoice, "both H and W are given values"),
        ({"N": range(10_000), "H": range(10_000)}, InvalidChoice, "100,000,000 points are more than a sweep takes"),
    ],
)
def test_faults(sizes: dict[str, object], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        cm.sweep(cm.zoo("resnet18"), PROFILE, **sizes)


def test_columns_that_there_are_not() -> None:
    swept = cm.sweep(cm.zoo("resnet18"), PROFILE, N=[1, 2])
    with pytest.raises(InvalidChoice, match="no column 'time'; did you mean 'time_s'"):
        swept.pareto("time")
    with pytest.raises(InvalidChoice, match="name a column to minimise or maximise"):
        swept.pareto()


def test_as_a_data_frame() -> None:
    pytest.importorskip("pandas", reason="a DataFrame needs the extra 'pandas'")
    frame = cm.sweep(cm.zoo("resnet18"), PROFILE, N=[1, 2]).to_pandas()
    assert frame["N"].tolist() == [1, 2]
