"""Energy by time and multiply-adds: recovered where it is so, better than constant power where boards are not idle."""

from __future__ import annotations

import numpy as np
import pytest

from costmodel.accuracy.energy import ENERGY_METHODS, on_energy
from costmodel.accuracy.protocols.mlperf import family, tables
from costmodel.accuracy.splits import leave_networks_out
from costmodel.calibration import calibrate_all
from costmodel.power import energies, fit_power, log_errors
from costmodel.prediction import predict
from costmodel.specs import benchmark_network

TIMES, MACS = np.array([0.02, 0.05, 0.1, 0.4]), np.array([4e8, 1e8, 6e8, 8e8])


@pytest.mark.parametrize(("base_w", "per_mac_j"), [(5.0, 1e-10), (3.0, 0.0), (0.0, 2e-10)])
def test_what_made_the_energies_is_found_again(base_w: float, per_mac_j: float) -> None:
    measured = base_w * TIMES + per_mac_j * MACS
    assert fit_power(TIMES, MACS, measured) == pytest.approx((base_w, per_mac_j), rel=1e-9, abs=1e-15)
    assert log_errors(energies((base_w, per_mac_j), TIMES, MACS), 2 * measured) == pytest.approx([-np.log(2)] * 4)


def test_energy_takes_the_place_of_time_where_it_was_measured() -> None:
    whole = next(table for table in tables() if table.id == "raspberry-pi-4b/tflite/fp32/ruy-2.7.1")
    (metered,) = on_energy([whole])
    assert metered.times == pytest.approx([row.energy_j for row in metered.rows])
    assert metered.times == pytest.approx([row.power_w * row.time_s for row in metered.rows], rel=0.01)  # at the wall
    unmetered = next(table for table in tables() if all(row.energy_j is None for row in table.rows))
    assert on_energy([unmetered]) == []


def test_multiply_adds_tell_more_than_constant_power() -> None:
    """On the boards of one round, families hidden: power and multiply-adds against the power of the other networks."""
    some = on_energy(table for table in tables() if table.group[:3] == ("armnn", "cpu", "int"))
    found = leave_networks_out(some, "some", group_of=lambda table: table.id, label=family, methods=ENERGY_METHODS)
    assert found.metrics.mape < found.baselines["constant_power"].mape < found.baselines["macs_linear"].mape
    assert found.metrics.mape < 0.2


def test_a_profile_of_a_metered_board_predicts_energy_with_its_own_interval() -> None:
    rows = [row for table in tables() if table.id == "raspberry-pi-4b/tflite/fp32/ruy-2.7.1" for row in table.rows]
    hidden = "tflite:mobilenet_v1_0.75_192"
    (profile,) = calibrate_all(row for row in rows if row.network != hidden)
    assert profile.power is not None
    found = predict(benchmark_network("tflite", "mobilenet_v1_0.75_192"), profile)
    (measured,) = (row for row in rows if row.network == hidden)
    assert found.energy_j is not None
    assert found.power_w is not None
    assert found.energy_j.low < measured.energy_j < found.energy_j.high
    assert found.energy_j.value == pytest.approx(found.power_w.value * found.time_s.value)
    (plain,) = calibrate_all(row.model_copy(update={"energy_j": None}) for row in rows)
    assert plain.power is None
    assert plain.power_w is not None
