"""The memory of a device: measured processes, laws by hand."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

import costmodel as cm
from costmodel.errors import InvalidProfile
from costmodel.footprint import find_law, laws
from costmodel.schema.data import data_folder
from costmodel.schema.footprint import read_laws


def test_processes_lie_in_the_interval_as_often_as_it_says() -> None:
    """In sample, so at least that often."""
    with (data_folder("calibration") / "memory" / "onnxruntime.csv").open() as file:
        rows = list(csv.DictReader(file))
    held, errors = 0, []
    for row in rows:
        found = cm.device_memory(cm.zoo(row["network"]), "onnxruntime")
        held += found.total.low <= int(row["grown_bytes"]) <= found.total.high
        errors.append(abs(math.log(found.total.value / int(row["grown_bytes"]))))
    assert held >= 0.9 * len(rows)
    assert sorted(errors)[len(errors) // 2] < 0.15


def test_the_law_of_the_jetson_study() -> None:
    """200 MB and 1.30 times the parameters: VGG-16 has 138.4 million of 4 bytes."""
    found = cm.device_memory(cm.zoo("vgg16"), "jetson-tx1/torch7", N=1)
    assert found.total.value == pytest.approx(200e6 + 1.3 * 4 * 138_357_544)
    assert (found.activation_bytes, found.total.level) == (0, 0.0)


def test_a_runtime_without_a_law_needs_weights_and_activations() -> None:
    network = cm.zoo("resnet18")
    found = cm.device_memory(network, "tflite", N=1)
    assert found.total.value == found.weight_bytes + found.activation_bytes
    assert found.activation_bytes == cm.memory(network, planner="tflite").at(N=1).peak_bytes
    assert found.total.level == 0.0
    assert "lower bound" in found.scope


def test_parts_add_up() -> None:
    found = cm.device_memory(cm.zoo("resnet50"), "onnxruntime", N=4)
    assert found.weight_bytes + found.activation_bytes + found.overhead_bytes == round(found.total.value)
    assert find_law("onnxruntime").planner == found.planner


def test_margins_are_those_of_networks_left_out() -> None:
    assert all(list(law.margins) == sorted(law.margins) for law in laws().values())
    assert len(laws()["onnxruntime"].margins) >= 20


@pytest.mark.parametrize("text", ["[[law]]\nname = 'x'", "law = 3", "no toml"])
def test_a_file_that_holds_no_laws(text: str, tmp_path: Path) -> None:
    path = tmp_path / "laws.toml"
    path.write_text(text)
    with pytest.raises(InvalidProfile, match=r"laws.toml: no file of laws of memory"):
        read_laws(path)


def test_an_unknown_law() -> None:
    with pytest.raises(cm.InvalidChoice, match="did you mean 'onnxruntime'"):
        find_law("onnx-runtime")
