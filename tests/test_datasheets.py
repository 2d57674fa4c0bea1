"""Profiles of devices that nobody measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import costmodel as cm
from costmodel.datasheets import measured_tables, unseen_costs

BOARD = """
[[device]]
id = "{id}"
title = "A board"
kind = "{kind}"
isa = "armv8.2"
{clusters}
source = "its datasheet"
"""
CORES = 'clusters = [{ core = "cortex-a78", count = 4, clock_hz = 2.2e9 }]'


def write(path: Path, clusters: str = CORES, kind: str = "cpu-board", times: int = 1) -> Path:
    path.write_text("".join(BOARD.format(id=f"board-{i}", kind=kind, clusters=clusters) for i in range(times)))
    return path


def test_a_board_from_a_file(tmp_path: Path) -> None:
    profile = cm.from_datasheet(write(tmp_path / "board.toml"), variant="t4")
    assert profile.id == "board-0/ncnn/fp16/t4"
    assert "datasheet alone" in profile.note
    four = cm.predict(cm.zoo("resnet18"), profile, N=1).time_s
    one = cm.predict(cm.zoo("resnet18"), cm.from_datasheet(tmp_path / "board.toml", variant="t1"), N=1).time_s
    assert 1.5 < one.value / four.value < 4.5
    assert four.low < four.value / 1.5
    assert four.value * 1.5 < four.high


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"clusters": 'clusters = [{ core = "cortex-a78", count = 4 }]'}, "states no clock"),
        ({"clusters": ""}, "names no core; add it"),
        ({"times": 2}, "a profile is of one device, the file describes 2"),
    ],
)
def test_what_a_description_lacks(tmp_path: Path, fault: dict[str, object], expected: str) -> None:
    with pytest.raises(cm.InvalidDevice, match=expected):
        cm.from_datasheet(write(tmp_path / "board.toml", **fault))  # type: ignore[arg-type]


def test_a_runtime_that_few_cpus_ran() -> None:
    with pytest.raises(cm.CannotCalibrate, match="too few CPUs were measured under 'onnxruntime'"):
        cm.from_datasheet("raspberry-pi-5", runtime="onnxruntime")


def test_unseen_devices_are_unseen() -> None:
    tables = measured_tables("ncnn")[:24]
    for table, costs, source in unseen_costs(tables):
        assert table.rows[0].device not in {each.rows[0].device for each in source}
        assert np.all(costs > 0)
