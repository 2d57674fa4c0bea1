"""ONNX Runtime's plans against the heap of ONNX Runtime.

``tests/data/onnxruntime_heap.csv`` holds peaks measured by ``benchmarks/runtime_memory.py`` at one thread; the folder of
shared models holds peaks that others measured.
"""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from costmodel.build import Builder
from costmodel.graph import Network
from costmodel.planners import PLANNERS, OnnxRuntime
from costmodel.planners.depth_first import depth_first
from costmodel.planners.onnxruntime import VALUE_BYTES
from costmodel.planners.onnxruntime_fusion import optimized
from costmodel.planning import memory
from costmodel.read.onnx import load
from costmodel.specs import zoo

HEAP = Path(__file__).parent.parent / "data" / "onnxruntime_heap.csv"


@lru_cache(maxsize=1)
def errors() -> dict[str, list[float]]:
    """|planned / measured - 1| by planner."""
    found: dict[str, list[float]] = {}
    with HEAP.open() as file:
        for row in csv.DictReader(file):
            point = {name: int(value) for name, value in (part.split("=") for part in row["sizes"].split(","))}
            plan = memory(zoo(row["network"]), planner=row["planner"]).at(point)
            found.setdefault(row["planner"], []).append(abs(plan.peak_bytes / int(row["heap_bytes"]) - 1))
    return found


@pytest.mark.parametrize(
    ("planner", "median", "worst"),
    [
        ("onnxruntime-no-reuse", 0.01, 0.03),
        ("onnxruntime", 0.01, 0.03),
        ("onnxruntime-pattern", 0.01, 0.25),
        ("onnxruntime-arena", 0.03, 0.55),
        ("onnxruntime-no-reuse-optimized", 0.01, 0.5),
        ("onnxruntime-optimized", 0.05, 0.8),
        ("onnxruntime-pattern-optimized", 0.05, 0.8),
        ("onnxruntime-arena-optimized", 0.01, 0.55),
    ],
)
def test_the_heap_of_zoo_networks(planner: str, median: float, worst: float) -> None:
    found = errors()[planner]
    assert len(found) >= 10
    assert statistics.median(found) < median
    assert max(found) < worst


def measured(models: Path) -> Iterator[tuple[Network, dict[str, int], dict[str, int]]]:
    for name, facts in json.loads((models / "manifest.json").read_text()).items():
        network = load(models / f"{name}.onnx") if facts["memory"] else None
        for row in facts["memory"]:
            assert network is not None
            yield network, facts["symbols"][row["binding"]], {**row, "heap_bytes": max(row["peak_bytes"])}


@pytest.mark.parametrize(
    ("settings", "median", "worst"),
    [
        ({"reuse": 0, "pattern": 0, "arena": 0, "opt": 0}, 0.01, 0.06),
        ({"reuse": 1, "pattern": 0, "arena": 0, "opt": 0}, 0.01, 0.03),
        ({"reuse": 1, "pattern": 1, "arena": 0, "opt": 0}, 0.01, 0.03),
        ({"reuse": 1, "pattern": 1, "arena": 1, "opt": 0}, 0.01, 0.15),
        ({"reuse": 0, "pattern": 0, "arena": 0, "opt": 1}, 0.01, 1.5),  # quantised convolutions gather in 32 bits
        ({"reuse": 1, "pattern": 1, "arena": 1, "opt": 1}, 0.02, 0.6),
    ],
)
def test_the_heap_of_shared_models(shared: Path, settings: dict[str, int], median: float, worst: float) -> None:
    options = {name: bool(settings[name]) for name in ("reuse", "pattern", "arena")}
    planner = OnnxRuntime(**options, optimized=bool(settings["opt"]))
    found = [
        abs(memory(network, planner=planner).at(point).peak_bytes / row["heap_bytes"] - 1)
        for network, point, row in measured(shared / "models")
        if all(row[name] == value for name, value in settings.items())
    ]
    assert len(found) >= 10
    assert statistics.median(found) < median
    assert max(found) < worst


# -- by hand ----------------------------------------------------------------------------------------------------


def peak(network: Network, planner: str) -> int:
    """Without the table of values."""
    found = memory(network, planner=planner)
    return found.at().peak_bytes - VALUE_BYTES * len(
        {name for layer in found.network.layers for name in (*layer.reads, *layer.outputs)}
    )


def names(network: Network) -> list[str]:
    return [layer.name for layer in depth_first(network, network.running_layers)]


def test_of_what_a_layer_reads_the_files_last_comes_first() -> None:
    b = Builder("fork")
    x = b.input("x", (1, 4))
    left, right = b.linear(x, 4, name="left"), b.linear(x, 4, name="right")
    assert names(b.finish(b.add(left, right, name="sum"))) == ["right", "left", "sum"]


def test_a_dead_buffer_serves_the_next_of_its_shape() -> None:
    """Three products of one shape in a row need two buffers; one of another shape needs its own."""
    b = Builder("chain")
    y = b.input("x", (1, 64))
    for _ in range(4):
        y = b.linear(y, 64)
    network = b.finish(b.linear(y, 32))
    assert peak(network, "onnxruntime") == 2 * 256
    assert [len(buffer.tensors) for buffer in memory(network, planner="onnxruntime").at().buffers] == [2, 2, 1]
    assert peak(network, "onnxruntime-no-reuse") == 2 * 256


def test_what_waits_for_its_next_tensor_counts() -> None:
    """The first and the last share a buffer, which is kept while wide is there; without reuse it is given back meanwhile."""
    b = Builder("gap")
    a = b.linear(b.input("x", (1, 64)), 64, name="a")
    wide = b.linear(b.linear(a, 512, name="wide"), 512, name="wider")
    network = b.finish(b.linear(b.linear(wide, 64, name="c"), 8, name="y"))
    assert peak(network, "onnxruntime") == 256 + 2 * 2048
    assert peak(network, "onnxruntime-no-reuse") == 2 * 2048


def test_weights_that_are_prepared_count_where_nothing_is_optimised() -> None:
    b = Builder("tied")
    x = b.input("x", (1, 10))
    b.weight("w", (2000, 10))
    network = b.finish(b.op("MatMul", x, b.transpose("w", (1, 0)), name="y"))
    assert peak(network, "onnxruntime") == 80_000 + 8_000
    assert peak(network, "onnxruntime-optimized") == 8_000
    assert memory(network).at().peak_bytes == 40 + 8_000


def test_optimised_layers() -> None:
    b = Builder("blocks")
    x = b.input("x", (1, 16, 8, 8))
    y = b.bn(b.conv(x, 16, kernel=3, padding=1))
    y = b.mul(y, b.sigmoid(y))
    y = b.relu(b.add(b.conv(y, 16, kernel=3, padding=1), y))
    assert [layer.op for layer in optimized(b.finish(y)).layers] == ["Conv", "QuickGelu", "FusedConv"]


def test_every_preset_is_named_after_its_options() -> None:
    presets = [planner for planner in PLANNERS.values() if isinstance(planner, OnnxRuntime)]
    assert len({planner.name for planner in presets}) == len(presets) == 8
