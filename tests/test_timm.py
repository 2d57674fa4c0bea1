"""timm's benchmark: the shipped rows and kernels against what they were made from, and its protocols on a few families."""

from __future__ import annotations

import csv
import gzip
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from costmodel.accuracy.protocols.timm import family, tables
from costmodel.accuracy.splits import leave_networks_out
from costmodel.calibration import is_fittable
from costmodel.schema.data import data_folder
from costmodel.schema.device import load_devices
from costmodel.schema.measurement import Measurement, load_measurements, read_measurements, write_measurements
from costmodel.stored import read_works
from tests.conftest import ROOT

RUNTIMES = ("torch", "torch-compile")
# convolutions, attention, batch norms that could not be folded, hard swishes
GRAPHS = ("resnet26.224", "vit_tiny_patch16_224.224", "densenet121.224", "mobilenetv3_small_100.224")


def rows() -> list[Measurement]:
    return [row for row in load_measurements() if row.source == "timm-benchmark"]


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    monkeypatch.syspath_prepend(str(ROOT / "calibration" / "scripts"))
    names = ("timm_tables", "timm_features")
    yield {name: importlib.import_module(name) for name in names}
    for name in names:
        sys.modules.pop(name)


def test_the_shipped_table_is_what_the_script_makes(scripts: dict[str, ModuleType], shared: Path) -> None:
    tables = scripts["timm_tables"]
    with gzip.open(shared / "data" / "timm_gpu.csv.gz", "rt", encoding="utf-8") as file:
        published = list(csv.DictReader(file))
    known = set(tables.read_graphs(shared / "graphs" / "graphs.csv"))
    assert tables.measurements(published, tables.titled(load_devices().values()), known) == rows()


@pytest.mark.parametrize("name", GRAPHS)
def test_the_shipped_kernels_are_those_of_the_graph(name: str, scripts: dict[str, ModuleType], shared: Path) -> None:
    graph = shared / "graphs" / f"timm__{name.replace('.', '__')}.onnx.gz"
    for runtime, found in scripts["timm_features"].kernels(graph, RUNTIMES).items():
        stored = read_works(data_folder("calibration") / "features" / f"timm.{runtime}.csv.gz")
        assert stored[name] == tuple(found)


def test_every_row_can_be_fitted_but_the_suspect_ones_and_training() -> None:
    left_out = [row for row in rows() if not is_fittable(row)]
    assert {row.task for row in left_out if not row.suspect} == {"training"}
    suspect = [row for row in rows() if row.suspect]
    assert {family(row.network) for row in suspect} == {"fastvit", "mobileone", "repvgg", "ecaresnext"}
    assert len(suspect) < 0.02 * len(rows())


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_multiply_adds_are_the_published_ones(runtime: str, shared: Path) -> None:
    """Of convolutional networks; attention is counted in some of the source's tables only. It has two decimals."""
    with gzip.open(shared / "data" / "timm_gpu.csv.gz", "rt", encoding="utf-8") as file:
        published = {(row["model"], row["img_size"]): row["gmacs"] for row in csv.DictReader(file)}
    stored = read_works(data_folder("calibration") / "features" / f"timm.{runtime}.csv.gz")
    for name in ("resnet26.224", "densenet121.224", "regnetx_032.224", "xception41.299", "dla34.224", "inception_v3.299"):
        found = sum(work.macs * work.times for work in stored[name]) / 1e9
        told = next(gmacs for (model, size), gmacs in published.items() if f"{model.partition('.')[0]}.{size}" == name)
        assert found == pytest.approx(float(told), rel=0.015)


def test_a_compressed_table_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "few.csv.gz"
    write_measurements(path, rows()[:3])
    first = path.read_bytes()
    assert read_measurements(path) == rows()[:3]
    write_measurements(path, rows()[:3])
    assert path.read_bytes() == first


@pytest.mark.parametrize(("task", "version"), [("inference", "2.4"), ("training", "1.12")])
def test_families_left_out_of_a_card(task: str, version: str) -> None:
    (table,) = [table for table in tables(task) if table.id == f"rtx-3090/torch/amp/nchw-{version}"]
    kept = sorted({family(name) for name in table.networks})[::4]
    few = table.of({name for name in table.networks if family(name) in kept})
    found = leave_networks_out([few], "few", group_of=lambda table: table.id, label=family, parts=4)
    assert found.metrics.n == len(few.networks)
    assert found.metrics.mape < 0.3
    assert found.metrics.mape < 0.75 * found.baselines["macs_linear"].mape
    assert found.metrics.spearman > 0.8
    assert np.isfinite(found.metrics.width)
