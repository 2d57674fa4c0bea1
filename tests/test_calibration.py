"""Fitting profiles: known costs come back, nothing hidden is seen, and too little is refused."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from costmodel.calibration import (
    Pool,
    calibrate,
    calibrate_all,
    data_hash,
    gather,
    known_device,
    odd_rows,
    pools,
    shipped_support,
    shipped_tables,
    work_of,
)
from costmodel.errors import CannotCalibrate, InvalidMeasurement
from costmodel.features import NAMES
from costmodel.schema.data import data_folder
from costmodel.schema.measurement import Measurement, load_measurements
from costmodel.schema.profile import Profile
from costmodel.specs import benchmark_names
from tests.synthetic import NETWORKS, TYPICAL, costs, measured, work

SPEEDS = {"fast": 0.2, "a-board": 1.0, "slow": 13.0}


def fleet(seconds_per_unit: np.ndarray, **options: object) -> list[Measurement]:
    """Three devices that differ by their speed alone."""
    return [
        row for device, speed in SPEEDS.items() for row in measured(seconds_per_unit * speed, device=device, **options)
    ]  # fmt: skip


def coefficients(profile: Profile) -> np.ndarray:
    return np.array([profile.seconds_per_unit[name] for name in NAMES])


# -- known costs come back --------------------------------------------------------------------------------------


def test_typical_costs_come_back_at_every_speed() -> None:
    for profile in calibrate_all(fleet(TYPICAL)):
        np.testing.assert_allclose(coefficients(profile), TYPICAL * SPEEDS[profile.device], rtol=1e-3)
        assert profile.held_out.median_ape < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_other_costs_give_the_times_back(seed: int) -> None:
    true = costs(seed)
    for profile in calibrate_all(fleet(true)):
        for network in NETWORKS:
            expected = work(network) @ true * SPEEDS[profile.device]
            assert work(network) @ coefficients(profile) == pytest.approx(expected, rel=0.05), network


def test_a_device_alone_gives_its_times_back() -> None:
    true = costs(5)
    profile = calibrate(measured(true))
    predicted = np.array([work(network) @ coefficients(profile) / (work(network) @ true) for network in NETWORKS])
    assert np.abs(predicted - 1).max() < 0.1


def test_one_network_at_different_sizes_is_different_work() -> None:
    """Two devices share eight networks; of the others each ran its own size. The costs are the same."""
    common = [row for device in ("one", "other") for row in measured(TYPICAL, NETWORKS[:8], device=device)]
    alone = [
        row
        for device, batch in (("one", 1), ("other", 16))
        for row in measured(TYPICAL, NETWORKS[8:], sizes={"N": batch}, device=device)
    ]
    for profile in calibrate_all(common + alone):
        np.testing.assert_allclose(coefficients(profile), TYPICAL, rtol=1e-3)


def test_noise_shows_in_the_held_out_errors() -> None:
    calm, noisy = (calibrate(measured(costs(1), noise=noise)).held_out for noise in (0.0, 0.3))
    assert calm.median_ape < noisy.median_ape
    assert np.std(noisy.residuals) > 0.15


# -- what a profile says ----------------------------------------------------------------------------------------


def test_facts_of_a_profile() -> None:
    rows = measured(TYPICAL, power_w=4.0, energy_scope="wall", source="here") + measured(
        TYPICAL, ["resnet50"], power_w=7.0, energy_scope="wall", source="there", licence="MIT"
    )
    profile = calibrate(rows)
    assert profile.id == "a-board/ncnn/fp32/t4"
    assert profile.device_kind == "cpu"
    assert profile.provenance.networks == (*NETWORKS, "resnet50")
    assert profile.provenance.sources == ("here", "there")
    assert profile.provenance.licences == ("CC0", "MIT")
    assert profile.provenance.data_sha256 == data_hash(rows)
    assert (profile.power_w, profile.power_scope) == (4.0, "wall")
    columns = np.array([work(row.network) for row in rows]).T
    for name, column in zip(NAMES, columns, strict=True):
        assert (profile.domain[name].low, profile.domain[name].high) == (column.min(), column.max())


def test_errors_of_a_profile_are_those_of_its_residuals() -> None:
    held_out = calibrate(measured(costs(2), noise=0.2)).held_out
    errors = np.abs(np.exp(held_out.residuals) - 1)
    assert len(held_out.residuals) == len(NETWORKS)
    assert list(held_out.residuals) == sorted(held_out.residuals)
    assert held_out.mape == pytest.approx(errors.mean(), rel=1e-3)
    assert held_out.median_ape == pytest.approx(np.median(errors), rel=1e-3)
    assert held_out.within_10 == pytest.approx(np.mean(errors <= 0.1), abs=1e-4)


def test_no_power_without_a_meter() -> None:
    profile = calibrate(measured(TYPICAL))
    assert (profile.power_w, profile.power_scope) == (None, None)


def test_equal_rows_give_equal_files() -> None:
    rows = measured(costs(3), noise=0.1)
    assert calibrate(rows).model_dump_json() == calibrate(list(rows)).model_dump_json()


def test_the_order_of_rows_does_not_matter() -> None:
    rows = fleet(costs(3), noise=0.1)
    mixed = random.Random(0).sample(rows, len(rows))
    assert data_hash(rows) == data_hash(mixed)
    by_id = {profile.id: profile for profile in calibrate_all(mixed)}
    for profile in calibrate_all(rows):
        np.testing.assert_allclose(coefficients(profile), coefficients(by_id[profile.id]), rtol=1e-2)
        assert profile.provenance.data_sha256 == by_id[profile.id].provenance.data_sha256


@pytest.mark.parametrize("change", [{"time_s": 1.0}, {"network": "vgg16"}, {"sizes": {"N": 2}}, {"device": "other"}])
def test_other_data_have_another_hash(change: dict[str, object]) -> None:
    row = measured(TYPICAL, ["resnet50"])[0]
    assert data_hash([row]) != data_hash([row.model_copy(update=change)])


# -- what is left out -------------------------------------------------------------------------------------------

UNUSABLE = (
    {"suspect": "throttled", "time_s": 99.0},
    {"task": "training", "time_s": 99.0},
    {"scope": "pipeline", "time_s": 99.0},
    {"scope": "layer", "time_s": 1e-6},
    {"time_s": None, "energy_j": 3.0, "energy_scope": "wall"},
)


@pytest.mark.parametrize("cells", UNUSABLE)
def test_rows_that_time_something_else_are_skipped(cells: dict[str, object]) -> None:
    rows = measured(costs(4))
    more = measured(costs(4), ["resnet50", "vgg16"], **cells)
    assert calibrate(rows + more) == calibrate(rows)
    with pytest.raises(CannotCalibrate, match="the rows hold 0 with a time of a whole network that is not suspect"):
        calibrate(more)


def test_pools_do_not_mix() -> None:
    """Processors, runtimes and whole numbers apart: what is measured in one pool changes nothing in another."""
    (alone,) = calibrate_all(measured(costs(6)))
    others = [
        measured(costs(7), variant="vulkan"),
        measured(costs(8), precision="int8"),
        measured(costs(9), ("mobilenet_v2", "resnet18", "vgg16", "alexnet", "googlenet"), runtime="other"),
    ]
    rows = [row for table in others for row in table] + measured(costs(6))
    assert len(pools(gather(rows))) == 4
    (found,) = (profile for profile in calibrate_all(rows) if profile.id == alone.id)
    assert found == alone


def test_threads_and_float_precisions_are_pooled() -> None:
    rows = measured(TYPICAL, variant="t1") + measured(TYPICAL, precision="fp16") + measured(TYPICAL, device="b")
    assert [len(pool.tables) for pool in pools(gather(rows)).values()] == [3]


# -- nothing hidden is seen -------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", ["vgg16", "blazeface"])
@pytest.mark.parametrize("poisoned", [["a-board"], list(SPEEDS)])
def test_a_network_that_is_held_out_changes_nothing(hidden: str, poisoned: list[str]) -> None:
    """A thousand times the time of one network: what others predict for it stays, so its error shifts by that factor."""
    rows = fleet(costs(10), noise=0.1)
    wrong = [
        row.model_copy(update={"time_s": row.time_s * 1000}) if row.network == hidden and row.device in poisoned else row
        for row in rows
        if row.time_s
    ]
    sound, spoilt = (Pool(gather(table)) for table in (rows, wrong))
    part = frozenset({hidden})
    for before, after in zip(sound.tables, spoilt.tables, strict=True):
        shift = np.log(1000) if before.rows[0].device in poisoned else 0.0
        (right,), (poison,) = sound.errors(before, part), spoilt.errors(after, part)
        assert right - poison == pytest.approx(shift, abs=1e-9)
    assert not np.allclose(sound.fit().coef_, spoilt.fit().coef_, rtol=0.01, atol=0)


def test_a_new_configuration_adapts_to_what_the_others_share() -> None:
    """Its own networks are hidden from the others too where its errors on unseen ones are asked for."""
    pool = Pool(gather(fleet(costs(10))))
    (new,) = gather(measured(costs(10) * 7, NETWORKS[:4], device="new"))
    found = pool.costs(new)
    assert found is not None
    for network in NETWORKS:
        assert work(network) @ found == pytest.approx(work(network) @ costs(10) * 7, rel=0.2), network


# -- too little, or wrong ---------------------------------------------------------------------------------------


def test_fewer_than_five_networks() -> None:
    with pytest.raises(CannotCalibrate, match="at least 5 measured networks, there are 4; measure more"):
        calibrate(measured(TYPICAL, NETWORKS[:4]))
    assert calibrate(measured(TYPICAL, NETWORKS[:5])).provenance.networks == NETWORKS[:5]


def test_one_network_at_many_sizes_is_one_network() -> None:
    rows = [row for n in (1, 2, 4, 8, 16) for row in measured(TYPICAL, NETWORKS[:2], sizes={"N": n})]
    with pytest.raises(CannotCalibrate, match="at least 5 measured networks, there are 2"):
        calibrate(rows)


def test_five_networks_at_two_sizes() -> None:
    rows = [row for n in (1, 8) for row in measured(TYPICAL, NETWORKS[:5], sizes={"N": n})]
    profile = calibrate(rows)
    assert profile.provenance.networks == NETWORKS[:5]
    assert len(profile.held_out.residuals) == 10


@pytest.mark.parametrize("networks", [NETWORKS, NETWORKS[:3]])
def test_several_configurations(networks: tuple[str, ...]) -> None:
    rows = measured(TYPICAL) + measured(TYPICAL, networks, variant="t1")
    with pytest.raises(CannotCalibrate, match="the rows hold 2: a-board/ncnn/fp32/t4, a-board/ncnn/fp32/t1"):
        calibrate(rows)


def test_one_device_of_several_by_any_name() -> None:
    rows = measured(TYPICAL, device="raspberry-pi-4b") + measured(TYPICAL, device="other")
    assert calibrate(rows, device="rpi4").device == "raspberry-pi-4b"
    assert calibrate(rows, device="other").device == "other"
    with pytest.raises(CannotCalibrate, match="one configuration is needed, the rows hold 0"):
        calibrate(rows, device="third")


def test_no_rows() -> None:
    assert calibrate_all([]) == []
    with pytest.raises(CannotCalibrate, match="the rows hold 0"):
        calibrate([])


def test_only_configurations_with_enough_networks_get_a_profile() -> None:
    rows = measured(TYPICAL) + measured(TYPICAL, NETWORKS[:6], variant="t1")
    told: list[str] = []
    assert [profile.variant for profile in calibrate_all(rows, fewest=10, progress=told.append)] == ["t4"]
    assert told == ["a-board/ncnn/fp32/t4"]


def test_a_network_that_nobody_knows() -> None:
    rows = [row.model_copy(update={"network": "resnet5000"}) for row in measured(TYPICAL, ["resnet18"])]
    with pytest.raises(InvalidMeasurement, match=r"network 'resnet5000': the zoo has no network .* did you mean 'resnet50'"):
        gather(rows)


def test_a_size_that_the_network_does_not_have() -> None:
    rows = [row.model_copy(update={"sizes": {"S": 3}}) for row in measured(TYPICAL, ["resnet18"])]
    with pytest.raises(InvalidMeasurement, match=r"network 'resnet18': .* has no size 'S'"):
        gather(rows)


def test_other_runtimes_measure_networks_of_the_zoo() -> None:
    assert "resnet50" not in benchmark_names("onnxruntime")
    (one, macs), (two, twice) = (work_of("onnxruntime", "resnet50", (("N", n),)) for n in (1, 2))
    assert two > one
    assert (macs, twice) == (4_089_184_256, 2 * 4_089_184_256)


def test_a_device_that_nobody_described_keeps_its_name() -> None:
    assert (known_device("rpi4"), known_device("my-board")) == ("raspberry-pi-4b", "my-board")


# -- the data that come with the library ------------------------------------------------------------------------


def test_shipped_measurements_fit_as_a_shipped_profile_does() -> None:
    """A single configuration fitted alone, against its profile, which all devices helped to make."""
    wanted = "raspberry-pi-5/ncnn/fp16/t4"
    known = set(benchmark_names("ncnn"))
    alone = calibrate([row for row in load_measurements() if row.profile == wanted and row.network in known])
    shipped = Profile.model_validate_json((data_folder("calibration") / "profiles" / f"{wanted}.json").read_bytes())
    assert alone.provenance.data_sha256 == shipped.provenance.data_sha256
    assert alone.provenance.networks == shipped.provenance.networks
    for network in alone.provenance.networks:
        ratio = (work(network) @ coefficients(alone)) / (work(network) @ coefficients(shipped))
        assert 0.5 < ratio < 2, network


FEW = ("mobilenet_v2", "resnet18", "squeezenet", "googlenet", "efficientnet_b0")


def test_five_networks_tell_more_with_the_support_of_other_devices() -> None:
    """Against the measured times of the networks left out, of a dozen devices that the support does not hold."""
    errors: dict[bool, list[float]] = {True: [], False: []}
    cpus = [table for table in shipped_tables("ncnn") if table.group[1] == "cpu" and set(FEW) <= set(table.networks)]
    boards = cpus[:: len(cpus) // 12]
    own = {table.rows[0].device for table in boards}
    others = [table for table in cpus[::3] if table.rows[0].device not in own]
    for table in boards:
        rows = [row for row in table.rows if row.network in FEW]
        for supported in errors:
            (profile,) = calibrate_all(rows, support=others if supported else ())
            costs = np.array(list(profile.seconds_per_unit.values()))
            for network in set(table.networks) - set(FEW):
                errors[supported] += [abs(error) for error in table.log_errors(network, costs)]
    assert np.median(errors[True]) < np.median(errors[False])
    assert np.mean(errors[True]) < np.mean(errors[False])


# -- what a table may hold --------------------------------------------------------------------------------------


def rows_of(profile: str, names: Sequence[str], times: float = 1.0) -> list[Measurement]:
    """A board that is as a shipped one, at so many times its times."""
    shipped = [row for row in load_measurements() if row.profile == profile and row.network in names and not row.suspect]
    return [row.model_copy(update={"device": "my-board", "time_s": times * float(row.time_s or 0)}) for row in shipped]


NAMES_OF_NCNN = ("squeezenet", "mobilenet", "mobilenet_v2", "resnet18", "googlenet", "shufflenet", "resnet50", "alexnet")


def test_rows_far_off_what_others_make_expect_are_told_and_kept() -> None:
    rows = rows_of("raspberry-pi-4b/ncnn/fp32/t4", NAMES_OF_NCNN, times=1.3)
    assert odd_rows(rows, support=shipped_support(rows)) == []
    wrong = next(i for i, row in enumerate(rows) if row.network == "resnet18")
    rows[wrong] = rows[wrong].model_copy(update={"time_s": 6 * float(rows[wrong].time_s or 0)})
    ((number, row, factor),) = odd_rows(rows, support=shipped_support(rows))
    assert (number, row.network) == (wrong + 2, "resnet18")
    assert 3 < factor < 12
    assert "resnet18" in calibrate(rows).provenance.networks


def test_every_network_that_is_not_known_is_told_with_its_row() -> None:
    rows = rows_of("raspberry-pi-4b/ncnn/fp32/t4", NAMES_OF_NCNN)
    rows[1] = rows[1].model_copy(update={"network": "resnet1800"})
    rows[3] = rows[3].model_copy(update={"network": "mobilenot"})
    with pytest.raises(InvalidMeasurement, match=r"row 3: network 'resnet1800'.*row 5: network 'mobilenot'"):
        calibrate(rows)
