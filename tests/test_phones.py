"""The benchmark of phones: its table and kernels are what the scripts make, and its protocols hide what they say."""

from __future__ import annotations

import csv
import gzip
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from costmodel.accuracy.protocols import phones
from costmodel.accuracy.splits import leave_devices_out, leave_networks_out
from costmodel.build import Builder
from costmodel.calibration import Table, gather, is_fittable
from costmodel.features import relative_costs, works
from costmodel.schema.data import data_folder
from costmodel.schema.device import find_device, load_devices
from costmodel.schema.measurement import Measurement, read_measurements
from costmodel.stored import of_one_image, stored_works

ROOT = Path(__file__).resolve().parent.parent


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "calibration" / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows() -> list[Measurement]:
    return read_measurements(data_folder("calibration") / "measurements" / "phones.csv.gz")


# -- the table --------------------------------------------------------------------------------------------------


def test_the_table_is_what_the_script_makes(rows: list[Measurement], shared: Path) -> None:
    tables = script("phones_tables")
    with gzip.open(shared / "data" / "mobile_e2e.csv.gz", "rt", encoding="utf-8", newline="") as file:
        assert tables.measurements(csv.DictReader(file), tables.listed(load_devices().values())) == rows


@pytest.mark.parametrize("runtime", ["tflite", "torch-mobile"])
@pytest.mark.parametrize("name", ["mobilenetv3_small_w1", "densenet121", "regnety002", "proxylessnas_gpu"])
def test_the_kernels_are_those_of_the_graphs(runtime: str, name: str, shared: Path) -> None:
    networks = dict(script("phones_features").networks(shared / "graphs"))
    network = networks[name]
    assert list(stored_works(f"pytorchcv:{name}", runtime)) == of_one_image(works(network, runtime), network.bind({"N": 1}))


def test_every_network_has_kernels(rows: list[Measurement]) -> None:
    assert all(stored_works(network, runtime) for network, runtime in {(row.network, row.runtime) for row in rows})


def row(model: str, cores: str, ms: float, std_ms: float = 0.0) -> dict[str, str]:
    plain = {"framework": "tflite", "set": "real_cnn", "phone": "s10", "precision": "float"}
    return {**plain, "model": model, "cores": cores, "latency_ms": str(ms), "std_ms": str(std_ms)}


def test_suspect_rows() -> None:
    table = [
        row("a", "1large", 10), row("a", "2large", 15.1), row("b", "1large", 10), row("b", "2large", 14.9),
        row("c", "1med", 10, 5.1), row("d", "1large", 10), row("d", "1med", 30), row("d", "1large2med", 44),
    ]  # fmt: skip
    found = script("phones_tables").measurements(table, {"s10": find_device("galaxy-s10")})
    suspect = [(row.network, row.variant) for row in found if row.suspect]
    assert suspect == [("pytorchcv:a", "2large"), ("pytorchcv:c", "1med")]


def test_more_cores_are_faster(rows: list[Measurement]) -> None:
    """The typical network gains from a second core, and from a large one over a small one."""
    time = {(row.profile, row.network): row.time_s for row in rows if row.time_s}
    for slow, fast in (("1large", "2large"), ("1small", "2small"), ("1small", "1large")):
        ratios = [
            time[profile, network] / faster
            for (profile, network) in time
            if profile.endswith(f"/{slow}") and (faster := time.get((profile.replace(slow, fast), network)))
        ]
        assert np.median(ratios) > 1


def test_phones_are_known_by_their_names() -> None:
    names = ("pixel4", "samsung-galaxy-s10", "snapdragon-710", "a03s", "iphone7", "apple-a12")
    assert [find_device(name).kind for name in names] == ["phone"] * len(names)


# -- the kernels of phones' runtimes ----------------------------------------------------------------------------


def kinds(b: Builder, y: str, runtime: str) -> list[str]:
    return [work.kind for work in works(b.finish(y), runtime)]


@pytest.mark.parametrize(
    ("runtime", "expected"),
    [
        ("tflite", ["elementwise", "elementwise", "conv", "join"]),
        ("torch-mobile", ["batch_norm", "conv", "join"]),
        ("ncnn", ["batch_norm", "conv3x3", "join", "elementwise"]),
    ],
)
def test_a_residual_block_before_whose_convolution_is_a_norm(runtime: str, expected: list[str]) -> None:
    b = Builder("block")
    x = b.input("x", (1, 8, 6, 6))
    y = b.conv(b.relu(b.bn(x)), 8, kernel=3, padding=1)
    found = kinds(b, b.relu(b.add(x, y)), runtime)
    assert found == (["batch_norm", "elementwise", *expected[1:]] if runtime == "ncnn" else expected)


def test_windows_beyond_5x5_have_a_kind_of_their_own() -> None:
    for kernel, expected in ((3, "depthwise"), (5, "depthwise"), (7, "depthwise_wide")):
        b = Builder("depthwise")
        y = b.conv(b.input("x", (1, 8, 9, 9)), 8, kernel=kernel, groups=8)
        assert kinds(b, y, "tflite") == [expected]


def test_one_kernel_reads_the_input() -> None:
    b = Builder("two")
    y = b.conv(b.conv(b.input("x", (1, 3, 8, 8)), 4), 4)
    assert [work.inputs for work in works(b.finish(y), "tflite")] == [1, 0]


# -- protocols --------------------------------------------------------------------------------------------------

FAMILIES = {
    "mobilenet_w1": "mobilenet", "mobilenetb_wd4": "mobilenet", "fdmobilenet_w1": "mobilenet",
    "mobilenetv2b_wd4": "mobilenetv2", "mobilenetv3_large_w1": "mobilenetv3", "regnetx002": "regnet",
    "regnety016": "regnet", "resnet18_wd2": "resnet", "resnetbc14b": "resnet", "resnext14_16x4d": "resnext",
    "hrnet_w18_small_v1": "hrnet", "dla46c": "dla",
}  # fmt: skip


def test_families() -> None:
    assert {name: phones.family(f"pytorchcv:{name}") for name in FAMILIES} == FAMILIES


def made_up(rows: list[Measurement], devices: tuple[str, ...]) -> list[Table]:
    """Times of few networks that follow the model exactly, on phones of different speed."""
    wanted = sorted({row.network for row in rows})[::8]
    kept = [row for row in rows if row.network in wanted and row.device in devices and is_fittable(row)]
    few = gather(row for row in kept if (row.runtime, row.variant, row.precision) == ("tflite", "1large", "fp32"))
    costs = np.array(relative_costs("cpu")) * 1e-10
    return [Table(t.rows, t.networks, t.work, t.macs, t.work @ costs * (1 + i)) for i, t in enumerate(few)]


def test_a_family_is_predicted_where_the_law_holds(rows: list[Measurement]) -> None:
    tables = made_up(rows, ("pixel-4", "galaxy-s10"))
    found = leave_networks_out(tables, "made-up", group_of=lambda table: table.id, label=phones.family, parts=3)
    assert found.metrics.n == sum(len(table.networks) for table in tables)
    assert found.metrics.mape < 0.02


def test_a_phone_is_predicted_where_the_law_holds(rows: list[Measurement]) -> None:
    tables = made_up(rows, ("pixel-4", "galaxy-s10", "mi-8-se"))
    found = leave_devices_out(tables, "made-up", measured=3, draws=1)
    assert found.metrics.n > 0
    assert found.metrics.mape < 0.02


def test_a_network_that_no_phone_has_shown(rows: list[Measurement]) -> None:
    """On one core of two phones, from the networks of other families, within what is promised of the whole benchmark."""
    tables = [table for table in gather(filter(is_fittable, rows)) if table.id.endswith("tflite/fp32/1large")]
    found = leave_networks_out(tables, "one core", group_of=lambda table: table.id, label=phones.family, parts=6)
    assert found.metrics.median_ape < 0.06
    assert found.metrics.mape < found.baselines["macs_linear"].mape / 2
    assert 0.8 < found.metrics.coverage <= 1
