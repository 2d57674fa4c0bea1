"""Energy = power while anything runs, times the time, plus an energy for each multiply-add.

Power is nearly, not quite, constant: the more multiply-adds a device does in a second, the more it draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from costmodel.model import fit_relative

Array = NDArray[np.float64]


def fit_power(times_s: Array, macs: Array, energies_j: Array) -> tuple[float, float]:
    """The power at rest in W and the energy of a multiply-add in J, neither below zero, of least relative error.

    >>> times, macs = np.array([0.1, 0.2, 0.1]), np.array([1e8, 1e8, 3e8])
    >>> base_w, per_mac_j = fit_power(times, macs, 5 * times + 2e-9 * macs)
    >>> round(base_w, 6), round(per_mac_j * 1e9, 6)
    (5.0, 2.0)
    """
    base_w, per_mac_j = fit_relative(np.column_stack([times_s, macs]), energies_j)
    return float(base_w), float(per_mac_j)


def energies(power: tuple[float, float], times_s: Array, macs: Array) -> Array:
    """The energy of runs that take so long and do so many multiply-adds."""
    base_w, per_mac_j = power
    return base_w * times_s + per_mac_j * macs


def log_errors(predicted: Array, measured: Sequence[float] | Array) -> list[float]:
    """log(predicted / measured)."""
    return [float(error) for error in np.log(np.maximum(predicted, 1e-12)) - np.log(measured)]
