"""The tables of MLPerf and iotnets: names, sources, kernels of the graphs, and the protocols on them."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from costmodel.accuracy import run_protocol
from costmodel.accuracy.protocols import iotnets, mlperf
from costmodel.accuracy.splits import leave_networks_out
from costmodel.build import Builder
from costmodel.calibration import is_fittable
from costmodel.dims import value_at
from costmodel.features import works
from costmodel.schema.data import data_folder
from costmodel.schema.device import devices
from costmodel.schema.measurement import read_measurements
from costmodel.specs import benchmark_names
from costmodel.stored import of_one_image, stored_works
from tests.conftest import ROOT

MEASUREMENTS = data_folder("calibration") / "measurements"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "calibration" / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("source", ["mlperf", "iotnets"])
def test_every_row_names_a_device_a_licence_and_a_network_that_can_be_counted(source: str) -> None:
    rows = read_measurements(MEASUREMENTS / f"{source}.csv")
    assert {row.device for row in rows} <= devices().keys()
    assert {row.licence for row in rows} == {{"mlperf": "Apache-2.0", "iotnets": "MIT"}[source]}
    assert all(is_fittable(row) for row in rows if not row.suspect)


@pytest.mark.parametrize(
    ("benchmark", "network"),
    [
        ("mobilenet", "tflite:mobilenet_v1_1.0_224"),
        ("mobilenet-v1-0.25-128-non-quantized", "tflite:mobilenet_v1_0.25_128"),
        ("mobilenet-v2-precision_uint8-1.3-224", "tflite:mobilenet_v2_1.3_224"),
        ("mobilenet-v3-large-minimalistic_224_1.0_uint8", "tflite:mobilenet_v3_large_minimalistic_1.0_224"),
        ("mobilenet-v3-small_224_0.75_float", "tflite:mobilenet_v3_small_0.75_224"),
        ("mobilenet-v3-precision_float-small-minimalistic-224", "tflite:mobilenet_v3_small_minimalistic_1.0_224"),
        ("resnet", "mlperf:resnet50"),
    ],
)
def test_names_of_mlperf(benchmark: str, network: str) -> None:
    source, name = network.split(":")
    assert script("mlperf_tables").network_of(benchmark) == network
    assert name in benchmark_names(source)


@pytest.mark.parametrize(
    ("name", "tables"),
    [("mlperf", ["mlperf_inference.csv.gz"]), ("iotnets", ["iotnets_latency.csv.gz"])],
)
def test_the_shipped_table_is_what_its_script_makes(name: str, tables: list[str], shared: Path) -> None:
    made = script(f"{name}_tables")
    rows = script("iotnets_tables").read_rows(str(shared / "data" / tables[0]))
    assert made.measurements(rows, made.titled(devices().values())) == read_measurements(MEASUREMENTS / f"{name}.csv")


@pytest.mark.parametrize("runtime", ["torch", "torch-native"])
def test_stored_kernels_are_those_of_the_graph(runtime: str, shared: Path) -> None:
    made = script("iotnets_tables")
    some: dict[str, list[dict[str, str]]] = {}
    for row in made.read_rows(str(shared / "data" / "iotnets_graph.csv.gz")):
        some.setdefault(row["net_id"], []).append(row)
    rows = read_measurements(MEASUREMENTS / "iotnets.csv")
    stored = sorted(row.network.partition(":")[2] for row in rows if row.runtime == runtime and not row.suspect)
    chosen = {iotnets.family(f"iotnets:{name}"): name for name in stored}.values()  # one of each family
    assert len(chosen) == 4
    for name in chosen:
        network = made.network(name, some[name])
        assert Counter(stored_works(f"iotnets:{name}", runtime)) == Counter(of_one_image(works(network, runtime), {}))


def test_the_layers_of_the_table_have_the_extents_that_it_states(shared: Path) -> None:
    made = script("iotnets_tables")
    rows = made.read_rows(str(shared / "data" / "iotnets_graph.csv.gz"))
    name = rows[0]["net_id"]
    own = [row for row in rows if row["net_id"] == name]
    network = made.network(name, own)
    ops = {"conv": "Conv", "maxpool": "MaxPool", "concat": "Concat"}
    stated = [(int(row["c_out"]), int(row["h_out"]), int(row["w_out"])) for row in own if row["op"] in ops]
    found = [network.tensors[layer.outputs[0]].shape for layer in network.layers if layer.op in ops.values()]
    assert [tuple(int(value_at(extent, {})) for extent in shape[1:]) for shape in found if shape] == stated


@pytest.mark.parametrize(
    ("kernel", "groups", "kind", "depth", "filters"),
    [(1, 1, "pointwise", 8, 16), (3, 1, "conv", 72, 16), (3, 8, "conv", 9, 2), (3, 2, "conv", 36, 8), (1, 2, "conv", 4, 8)],
)
def test_a_runtime_that_unrolls_knows_no_other_convolutions(
    kernel: int, groups: int, kind: str, depth: int, filters: int
) -> None:
    b = Builder("net")
    network = b.finish(b.conv(b.input("x", (1, 8, 9, 9)), 16, kernel=kernel, padding=kernel // 2, groups=groups))
    (work,) = works(network, "torch-native")
    assert (work.kind, work.depth, work.filters) == (kind, depth, filters)
    assert [part.macs for part in works(network, "torch")] == [work.macs]


def test_a_family_of_iotnets_left_out() -> None:
    """By multiply-adds alone the error is above a half: families differ in what their multiply-adds cost."""
    found = run_protocol("iotnets-family")
    assert found.metrics.mape < 0.18 < 0.5 < found.baselines["macs_linear"].mape


def test_families_of_mlperf_left_out_of_some_boards() -> None:
    several = [table for table in mlperf.tables() if len(set(map(mlperf.family, table.networks))) > 1]
    some = [table for table in several if table.group[:3] == ("tflite", "cpu", "int")][:8]
    found = leave_networks_out(some, "some", group_of=lambda table: table.id, label=mlperf.family)
    assert found.metrics.n == sum(len(table.networks) for table in some)
    assert found.metrics.median_ape < 0.15 < found.baselines["macs_linear"].median_ape


def test_iotnets_is_judged_on_sound_rows_of_one_board() -> None:
    (table,) = iotnets.tables()
    assert table.group[:3] == ("torch-native", "cpu", "float")
    assert max(row.time_std_s / row.time_s for row in table.rows) <= 0.1
