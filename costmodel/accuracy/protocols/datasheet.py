"""Devices that nobody measured, from their datasheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from costmodel.accuracy.figures import Accuracy, Case
from costmodel.accuracy.protocols.protocol import Protocol
from costmodel.accuracy.splits import summary, with_radii
from costmodel.calibration import Table, sheet_of
from costmodel.datasheets import measured_tables, unseen_costs
from costmodel.model import fit_relative
from costmodel.schema.device import devices

Array = NDArray[np.float64]
CLOCK, THREADS = 0, 1  # among the numbers of a sheet


def _unseen(name: str, runtime: str) -> Accuracy:
    results: dict[str, list[Case]] = {"costmodel": [], "clock_and_threads": [], "macs_per_cycle": []}
    for table, costs, source in unseen_costs(measured_tables(runtime)):
        predicted = {
            "costmodel": table.work @ costs,
            "clock_and_threads": table.work @ _scaled(source, table, lambda each: each.work),
            "macs_per_cycle": table.macs * float(_scaled(source, table, lambda each: each.macs[:, None])[0]),
        }
        for method, times in predicted.items():
            results[method] += _cases(table, times)
    return summary(name, {method: with_radii(cases) for method, cases in results.items()})


def _scaled(source: Sequence[Table], table: Table, columns: object) -> Array:
    """The median cost in cycles of one thread over other devices, at this one's clock and threads."""
    assert callable(columns)
    speeds = [_cycles(each) for each in source]
    costs = [fit_relative(columns(each), each.times) * speed for each, speed in zip(source, speeds, strict=True)]
    found: Array = np.mean(costs, axis=0) / _cycles(table)
    return found


def _cycles(table: Table) -> float:
    numbers = sheet_of(table).numbers
    return float(np.exp(numbers[CLOCK] + numbers[THREADS]))


def _cases(table: Table, predicted: Array) -> list[Case]:
    group = devices()[table.rows[0].device].kind
    errors = np.log(np.maximum(predicted, 1e-12) / table.times)
    return [
        Case(table.id, network, group, float(error), 0.0, float(time))
        for network, error, time in zip(table.networks, errors, table.times, strict=True)
    ]


PROTOCOLS: Mapping[str, Protocol] = {
    "ncnn-device-0": Protocol(
        "an unseen device from its datasheet alone: ncnn, CPU, floating point", lambda: _unseen("ncnn-device-0", "ncnn")
    ),
}
