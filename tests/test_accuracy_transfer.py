"""Protocols that measure a few networks on a hidden device: nothing of it leaks, and the figures are sane."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from costmodel.accuracy import known, run_protocol
from costmodel.accuracy.known import Grid, devices_with_few
from costmodel.accuracy.protocols import nb201, ncnn, pi5
from costmodel.calibration import Table
from costmodel.errors import CannotCalibrate
from costmodel.schema.data import data_folder
from costmodel.spaces.nasbench201 import OPS, nasbench201
from tests.conftest import ROOT

TABLE = data_folder("calibration") / "measurements" / "nasbench201.npz"


# -- known networks ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables() -> list[Table]:
    """The configurations of some boards, phones and computers."""
    return ncnn.tables("cpu")[::5]


def test_known_networks(tables: list[Table]) -> None:
    found = devices_with_few(tables, "some", measured=5, draws=1)
    asked = [len(table.networks) - 5 for table in tables if len(table.networks) >= 8]
    assert found.metrics.n == found.baselines["chosen_networks"].n == sum(asked)
    assert sum(group.n for group in found.groups.values()) == found.metrics.n
    assert found.metrics.median_ape < min(0.12, found.baselines["mean_profile"].median_ape)
    assert 0.8 < found.metrics.coverage < 0.97


def test_a_hidden_device_is_not_fitted(tables: list[Table]) -> None:
    """Other times on the hidden device change nothing in the model; on any other one they do."""
    grid, new = Grid(tuple(tables)), np.arange(len(tables)) == 3
    fitted = known._fitted(grid, new).mean_

    def with_other_times(i: int) -> Grid:
        table = tables[i]
        other = Table(table.rows, table.networks, table.work, table.macs, table.times * np.linspace(1, 5, len(table.times)))
        return Grid((*tables[:i], other, *tables[i + 1 :]))

    np.testing.assert_array_equal(known._fitted(with_other_times(3), new).mean_, fitted)
    assert np.abs(known._fitted(with_other_times(4), new).mean_ - fitted).max() > 1e-3


def test_networks_of_one_device_alone(tables: list[Table]) -> None:
    one, other = tables[0], next(table for table in tables if table.rows[0].device != tables[0].rows[0].device)
    few = other.of(set(other.networks[:4]))
    with pytest.raises(CannotCalibrate, match=r"one device alone has run .*known from another one"):
        devices_with_few([one, few], "some", measured=5)


# -- NAS-Bench-201 ----------------------------------------------------------------------------------------------


def encoded(*texts: str) -> NDArray[np.intp]:
    space = nasbench201()
    return np.array([space.encode(space.parse(text)) for text in texts])


@pytest.fixture(scope="module")
def space() -> nb201.Space:
    return nb201.tables()


def test_every_network_of_the_space_is_there_once(space: nb201.Space) -> None:
    assert len({tuple(cell) for cell in space.cells.tolist()}) == len(space.cells) == nasbench201().size
    assert (len(space.sources), len(space.unseen)) == (9, 6)
    for name, times in {**space.sources, **space.unseen}.items():
        assert times.shape == (15625,), name
        assert 1e-6 < times.min() < times.max() < 1, name
    assert TABLE.stat().st_size < 1e6


def test_the_table_is_made_from_the_published_one(shared: Path, tmp_path: Path) -> None:
    latencies, architectures = (shared / "data" / name for name in ("nb201_latency.npz", "nb201_archs.txt"))
    script = runpy.run_path(str(ROOT / "calibration" / "scripts" / "nb201_tables.py"))
    script["main"](latencies, architectures, tmp_path / "made.npz")
    with np.load(tmp_path / "made.npz") as made, np.load(TABLE) as shipped, np.load(latencies) as published:
        assert set(made) == set(shipped)
        for name in made:
            np.testing.assert_array_equal(made[name], shipped[name])
        column = list(published["devices"]).index("raspi4")
        np.testing.assert_allclose(shipped["times_s"][:, 13], published["latency_ms"][:, column] / 1000, rtol=1e-6)
    names = list(OPS)
    text = architectures.read_text(encoding="utf-8").split()[4321]
    written = [part.partition("~")[0] for part in text.replace("+", "").split("|") if part]
    assert [names[op] for op in nb201.tables().cells[4321]] == written


def test_counts_and_structure_of_a_cell() -> None:
    """In the second cell node 2 gets zeros only, so what leaves it is not live."""
    cells = encoded(
        "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|avg_pool_3x3~2|",
        "|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|avg_pool_3x3~2|",
    )
    counted = [name for name in OPS if name != "none"]
    found = [dict(zip(counted, row, strict=True)) for row in nb201.op_counts(cells).tolist()]
    assert found[0] == {"skip_connect": 1, "nor_conv_1x1": 1, "nor_conv_3x3": 1, "avg_pool_3x3": 1}
    assert found[1] == {**found[0], "skip_connect": 0}
    assert nb201.structure(cells)[:, -2:].tolist() == [[4, 1], [1, 1]]


def test_unseen_devices_on_a_part_of_the_space(space: nb201.Space) -> None:
    kept = np.random.default_rng(0).permutation(len(space.cells))[:1500]
    part = nb201.Space(
        cells=space.cells[kept],
        sources={name: times[kept] for name, times in space.sources.items()},
        unseen={name: times[kept] for name, times in space.unseen.items()},
    )
    found = nb201.unseen_devices(part, "some", draws=2)
    assert found.metrics.n == 6 * 2 * (1500 - nb201.MEASURED)
    assert found.groups.keys() == {*space.unseen, *(f"{name}, random samples" for name in space.unseen)}
    assert found.metrics.spearman > 0.95 > found.baselines["ridge"].spearman
    assert found.metrics.spearman == pytest.approx(np.mean([found.groups[name].spearman for name in space.unseen]))
    assert 0.8 < found.metrics.coverage < 0.99


# -- Raspberry Pi 5 ---------------------------------------------------------------------------------------------


def test_ops_that_one_node_asks_for_twice() -> None:
    """Node 0 is pooled three times in the first cell; in the second, two convolutions start from node 1 and one from 2."""
    cells = encoded(
        "|avg_pool_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|avg_pool_3x3~0|avg_pool_3x3~1|avg_pool_3x3~2|",
        "|skip_connect~0|+|nor_conv_1x1~0|nor_conv_1x1~1|+|none~0|nor_conv_3x3~1|nor_conv_1x1~2|",
    )
    assert pi5.repeated_ops(cells).tolist() == [[2, 0], [0, 1]]
    assert pi5.columns(cells)["macs_linear"].tolist() == [[1], [12]]


def test_costs_that_are_linear_are_found(space: nb201.Space, tmp_path: Path) -> None:
    """A table that was made from known costs, with some noise: the errors are of the size of the noise."""
    rng, lines = np.random.default_rng(0), ["arch_idx,device,framework,task,latency_ms_median,energy_mj"]
    work = pi5.columns(space.cells)["distinct_ops"] @ [0.1, 0.5, 2.0, 0.7, -0.7, -0.2] + 1.0
    for i in rng.permutation(len(work))[:400]:
        lines.append(f"{i},raspberry_pi_5,onnx,cifar100,{work[i] * np.exp(rng.normal(0, 0.01))},")
        lines.append(f"{i},pixel,litert,cifar100,1,1")
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    measured = pi5.read(path)
    assert {key: len(costs) for key, costs in measured.items()} == {("onnx", "cifar100", "time"): 400}
    found = pi5.few_networks(measured, space.cells, "some", draws=3)
    assert found.metrics.n == 900
    assert 0.004 < found.metrics.median_ape < 0.01 < found.baselines["op_counts"].median_ape
    assert found.groups == {"onnx, time": found.metrics}
    assert 0.8 < found.metrics.coverage < 0.99


def test_without_a_table_of_the_pi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(pi5.VARIABLE, raising=False)
    with pytest.raises(CannotCalibrate, match="COSTMODEL_PI5_TABLE is not set; the table has no licence"):
        run_protocol("pi5-nb201")
    monkeypatch.setenv(pi5.VARIABLE, str(tmp_path / "none.csv"))
    with pytest.raises(CannotCalibrate, match=r"none.csv', which is no file"):
        run_protocol("pi5-nb201")


def test_the_table_of_the_pi(shared: Path, space: nb201.Space) -> None:
    measured = {
        key: costs for key, costs in pi5.read(shared / "data" / "nb201_pi5_energy.csv.gz").items() if key[1] == "cifar100"
    }
    found = pi5.few_networks(measured, space.cells, "some", draws=1)
    assert found.groups.keys() == {
        f"{runtime}, {quantity}" for runtime in ("onnx", "torchmobile") for quantity in ("time", "energy")
    }
    assert found.metrics.median_ape < 0.03 < found.baselines["macs_linear"].median_ape
