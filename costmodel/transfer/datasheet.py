"""Costs on a CPU that nobody measured, from what its datasheet says: kind of core, clock, threads, precision.

The costs of measured configurations (``model.PooledCosts``) are draws from a Gaussian process over such facts: effects of
clock, threads and the width of the arithmetic that are straight in log-log, a smooth part, and what configurations of one
core, family of instructions and device have in common. How much each tells is fitted by maximum likelihood (Rasmussen
and Williams 2006, chapter 5), for the speed and for each of the few directions in which the costs of devices differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from costmodel.errors import InvalidDevice
from costmodel.schema.device import Cluster, Device
from costmodel.transfer.cores import CLOCKS, USUAL_CLOCK, core_facts
from costmodel.transfer.kinship import facts

Array = NDArray[np.float64]

DIRECTIONS = 3  # in which costs differ between devices besides their speed
HALF_PRECISION = frozenset({"fp16", "bf16"})
JITTER = 1e-6
BOUNDS = (-7.0, 3.0)  # of the logarithms of variances


class Sheet(NamedTuple):
    """What the datasheet tells of a configuration."""

    device: str
    core: str
    instructions: str
    numbers: tuple[float, ...]


def sheet(device: Device, precision: str, variant: str, *, is_clock_needed: bool = False) -> Sheet:
    """The facts of a configuration on a CPU.

    >>> from costmodel.schema.device import devices
    >>> sheet(devices()["raspberry-pi-5"], "fp16", "t4").core
    'cortex-a76'

    Raises InvalidDevice where ``is_clock_needed`` and the device states no clock.
    """
    known = facts(device, precision, variant)
    cluster = _cluster(device, known.core)
    clock = None if cluster is None else cluster.boost_hz or cluster.clock_hz
    if clock is None and is_clock_needed:
        raise InvalidDevice(
            f"device {device.id!r} states no clock, from which its speed follows; add clock_hz to its cluster, as in "
            'clusters = [{ core = "cortex-a76", count = 4, clock_hz = 2.4e9 }]'
        )
    cores = sum(each.count or 0 for each in device.clusters) or known.threads
    core = core_facts(known.core)
    lanes = core.lanes * (2 if precision in HALF_PRECISION else 1) * (0.5 if "noavx512" in variant else 1)
    return Sheet(
        device=device.id,
        core=known.core,
        instructions=known.instructions.rstrip(".0123456789"),
        numbers=(
            math.log((clock or CLOCKS.get(known.core, USUAL_CLOCK)) / 1e9),
            math.log(min(known.threads, cores)),
            math.log(max(known.threads / cores, 1.0)),
            math.log(lanes),
            float(core.is_out_of_order),
            float(device.kind == "server"),
        ),
    )


def _cluster(device: Device, core: str) -> Cluster | None:
    of_core = [cluster for cluster in device.clusters if cluster.core == core]
    return next((cluster for cluster in of_core if cluster.clock_hz or cluster.boost_hz), of_core[0] if of_core else None)


@dataclass(frozen=True, eq=False)
class _Process:
    """A Gaussian process over sheets with the variances of its parts, conditioned on what was seen."""

    sheets: Sequence[Sheet]
    mean: float
    logs: Array
    weights: Array
    factor: tuple[Array, bool]

    def at(self, new: Sequence[Sheet]) -> tuple[Array, Array]:
        """Mean and standard deviation."""
        across = _kernel(new, self.sheets, self.logs, is_same=False)
        own = np.diag(_kernel(new, new, self.logs, is_same=True))
        spread = own - np.einsum("ij,ji->i", across, cho_solve(self.factor, across.T))
        return self.mean + across @ self.weights, np.sqrt(np.maximum(spread, 1e-9))


PARTS = 11  # six straight effects, a smooth part, core, instructions, device, configuration


def _kernel(one: Sequence[Sheet], other: Sequence[Sheet], logs: Array, *, is_same: bool) -> Array:
    variances = np.exp(logs)
    a, b = (np.array([each.numbers for each in some]) for some in (one, other))
    found: Array = (a * variances[:6]) @ b.T
    distance = ((a[:, None, :4] - b[None, :, :4]) ** 2).sum(axis=2)
    found += variances[6] * np.exp(-0.5 * distance)
    for variance, field in ((variances[7], "core"), (variances[8], "instructions"), (variances[9], "device")):
        found += variance * np.equal.outer([getattr(x, field) for x in one], [getattr(x, field) for x in other])
    return found + variances[10] * np.eye(len(one)) if is_same else found


def _fitted(sheets: Sequence[Sheet], values: Array) -> _Process:
    mean = float(values.mean())
    centred = values - mean
    scale = float(np.log(max(values.var(), 1e-6)))

    def surprise(logs: Array) -> float:
        try:
            factor = cho_factor(_kernel(sheets, sheets, logs + scale, is_same=True) + JITTER * np.eye(len(sheets)))
        except np.linalg.LinAlgError:
            return 1e12
        weights = cho_solve(factor, centred)
        return float(0.5 * centred @ weights + np.log(np.diag(factor[0])).sum() + 0.05 * ((logs + 2) ** 2).sum())

    start = np.full(PARTS, -2.0)
    logs = minimize(surprise, start, method="L-BFGS-B", bounds=[BOUNDS] * PARTS, options={"maxiter": 25}).x + scale
    factor = cho_factor(_kernel(sheets, sheets, logs, is_same=True) + JITTER * np.eye(len(sheets)))
    return _Process(tuple(sheets), mean, logs, cho_solve(factor, centred), factor)


class DatasheetCosts:
    """Log costs of configurations from their sheets.

    ``fit``: the sheets of measured configurations and the logarithms of their costs, of shape (configurations, features).
    """

    def fit(self, sheets: Sequence[Sheet], log_costs: Array) -> DatasheetCosts:
        speed = np.median(log_costs, axis=1)
        shape = log_costs - speed[:, None]
        self.common_ = shape.mean(axis=0)
        _, _, directions = np.linalg.svd(shape - self.common_, full_matrices=False)
        self.directions_ = directions[:DIRECTIONS]
        scores = (shape - self.common_) @ self.directions_.T
        self.processes_ = [_fitted(sheets, values) for values in (speed, *scores.T)]
        return self

    def predict(self, sheets: Sequence[Sheet]) -> Array:
        """The log costs of new configurations."""
        speed, *scores = (process.at(sheets)[0] for process in self.processes_)
        found: Array = speed[:, None] + self.common_ + np.array(scores).T @ self.directions_
        return found

    def deviation(self, sheets: Sequence[Sheet]) -> Array:
        """Standard deviation of the log speed."""
        return self.processes_[0].at(sheets)[1]
