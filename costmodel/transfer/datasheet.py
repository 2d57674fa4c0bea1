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
SMOOTH = 4  # clock, threads, threads beyond cores, lanes: what the smooth part is of
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
    variances: Array
    weights: Array
    factor: tuple[Array, bool]

    def at(self, new: Sequence[Sheet]) -> tuple[Array, Array]:
        """Mean and standard deviation."""
        across = np.tensordot(self.variances[:-1], _parts(new, self.sheets), axes=1)
        own = np.diag(np.tensordot(self.variances[:-1], _parts(new, new), axes=1)) + self.variances[-1]
        spread = own - np.einsum("ij,ji->i", across, cho_solve(self.factor, across.T))
        return self.mean + across @ self.weights, np.sqrt(np.maximum(spread, JITTER))


def _parts(one: Sequence[Sheet], other: Sequence[Sheet]) -> Array:
    """The covariances for variances of 1: of each straight effect, of the smooth part, and of what is the same."""
    a, b = (np.array([each.numbers for each in some]) for some in (one, other))
    straight = a.T[:, :, None] * b.T[:, None, :]
    smooth = np.exp(-0.5 * ((a[:, None, :SMOOTH] - b[None, :, :SMOOTH]) ** 2).sum(axis=2))
    same = [
        np.equal.outer(np.array([getattr(each, field) for each in one]), np.array([getattr(each, field) for each in other]))
        for field in ("core", "instructions", "device")
    ]
    return np.concatenate([straight, [smooth], np.array(same, dtype=np.float64)])


def _fitted(sheets: Sequence[Sheet], values: Array) -> _Process:
    """The variances of greatest likelihood, each drawn a little towards an eighth of that of the values."""
    mean = float(values.mean())
    centred, scale = values - mean, max(float(values.var()), JITTER)
    parts = np.concatenate([_parts(sheets, sheets), [np.eye(len(sheets))]])

    def surprise(logs: Array) -> tuple[float, Array]:
        """The negative logarithm of the likelihood and its slope (Rasmussen and Williams 2006, equation 5.9)."""
        scaled = scale * np.exp(logs)[:, None, None] * parts
        factor = cho_factor(scaled.sum(axis=0) + JITTER * np.eye(len(sheets)))
        weights = cho_solve(factor, centred)
        open_part = cho_solve(factor, np.eye(len(sheets))) - np.outer(weights, weights)
        slope = 0.5 * np.einsum("kij,ij->k", scaled, open_part)
        loss = 0.5 * float(centred @ weights) + float(np.log(np.diag(factor[0])).sum())
        return loss + 0.05 * float(((logs + 2) ** 2).sum()), slope + 0.1 * (logs + 2)

    start = np.full(len(parts), -2.0)
    logs = minimize(surprise, start, jac=True, method="L-BFGS-B", bounds=[BOUNDS] * len(parts), options={"maxiter": 60}).x
    variances = scale * np.exp(logs)
    factor = cho_factor(np.tensordot(variances, parts, axes=1) + JITTER * np.eye(len(sheets)))
    return _Process(tuple(sheets), mean, variances, cho_solve(factor, centred), factor)


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
