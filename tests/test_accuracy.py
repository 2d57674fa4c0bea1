"""Accuracy figures: metrics by hand, splits that hide what they say, coverage near what is promised."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import spearmanr

from costmodel.accuracy import (
    PROTOCOLS,
    Accuracy,
    Case,
    Metrics,
    evaluate,
    metrics,
    run_protocol,
)  # fmt: skip
from costmodel.accuracy.protocols import ncnn
from costmodel.accuracy.splits import leave_devices_out, leave_networks_out
from costmodel.calibration import Table, calibrate, gather, work_of
from costmodel.errors import CannotCalibrate, InvalidChoice, InvalidProfile
from costmodel.features import NAMES
from costmodel.schema.measurement import Measurement
from costmodel.schema.profile import Profile
from tests.synthetic import NETWORKS, TYPICAL, costs, measured, work


def case(predicted: float, measured_s: float, radius: float = 1.0, table: str = "t", network: str = "n") -> Case:
    return Case(table, network, "cpu-board", math.log(predicted / measured_s), radius, measured_s)


# -- metrics by hand --------------------------------------------------------------------------------------------


def test_metrics_by_hand() -> None:
    """Errors of 5, 20, 50 and 200 per cent; the intervals reach a factor of 1.3, 1.1, 2.1 and 2 both ways."""
    cases = [
        case(1.05, 1.0, math.log(1.3)),
        case(1.6, 2.0, math.log(1.1)),
        case(1.5, 3.0, math.log(2.1)),
        case(12.0, 4.0, math.log(2.0)),
    ]
    found = metrics(cases)
    assert found.n == 4
    assert found.mape == pytest.approx((0.05 + 0.2 + 0.5 + 2) / 4)
    assert found.median_ape == pytest.approx((0.2 + 0.5) / 2)
    assert found.within_10 == 1 / 4
    assert found.coverage == 2 / 4  # 1.05 < 1.3, 1.25 > 1.1, 2 < 2.1, 3 > 2
    assert found.width == pytest.approx(sum(factor - 1 / factor for factor in (1.3, 1.1, 2.1, 2)) / 4)
    assert found.spearman == pytest.approx(spearmanr([1.05, 1.6, 1.5, 12], [1, 2, 3, 4]).statistic)


@pytest.mark.parametrize(
    ("tables", "spearman"),
    [
        ({"a": [(1, 1), (2, 2), (3, 3)]}, 1.0),
        ({"a": [(3, 1), (2, 2), (1, 3)]}, -1.0),
        ({"a": [(1, 1), (2, 2), (3, 3)], "b": [(3, 1), (2, 2), (1, 3)]}, 0.0),  # within each, not over all
        ({"a": [(10, 1), (20, 2), (30, 3)], "b": [(0.1, 10), (0.2, 20), (0.3, 30)]}, 1.0),
        ({"a": [(1, 1), (2, 2), (3, 3)], "b": [(1, 1), (2, 2)]}, 1.0),  # two say nothing
        ({"a": [(1, 1), (2, 2), (3, 3)], "b": [(1, 5), (2, 5), (3, 5)]}, 1.0),  # nor do equal times
        ({"a": [(2, 1), (2, 2), (2, 3)]}, 0.0),  # a constant ranks nothing
        ({"a": [(1, 1), (2, 2)]}, math.nan),
    ],
)
def test_ranks_are_compared_within_a_configuration(tables: dict[str, list[tuple[float, float]]], spearman: float) -> None:
    cases = [case(predicted, true, table=name) for name, rows in tables.items() for predicted, true in rows]
    assert metrics(cases).spearman == pytest.approx(spearman, nan_ok=True)


def test_no_cases() -> None:
    with pytest.raises(CannotCalibrate, match="no held-out prediction to report"):
        metrics([])


def test_as_dict() -> None:
    one = metrics([case(1.2, 1.0)])
    found = Accuracy("p", one, 0.9, {"base": one}, {"phone": one}, {"vgg16": 0.1}).as_dict()
    assert list(found) == [
        "protocol", "n", "mape", "median_ape", "within_10", "spearman", "coverage", "width", "level", "baselines", "groups",
        "networks",
    ]  # fmt: skip
    assert found["baselines"]["base"]["mape"] == found["groups"]["phone"]["mape"] == found["mape"] == pytest.approx(0.2)
    json.dumps(found)


# -- evaluating one profile -------------------------------------------------------------------------------------


def fitted_and_rest() -> tuple[Profile, list[Measurement]]:
    return calibrate(measured(costs(1), NETWORKS[:9])), measured(costs(1), NETWORKS[9:])


def test_a_profile_on_other_networks() -> None:
    profile, rest = fitted_and_rest()
    coefficients = np.array([profile.seconds_per_unit[name] for name in NAMES])
    ratios = [work(row.network) @ coefficients / row.time_s for row in rest if row.time_s]
    margins = np.sort(profile.held_out.margins)
    radius = margins[math.ceil((len(margins) + 1) * 0.9) - 1]
    found = evaluate(profile, rest)
    assert found.metrics.n == len(rest)
    assert found.metrics.mape == pytest.approx(np.mean([abs(ratio - 1) for ratio in ratios]))
    assert found.metrics.coverage == np.mean([abs(math.log(ratio)) <= radius for ratio in ratios])
    assert found.metrics.width == pytest.approx(math.exp(radius) - math.exp(-radius))
    assert found.level == 0.9


UNUSABLE = ({"suspect": "throttled"}, {"task": "training"}, {"scope": "layer"}, {"variant": "t1"}, {"device": "other"})


@pytest.mark.parametrize("cells", UNUSABLE)
def test_rows_of_something_else_and_networks_of_the_fit_are_left_out(cells: dict[str, str]) -> None:
    profile, rest = fitted_and_rest()
    others = measured(TYPICAL * 50, NETWORKS[9:], **cells)
    assert evaluate(profile, rest + others + measured(costs(1), NETWORKS[:9])) == evaluate(profile, rest)
    with pytest.raises(CannotCalibrate, match="no held-out prediction"):
        evaluate(profile, others + measured(costs(1), NETWORKS[:9]))


def test_a_profile_of_other_features_is_not_evaluated() -> None:
    profile, rest = fitted_and_rest()
    data = profile.model_dump()
    del data["seconds_per_unit"]["copy_bytes"], data["domain"]["copy_bytes"]
    with pytest.raises(InvalidProfile, match=r"features differ .* in copy_bytes"):
        evaluate(Profile.model_validate(data), rest)


# -- leaving networks out ---------------------------------------------------------------------------------------

BOARDS = {"a": 1.0, "b": 0.3, "c": 5.0}
SOME = NETWORKS[:10]


def boards(*, noise: float = 0.2, change: Callable[[Measurement], Measurement] = lambda row: row) -> list[Table]:
    """Three boards with costs of their own around common ones."""
    return gather(
        change(row)
        for i, (device, speed) in enumerate(BOARDS.items())
        for row in measured(costs(0) * costs(i + 1, 0.2) / TYPICAL * speed, SOME, device=device, noise=noise, seed=i)
    )


def poisoned(network: str) -> Callable[[Measurement], Measurement]:
    return lambda row: row.model_copy(update={"time_s": row.time_s * 1000}) if row.network == network and row.time_s else row


def by_device(table: Table) -> str:
    return table.rows[0].device


@pytest.fixture(scope="module")
def sound() -> Accuracy:
    return leave_networks_out(boards(), "test", group_of=by_device)


@pytest.mark.parametrize("network", ["googlenet", "blazeface"])
def test_a_hidden_network_is_never_in_its_own_fit(sound: Accuracy, network: str) -> None:
    """With a thousand times its time, a network's own prediction stays: only its error grows, by that factor."""
    spoilt = leave_networks_out(boards(change=poisoned(network)), "test", group_of=by_device)
    assert sound.networks[network] - spoilt.networks[network] == pytest.approx(math.log(1000))
    assert spoilt.networks != sound.networks | {network: spoilt.networks[network]}  # others do see it


def test_a_protocol_reports_baselines_and_groups(sound: Accuracy) -> None:
    assert sound.protocol == "test"
    assert sound.metrics.n == len(BOARDS) * len(SOME)
    assert list(sound.baselines) == ["macs_linear", "class_wise"]
    assert {found.n for found in sound.baselines.values()} == {sound.metrics.n}
    assert {name: found.n for name, found in sound.groups.items()} == dict.fromkeys(BOARDS, len(SOME))
    assert set(sound.networks) == set(SOME)
    mean = np.mean([found.mape for found in sound.groups.values()])
    assert sound.metrics.mape == pytest.approx(mean)


def test_pooling_is_better_than_the_baselines_where_devices_are_alike(sound: Accuracy) -> None:
    assert sound.metrics.mape < min(found.mape for found in sound.baselines.values())


def test_the_macs_baseline_is_a_line() -> None:
    """Where time is a number for each multiply-add and a constant, that baseline is exact."""
    macs = {name: work_of("ncnn", name, ())[1] for name in SOME}
    rows = [row.model_copy(update={"time_s": 2e-10 * macs[row.network] + 0.01}) for row in measured(TYPICAL, SOME)]
    found = leave_networks_out(gather(rows), "line", group_of=by_device)
    assert found.baselines["macs_linear"].mape < 1e-6


def test_intervals_cover_about_what_they_promise() -> None:
    """Twelve boards, 120 predictions whose errors are noise and what the fit does not know."""
    tables = gather(
        row for i in range(12) for row in measured(costs(i, 0.1), SOME, device=f"board-{i}", noise=0.25, seed=100 + i)
    )  # fmt: skip
    found = leave_networks_out(tables, "coverage", group_of=lambda _: "all")
    assert 0.8 <= found.metrics.coverage <= 0.99
    assert found.metrics.width > 2 * math.sinh(0.25)  # a standard deviation at least


def test_fewer_networks_than_it_takes() -> None:
    tables = gather(measured(TYPICAL) + measured(TYPICAL, NETWORKS[:4], variant="t1"))
    with pytest.raises(CannotCalibrate, match="a-board/ncnn/fp32/t1 has 4 networks; leaving some out takes at least 5"):
        leave_networks_out(tables, "few", group_of=by_device)


# -- protocols by name ------------------------------------------------------------------------------------------


def test_an_unknown_protocol() -> None:
    with pytest.raises(InvalidChoice, match="there is no protocol 'ncnn-cpu'; did you mean 'ncnn-cpu-network'"):
        run_protocol("ncnn-cpu")


NCNN = [name for name in PROTOCOLS if name.endswith("-network") and name.startswith("ncnn")]


@pytest.mark.parametrize("name", NCNN)
def test_protocols_run_on_a_part_of_the_shipped_data(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two configurations of each: the whole takes minutes, and `costmodel accuracy` runs it."""
    whole = ncnn.tables
    taken: list[Table] = []

    def part(processor: str) -> list[Table]:
        found = whole(processor)
        assert {table.group for table in found} == {("ncnn", processor, "float", "inference")}
        assert min(len(table.networks) for table in found) >= 10
        taken.extend([found[0], next(table for table in found if by_device(table) != by_device(found[0]))])
        return taken

    monkeypatch.setattr(ncnn, "tables", part)
    found = run_protocol(name)
    assert found.protocol == name
    assert isinstance(found.metrics, Metrics)
    assert 0 < found.metrics.n <= sum(len(table.networks) for table in taken)
    assert found.metrics.median_ape < 1


# -- leaving devices out ----------------------------------------------------------------------------------------


def test_a_device_with_few_networks_takes_over_what_the_others_share() -> None:
    """Devices that differ by their speed and a little more: with three networks the pool knows the rest."""
    tables = gather(
        row
        for i in range(6)
        for row in measured(costs(0) * costs(i + 1, 0.05) / TYPICAL * 2.0**i, device=f"board-{i}", noise=0.02, seed=i)
    )
    found = leave_devices_out(tables, "few", measured=3, draws=2)
    assert found.metrics.median_ape < 0.1
    assert found.metrics.median_ape < min(baseline.median_ape for baseline in found.baselines.values()) / 2
    assert found.metrics.coverage > 0.8


def test_what_is_asked_for_is_hidden_from_every_device() -> None:
    """A thousand times the time of one network everywhere: only its own error grows, by that factor."""

    def found(change: Callable[[Measurement], Measurement]) -> Accuracy:
        return leave_devices_out(boards(change=change), "hidden", measured=4, draws=3)

    sound, spoilt = found(lambda row: row), found(poisoned("googlenet"))
    assert sound.networks["googlenet"] - spoilt.networks["googlenet"] == pytest.approx(math.log(1000))
