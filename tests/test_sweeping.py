"""Sweeps: every row is what predict says at its point; the front is that of a comparison of all pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from costmodel.build import Builder
from costmodel.errors import InvalidChoice, UnknownSize, UnsupportedOp
from costmodel.graph import Network
from costmodel.planning import memory
from costmodel.prediction import predict
from costmodel.specs import zoo
from costmodel.sweeping import Sweep, sweep
from tests.test_prediction import launches, profile, with_unknown_op

TIMED = "raspberry-pi-4b/ncnn/fp32/t4"
METERED = "firefly-rk3588s/tflite/fp32/ruy-2.7.1"


def points(found: Sweep, network: Network) -> list[dict[str, int]]:
    return [{name: int(found.columns[name][row]) for name in network.sizes} for row in range(len(found))]


@pytest.mark.parametrize(
    ("name", "on", "sizes"),
    [
        ("resnet50", TIMED, {"N": [1, 3, 64], "H": [97, 224, 640], "W": [96, 225]}),
        ("mobilenet_v2", METERED, {"N": [1, 5], "H": range(128, 260, 33), "W": 224}),
        ("inception_v3", METERED, {"H": [299, 331], "W": [299]}),
        ("bert_base", TIMED, {"N": [1, 2], "S": [1, 16, 512]}),
        ("resnet18", TIMED, {}),
    ],
)
def test_a_row_is_the_prediction_at_its_point(name: str, on: str, sizes: dict[str, Any]) -> None:
    network = zoo(name)
    found = sweep(network, on, **sizes)
    assert len(found) == np.prod([len(np.atleast_1d(np.array(values))) for values in sizes.values()], dtype=int)
    for row, point in enumerate(points(found, network)):
        alone = predict(network, on, **point)
        columns = {key: column[row] for key, column in found.columns.items()}
        for quantity, unit, estimate in (("time", "s", alone.time_s), ("energy", "j", alone.energy_j)):
            if estimate is not None:
                ends = [columns[f"{quantity}_{end}{unit}"] for end in ("", "low_", "high_")]
                assert ends == pytest.approx([estimate.value, estimate.low, estimate.high], rel=1e-9)
        assert ("energy_j" in columns) == (alone.energy_j is not None)
        assert columns["memory_bytes"] == alone.memory_bytes == memory(network).at(point).peak_bytes
        assert bool(columns["extrapolating"]) == bool(alone.extrapolating)
        assert found.level == alone.time_s.level


def test_rows_of_a_card_from_its_datasheet() -> None:
    """A law takes kernels by their shapes, so its rows are predicted one after the other."""
    network, sizes = zoo("bert_tiny"), {"N": [1, 3], "S": [8, 40]}
    found = sweep(network, "l4/torch", **sizes)
    for row, point in enumerate(points(found, network)):
        alone = predict(network, "l4/torch", **point)
        assert found.columns["time_high_s"][row] == pytest.approx(alone.time_s.high)
        assert found.columns["memory_bytes"][row] == alone.memory_bytes
    assert "energy_j" not in found.columns


def test_counts_are_exact() -> None:
    network = zoo("vgg16")
    found = sweep(network, TIMED, N=[1, 7, 100_000], H=224, W=224)
    assert found.columns["macs"].tolist() == [n * 15470264320 for n in (1, 7, 100_000)]


def test_the_first_size_is_the_slowest_and_defaults_fill_in() -> None:
    found = sweep(zoo("resnet18"), TIMED, W=[32, 64], N=[1, 2])
    assert {name: found.columns[name].tolist() for name in "NHW"} == {
        "N": [1, 2, 1, 2], "H": [224] * 4, "W": [32, 32, 64, 64],
    }  # fmt: skip


@pytest.mark.parametrize("tie", ["H=W", "W=H", ["W = H"]])
def test_tied_sizes_go_together(tie: Any) -> None:
    found = sweep(zoo("resnet18"), TIMED, H=[64, 96], tie=tie)
    assert found.columns["W"].tolist() == found.columns["H"].tolist() == [64, 96]


def test_chunks_leave_no_seam() -> None:
    found = sweep(zoo("resnet18"), TIMED, N=range(1, 40_001), H=64, W=64)
    times = found.columns["time_s"]
    assert len(times) == 40_000
    assert (np.diff(times) > 0).all()
    assert np.diff(times).max() == pytest.approx(np.diff(times).min(), rel=1e-6)  # each image adds the same


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"M": [1]}, UnknownSize, "has no size 'M'"),
    ({"N": []}, UnknownSize, "size 'N' is given no value"),
    ({"N": [1, -2]}, UnknownSize, "sizes are whole numbers"),
    ({"H": [64], "W": [64], "tie": "H=W"}, InvalidChoice, "both H and W are given values"),
    ({"N": [1], "tie": "H=W"}, InvalidChoice, "neither H nor W is given"),
    ({"H": [64], "tie": "H"}, InvalidChoice, "not of the form 'W=H'"),
    ({"H": [64], "tie": "M=H"}, UnknownSize, "has no size 'M'"),
    ({"N": range(10_000), "H": range(10_000)}, InvalidChoice, "100,000,000 points are more than a sweep takes"),
]


@pytest.mark.parametrize(("given", "error", "told"), REFUSED, ids=[told for *_, told in REFUSED])
def test_what_is_refused(given: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        sweep(zoo("resnet18"), TIMED, **given)


def test_an_op_without_a_rule() -> None:
    known = profile(launches(1.0))
    with pytest.raises(UnsupportedOp, match="no cost rule"):
        sweep(with_unknown_op(), known)
    assert sweep(with_unknown_op(), known, allow_unsupported=True).columns["time_s"].tolist() == [1.0]


def test_the_file_s_own_names_for_axes() -> None:
    b = Builder("own names")
    network = b.finish(b.linear(b.input("x", ("batch", 16)), 4))
    found = sweep(network, profile(launches(1.0)), N=[1, 2])
    assert (found.columns["batch"].tolist(), found.columns["macs"].tolist()) == ([1, 2], [64, 128])
    with pytest.raises(UnknownSize, match="calls that axis batch, which is given too"):
        sweep(network, profile(launches(1.0)), N=[1, 2], batch=[3, 4])


# -- the front --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("minimise", "maximise"), [(("a",), ()), (("a", "b"), ()), (("a",), "b"), (("a", "b"), ["c"])])
@pytest.mark.parametrize("seed", range(3))
def test_the_front_is_what_no_other_row_beats(minimise: tuple[str, ...], maximise: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns = {name: rng.integers(0, 7, 200) for name in ("time_s", "a", "b", "c")}
    found = Sweep("n", "p", 0.9, columns).pareto(*minimise, maximise=maximise)
    goals = np.column_stack([columns[name] for name in minimise] + [-columns[name] for name in maximise])
    kept = [i for i, x in enumerate(goals) if not any((y <= x).all() and (y < x).any() for y in goals)]
    assert {name: column.tolist() for name, column in found.columns.items()} == {
        name: column[kept].tolist() for name, column in columns.items()
    }


def test_a_front_of_nothing() -> None:
    found = sweep(zoo("resnet18"), TIMED)
    with pytest.raises(InvalidChoice, match=r"no column 'latency'; "):
        found.pareto("latency")
    with pytest.raises(InvalidChoice, match="name a column"):
        found.pareto()


def test_to_pandas() -> None:
    pytest.importorskip("pandas")
    found = sweep(zoo("resnet18"), TIMED, N=[1, 2])
    frame = found.to_pandas()
    assert list(frame.columns) == list(found.columns)
    assert frame["N"].tolist() == [1, 2]
