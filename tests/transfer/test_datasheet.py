"""Costs from datasheets: a law put in comes out; facts that are missing are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from costmodel.errors import InvalidDevice
from costmodel.schema.device import Cluster, Device
from costmodel.transfer.cores import core_facts
from costmodel.transfer.datasheet import DatasheetCosts, Sheet, sheet

LANES = {"cortex-a53": 4, "cortex-a72": 4, "cortex-a76": 8, "zen2": 16}


def board(core: str = "cortex-a76", **facts: Any) -> Device:
    given = {"count": 4, "clock_hz": 2.0e9} | facts
    return Device(
        id="board", title="Board", kind="cpu-board", source="here", isa="armv8.2", clusters=(Cluster(core=core, **given),)
    )


def fleet(seed: int, count: int = 40) -> tuple[list[Sheet], np.ndarray[Any, Any]]:
    """Devices whose time falls with clock, lanes and threads ** 0.8, each feature with a share of its own, 10 % apart."""
    rng = np.random.default_rng(seed)
    sheets, costs = [], []
    for number in range(count):
        core, threads = rng.choice(list(LANES)), int(rng.choice([1, 2, 4]))
        clock = rng.uniform(1.0, 3.0) * 1e9
        device = board(str(core), clock_hz=clock).model_copy(update={"id": f"board-{number}"})
        sheets.append(sheet(device, "fp32", f"t{threads}"))
        speed = -np.log(clock / 1e9) - np.log(LANES[str(core)]) - 0.8 * np.log(threads) + rng.normal(0, 0.1)
        costs.append(speed + np.array([0.0, 1.0, 2.0, 3.0, 4.0]) + rng.normal(0, 0.05, 5))
    return sheets, np.array(costs)


@pytest.mark.parametrize("seed", range(3))
def test_a_law_of_facts_comes_back(seed: int) -> None:
    sheets, costs = fleet(seed)
    fitted = DatasheetCosts().fit(sheets[:-10], costs[:-10])
    errors = np.abs(fitted.predict(sheets[-10:]) - costs[-10:])
    assert np.median(errors) < 0.2
    assert np.std(costs[-10:], axis=0).mean() > 2 * np.median(errors)
    assert np.all(fitted.deviation(sheets[-10:]) > 0)


def test_what_is_like_a_known_device_is_surer() -> None:
    sheets, costs = fleet(0)
    fitted = DatasheetCosts().fit(sheets, costs)
    odd = sheet(board("knights-corner", count=61, clock_hz=0.2e9), "fp32", "t61")
    assert fitted.deviation([odd])[0] > 1.2 * fitted.deviation(sheets[:1])[0]


def test_half_precision_doubles_the_lanes() -> None:
    whole, half = (sheet(board(), precision, "t4").numbers for precision in ("fp32", "fp16"))
    assert half[3] - whole[3] == pytest.approx(np.log(2))


def test_more_threads_than_cores_count_as_cores() -> None:
    assert sheet(board(), "fp32", "t8").numbers[:2] == sheet(board(), "fp32", "t4").numbers[:2]


def test_a_device_without_a_clock() -> None:
    with pytest.raises(InvalidDevice, match=r"device 'board' states no clock.*add clock_hz to its cluster"):
        sheet(board(clock_hz=None), "fp32", "t4", is_clock_needed=True)
    assert sheet(board(clock_hz=None), "fp32", "t4").core == "cortex-a76"


def test_published_cores() -> None:
    """Arm's optimisation guides: two 128-bit pipes in a Cortex-A76, one in a Cortex-A55, which does not reorder."""
    assert (core_facts("cortex-a76"), core_facts("cortex-a55")) == ((8, True), (4, False))
    assert core_facts("no-such-core").lanes == 8
