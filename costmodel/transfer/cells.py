"""Times of all networks of a search space on a device from a few measured ones, with the help of other devices.

A network made of equal cells takes a constant and a cost for each op of its cell, in seconds and not in their logarithm.
So a time, as a share of the device's mean, is normal with a mean linear in the counts of ops; mean and spread of these
costs come from the source devices. What a runtime does beyond that (dropping what leads nowhere, say) is told from noise
by the structure of the cell, and the new device may do as one source does. Which one, if any, and how noisy it is, the few
measured networks tell: predictions are averaged by evidence (Hoeting et al. 1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, check_is_fitted

Array = NDArray[np.float64]

DESIGN_NOISE = 0.1  # of the mean time: what networks are chosen for
LEAST_SHARE = 0.01  # of the mean time: no prediction is below


@dataclass(frozen=True, eq=False)
class CellForecast:
    """Times of all networks on a device, and their standard deviations."""

    time: Array
    deviation: Array


class CellTimes(BaseEstimator):  # type: ignore[misc]
    """Times of all networks of a space on a new device from a few of them and those on source devices.

    Parameters
    ----------
    constant_spread, cost_spread : float
        Standard deviations, beside those among the source devices, of the constant and of each cost, in mean times.
    noises : sequence of float
        Standard deviations of a measurement that are tried, in mean times.

    Attributes
    ----------
    costs_ : array of shape (1 + n_ops,)
        The mean over source devices of a constant and of each op's cost, in mean times.

    >>> counts = np.array([[i, j] for i in range(5) for j in range(5)])
    >>> sources = np.column_stack([5 + counts @ [2, 1], 7 + counts @ [4, 1], 3 + counts @ [3, 2]])
    >>> cells = CellTimes().fit(counts, counts, sources)
    >>> few, truth = [0, 4, 12, 20, 24], 10 * (5 + counts @ [3.0, 1.0])
    >>> bool(np.allclose(cells.predict(few, truth[few]).time, truth, rtol=0.02))
    True

    """

    def __init__(
        self,
        *,
        constant_spread: float = 0.3,
        cost_spread: float = 0.05,
        noises: Sequence[float] = (0.003, 0.01, 0.03, 0.1, 0.2),
    ) -> None:
        self.constant_spread = constant_spread
        self.cost_spread = cost_spread
        self.noises = noises

    def fit(self, X: ArrayLike, structure: ArrayLike, sources: ArrayLike) -> CellTimes:  # noqa: N803
        """Fit on op counts (networks by ops), a description of each cell's structure, and times (networks by devices).

        Raises ValueError for times that are not positive.
        """
        counts = check_array(X, dtype=np.float64)
        times = check_array(sources, dtype=np.float64)
        if (times <= 0).any():
            raise ValueError(f"times must be positive, the least is {times.min():g}")
        shares = times / times.mean(axis=0)
        linear = np.column_stack([np.ones(len(counts)), counts - counts.mean(axis=0)])
        costs = np.linalg.lstsq(linear, shares, rcond=None)[0]
        self.costs_ = costs.mean(axis=1)
        self.expected_ = linear @ self.costs_
        own = np.array([self.constant_spread] + [self.cost_spread] * counts.shape[1])
        self.linear_ = linear @ np.linalg.cholesky(np.cov(costs) + np.diag(own**2))
        self.habits_ = _explained(check_array(structure, dtype=np.float64), shares - linear @ costs)
        return self

    def choose(self, count: int, among: Sequence[int]) -> list[int]:
        """The networks to measure: each next one takes most from the mean variance over the space (no time is looked at).

        Raises ValueError for more networks than there are.
        """
        check_is_fitted(self)
        if count > len(among):
            raise ValueError(f"{count} networks cannot be chosen among {len(among)}")
        columns = np.column_stack([self.linear_, self.habits_ / 2])
        candidates, moments = columns[list(among)], columns.T @ columns / len(columns)
        left = np.eye(columns.shape[1])
        chosen: list[int] = []
        for _ in range(count):
            across = candidates @ left
            variance = (across * candidates).sum(axis=1) + DESIGN_NOISE**2
            gains = ((across @ moments) * across).sum(axis=1) / variance
            gains[chosen] = -1.0
            best = int(gains.argmax())
            chosen.append(best)
            left = left - np.outer(across[best], across[best]) / variance[best]
        return [int(among[i]) for i in chosen]

    def predict(self, networks: Sequence[int], times: ArrayLike) -> CellForecast:
        """The times of all networks, given those of a few by their rows.

        Raises ValueError for times that are not positive.
        """
        check_is_fitted(self)
        few, measured = list(networks), np.asarray(times, dtype=np.float64)
        if not len(few) or measured.shape != (len(few),) or not (measured > 0).all():
            raise ValueError("a positive time is needed for each of at least one network")
        mean = measured.mean() / self.expected_[few].mean()
        gaps = measured / mean - self.expected_[few]
        models = [_Linear(columns, few, gaps, noise, weight) for columns, weight in self._models() for noise in self.noises]
        evidence = np.array([model.log_evidence for model in models])
        weights = np.exp(evidence - evidence.max())
        weights /= weights.sum()
        told = [(weight, *model.forecast()) for weight, model in zip(weights, models, strict=True) if weight > 1e-3]
        total = sum(weight for weight, *_ in told)
        shift: Array = sum(weight * value for weight, value, _ in told) / total
        spread: Array = sum(weight * (variance + (value - shift) ** 2) for weight, value, variance in told) / total
        return CellForecast(mean * np.maximum(self.expected_ + shift, LEAST_SHARE), mean * np.sqrt(spread))

    def _models(self) -> list[tuple[Array, float]]:
        """Columns of a linear model and the logarithm of its prior weight: no source's habits, or those of one."""
        sources = self.habits_.shape[1]
        alike = [(np.column_stack([self.linear_, habit]), -np.log(sources)) for habit in self.habits_.T]
        return [(self.linear_, 0.0), *alike]


class _Linear:
    """A normal prior of variance 1 on each coefficient, conditioned on a few rows."""

    def __init__(self, columns: Array, rows: list[int], values: Array, noise: float, log_prior: float) -> None:
        few = columns[rows]
        inverse = np.linalg.inv(few @ few.T + noise**2 * np.eye(len(rows)))
        self.columns, self.noise = columns, noise
        self.coefficients = few.T @ inverse @ values
        self.covariance = np.eye(columns.shape[1]) - few.T @ inverse @ few
        self.log_evidence = log_prior + 0.5 * (np.linalg.slogdet(inverse)[1] - values @ inverse @ values)

    def forecast(self) -> tuple[Array, Array]:
        """Mean and variance of every row."""
        variance = np.einsum("ij,jk,ik->i", self.columns, self.covariance, self.columns, optimize=True)
        return self.columns @ self.coefficients, variance + self.noise**2


def _explained(structure: Array, values: Array) -> Array:
    """The part of the columns of values that the structure explains, by least squares."""
    linear = np.column_stack([np.ones(len(structure)), structure])
    moments = linear.T @ linear
    ridge = 1e-8 * np.trace(moments) / len(moments) * np.eye(len(moments))
    part: Array = linear @ np.linalg.solve(moments + ridge, linear.T @ values)
    return part
