"""Methods that predict energy instead of time: tables whose ``times`` are energies in J."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from costmodel.accuracy.splits import METHODS, Method
from costmodel.calibration import Pool, Table
from costmodel.power import fit_power

Array = NDArray[np.float64]


def on_energy(tables: Iterable[Table]) -> list[Table]:
    """The rows with a measured energy, which takes the place of the time."""
    found = []
    for table in tables:
        metered = table.of({row.network for row in table.rows if row.energy_j is not None})
        if metered.rows:
            found.append(replace(metered, times=np.array([row.energy_j for row in metered.rows], dtype=np.float64)))
    return found


def _on_time(table: Table) -> Table:
    return replace(table, times=np.array([row.time_s for row in table.rows], dtype=np.float64))


@lru_cache(maxsize=64)
def _timed(pool: Pool) -> tuple[Pool, Mapping[Table, Table]]:
    """The same configurations with their times, and which is which."""
    timed = {table: _on_time(table) for table in pool.tables}
    return Pool(list(timed.values()), pool.label), timed


def _by_power(*, per_mac: bool) -> Method:
    """Predicted time, times the power of the networks that are not hidden."""

    def costs(pool: Pool, table: Table, hidden: frozenset[str]) -> Array | None:
        times, timed = _timed(pool)
        own = timed.get(table) or _on_time(table)
        seconds = times.costs(own, hidden)
        if seconds is None:
            return None
        kept = table.kept(hidden)
        powers = table.times[kept] / own.times[kept]
        power = (float(np.median(powers)), 0.0)
        if per_mac:
            power = fit_power(own.times[kept], table.macs[kept], table.times[kept])
        return np.append(power[0] * seconds, power[1])

    return Method(costs, lambda table: np.column_stack([table.work, table.macs]))


ENERGY_METHODS: Mapping[str, Method] = {
    "power_and_macs": _by_power(per_mac=True),
    "constant_power": _by_power(per_mac=False),
    "energy_of_work": METHODS["pooled"],
    "macs_linear": METHODS["macs_linear"],
}
